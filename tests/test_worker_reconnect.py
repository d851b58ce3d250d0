"""When an account tries again: delays that grow, differ, and stay below half a minute."""

from __future__ import annotations

import random

import pytest

from purple_bridge.worker.reconnect import FIRST_SECONDS, JITTER, LONGEST_SECONDS, delay


class Fixed(random.Random):
    """Always the same place between the bounds: 0 the lower, 1 the upper, 0.5 the middle."""

    def __init__(self, place: float) -> None:
        super().__init__()
        self._place = place

    def random(self) -> float:
        return self._place


def test_delays_grow_up_to_the_longest() -> None:
    delays = [delay(retries, Fixed(0.5)) for retries in range(1, 30)]
    assert delays[0] == pytest.approx(FIRST_SECONDS)
    assert delays == sorted(delays)
    assert delays[1] > 1.5 * delays[0]
    assert delays[-1] == LONGEST_SECONDS


@pytest.mark.parametrize("retries", [1, 2, 5, 100, 10**9])
def test_every_delay_is_jittered_within_bounds(retries: int) -> None:
    steady = delay(retries, Fixed(0.5))
    delays = [delay(retries) for _ in range(1000)]
    assert steady * (1 - JITTER) <= min(delays) < steady * (1 - 0.8 * JITTER)
    assert steady * (1 + 0.8 * JITTER) < max(delays) <= steady * (1 + JITTER)


@pytest.mark.parametrize("retries", [1, 10, 1000])
def test_no_delay_is_longer_than_half_a_minute(retries: int) -> None:
    assert delay(retries, Fixed(1.0)) < 30
