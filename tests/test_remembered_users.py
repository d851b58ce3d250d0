"""Who has proved himself is remembered: a MESSAGE asks no database for the password; a change of users ends that."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from sqlalchemy import Engine

from purple_bridge.addresses import SipAddress
from purple_bridge.db import subscribers
from purple_bridge.db.engine import make_engine
from tests.agents.phone import Phone
from tests.servers.base import HOST
from tests.servers.kamailio import PROJECT, Kamailio
from tests.waiting import wait_until

DOMAIN = "example.org"
NAMES = ("alice", "bob", "carol", "dave")
CONTACT = "sip:carol*jabber.org@xmpp.im.example.org"
NO_ACCOUNT, NOT_PROVEN = 403, 407  # of a sender who has proved himself, and of one who has not
PROMISE = 10.0  # seconds, of docs/security.md: a change by plain SQL is seen by then
PURPLECTL = "from purple_bridge.cli.main import main; main()"


@pytest.fixture(scope="module")
def kamailio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kamailio]:
    users = {name: f"{name}-secret" for name in NAMES}
    with Kamailio(tmp_path_factory.mktemp("kam"), DOMAIN, users=users) as server:
        yield server


@pytest.fixture(scope="module")
def engine(kamailio: Kamailio) -> Iterator[Engine]:
    engine = make_engine(kamailio.db_url)
    yield engine
    engine.dispose()


class Senders:
    def __init__(self, kamailio: Kamailio, stack: ExitStack) -> None:
        self._kamailio, self._stack = kamailio, stack

    def sender(self, name: str, password: str = "") -> Phone:
        """One whose password the routes have just seen, if it is right."""
        address = (HOST, self._kamailio.port)
        phone = self._stack.enter_context(Phone(_sip(name), password or f"{name}-secret", address))
        phone.message(CONTACT, "who I am")
        return phone


@pytest.fixture
def senders(kamailio: Kamailio) -> Iterator[Senders]:
    with ExitStack() as stack:
        yield Senders(kamailio, stack)


def _sip(name: str) -> str:
    return f"sip:{name}@{DOMAIN}"


def _status(phone: Phone) -> int:
    return phone.message(CONTACT, "hello").status


@contextmanager
def _without_users(engine: Engine) -> Iterator[None]:
    """Whoever asks for a password now gets an error."""
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE subscriber RENAME TO elsewhere")
    try:
        yield
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO subscriber")


def test_a_message_asks_for_no_password(kamailio: Kamailio, engine: Engine, senders: Senders) -> None:
    alice = senders.sender("alice")

    def is_remembered() -> bool:
        """Not while the gateway starts: its first looks at the tables count as changes."""
        assert _status(alice) == NO_ACCOUNT
        with _without_users(engine):
            before = len(kamailio.log)
            assert [_status(alice) for _ in range(3)] == [NO_ACCOUNT] * 3
            asked = "db_sqlite" in kamailio.log[before:]
            alice.register()
            assert "db_sqlite" in kamailio.log[before:], "a REGISTER asks: the test would see it"
            return not asked

    wait_until(is_remembered, PROMISE, "messages that ask no database")


def test_a_user_whom_the_database_cannot_look_up_is_not_missing(senders: Senders, engine: Engine) -> None:
    """404 is for good: a phone would not try again."""
    alice = senders.sender("alice")
    assert alice.message(_sip("nobody"), "hello").status == 404
    with _without_users(engine):
        answer = alice.message(_sip("bob"), "hello")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")


def test_a_wrong_password_helps_nobody(senders: Senders) -> None:
    senders.sender("alice")
    assert _status(senders.sender("alice", "a guess")) == NOT_PROVEN


def test_a_new_password_counts_at_once_and_the_old_one_soon_no_more(engine: Engine, senders: Senders) -> None:
    old = senders.sender("bob")
    assert subscribers.set_password(engine, SipAddress.parse(_sip("bob")), "another")
    assert _status(senders.sender("bob", "another")) == NO_ACCOUNT
    wait_until(lambda: _status(old) == NOT_PROVEN, PROMISE, "the old password is no longer believed")


def test_who_is_removed_soon_sends_no_more(engine: Engine, senders: Senders) -> None:
    dave = senders.sender("dave")
    assert subscribers.remove_user(engine, SipAddress.parse(_sip("dave")))
    wait_until(lambda: _status(dave) == NOT_PROVEN, PROMISE, "a user who is no more is no longer believed")


@pytest.mark.parametrize("words", [["passwd", "--password-stdin"], ["remove"]])
def test_purplectl_tells_the_gateway(kamailio: Kamailio, engine: Engine, senders: Senders, words: list[str]) -> None:
    verb, *more = words
    name = f"erin-{verb}"
    assert subscribers.add_user(engine, SipAddress.parse(_sip(name)), f"{name}-secret")
    erin = senders.sender(name)
    assert _status(erin) == NO_ACCOUNT
    subprocess.run(
        [sys.executable, "-c", PURPLECTL, "user", verb, _sip(name), *more, "--state-dir", str(kamailio.state_dir)],
        env={**os.environ, "PYTHONPATH": str(PROJECT), "PURPLE_DB_URL": kamailio.db_url},
        input="another\n",
        text=True,
        check=True,
        timeout=60,
    )
    assert _status(erin) == NOT_PROVEN
