"""The presence that was asked for last, kept over a restart, on each database."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from purple_bridge.db.presence import (
    WantedPresence,
    delete_expired_presences,
    delete_presence,
    load_presences,
    presences_of,
    save_presence,
)
from tests.databases import create_ours

NOW = 4_000_000_000  # after 2038: more than 32 bits with a sign
STATUS = '{"show": "away", "note": "zurück um 5 \N{SMILING FACE WITH SUNGLASSES} %s \'"}'


@pytest.fixture
def engine(any_database: Engine) -> Engine:
    create_ours(any_database)
    return any_database


def test_what_is_saved_is_loaded(engine: Engine) -> None:
    wanted = [WantedPresence(user, NOW + 60, STATUS) for user in ("alice@a", "bob@a", "álice@a")]
    for presence in wanted:
        save_presence(engine, presence)
    assert sorted(load_presences(engine, NOW), key=lambda presence: presence.sip_user) == wanted


def test_the_last_one_counts(engine: Engine) -> None:
    save_presence(engine, WantedPresence("alice@a", NOW + 60, "{}"))
    save_presence(engine, WantedPresence("bob@a", NOW + 60, "{}"))
    last = WantedPresence("alice@a", NOW + 90, STATUS)
    save_presence(engine, last)
    save_presence(engine, last)
    assert load_presences(engine, NOW) == [last, WantedPresence("bob@a", NOW + 60, "{}")]


def test_of_some_users_alone(engine: Engine) -> None:
    for user, expires in (("alice@a", NOW + 1), ("bob@a", NOW + 1), ("carol@a", NOW)):
        save_presence(engine, WantedPresence(user, expires, "{}"))
    assert presences_of(engine, ["alice@a", "carol@a", "nobody@a"], NOW) == [WantedPresence("alice@a", NOW + 1, "{}")]
    assert presences_of(engine, [], NOW) == []


def test_deleted_and_expired(engine: Engine) -> None:
    for user, expires in (("alice@a", NOW), ("bob@a", NOW + 1), ("carol@a", NOW + 1)):
        save_presence(engine, WantedPresence(user, expires, "{}"))
    delete_presence(engine, "carol@a")
    delete_presence(engine, "nobody@a")
    assert [presence.sip_user for presence in load_presences(engine, NOW)] == ["bob@a"]
    assert delete_expired_presences(engine, NOW) == 1
    assert [presence.sip_user for presence in load_presences(engine, 0)] == ["bob@a"]
