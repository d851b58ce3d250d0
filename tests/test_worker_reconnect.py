"""When an account tries again: delays that grow, differ, and stay below half a minute."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, cast

import pytest

from purple_bridge.board import State
from purple_bridge.commands import AccountSpec
from purple_bridge.libpurple.certificate_check import CERTIFICATE_ERRORS
from purple_bridge.libpurple.events import ConnectionError
from purple_bridge.worker import reconnect
from purple_bridge.worker.account import OwnedAccount
from purple_bridge.worker.outbox import Outbox, Rows
from purple_bridge.worker.reconnect import (
    FIRST_SECONDS,
    JITTER,
    LASTING_SECONDS,
    LATE_SECONDS,
    LONGEST_SECONDS,
    delay,
    late,
)
from purple_bridge.worker.wanted import ALWAYS, Wanted
from tests.loops import run_for, run_until


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


def test_a_server_that_ends_each_connection_at_once_is_tried_ever_later() -> None:
    now = 1000.0
    pace, middle = reconnect.Pace(lambda: now), Fixed(0.5)
    delays = []
    for lasted in (1, 2, 29, LASTING_SECONDS, 1):
        pace.connected()
        now += lasted
        delays.append(pace.next_delay(middle))
    assert delays == [delay(tries, middle) for tries in (1, 2, 3, 1, 2)]
    assert pace.next_delay(middle) == delay(3, middle), "and one that cannot be reached then"
    pace.begin()
    assert pace.next_delay(middle) == delay(1, middle)


def test_a_refused_certificate_is_looked_at_again_late() -> None:
    delays = [late() for _ in range(1000)]
    assert LATE_SECONDS * (1 - JITTER) <= min(delays) < LATE_SECONDS < max(delays) <= LATE_SECONDS * (1 + JITTER)


class Host:
    """What an account needs of its worker: counts its logins."""

    resource = "test"

    def __init__(self) -> None:
        self.logins = 0

    def submit_login(self, *_arguments: Any) -> None:
        self.logins += 1

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_: None


@pytest.mark.parametrize("code", [2, *CERTIFICATE_ERRORS])  # 2: a wrong password
def test_which_errors_are_looked_at_again(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnect, "LATE_SECONDS", 0.05)
    host = Host()
    spec = AccountSpec("prpl-jabber", "alice@localhost", "alice@example.org")
    account = OwnedAccount(spec, host, Outbox(cast(Rows, None)))
    account.want("alice@example.org", Wanted((), ALWAYS))
    account._login_submitted = False  # as if that login had been made
    account.failed(ConnectionError(code, "refused", fatal=True))
    assert (account.state, host.logins) == (State.ERROR, 1)
    if code in CERTIFICATE_ERRORS:
        run_until(lambda: host.logins == 2, "another look")
        assert account.state is State.ERROR  # until that has ended
    else:
        run_for(0.2)
        assert host.logins == 1
    account.close()
