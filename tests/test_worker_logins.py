"""How fast accounts sign on."""

from __future__ import annotations

import time
from functools import partial
from itertools import pairwise

from purple_bridge.worker.logins import LOGINS_PER_SECOND, LoginQueue
from tests.loops import run_for, run_until

INTERVAL = 1 / LOGINS_PER_SECOND


def _note(seen: list[tuple[int, float]], number: int) -> None:
    seen.append((number, time.monotonic()))


def test_the_first_login_does_not_wait() -> None:
    seen: list[float] = []
    started = time.monotonic()
    LoginQueue(workers=64).submit(lambda: seen.append(time.monotonic()))
    assert not seen, "not within the caller's own work"
    run_until(lambda: seen, "the login")
    assert seen[0] - started < 0.5


def test_logins_keep_their_order_and_their_distance() -> None:
    queue, seen = LoginQueue(workers=1), list[tuple[int, float]]()
    for number in range(6):
        queue.submit(partial(_note, seen, number))
    run_until(lambda: len(seen) == 6, "six logins")
    assert [number for number, _ in seen] == list(range(6))
    distances = [later - earlier for (_, earlier), (_, later) in pairwise(seen)]
    assert all(distance >= INTERVAL * 0.9 for distance in distances)


def test_several_workers_share_the_rate() -> None:
    queue, seen = LoginQueue(workers=4), list[float]()
    for _ in range(2):
        queue.submit(lambda: seen.append(time.monotonic()))
    run_until(lambda: len(seen) == 2, "two logins")
    assert seen[1] - seen[0] >= 4 * INTERVAL * 0.9


def test_a_login_soon_after_another_waits_as_well() -> None:
    queue, seen = LoginQueue(workers=4), list[float]()
    queue.submit(lambda: seen.append(time.monotonic()))
    run_until(lambda: seen, "the first login")
    queue.submit(lambda: seen.append(time.monotonic()))
    run_until(lambda: len(seen) == 2, "the second login")
    assert seen[1] - seen[0] >= 4 * INTERVAL * 0.9


def test_the_queue_can_be_used_again_after_a_rest() -> None:
    queue, seen = LoginQueue(workers=1), list[str]()
    queue.submit(lambda: seen.append("first"))
    run_for(3 * INTERVAL)
    queue.submit(lambda: seen.append("second"))
    run_until(lambda: len(seen) == 2, "the login after the rest")


def test_a_login_that_raises_does_not_stop_the_others() -> None:
    queue, seen = LoginQueue(workers=1), list[str]()

    def fail() -> None:
        raise ValueError("the cow is ill")

    queue.submit(fail)
    queue.submit(lambda: seen.append("second"))
    queue.submit(fail)
    queue.submit(lambda: seen.append("fourth"))
    run_until(lambda: len(seen) == 2, "the logins after those that failed")
    assert seen == ["second", "fourth"]
