"""Locks that all processes share: one after the other, for each share of the keys. Knows not what takes its turn."""

from __future__ import annotations

import multiprocessing
from multiprocessing.synchronize import Lock

COUNT = 64


class Turns:
    """Made in the parent before the fork. A process that is killed with a lock takes the whole server down with it."""

    def __init__(self) -> None:
        self._locks = [multiprocessing.get_context("fork").Lock() for _ in range(COUNT)]

    def of(self, number: int) -> Lock:
        """``number``: the same for one key in all processes; others may have the same lock."""
        return self._locks[number % COUNT]
