"""A clock that is set ends nothing before its time."""

from __future__ import annotations

from purple_bridge.presence import AVAILABLE
from purple_bridge.worker.clock import Clock
from purple_bridge.worker.wanted import ALWAYS, Publication, Wanted

DAY = 86_400.0


def test_only_a_jump_is_one() -> None:
    clock = Clock()
    seen = [clock.jump(now, now - 1000.0 if now < DAY else now - 1000.0 - DAY) for now in (2000.0, 2001.0, 2003.0)]
    seen += [clock.jump(2004.0 + DAY, 1004.0), clock.jump(2005.0 + DAY, 1005.0), clock.jump(2006.0, 1006.0)]
    assert seen == [0.0, 0.0, 0.0, DAY, 0.0, -DAY]


def test_a_clock_that_is_adjusted_slowly_is_not_set() -> None:
    clock = Clock()
    assert [clock.jump(1000.0 + second * 1.001, float(second)) for second in range(100)] == [0.0] * 100


def test_what_was_to_last_an_hour_still_does() -> None:
    wanted = Wanted((Publication(AVAILABLE, 3600.0),), 3600.0).later(DAY)
    assert wanted.at(DAY + 3599.0) == wanted
    assert not wanted.at(DAY + 3601.0).presence.open


def test_what_has_no_end_gets_none() -> None:
    assert [Wanted((), end).later(DAY).here_until for end in (None, 0.0, ALWAYS)] == [None, 0.0, ALWAYS]
