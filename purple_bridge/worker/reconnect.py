"""When to try again: delays that grow and are jittered, so that many accounts do not come back in one moment."""

from __future__ import annotations

import random

FIRST_SECONDS = 1.0
GROWTH = 1.7
LONGEST_SECONDS = 20.0  # an IM server that is back is used again within half a minute
JITTER = 0.25
LATE_SECONDS = 900.0  # after a certificate was refused: somebody has to do something about it first


def delay(retries: int, rng: random.Random | None = None) -> float:
    """Seconds before the next try, after ``retries`` (1..) failed ones."""
    steady = min(LONGEST_SECONDS, FIRST_SECONDS * GROWTH ** min(retries - 1, 20))
    return _jittered(steady, rng)


def late(rng: random.Random | None = None) -> float:
    """Seconds before another look at a server whose certificate was refused."""
    return _jittered(LATE_SECONDS, rng)


def _jittered(seconds: float, rng: random.Random | None) -> float:
    return seconds * (rng or random).uniform(1 - JITTER, 1 + JITTER)
