"""When memory that sign-ons needed goes back to the system: owns the count of them; knows no account."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

MANY = 100  # sign-ons after which it is worth the while
QUIET_SECONDS = 10.0

_libc = ctypes.CDLL(None)


def trim() -> None:
    """malloc_trim(3): a sign-on takes 10 KB for a moment, and leaves holes between what stays."""
    _libc.malloc_trim(0)


class Memory:
    def __init__(self, give_back: Callable[[], None] = trim, clock: Callable[[], float] = time.monotonic) -> None:
        self._give_back, self._clock = give_back, clock
        self._count, self._last = 0, 0.0

    def signed_on(self) -> None:
        """One account, now."""
        self._count += 1
        self._last = self._clock()

    def look(self) -> None:
        """From time to time: when many have signed on, and no more do."""
        if self._count >= MANY and self._clock() - self._last > QUIET_SECONDS:
            self._count = 0
            self._give_back()
