"""What every process knows of the database: a table in shared memory, written by the workers. Asks no database."""

from __future__ import annotations

import mmap
from enum import IntEnum


class DatabaseState(IntEnum):
    """As far as one worker has seen; a higher one is worse."""

    WELL = 0
    READ_ONLY = 1  # another program has locked SQLite's file
    SILENT = 2  # no answer in time


class DatabaseBoard:
    """Made in the parent before the fork; each worker writes a byte of its own, the worst of all counts."""

    def __init__(self, workers: int) -> None:
        self._memory = mmap.mmap(-1, workers)
        self._well = bytes(workers)

    def set(self, worker: int, state: DatabaseState) -> None:
        self._memory[worker - 1] = state

    @property
    def state(self) -> DatabaseState:
        seen = self._memory[:]
        return DatabaseState.WELL if seen == self._well else DatabaseState(max(seen))
