"""What every process knows of the database: a table in shared memory. Asks no database."""

from __future__ import annotations

import mmap
import struct
import time
from enum import IntEnum

_SUSPECTED = struct.Struct("=qB")  # until when, in monotonic nanoseconds, and a DatabaseState


class DatabaseState(IntEnum):
    """As far as one process has seen; a higher one is worse."""

    WELL = 0
    READ_ONLY = 1  # who reads is answered, who writes waits or is refused: it is locked, or a replica
    SILENT = 2  # no answer in time


class DatabaseBoard:
    """Made in the parent before the fork; each worker writes a byte of its own, and the worst of all counts.

    In front of them is what a SIP worker has met, which counts for a while.
    """

    def __init__(self, workers: int) -> None:
        self._memory = mmap.mmap(-1, _SUSPECTED.size + workers)
        self._well = bytes(len(self._memory))

    def set(self, worker: int, state: DatabaseState) -> None:
        self._memory[_SUSPECTED.size + worker - 1] = state

    def suspect(self, state: DatabaseState, seconds: float) -> None:
        """For so long, or as long as a worker finds so."""
        _SUSPECTED.pack_into(self._memory, 0, time.monotonic_ns() + int(seconds * 1e9), state)

    @property
    def state(self) -> DatabaseState:
        seen = self._memory[:]
        if seen == self._well:
            return DatabaseState.WELL
        until, suspected = _SUSPECTED.unpack_from(seen)
        found = max(seen[_SUSPECTED.size :])
        return DatabaseState(max(found, suspected) if time.monotonic_ns() < until else found)
