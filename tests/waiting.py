"""Owns waiting for a condition and choosing loopback ports; knows nothing of SIP, IM or the servers."""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeVar

T = TypeVar("T")
Kind = Literal["tcp", "udp", "both"]

POLL_SECONDS = 0.02
FIRST_PORT, LAST_PORT = 10000, 32000
EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")

SHARE = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
SHARES = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))

_given: set[int] = set()


def wait_until(probe: Callable[[], T], timeout: float, what: str) -> T:
    """Call `probe` until it returns something true, and return that.

    `timeout` is in seconds. Raises AssertionError naming `what` and the last value after that time;
    an exception of the probe itself goes through.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"not seen within {timeout:g} s: {what} (last value: {value!r})")
        time.sleep(POLL_SECONDS)


def wait_equal(probe: Callable[[], T], wanted: T, timeout: float, what: str) -> None:
    """Call `probe` until it returns `wanted`; the AssertionError of wait_until says what it returned last."""
    seen: list[T] = []

    def as_wanted() -> bool:
        seen[:] = [probe()]
        return seen == [wanted]

    try:
        wait_until(as_wanted, timeout, what)
    except AssertionError as error:
        error.add_note(f"wanted {wanted}\nseen   {seen[0]}")
        raise


def free_port(kind: Kind = "both") -> int:
    """A free port on 127.0.0.1, below the range from which the kernel serves outgoing connections.

    No port is given twice by one process, nor by two that run tests side by side (pytest-xdist): each has its own
    share of the ports. Raises RuntimeError when none is found.
    """
    for _ in range(200):
        port = random.randrange(FIRST_PORT + SHARE, _last_port(), SHARES)
        if port not in _given and _is_free(port, kind):
            _given.add(port)
            return port
    raise RuntimeError(f"no free {kind} port between {FIRST_PORT} and {_last_port()}")


def free_ports(count: int) -> list[int]:
    """`count` different ports, free for TCP and UDP."""
    return [free_port() for _ in range(count)]


def _last_port() -> int:
    """The kernel may take a port of its ephemeral range at any moment, so stay below it."""
    lowest = int(EPHEMERAL_RANGE.read_text().split()[0])
    return min(LAST_PORT, lowest) if lowest > FIRST_PORT else LAST_PORT


def _is_free(port: int, kind: Kind) -> bool:
    kinds = {"tcp": [socket.SOCK_STREAM], "udp": [socket.SOCK_DGRAM]}.get(kind, [socket.SOCK_STREAM, socket.SOCK_DGRAM])
    return all(_can_bind(port, kind_of_socket) for kind_of_socket in kinds)


def _can_bind(port: int, kind_of_socket: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind_of_socket) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
