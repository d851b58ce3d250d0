"""How fast accounts sign on."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import pytest

from purple_bridge.worker.logins import LOGINS_PER_SECOND, MOST_AT_ONCE, MOST_PER_SECOND, LoginQueue, rate
from tests.loops import run_for, run_until

INTERVAL = 1 / LOGINS_PER_SECOND
SERVER = "xmpp.example.org"

Seen = list[tuple[object, float]]


def _note(seen: Seen, what: object, begun: bool = False) -> bool:
    seen.append((what, time.monotonic()))
    return begun


def _names(seen: Seen) -> list[object]:
    return [what for what, _ in seen]


@pytest.mark.parametrize(
    ("waiting", "workers", "expected"),
    [
        (1, 1, 20),
        (500, 1, 20),  # accounts that come back at once
        (2000, 1, 20),
        (5000, 1, 50),
        (20_000, 1, MOST_PER_SECOND),
        (250, 2, 10),  # half of 500
        (2500, 2, 25),  # half of 5000: each worker sees its own
        (10_000, 2, MOST_PER_SECOND / 2),
    ],
)
def test_twenty_a_second_or_as_many_as_sign_all_on(waiting: int, workers: int, expected: float) -> None:
    assert rate(waiting, workers) == expected


def test_the_first_login_does_not_wait() -> None:
    seen: Seen = []
    started = time.monotonic()
    LoginQueue(workers=64).submit(SERVER, partial(_note, seen, 1))
    assert not seen, "not within the caller's own work"
    run_until(lambda: seen, "the login")
    assert seen[0][1] - started < 0.5


def test_logins_keep_their_order_and_their_distance() -> None:
    queue, seen = LoginQueue(workers=1), Seen()
    for number in range(6):
        queue.submit(SERVER, partial(_note, seen, number))
    run_until(lambda: len(seen) == 6, "six logins")
    assert _names(seen) == list(range(6))
    assert seen[5][1] - seen[0][1] >= 5 * INTERVAL * 0.9


def test_several_workers_share_the_rate() -> None:
    queue, seen = LoginQueue(workers=4), Seen()
    for number in range(2):
        queue.submit(SERVER, partial(_note, seen, number))
    run_until(lambda: len(seen) == 2, "two logins")
    assert seen[1][1] - seen[0][1] >= 4 * INTERVAL * 0.9


def test_a_login_soon_after_another_waits_as_well() -> None:
    queue, seen = LoginQueue(workers=4), Seen()
    queue.submit(SERVER, partial(_note, seen, 1))
    run_until(lambda: seen, "the first login")
    queue.submit(SERVER, partial(_note, seen, 2))
    run_until(lambda: len(seen) == 2, "the second login")
    assert seen[1][1] - seen[0][1] >= 4 * INTERVAL * 0.9


def test_many_that_wait_come_faster_until_nobody_waits() -> None:
    """The distances stay those of the many, or else the last ones would wait ever longer."""
    queue, seen = LoginQueue(workers=60), Seen()
    for number in range(100):
        queue.submit(SERVER, partial(_note, seen, number))
    run_until(lambda: len(seen) == 3, "three logins")
    assert 1.8 <= seen[2][1] - seen[0][1] < 4.0, "one a second: one worker of sixty, and a hundred wait"


def test_a_busy_loop_makes_up_for_few() -> None:
    queue, seen = LoginQueue(workers=1), Seen()
    for number in range(20):
        queue.submit(SERVER, partial(_note, seen, number))
    run_until(lambda: len(seen) == 2, "two logins")
    end = time.monotonic() + 10 * INTERVAL
    while time.monotonic() < end:
        pass
    before = len(seen)
    run_for(2 * INTERVAL)
    assert 5 <= len(seen) - before <= 9, "ten were due meanwhile"


def test_servers_take_turns() -> None:
    queue, seen = LoginQueue(workers=1), Seen()
    for name in ("a1", "a2", "a3"):
        queue.submit("a.example", partial(_note, seen, name))
    queue.submit("b.example", partial(_note, seen, "b1"))
    run_until(lambda: len(seen) == 4, "four logins")
    assert _names(seen) == ["a1", "b1", "a2", "a3"]


@pytest.fixture
def busy() -> tuple[LoginQueue, Seen]:
    """Many workers share the logins at a server: here there is one for each. One runs."""
    queue, seen = LoginQueue(workers=MOST_AT_ONCE), Seen()
    queue._workers = 1  # the pace of one
    queue.submit(SERVER, partial(_note, seen, "first", begun=True))
    queue.submit(SERVER, partial(_note, seen, "second", begun=True))
    run_for(4 * INTERVAL)
    assert _names(seen) == ["first"]
    return queue, seen


def test_a_slow_server_is_not_flooded(busy: tuple[LoginQueue, Seen]) -> None:
    queue, seen = busy
    queue.ended(SERVER)
    run_until(lambda: len(seen) == 2, "the second login")
    queue.submit(SERVER, partial(_note, seen, "third", begun=True))
    run_for(4 * INTERVAL)
    assert _names(seen) == ["first", "second"]
    queue.ended(SERVER)
    run_until(lambda: len(seen) == 3, "the third login")


def test_a_slow_server_does_not_hold_up_the_others(busy: tuple[LoginQueue, Seen]) -> None:
    queue, seen = busy
    queue.submit("other.example", partial(_note, seen, "other"))
    run_until(lambda: len(seen) == 2, "the login at the other server")
    assert _names(seen) == ["first", "other"]


def test_a_login_that_did_not_begin_makes_room() -> None:
    queue, seen = LoginQueue(workers=MOST_AT_ONCE), Seen()
    queue._workers = 1
    for number in range(3):
        queue.submit(SERVER, partial(_note, seen, number))
    run_until(lambda: len(seen) == 3, "all three")


def test_a_login_may_end_before_it_returns() -> None:
    queue, seen = LoginQueue(workers=MOST_AT_ONCE), Seen()
    queue._workers = 1

    def fail_at_once(number: int) -> bool:
        queue.ended(SERVER)
        return _note(seen, number, begun=True)

    for number in range(3):
        queue.submit(SERVER, partial(fail_at_once, number))
    run_until(lambda: len(seen) == 3, "all three")


def test_the_queue_can_be_used_again_after_a_rest() -> None:
    queue, seen = LoginQueue(workers=1), Seen()
    queue.submit(SERVER, partial(_note, seen, "first"))
    run_for(3 * INTERVAL)
    queue.submit(SERVER, partial(_note, seen, "second"))
    run_until(lambda: len(seen) == 2, "the login after the rest")


def test_a_login_that_raises_does_not_stop_the_others() -> None:
    queue, seen = LoginQueue(workers=1), Seen()

    def fail() -> bool:
        raise ValueError("the cow is ill")

    logins: list[Callable[[], bool]] = [fail, partial(_note, seen, "second"), fail, partial(_note, seen, "fourth")]
    for login in logins:
        queue.submit(SERVER, login)
    run_until(lambda: len(seen) == 2, "the logins after those that failed")
    assert _names(seen) == ["second", "fourth"]
