"""Owns a UDP socket in the place of Kamailio's internal listener, and the end of a client that writes to it.

What Kamailio does is for the end-to-end tests.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

from purple_bridge.libpurple import glib
from purple_bridge.worker.uac import UserAgentClient
from tests.agents.sip import Request, parse
from tests.loops import run_until


class Listener:
    """Reads and answers when a test wants it; ``times`` says when each datagram was read."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(("127.0.0.1", 0))
        host, port = self._socket.getsockname()
        self.address = f"{host}:{port}"
        self.client: tuple[str, int] = ("", 0)
        self.datagrams: list[bytes] = []
        self.times: list[float] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self) -> list[Request]:
        """All requests so far, retransmissions too."""
        with suppress(BlockingIOError):
            while True:
                datagram, self.client = self._socket.recvfrom(65536)
                self.datagrams.append(datagram)
                self.times.append(time.monotonic())
        return [request for request in map(parse, self.datagrams) if isinstance(request, Request)]

    def wait(self, count: int, timeout: float = 30.0) -> list[Request]:
        run_until(lambda: len(self.read()) >= count, f"{count} requests", timeout)
        return self.read()

    def answer(self, request: Request, status: int, reason: str = "OK", method: str | None = None) -> None:
        cseq = f"1 {method}" if method else request.headers["CSeq"]
        self.send(
            f"SIP/2.0 {status} {reason}\r\nVia: {request.headers['Via']};rport={self.client[1]}\r\n"
            f"CSeq: {cseq}\r\nContent-Length: 0\r\n\r\n".encode()
        )

    def send(self, datagram: bytes) -> None:
        self._socket.sendto(datagram, self.client)

    def close(self) -> None:
        self._socket.close()


@contextmanager
def sip_client(opened: socket.socket) -> Iterator[UserAgentClient]:
    """A worker's SIP client on this socket; at the end nothing of it is left in the loop."""
    made = UserAgentClient(opened)
    yield made
    glib.remove(made._reading)
    glib.remove(made._clock)
    for transaction in made._transactions.values():
        glib.remove(transaction.timer)
