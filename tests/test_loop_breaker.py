"""What is a loop of two programs, and what people may do as often as they like."""

from __future__ import annotations

import pytest

from purple_bridge.loop_breaker import MOST_PAIRS, WINDOW, LoopBreaker
from tests.clock import Clock

LIMIT = 5


@pytest.fixture
def breaker(clock: Clock) -> LoopBreaker:
    return LoopBreaker(LIMIT, clock)


def turns(breaker: LoopBreaker, pair: str, count: int, ours: str = "I am away", theirs: str = "So am I") -> int:
    """How many of theirs pass, each of which is answered at once."""
    passed = 0
    for _ in range(count):
        if breaker.came(pair, theirs):
            passed += 1
            breaker.sent(pair, ours)
    return passed


def test_two_programs_that_answer_each_other_are_stopped(breaker: LoopBreaker) -> None:
    assert turns(breaker, "a", 100) == LIMIT


def test_one_text_that_is_forwarded_to_and_fro_is_stopped(breaker: LoopBreaker) -> None:
    assert turns(breaker, "a", 100, "hello", "hello") == LIMIT


def test_programs_with_some_texts_by_turns_are_stopped(breaker: LoopBreaker) -> None:
    passed = sum(turns(breaker, "a", 1, f"answer {number % 3}", f"text {number % 3}") for number in range(100))
    assert passed == 3 * LIMIT


def test_it_stays_stopped_while_it_goes_on_and_is_over_after_a_pause(breaker: LoopBreaker, clock: Clock) -> None:
    turns(breaker, "a", 20)
    for _ in range(10):
        clock.now += WINDOW / 2
        assert not breaker.came("a", "So am I")
    clock.now += WINDOW + 1
    assert breaker.came("a", "So am I")


def test_a_person_can_still_write_something_else(breaker: LoopBreaker) -> None:
    turns(breaker, "a", 20)
    assert breaker.came("a", "Please switch your answering machine off")


def test_the_same_text_many_times_without_an_answer_is_no_loop(breaker: LoopBreaker) -> None:
    """A monitoring program writes the same again and again."""
    assert all(breaker.came("a", "ALARM") for _ in range(1000))


def test_conversations_with_other_words_each_time_are_no_loop(breaker: LoopBreaker) -> None:
    assert all(turns(breaker, "a", 1, f"message {number}", f"message {number}") for number in range(1000))


def test_slow_repetitions_are_no_loop(breaker: LoopBreaker, clock: Clock) -> None:
    for _ in range(100):
        assert turns(breaker, "a", 1, "ok", "ok")
        clock.now += WINDOW + 1


def test_other_pairs_are_not_concerned(breaker: LoopBreaker) -> None:
    turns(breaker, "a", 20)
    assert turns(breaker, "b", 20) == LIMIT


def test_no_limit(breaker: LoopBreaker) -> None:
    breaker.limit = 0
    assert turns(breaker, "a", 1000) == 1000


def test_memory_is_bounded(breaker: LoopBreaker) -> None:
    for number in range(MOST_PAIRS + 100):
        turns(breaker, f"pair {number}", 1)
        breaker.came(f"one way {number}", "hello")
    assert len(breaker._pairs) == MOST_PAIRS
    assert len(breaker._one_way) <= MOST_PAIRS
    for number in range(1000):
        turns(breaker, "one", 1, "answer", f"text {number}")
    assert len(breaker._pairs["one"].texts) <= 8
