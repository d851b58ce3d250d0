"""Cookies that nobody else can make, tokens of forms, and how many log-ins may fail."""

from __future__ import annotations

import pytest

from purple_bridge.web.sessions import IDLE_SECONDS, Failures, Session, Sessions

NOW = 1_700_000_000.0
HA1 = {"alice@example.org": "a" * 32, "bob@example.org": "b" * 32}


@pytest.fixture
def sessions() -> Sessions:
    return Sessions(b"secret")


def cookie(sessions: Sessions, user: str) -> str:
    return sessions.cookie(Session.new(user, NOW), HA1.get(user, ""))


def test_a_cookie_says_who_it_is(sessions: Sessions) -> None:
    for user in (*HA1, ""):
        session = sessions.read(cookie(sessions, user), NOW + 1, HA1.get)
        assert session is not None and session.user == user


def test_it_ends_after_eight_idle_hours(sessions: Sessions) -> None:
    made = cookie(sessions, "alice@example.org")
    assert sessions.read(made, NOW + IDLE_SECONDS - 1, HA1.get)
    assert sessions.read(made, NOW + IDLE_SECONDS + 1, HA1.get) is None
    assert sessions.read(made, NOW - 120, HA1.get) is None, "made in the future"


def test_a_renewed_one_lives_longer(sessions: Sessions) -> None:
    session = sessions.read(cookie(sessions, "alice@example.org"), NOW + IDLE_SECONDS - 1, HA1.get)
    assert session is not None and session.is_old(NOW + IDLE_SECONDS - 1)
    renewed = sessions.cookie(session.renewed(NOW + IDLE_SECONDS - 1), HA1["alice@example.org"])
    assert sessions.read(renewed, NOW + IDLE_SECONDS + 60, HA1.get) is not None


def test_no_part_of_it_can_be_changed(sessions: Sessions) -> None:
    made = cookie(sessions, "alice@example.org")
    for place, character in enumerate(made):
        other = made[:place] + ("A" if character != "A" else "B") + made[place + 1 :]
        assert sessions.read(other, NOW, HA1.get) is None, place


def test_the_parts_of_two_cookies_do_not_fit(sessions: Sessions) -> None:
    alice, bob = (cookie(sessions, user).split(".") for user in HA1)
    assert sessions.read(".".join([*alice[:2], bob[2], alice[3]]), NOW, HA1.get) is None


def test_another_password_or_another_secret_ends_it(sessions: Sessions) -> None:
    made = cookie(sessions, "alice@example.org")
    assert sessions.read(made, NOW, {"alice@example.org": "c" * 32}.get) is None
    assert sessions.read(made, NOW, lambda _user: None) is None, "the user is gone"
    assert Sessions(b"other").read(made, NOW, HA1.get) is None


@pytest.mark.parametrize(
    "text", ["", ".", "...", "a.b.c.d", "a.1.!!!.d", "a.zz.YQ.d", "ä.1.YQ.d", "x" * 5000, "a.1._w.d"]
)
def test_what_is_no_cookie(sessions: Sessions, text: str) -> None:
    assert sessions.read(text, NOW, HA1.get) is None


def test_an_ended_session_does_not_come_back(sessions: Sessions) -> None:
    session = Session.new("alice@example.org", NOW)
    sessions.end(session)
    assert sessions.read(sessions.cookie(session, HA1[session.user]), NOW, HA1.get) is None


def test_a_token_belongs_to_one_session(sessions: Sessions) -> None:
    one, other = Session.new("alice@example.org", NOW), Session.new("alice@example.org", NOW)
    assert sessions.has_sent(one, sessions.token(one))
    assert not sessions.has_sent(other, sessions.token(one))
    assert not sessions.has_sent(one, "") and not sessions.has_sent(one, "ä")
    assert sessions.has_sent(one.renewed(NOW + 600), sessions.token(one)), "a form that was open meanwhile"


def test_failures_are_forgotten_after_a_minute_and_with_the_right_password() -> None:
    failures = Failures()
    for _ in range(5):
        failures.add("192.0.2.1", "Alice", NOW)
    assert failures.too_many("192.0.2.1", "alice", NOW + 59)
    assert not failures.too_many("192.0.2.1", "alice", NOW + 60)
    assert not failures.too_many("192.0.2.2", "alice", NOW)
    failures.forget("192.0.2.1", "alice")
    assert not failures.too_many("192.0.2.1", "alice", NOW)
