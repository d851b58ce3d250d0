"""Owns what needs the kernel's help: mounts and networks of their own. Knows neither servers nor faults."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Self

from tests.faults.scenario import Unavailable


@cache
def _can_mount() -> bool:
    """As root, or where users may make namespaces of their own."""
    if shutil.which("unshare") is None:
        return False
    tried = subprocess.run(
        [*_unshare(), "mount", "-t", "tmpfs", "-o", "size=1m", "none", "/mnt"], capture_output=True, check=False
    )
    return tried.returncode == 0


def _unshare() -> list[str]:
    return ["unshare", "--mount", "--propagation", "private"]


def with_file(place: Path, content: Path) -> list[str]:
    """What to put in front of a command that shall see ``content`` at ``place``. Raises Unavailable."""
    if not _can_mount():
        raise Unavailable("mount namespaces need root")
    return [*_unshare(), "sh", "-c", f'mount --bind "{content}" "{place}" && exec "$@"', "sh"]


class Network:
    """A network of its own, joined to this one by a cable (veth(4)); ``address`` is its end. Raises Unavailable.

    ``silence`` lets every packet of both ends vanish, so that neither hears that the other is gone.
    """

    def __init__(self, name: str) -> None:
        number = os.getpid() % 250
        self.name, self.address, self._here = f"{name}{os.getpid()}", f"10.211.{number}.2", f"10.211.{number}.1"
        self._cable, self._end = f"f{os.getpid()}h"[:15], f"f{os.getpid()}n"[:15]
        if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("tc") is None:
            raise Unavailable("network namespaces need root and iproute2")

    def __enter__(self) -> Self:
        try:
            _run(f"ip netns add {self.name}")
            _run(f"ip link add {self._cable} type veth peer name {self._end} netns {self.name}")
            _run(f"ip addr add {self._here}/24 dev {self._cable}")
            _run(f"ip link set {self._cable} up")
            self._inside(f"ip addr add {self.address}/24 dev {self._end}")
            self._inside(f"ip link set {self._end} up")
            self._inside("ip link set lo up")
        except RuntimeError as error:
            self.__exit__(None, None, None)
            raise Unavailable(str(error)) from error
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["ip", "link", "del", self._cable], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)

    @property
    def prefix(self) -> list[str]:
        """In front of a command that shall run there."""
        return ["nsenter", f"--net=/run/netns/{self.name}"]

    def silence(self) -> None:
        _run(f"tc qdisc add dev {self._cable} root blackhole")
        self._inside(f"tc qdisc add dev {self._end} root blackhole")

    def restore(self) -> None:
        _run(f"tc qdisc del dev {self._cable} root")
        self._inside(f"tc qdisc del dev {self._end} root")

    def _inside(self, command: str) -> None:
        _run(" ".join([*self.prefix, command]))


def _run(command: str) -> None:
    """Raises RuntimeError in the command's words."""
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command}: {done.stderr.strip()}")


@contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[None]:
    """A file system of its own at ``place``, in memory. Raises Unavailable."""
    place.mkdir(parents=True, exist_ok=True)
    try:
        _run(f"mount -t tmpfs -o size={megabytes}m,mode=0700 none {place}")
    except RuntimeError as error:
        raise Unavailable(str(error)) from error
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], capture_output=True, check=False)
