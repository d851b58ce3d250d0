"""Ids of messages that need nothing any more but whose rows are still there, in a file that a crash leaves behind.

A row that is erased at once costs a transaction for each message, and until it is gone the message would come again if
the process died. Memory mapped from a file belongs to the kernel: the mark stays when the process dies, and costs no
system call. So rows can be erased later, many at once; the next start erases those of the marks that it finds.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable
from pathlib import Path

SLOTS = 8192
SLOT = 8  # octets, in the machine's own order: written in one piece
PREFIX = "acknowledged-"


class Acknowledged:
    """``path``: this worker's own file (``file_of``). What an earlier process has left in it is forgotten."""

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)
        with path.open("r+b") as file:
            file.truncate(0)
            os.posix_fallocate(file.fileno(), 0, SLOTS * SLOT)  # writing into a hole of a full disk is a SIGBUS
            self._slots = memoryview(mmap.mmap(file.fileno(), SLOTS * SLOT)).cast("Q")
        self._free = list(range(SLOTS))
        self._used: dict[int, int] = {}

    def add(self, number: int) -> bool:
        """Mark the message; False: there is no room, so only the row can tell."""
        if number in self._used:
            return True
        if not self._free:
            return False
        slot = self._used[number] = self._free.pop()
        self._slots[slot] = number
        return True

    def remove(self, numbers: Iterable[int]) -> None:
        """Their rows are gone; those without a mark do not matter."""
        for number in numbers:
            slot = self._used.pop(number, None)
            if slot is not None:
                self._slots[slot] = 0
                self._free.append(slot)


def file_of(state_dir: Path, worker: int) -> Path:
    """``worker``: its number."""
    return state_dir / "run" / f"{PREFIX}{worker}"


def left_behind(state_dir: Path) -> list[int]:
    """What the workers of an earlier start have marked, however many they were; before this start's workers run."""
    numbers: list[int] = []
    for path in _files(state_dir):
        octets = path.read_bytes()
        numbers += memoryview(octets[: len(octets) // SLOT * SLOT]).cast("Q")
    return [number for number in numbers if number]


def forget(state_dir: Path) -> None:
    """Those rows are gone."""
    for path in _files(state_dir):
        path.unlink()


def _files(state_dir: Path) -> list[Path]:
    return sorted((state_dir / "run").glob(f"{PREFIX}*"))
