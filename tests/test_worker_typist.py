"""What phones say of their typing: told when it changes, and over when they do not say it again."""

from __future__ import annotations

import time

from purple_bridge.worker.typist import PhoneTypist
from tests.loops import run_for, run_until


def test_what_changes_is_told_once() -> None:
    told: list[tuple[str, bool]] = []
    typist: PhoneTypist[str] = PhoneTypist(lambda to, active: told.append((to, active)))
    for active in (False, True, True, False, False, True):
        typist.typing("bob", active, 60)
    typist.typing("carol", True, 60)
    assert told == [("bob", True), ("bob", False), ("bob", True), ("carol", True)]
    assert typist.wrote("bob"), "a message implies that its sender has stopped"
    assert not typist.wrote("bob")
    typist.typing("bob", False, 60)
    typist.typing("carol", False, 60)
    assert told[4:] == [("carol", False)]


def test_who_does_not_say_it_again_has_stopped() -> None:
    """RFC 3994 §3.3"""
    started = time.monotonic()
    told: list[tuple[float, bool]] = []
    typist: PhoneTypist[str] = PhoneTypist(lambda _to, active: told.append((time.monotonic() - started, active)))
    typist.typing("bob", True, 1)
    run_for(0.5)
    typist.typing("bob", True, 1)
    run_until(lambda: len(told) == 2, "the end")
    run_for(1.2)
    assert [active for _, active in told] == [True, False]
    assert 1.4 < told[1][0] < 2.5
