"""Contacts that ask to see a user, against a presence server's end of the dialogs over UDP (RFC 8048 §5.2).

Store, accounts, messages and the SIP client are the real ones; there is no IM network.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from purple_bridge.addresses import GatewayDomain, SipAddress
from purple_bridge.board import State
from purple_bridge.commands import AccountSpec, SendMessage
from purple_bridge.db import presence_server
from purple_bridge.db.presence_server import PRES_RULES
from purple_bridge.db.schema import create_all
from purple_bridge.db.tables import watchers
from purple_bridge.kept_users import KeptUsers
from purple_bridge.libpurple.events import AuthorizationRequest, RosterEntry
from purple_bridge.settings import Settings
from purple_bridge.worker import permissions as permissions_module
from purple_bridge.worker import sip_watch
from purple_bridge.worker.account import OwnedAccount
from purple_bridge.worker.contacts import WatchedContact
from purple_bridge.worker.kept import Shelf
from purple_bridge.worker.messages import Messages
from purple_bridge.worker.outbox import Outbox
from purple_bridge.worker.permissions import Permissions
from purple_bridge.worker.postman import Letter, Postman
from purple_bridge.worker.queue_rows import QueueRows
from purple_bridge.worker.store import Store
from purple_bridge.worker.uac import UserAgentClient, open_socket
from tests.account_host import NoHost
from tests.agents.sip import Request
from tests.loops import run_for, run_until
from tests.presence_peer import PresencePeer
from tests.sip_listener import Listener, sip_client

GATEWAY = GatewayDomain("im.example.org")
BOB = GATEWAY.contact_uri("prpl-jabber", "bob@xmpp.example")
ALICE, CAROL = "alice@example.org", "carol@example.org"
RULES = f"""<ruleset xmlns="urn:ietf:params:xml:ns:common-policy" xmlns:pr="urn:ietf:params:xml:ns:pres-rules">
<rule id="a"><conditions><identity><one id="{BOB.uri}"/></identity></conditions>
<actions><pr:sub-handling>%s</pr:sub-handling></actions></rule></ruleset>"""


class Host(NoHost):
    """What an account needs of its worker; nothing of it matters here."""

    def account_changed(self, account: OwnedAccount) -> None:
        """An account that is closed."""

    way_changed = account_changed


class Office:
    """One worker's permissions, and what they answered: ``answers`` has (contact, may see)."""

    def __init__(self, directory: Path, listener: Listener, client: UserAgentClient, policy: str) -> None:
        self.url = f"sqlite:///{directory}/kamailio.db"
        create_all(self.url)
        self.store = Store(self.url, "purplemap", GATEWAY)
        self.client, self.listener, self.peer = client, listener, PresencePeer(listener)
        postman = Postman(self.client, Shelf(self.store, KeptUsers()), self._undeliverable, self._late, self._no_cpim)
        messages = Messages(_settings(self.url, policy), postman, self._with_address)
        self.permissions = Permissions(policy, self.client, self.store, messages, self._with_address)
        self.account = self.make_account("alice@xmpp.example", ALICE)
        self.answers: list[tuple[str, bool]] = []

    def make_account(self, name: str, user: str) -> OwnedAccount:
        outbox = Outbox(QueueRows(self.store, "prpl-jabber", name))
        return OwnedAccount(AccountSpec("prpl-jabber", name, user), Host(), outbox)

    def _with_address(self, account: OwnedAccount, name: str, done: Callable[[SipAddress], None]) -> None:
        done(GATEWAY.contact_uri(account.protocol, account.contact_key(name)))

    def _undeliverable(self, letter: Letter, status: int, reason: str) -> None:
        raise AssertionError(f"{letter}: {status} {reason}")

    def _late(self, user: str, _registered: bool) -> None:
        raise AssertionError(user)

    def _no_cpim(self, user: str) -> None:
        raise AssertionError(user)

    def ask(self, who: str = "bob@xmpp.example") -> None:
        def decide(may: bool) -> None:
            self.answers.append((who, may))

        request = AuthorizationRequest(who, "", False, lambda: decide(True), lambda: decide(False))
        self.permissions.asked(self.account, request)

    def asked_in_words(self) -> list[Request]:
        """Each MESSAGE once; the postman sends the next when this one is answered."""
        messages = {one.headers["Via"]: one for one in self.listener.read() if one.method == "MESSAGE"}
        return list(messages.values())

    def wait_watch(self, count: int) -> Request:
        """The last of so many SUBSCRIBEs that begin or refresh a dialog."""

        def found() -> list[Request]:
            return [one for one in self.peer.subscribes() if one.headers["Expires"] != "0"]

        run_until(lambda: len(found()) >= count, f"{count} SUBSCRIBEs")
        return found()[count - 1]

    def write(self, text: str, contact: str = "bob@xmpp.example", user: str = ALICE) -> bool:
        message = SendMessage(1, "prpl-jabber", "alice@xmpp.example", contact, text, user, "call-1")
        return self.permissions.answers(self.account, message)

    def decided(self) -> list[tuple[str, bool]]:
        run_until(lambda: self.answers, "a decision")
        return self.answers

    def watchers(self) -> list[str]:
        """Whose rows the presence server has."""
        with self.store._engine.connect() as connection:
            return list(connection.execute(select(watchers.c.presentity_uri)).scalars())

    def remember_watcher(self, user: str) -> None:
        """As the presence server does."""
        row = {"presentity_uri": f"sip:{user}", "watcher_username": BOB.encoded_user, "watcher_domain": BOB.host}
        with self.store._engine.begin() as connection:
            connection.execute(insert(watchers).values(**row, event="presence", status=2, inserted_time=0))

    def close(self) -> None:
        self.permissions.disconnected(self.account)
        self.store.settle()
        run_for(0.05)
        self.store._thread.shutdown()
        self.store._engine.dispose()


def _settings(url: str, policy: str) -> Settings:
    values: dict[str, Any] = {
        "db_url": url,
        "db_table": "purplemap",
        "http_proxy_host": "",
        "http_proxy_port": 0,
        "workers": 1,
        "gateway": GATEWAY,
        "connect_on": "publish",
        "authorize": policy,
        "state_dir": "/nonexistent",
        "rpc_socket": "/nonexistent",
        "internal": "127.0.0.1:5070",
    }
    return Settings(**values)


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as made:
        yield made


@pytest.fixture
def client(listener: Listener) -> Iterator[UserAgentClient]:
    with open_socket(listener.address) as opened, sip_client(opened) as made:
        yield made


@pytest.fixture
def office(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    listener: Listener,
    client: UserAgentClient,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Office]:
    """purple.authorize is the parameter, default ask."""
    monkeypatch.setattr(sip_watch, "LAST_NOTIFY", 0.1)
    made = Office(tmp_path, listener, client, getattr(request, "param", "ask"))
    yield made
    made.close()


def _pending(office: Office, count: int = 1) -> Request:
    """The contact's SUBSCRIBE, which the presence server has put off."""
    subscribe = office.peer.wait(count)
    office.peer.answer(subscribe, 202)
    office.peer.notify(subscribe, "pending;expires=3600")
    return subscribe


# ---- the question becomes a subscription


def test_the_contact_becomes_a_watcher_of_the_user(office: Office) -> None:
    """RFC 8048 §5.2.1"""
    office.ask("Bob@XMPP.example/phone")
    subscribe = office.peer.wait(1)
    assert subscribe.uri == f"sip:{ALICE};proto=purple"
    assert subscribe.headers["From"].startswith(f"<{BOB.uri}>")
    assert office.answers == []


@pytest.mark.parametrize(("state", "may"), [("active", True), ("terminated;reason=rejected", False)])
def test_the_users_presence_rules_decide(office: Office, state: str, may: bool) -> None:
    office.ask()
    subscribe = office.peer.wait(1)
    office.peer.answer(subscribe, 202)
    office.peer.notify(subscribe, state)
    assert office.decided() == [("bob@xmpp.example", may)]
    assert office.asked_in_words() == []


def test_rules_may_decide_later(office: Office) -> None:
    office.ask()
    subscribe = _pending(office)
    run_for(0.05)
    assert office.answers == []
    office.peer.notify(subscribe, "active")
    assert office.decided() == [("bob@xmpp.example", True)]


def test_a_polite_block_looks_like_somebody_who_does_not_answer(office: Office) -> None:
    """RFC 5025 §3.2.1: the presence server lets the contact in, and shows it a user who is offline."""
    user = SipAddress.parse(f"sip:{ALICE}")
    uri = presence_server.document_uri("pres-rules", user)
    presence_server.save_document(office.store._engine, user, PRES_RULES, uri, (RULES % "polite-block").encode())
    office.ask()
    subscribe = office.peer.wait(1)
    office.peer.notify(subscribe, "active")
    run_for(0.2)
    assert office.answers == []
    presence_server.save_document(office.store._engine, user, PRES_RULES, uri, (RULES % "allow").encode())
    office.peer.notify(subscribe, "active")
    assert office.decided() == [("bob@xmpp.example", True)]


@pytest.mark.parametrize(("status", "may"), [(403, False), (603, False)])
def test_the_presence_server_may_refuse_itself(office: Office, status: int, may: bool) -> None:
    office.ask()
    office.peer.answer(office.peer.wait(1), status, "No")
    assert office.decided() == [("bob@xmpp.example", may)]


# ---- where rules say nothing


@pytest.mark.parametrize(("office", "may"), [("accept", True), ("deny", False)], indirect=["office"])
def test_the_parameter_decides(office: Office, may: bool) -> None:
    office.ask()
    _pending(office)
    assert office.decided() == [("bob@xmpp.example", may)]
    assert office.asked_in_words() == []


@pytest.mark.parametrize(("office", "state", "may"), [
    ("accept", "terminated;reason=rejected", False),
    ("deny", "active", True),
], indirect=["office"])  # fmt: skip
def test_rules_go_before_the_parameter(office: Office, state: str, may: bool) -> None:
    office.ask()
    subscribe = office.peer.wait(1)
    office.peer.answer(subscribe, 202)
    office.peer.notify(subscribe, state)
    assert office.decided() == [("bob@xmpp.example", may)]


@pytest.mark.parametrize("office", ["ask", "deny"], indirect=True)
def test_who_is_watched_by_the_user_may_watch_him(office: Office) -> None:
    presentity = GATEWAY.presentity(BOB, ALICE)
    office.account.watched.add(WatchedContact("bob@xmpp.example", "bob@xmpp.example", BOB, presentity, ALICE))
    office.ask("bob@xmpp.example/phone")
    _pending(office)
    assert office.decided() == [("bob@xmpp.example/phone", True)]


def test_who_lets_the_user_watch_may_watch_him(office: Office) -> None:
    office.account.state = State.ONLINE
    office.account.roster = {"bob@xmpp.example": RosterEntry("bob@xmpp.example", subscription="to")}
    office.ask()
    _pending(office)
    assert office.decided() == [("bob@xmpp.example", True)]


# ---- the question in words


@pytest.fixture
def asked(office: Office) -> Office:
    """Alice has been asked whether Bob may see her."""
    office.ask()
    _pending(office)
    run_until(office.asked_in_words, "the question")
    return office


def test_else_the_user_is_asked_in_words(asked: Office) -> None:
    (message,) = asked.asked_in_words()
    assert message.uri.startswith(f"sip:{ALICE}")
    assert message.headers["From"].startswith(f"<{BOB.uri}>"), "so that an answer goes to the contact"
    assert b"bob@xmpp.example" in message.body
    assert asked.answers == []


@pytest.mark.parametrize(("word", "may"), [("yes", True), ("no", False), (" Yes\r\n", True), ("NO", False)])
def test_the_answer_is_no_message(asked: Office, word: str, may: bool) -> None:
    assert asked.write(word)
    assert asked.answers == [("bob@xmpp.example", may)]
    assert not asked.write(word), "the next one is"


@pytest.mark.parametrize(
    ("text", "contact"), [("yes please", "bob@xmpp.example"), ("", "bob@xmpp.example"), ("yes", "dave@xmpp.example")]
)
def test_anything_else_is_a_message(asked: Office, text: str, contact: str) -> None:
    assert not asked.write(text, contact)
    assert asked.answers == []


def test_nobody_was_asked(office: Office) -> None:
    assert not office.write("yes")


def test_a_question_is_put_once_a_day(asked: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network tells it at every sign-on (RFC 6121 §3.1.3)."""
    asked.listener.answer(asked.asked_in_words()[0], 200)
    asked.permissions.disconnected(asked.account)
    asked.ask()
    asked.peer.notify(asked.wait_watch(2), "pending")
    run_for(0.1)
    assert len(asked.asked_in_words()) == 1
    asked.permissions.disconnected(asked.account)
    monkeypatch.setattr(permissions_module, "ASK_AGAIN", -1.0)
    asked.ask()
    asked.peer.notify(asked.wait_watch(3), "pending")
    run_until(lambda: len(asked.asked_in_words()) == 2, "the question of the next day")
    assert asked.write("yes")
    assert asked.answers == [("bob@xmpp.example", True)]


def test_a_question_that_was_not_put_again_can_still_be_answered(asked: Office) -> None:
    asked.permissions.disconnected(asked.account)
    assert not asked.write("yes"), "nobody is there to be answered"
    asked.ask()
    asked.peer.notify(asked.wait_watch(2), "pending")
    assert asked.write("yes")


def test_what_is_remembered_of_strangers_is_bounded(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permissions_module, "MOST_OPEN", 3)
    for number in range(10):
        office.permissions._remember(("prpl-jabber", "alice@xmpp.example", f"{number}@xmpp.example"))
    assert [key[2] for key in office.permissions._asked] == ["7@xmpp.example", "8@xmpp.example", "9@xmpp.example"]
    assert max(office.permissions._asked.values()) <= time.time()


def test_too_many_open_questions_are_refused(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permissions_module, "MOST_OPEN", 2)
    for number in range(3):
        office.ask(f"{number}@xmpp.example")
    assert office.answers == [("2@xmpp.example", False)]


# ---- asked again, and the end


def test_a_contact_that_asks_again_is_answered_once(office: Office) -> None:
    """The answer goes to what was asked last; the subscription stays."""
    office.ask("bob@xmpp.example/one")
    subscribe = _pending(office)
    office.ask("bob@xmpp.example/two")
    run_for(0.1)
    assert len(office.peer.subscribes()) == 1
    office.peer.notify(subscribe, "active")
    assert office.decided() == [("bob@xmpp.example/two", True)]


END = [
    lambda office: office.write("yes"),
    lambda office: office.permissions.left(office.account, "bob@xmpp.example"),
    lambda office: office.permissions.disconnected(office.account),
]


@pytest.mark.parametrize("end", END)
def test_the_presence_server_forgets_a_watcher_before_the_dialog_ends(
    office: Office, end: Callable[[Office], object]
) -> None:
    """Or else it would go on telling the phones of a watcher that waits."""
    office.ask()
    subscribe = _pending(office)
    office.remember_watcher(ALICE)
    office.remember_watcher(CAROL)
    end(office)
    last = office.peer.wait(2)
    assert (last.headers["Expires"], last.headers["Call-ID"]) == ("0", subscribe.headers["Call-ID"])
    assert office.watchers() == [f"sip:{CAROL}"]
    before = list(office.answers)
    office.peer.notify(subscribe, "terminated;reason=rejected")
    run_for(0.05)
    assert office.answers == before


def test_another_accounts_questions_stay(asked: Office) -> None:
    other = asked.make_account("x@xmpp.example", CAROL)
    asked.permissions.disconnected(other)
    asked.permissions.left(other, "bob@xmpp.example")
    asked.permissions.left(asked.account, "dave@xmpp.example")
    assert asked.write("yes")


# ---- an account of two users


@pytest.fixture
def shared(office: Office) -> tuple[Office, dict[str, Request]]:
    """Both have been told of the contact; their dialogs by user."""
    office.account.share(CAROL)
    office.ask()
    office.peer.wait(2)
    dialogs = {user: one for user in (ALICE, CAROL) for one in office.peer.subscribes() if user in one.uri}
    for subscribe in dialogs.values():
        office.peer.answer(subscribe, 202)
    return office, dialogs


def test_one_yes_is_enough(shared: tuple[Office, dict[str, Request]]) -> None:
    office, dialogs = shared
    office.peer.notify(dialogs[ALICE], "terminated;reason=rejected")
    run_for(0.05)
    assert office.answers == []
    office.peer.notify(dialogs[CAROL], "active")
    assert office.decided() == [("bob@xmpp.example", True)]


def test_no_must_be_the_word_of_all(shared: tuple[Office, dict[str, Request]]) -> None:
    office, dialogs = shared
    for _ in range(2):
        office.peer.notify(dialogs[CAROL], "terminated;reason=rejected")
    run_for(0.05)
    assert office.answers == []
    office.peer.notify(dialogs[ALICE], "terminated;reason=rejected")
    assert office.decided() == [("bob@xmpp.example", False)]
