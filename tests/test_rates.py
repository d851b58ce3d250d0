"""Token buckets: what passes at once, what passes in the long run, and that buckets are shared by a real fork."""

from __future__ import annotations

import mmap
import os

import pytest

from purple_bridge.rates import BURST_SECONDS, REACH, Buckets, size
from tests.clock import Clock


@pytest.fixture
def buckets(clock: Clock) -> Buckets:
    return Buckets(bytearray(size()), clock)


def passing(buckets: Buckets, key: str, rate: float, tries: int) -> int:
    return sum(not buckets.take(key, rate) for _ in range(tries))


@pytest.mark.parametrize("rate", [1, 5, 50, 1000])
def test_a_burst_passes_and_then_as_many_as_the_rate(buckets: Buckets, clock: Clock, rate: int) -> None:
    burst = int(rate * BURST_SECONDS)
    assert passing(buckets, "a", rate, burst + 20) == burst
    for _ in range(5):
        clock.now += 1
        assert passing(buckets, "a", rate, rate + 20) == rate


def test_it_is_told_how_long_to_wait(buckets: Buckets, clock: Clock) -> None:
    passing(buckets, "a", 2, 20)
    wait = buckets.take("a", 2)
    assert wait == pytest.approx(0.5)
    clock.now += wait
    assert buckets.take("a", 2) == 0.0


def test_to_ask_costs_nothing(buckets: Buckets) -> None:
    assert [buckets.wait("a", 1) for _ in range(20)] == [0.0] * 20
    passing(buckets, "a", 1, 10)
    assert buckets.wait("a", 1) == buckets.take("a", 1) == pytest.approx(1)


def test_what_is_refused_costs_nothing(buckets: Buckets, clock: Clock) -> None:
    """Else somebody who does not stop would never pass again."""
    passing(buckets, "a", 1, 1000)
    clock.now += 1
    assert buckets.take("a", 1) == 0.0


def test_a_bucket_holds_no_more_than_its_burst(buckets: Buckets, clock: Clock) -> None:
    passing(buckets, "a", 1, 10)
    clock.now += 86_400
    assert passing(buckets, "a", 1, 100) == 10


def test_others_have_buckets_of_their_own(buckets: Buckets) -> None:
    passing(buckets, "a", 1, 100)
    assert passing(buckets, "b", 1, 100) == 10


def test_where_there_is_no_room_the_fullest_bucket_goes(clock: Clock) -> None:
    """A full bucket is that of somebody who has done nothing: forgetting it changes nothing."""
    buckets = Buckets(bytearray(size(1)), clock)
    passing(buckets, "busy", 1, 10)
    for number in range(REACH - 1):
        buckets.take(f"other {number}", 1)
    clock.now += 1.5
    for number in range(50):
        assert buckets.take(f"stranger {number}", 1) == 0.0
    assert passing(buckets, "busy", 1, 20) == 1


def test_processes_share_their_buckets(clock: Clock) -> None:
    buckets = Buckets(mmap.mmap(-1, size()), clock)
    child = os.fork()
    if not child:
        passing(buckets, "a", 1, 7)
        os._exit(0)
    os.waitpid(child, 0)
    assert passing(buckets, "a", 1, 100) == 3
