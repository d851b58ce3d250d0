"""When to try again: delays that grow and are jittered, so that many accounts do not come back in one moment."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

FIRST_SECONDS = 1.0
GROWTH = 1.7
LONGEST_SECONDS = 20.0  # an IM server that is back is used again within half a minute
JITTER = 0.25
LASTING_SECONDS = 30.0  # a connection that ended sooner was no success: a server that throws out is not stormed
LATE_SECONDS = 900.0  # after a certificate was refused: somebody has to do something about it first


def delay(retries: int, rng: random.Random | None = None) -> float:
    """Seconds before the next try, after ``retries`` (1..) failed ones."""
    steady = min(LONGEST_SECONDS, FIRST_SECONDS * GROWTH ** min(retries - 1, 20))
    return _jittered(steady, rng)


class Pace:
    """Of one account; ``clock``: monotonic, seconds."""

    __slots__ = ("_clock", "_connected_at", "_tries")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._tries, self._connected_at = clock, 0, 0.0

    def begin(self) -> None:
        """Somebody wants it anew: what was before counts no more."""
        self._tries, self._connected_at = 0, 0.0

    def connected(self) -> None:
        self._connected_at = self._clock()

    def next_delay(self, rng: random.Random | None = None) -> float:
        """Seconds; the first again after a connection that lasted."""
        lasted = self._connected_at and self._clock() - self._connected_at >= LASTING_SECONDS
        self._tries, self._connected_at = 1 if lasted else self._tries + 1, 0.0
        return delay(self._tries, rng)


def late(rng: random.Random | None = None) -> float:
    """Seconds before another look at a server whose certificate was refused."""
    return _jittered(LATE_SECONDS, rng)


def _jittered(seconds: float, rng: random.Random | None) -> float:
    return seconds * (rng or random).uniform(1 - JITTER, 1 + JITTER)
