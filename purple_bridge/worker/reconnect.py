"""When to try again: delays that grow and are jittered, so that many accounts do not come back in one moment."""

from __future__ import annotations

import random

FIRST_SECONDS = 1.0
GROWTH = 1.7
LONGEST_SECONDS = 20.0  # an IM server that is back is used again within half a minute
JITTER = 0.25


def delay(retries: int, rng: random.Random | None = None) -> float:
    """Seconds before the next try, after ``retries`` (1..) failed ones."""
    steady = min(LONGEST_SECONDS, FIRST_SECONDS * GROWTH ** min(retries - 1, 20))
    return steady * (rng or random).uniform(1 - JITTER, 1 + JITTER)
