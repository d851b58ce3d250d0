"""What is published for whom, and what the presence server is told, in which order (RFC 8048 §5.3).

The account is a real one on a network of the test's own; the clock and the loop are the test's as well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from purple_bridge.addresses import GatewayDomain, SipAddress
from purple_bridge.board import State
from purple_bridge.commands import AccountSpec, SendMessage, Watch
from purple_bridge.libpurple.accounts import Account
from purple_bridge.libpurple.events import ContactStatus, ResourcePresence, RosterEntry
from purple_bridge.presence import Note, Resource, Show
from purple_bridge.worker import account as account_module
from purple_bridge.worker import watches as watches_module
from purple_bridge.worker.account import NEWS_AFTER_ASKING, NEWS_AFTER_LOGIN, OwnedAccount
from purple_bridge.worker.avatars import INLINE, Avatars
from purple_bridge.worker.contacts import LONGEST_LOOK, NOTIFY_INTERVAL, PUBLISH_ANSWER, REPUBLISH, WatchedContact
from purple_bridge.worker.outbox import Outbox
from purple_bridge.worker.sip_out import SipSender
from purple_bridge.worker.store import Store
from purple_bridge.worker.watches import TICK, Watches, contact_presence
from tests.account_host import NoHost

GATEWAY = GatewayDomain("im.example.org")
SPEC = AccountSpec("prpl-jabber", "alice@xmpp.example", "alice@example.org")
ALICE, CAROL, BOB = "alice@example.org", "carol@example.org", "bob@xmpp.example"
ADDRESS = GATEWAY.contact_uri("prpl-jabber", BOB)
PRIVATE = GATEWAY.presentity(ADDRESS, ALICE)
MAPPED = SipAddress.parse("sip:bob@example.org")
START = 1_800_000_000.0
LONG = 100_000.0  # seconds of a subscription that does not end here
PNG = b"\x89PNG\r\n\x1a\n"

ONLINE, OFFLINE = ContactStatus((ResourcePresence("home", ""),)), ContactStatus()
AWAY = ContactStatus((ResourcePresence("home", "away"),))


@dataclass
class Clock:
    """Takes the place of the module ``time``."""

    now: float = START

    def time(self) -> float:
        return self.now


class Loop:
    """Takes the place of the module ``glib``: what is to run soon, and timers, which run when the test says so."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._soon: list[Callable[[], None]] = []
        self.timers: list[tuple[float, float, Callable[[], object]]] = []

    def call_soon(self, function: Callable[[], None]) -> None:
        self._soon.append(function)

    def add_timer(self, seconds: float, function: Callable[[], object]) -> int:
        self.timers.append((self._clock.now + seconds, seconds, function))
        return 1

    def run(self, seconds: float = 0.0) -> None:
        end = self._clock.now + seconds
        self._run_soon()
        while self.timers and min(self.timers, key=lambda timer: timer[0])[0] <= end:
            timer = min(self.timers, key=lambda timer: timer[0])
            self.timers.remove(timer)
            due, period, function = timer
            self._clock.now = due
            if function():
                self.timers.append((due + period, period, function))
            self._run_soon()
        self._clock.now = end

    def _run_soon(self) -> None:
        while self._soon:
            function = self._soon.pop(0)
            try:
                function()
            except ValueError:  # the real one never raises into C
                logging.exception("in the loop")


class Network(Account):
    """What the account's IM network tells; ``asked``: who was asked to be seen."""

    def __init__(self) -> None:
        self.statuses: dict[str, ContactStatus] = {}
        self.entries: dict[str, RosterEntry] = {}
        self.asked: list[str] = []
        self.pictures: dict[str, bytes] = {}
        self.broken: set[str] = set()

    def contact_status(self, name: str) -> ContactStatus | None:
        if name in self.broken:
            raise ValueError("a status nobody thought of")
        return self.statuses.get(name)

    def roster(self) -> list[RosterEntry]:
        return list(self.entries.values())

    def ask_contact(self, name: str) -> None:
        self.asked.append(name)
        self.entries[name] = RosterEntry(name, subscription="none", asked=True)

    def icon(self, name: str) -> bytes:
        return self.pictures.get(name, b"")

    def flush(self) -> None:
        """Nothing waits."""


class NoRows:
    """The message queue's, which nobody uses."""

    def write(self, message: SendMessage, done: Callable[[bool], None]) -> None:
        raise AssertionError(message)

    def erase(self, number: int, done: Callable[[], None]) -> bool:
        raise AssertionError(number)

    def load(self, after: int, done: Callable[[list[SendMessage] | None], None]) -> None:
        raise AssertionError(after)


@dataclass
class Server:
    """The presence server and the database: ``log`` has, in order, what they were told.

    ``works``: the database does. ``slow``: answers wait for ``answer``.
    """

    log: list[tuple[str, ...]] = field(default_factory=list)
    bodies: dict[str, list[str]] = field(default_factory=dict)
    identifiers: dict[str, set[str]] = field(default_factory=dict)
    works: bool = True
    slow: bool = False
    _waiting: list[Callable[[], None]] = field(default_factory=list)

    def note(self, *words: str) -> None:
        self.log.append(words)

    def published(self, address: SipAddress, identifier: str, body: str) -> None:
        """An empty body takes the publication away."""
        self.note("publish" if body else "unpublish", address.uri)
        self.bodies.setdefault(address.uri, []).append(body)
        self.identifiers.setdefault(address.uri, set()).add(identifier)

    def later(self, answer: Callable[[], None]) -> None:
        self._waiting.append(answer)
        if not self.slow:
            self.answer()

    def answer(self) -> None:
        waiting, self._waiting = self._waiting, []
        for answer in waiting:
            answer()

    def new(self) -> list[tuple[str, ...]]:
        """What came since the last call."""
        log, self.log = self.log, []
        return log

    def last(self, address: SipAddress = PRIVATE) -> str:
        return self.bodies[address.uri][-1]


class Sip(SipSender):
    def __init__(self, server: Server) -> None:
        self.server = server

    def publish(self, presentity: SipAddress, identifier: str, body: bytes) -> None:
        assert body
        self.server.published(presentity, identifier, body.decode())

    def unpublish(self, presentity: SipAddress, identifier: str) -> None:
        self.server.published(presentity, identifier, "")

    def refresh_watchers(self, presentity: SipAddress, done: Callable[[], None]) -> None:
        self.server.note("refresh", presentity.uri)
        self.server.later(done)


class Database(Store):
    def __init__(self, server: Server) -> None:
        self.server = server

    def save_rules(self, presentity: SipAddress, document: bytes, done: Callable[[bool], None]) -> None:
        handling = document.decode().partition("sub-handling>")[2].partition("<")[0]
        self.server.note(handling, presentity.uri)
        works = self.server.works
        self.server.later(lambda: done(works))

    def forget_presentity(self, presentity: SipAddress) -> None:
        self.server.note("forget", presentity.uri)

    def forget_refusal(self, presentity: SipAddress) -> None:
        self.server.note("forget refusal", presentity.uri)


class Desk:
    """Alice's account, which is online with an empty contact list, and the watches of her worker."""

    def __init__(self, clock: Clock, loop: Loop, directory: Path) -> None:
        self.clock, self.loop, self.server, self.network = clock, loop, Server(), Network()
        self.watches = Watches(Sip(self.server), Database(self.server), Avatars(INLINE, directory))
        self.account = OwnedAccount(SPEC, NoHost(), Outbox(NoRows()))
        self.account.purple, self.account.state = self.network, State.ONLINE
        self.account.roster_changed()

    def command(self, presentity: SipAddress = PRIVATE, seconds: float = LONG, **changes: Any) -> Watch:
        address = MAPPED if presentity == MAPPED else ADDRESS
        values: dict[str, Any] = {"watcher": ALICE, "dialog": "one", "contact": BOB} | changes
        end = self.clock.now + seconds
        return Watch(SPEC, contact_uri=address.uri, presentity=presentity.uri, expires_at=end, **values)

    def watch(self, presentity: SipAddress = PRIVATE, seconds: float = LONG, **changes: Any) -> None:
        self.watches.watch(self.account, self.command(presentity, seconds, **changes))
        self.loop.run()

    def contact(self, presentity: SipAddress = PRIVATE) -> WatchedContact | None:
        return self.account.watched.at(presentity)

    def tell(self, status: ContactStatus, name: str = BOB) -> None:
        self.network.statuses[name] = status
        self.watches.contact_changed(self.account, name)
        self.loop.run()

    def list(self, subscription: str, asked: bool = False) -> None:
        """The contact list says so, as the worker learns it."""
        self.network.entries[BOB] = RosterEntry(BOB, subscription=subscription, asked=asked)
        self.account.roster_changed()
        self.watches.account_changed(self.account)
        self.loop.run()

    def grant(self) -> None:
        self.account.granted(BOB)
        self.list("to")

    def refuse(self) -> None:
        self.account.refused(BOB)
        self.list("none")

    def become(self, state: State) -> None:
        self.account.state = state
        if state is not State.ONLINE:
            self.account.roster = None
        self.watches.account_changed(self.account)
        self.loop.run()

    def pass_time(self, seconds: float) -> None:
        """With the worker's sweep at the end of it."""
        self.loop.run(seconds)
        self.watches.sweep(self.account, self.clock.now)
        self.loop.run(TICK)


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Desk:
    clock = Clock()
    loop = Loop(clock)
    monkeypatch.setattr(watches_module, "time", clock)
    monkeypatch.setattr(account_module, "time", clock)
    monkeypatch.setattr(watches_module, "glib", loop)
    monkeypatch.setattr(watches_module, "PUBLISH_FIRST", 0.0)  # the server of these tests stores at once
    return Desk(clock, loop, tmp_path)


@pytest.fixture
def seen(desk: Desk) -> Desk:
    """Alice sees Bob, who is online, and has been shown so a while ago."""
    desk.network.entries[BOB] = RosterEntry(BOB, subscription="both")
    desk.account.roster_changed()
    desk.network.statuses[BOB] = ONLINE
    desk.watch(initial=True)
    desk.pass_time(NOTIFY_INTERVAL)
    assert desk.server.new() == [("publish", PRIVATE.uri), ("allow", PRIVATE.uri), ("refresh", PRIVATE.uri)]
    return desk


def _is_open(body: str) -> bool:
    assert ("<basic>open</basic>" in body) != ("<basic>closed</basic>" in body)
    return "<basic>open</basic>" in body


# ---- until the contact has decided


def test_a_contact_that_has_not_decided_is_asked_and_nothing_is_published(desk: Desk) -> None:
    """RFC 8048 §5.3.1: the subscription stays pending."""
    desk.watch(initial=True)
    desk.tell(ONLINE)
    desk.pass_time(REPUBLISH + 1)
    assert desk.network.asked == [BOB]
    assert desk.server.log == []
    assert desk.contact() is not None


def test_a_refresh_does_not_ask_again(desk: Desk) -> None:
    desk.watch(initial=True)
    desk.watch()
    assert desk.network.asked == [BOB]


def test_who_is_on_the_list_already_is_not_asked(desk: Desk) -> None:
    desk.list("to")
    desk.watch(initial=True)
    assert desk.network.asked == []


def test_rules_are_looked_at_when_somebody_more_may_see_the_user(desk: Desk) -> None:
    """They may have changed between the answer to the contact and the contact list that has it."""
    account = desk.account
    assert not account.roster_changed()
    for subscription, more in (("from", True), ("both", False), ("to", False), ("both", True), ("both", False)):
        desk.network.entries[BOB] = RosterEntry(BOB, subscription=subscription)
        assert account.roster_changed() is more, subscription


def test_the_list_server_puts_nobody_on_the_list(desk: Desk) -> None:
    """It may watch for another moment whom a phone has just taken off the list."""
    desk.watch(initial=True, listed=True)
    desk.watch(initial=True, listed=True, dialog="two")
    assert desk.network.asked == []
    desk.list("none")
    desk.watch(initial=True, listed=True, dialog="three")
    assert desk.network.asked == [BOB], "who is on the list and was never asked"


# ---- the contact lets the user see it


def test_who_grants_is_published_and_then_let_in_once(desk: Desk) -> None:
    """In this order, so that the first NOTIFY of the active subscription has the presence."""
    desk.watch(initial=True)
    desk.network.statuses[BOB] = ONLINE
    desk.grant()
    assert desk.server.new() == [("publish", PRIVATE.uri), ("allow", PRIVATE.uri), ("refresh", PRIVATE.uri)]
    assert _is_open(desk.server.last())
    desk.pass_time(NOTIFY_INTERVAL)
    desk.tell(AWAY)
    assert desk.server.new() == [("publish", PRIVATE.uri)]
    assert "away" in desk.server.last()


def test_the_document_is_about_the_address_that_the_phone_watches(seen: Desk) -> None:
    assert f'entity="{ADDRESS.uri}"' in seen.server.last()


def test_what_has_not_changed_is_not_published_again(seen: Desk) -> None:
    seen.tell(ONLINE)
    seen.watch()
    seen.pass_time(NOTIFY_INTERVAL)
    assert seen.server.log == []


def test_changes_within_five_seconds_are_one_publication_of_the_last_state(seen: Desk) -> None:
    """RFC 3856 §6.10"""
    for status in (AWAY, ONLINE, OFFLINE, ONLINE, OFFLINE):
        seen.tell(status)
        seen.loop.run(0.5)
    assert [_is_open(body) for body in seen.server.bodies[PRIVATE.uri]] == [True, True], "at the first of them"
    seen.loop.run(2 * NOTIFY_INTERVAL)
    assert seen.server.new() == [("publish", PRIVATE.uri)] * 2
    assert not _is_open(seen.server.last())


def test_nothing_ticks_while_nothing_waits(seen: Desk) -> None:
    assert seen.loop.timers == []
    seen.tell(AWAY)
    seen.tell(ONLINE)
    assert len(seen.loop.timers) == 1
    seen.loop.run(2 * NOTIFY_INTERVAL)
    assert seen.loop.timers == []
    assert "away" not in seen.server.last()


def test_two_users_are_published_apart(seen: Desk) -> None:
    other = GATEWAY.presentity(ADDRESS, CAROL)
    seen.watch(other, watcher=CAROL, dialog="two", initial=True)
    assert seen.server.new() == [("publish", other.uri), ("allow", other.uri), ("refresh", other.uri)]
    seen.pass_time(NOTIFY_INTERVAL)
    seen.tell(AWAY)
    assert sorted(seen.server.new()) == sorted([("publish", PRIVATE.uri), ("publish", other.uri)])
    assert seen.server.identifiers[PRIVATE.uri].isdisjoint(seen.server.identifiers[other.uri])


def test_a_publication_keeps_its_identifier(seen: Desk) -> None:
    seen.tell(AWAY)
    seen.watch(seconds=0)
    seen.loop.run(PUBLISH_ANSWER + 1)
    assert [bool(body) for body in seen.server.bodies[PRIVATE.uri]] == [True, True, False]
    assert len(seen.server.identifiers[PRIVATE.uri]) == 1


# ---- rules and the database


def test_rules_the_database_did_not_take_are_written_again(desk: Desk) -> None:
    desk.list("to")
    desk.network.statuses[BOB] = ONLINE
    desk.server.works = False
    desk.watch(initial=True)
    assert desk.server.new() == [("publish", PRIVATE.uri), ("allow", PRIVATE.uri)]
    desk.server.works = True
    desk.pass_time(NOTIFY_INTERVAL)
    desk.tell(AWAY)
    assert desk.server.new() == [("publish", PRIVATE.uri), ("allow", PRIVATE.uri), ("refresh", PRIVATE.uri)]


def test_the_server_is_told_when_the_database_has_the_rules(desk: Desk) -> None:
    desk.list("to")
    desk.network.statuses[BOB] = ONLINE
    desk.server.slow = True
    desk.watch(initial=True)
    assert desk.server.new() == [("publish", PRIVATE.uri), ("allow", PRIVATE.uri)]
    desk.server.answer()
    assert desk.server.new() == [("refresh", PRIVATE.uri)]


# ---- the contact refuses


def test_a_refusal_takes_the_presence_away_and_then_blocks(seen: Desk) -> None:
    """RFC 8048 §5.3.1: terminated;reason=rejected, the last presence before it being closed."""
    seen.server.slow = True
    seen.refuse()
    assert seen.server.new() == [("unpublish", PRIVATE.uri), ("block", PRIVATE.uri)]
    seen.server.answer()
    assert seen.server.new() == [("refresh", PRIVATE.uri)]
    seen.server.answer()
    assert seen.server.new() == [("forget refusal", PRIVATE.uri)]
    assert seen.contact() is None
    seen.pass_time(REPUBLISH + 1)
    assert seen.server.log == []


def test_who_refuses_at_once_was_never_published(desk: Desk) -> None:
    desk.watch(initial=True)
    desk.refuse()
    expected = [("block", PRIVATE.uri), ("refresh", PRIVATE.uri), ("forget refusal", PRIVATE.uri)]
    assert desk.server.new() == expected


def test_a_refusal_waits_for_the_answer_to_the_publication_before_but_not_for_the_interval(seen: Desk) -> None:
    seen.tell(AWAY)
    seen.server.new()
    seen.refuse()
    seen.loop.run(PUBLISH_ANSWER - 2 * TICK)
    assert seen.server.new() == []
    seen.loop.run(3 * TICK)
    assert seen.server.new()[:2] == [("unpublish", PRIVATE.uri), ("block", PRIVATE.uri)]


def test_what_was_just_taken_away_is_not_published_anew_before_that_is_answered(seen: Desk) -> None:
    """pua loses a publication that comes while it waits for the answer to the end of the one before."""
    seen.refuse()
    seen.server.new()
    seen.watch(dialog="two", initial=True)
    seen.grant()
    assert seen.server.new() == []
    seen.loop.run(PUBLISH_ANSWER + TICK)
    assert seen.server.new() == [("publish", PRIVATE.uri), ("allow", PRIVATE.uri), ("refresh", PRIVATE.uri)]


def test_who_subscribes_after_a_refusal_asks_anew(desk: Desk) -> None:
    desk.watch(initial=True)
    desk.refuse()
    desk.server.new()
    desk.watch(dialog="two", initial=True)
    assert desk.network.asked == [BOB, BOB]
    assert desk.server.new() == []
    desk.network.statuses[BOB] = ONLINE
    desk.grant()
    assert desk.server.new() == [("publish", PRIVATE.uri), ("allow", PRIVATE.uri), ("refresh", PRIVATE.uri)]


def test_a_refresh_after_a_refusal_is_refused_and_asks_nobody(desk: Desk) -> None:
    desk.watch(initial=True)
    desk.refuse()
    desk.server.new()
    desk.watch()
    assert desk.network.asked == [BOB]
    assert ("block", PRIVATE.uri) in desk.server.new()


# ---- while nothing is known


@pytest.mark.parametrize("state", [State.OFFLINE, State.ERROR])
def test_without_a_connection_all_contacts_are_closed(seen: Desk, state: State) -> None:
    seen.become(state)
    assert seen.server.new() == [("publish", PRIVATE.uri)]
    assert not _is_open(seen.server.last())
    seen.pass_time(NOTIFY_INTERVAL)
    seen.account.state = State.ONLINE
    seen.list("both")
    assert seen.server.new() == [("publish", PRIVATE.uri)]
    assert _is_open(seen.server.last())


def test_who_watches_over_an_account_that_is_offline_sees_nobody_and_is_not_let_in(desk: Desk) -> None:
    """Whether the contact would allow it is not known."""
    desk.become(State.OFFLINE)
    desk.watch(initial=True)
    assert desk.server.new() == [("publish", PRIVATE.uri)]
    assert not _is_open(desk.server.last())


def test_while_the_account_connects_the_last_truth_stays(seen: Desk) -> None:
    seen.become(State.CONNECTING)
    seen.loop.run(60)
    assert seen.server.new() == []
    seen.account.state = State.ONLINE
    seen.network.statuses[BOB] = AWAY
    seen.list("both")
    assert seen.server.new() == [("publish", PRIVATE.uri)]


def test_who_has_just_granted_is_waited_for(desk: Desk) -> None:
    """The network is about to tell who is there; a NOTIFY that says nobody would delay the truth by five seconds."""
    desk.watch(initial=True)
    desk.grant()
    desk.loop.run(NEWS_AFTER_ASKING - 2 * TICK)
    assert desk.server.new() == []
    desk.tell(ONLINE)
    assert desk.server.new()[0] == ("publish", PRIVATE.uri)
    assert _is_open(desk.server.last())


def test_but_not_for_ever(desk: Desk) -> None:
    desk.watch(initial=True)
    desk.grant()
    desk.loop.run(NEWS_AFTER_ASKING + TICK)
    assert desk.server.new() == [("publish", PRIVATE.uri), ("allow", PRIVATE.uri), ("refresh", PRIVATE.uri)]
    assert not _is_open(desk.server.last())


def test_after_the_sign_on_contacts_are_waited_for(seen: Desk) -> None:
    seen.become(State.CONNECTING)
    del seen.network.statuses[BOB]
    seen.account.state, seen.account._online_at = State.ONLINE, seen.clock.now
    seen.list("both")
    seen.loop.run(NEWS_AFTER_LOGIN - 2 * TICK)
    assert seen.server.new() == []
    seen.loop.run(4 * TICK)
    assert seen.server.new() == [("publish", PRIVATE.uri)]
    assert not _is_open(seen.server.last())


# ---- the end


def test_the_end_of_the_last_dialog_takes_everything_away(seen: Desk) -> None:
    """RFC 8048 §5.3.3; the other direction, and the contact list, stay as they are."""
    seen.watch(dialog="two", initial=True)
    seen.watch(seconds=0)
    assert seen.server.new() == []
    assert seen.contact() is not None
    seen.watch(dialog="two", seconds=0)
    assert seen.server.new() == [("unpublish", PRIVATE.uri), ("forget", PRIVATE.uri)]
    assert seen.contact() is None
    seen.pass_time(REPUBLISH + 1)
    seen.tell(AWAY)
    assert seen.server.new() == []


def test_what_is_not_refreshed_ends(desk: Desk) -> None:
    desk.list("to")
    desk.network.statuses[BOB] = ONLINE
    desk.watch(seconds=60, initial=True)
    desk.server.new()
    desk.pass_time(50)
    assert desk.server.new() == []
    desk.pass_time(10)
    assert desk.server.new() == [("unpublish", PRIVATE.uri), ("forget", PRIVATE.uri)]
    assert desk.contact() is None


def test_the_end_waits_for_the_answer_to_the_publication_before(seen: Desk) -> None:
    seen.tell(AWAY)
    seen.server.new()
    seen.watch(seconds=0)
    assert seen.server.new() == []
    seen.loop.run(PUBLISH_ANSWER + TICK)
    assert seen.server.new() == [("unpublish", PRIVATE.uri), ("forget", PRIVATE.uri)]


def test_who_comes_back_before_the_end_was_told_goes_on(seen: Desk) -> None:
    seen.tell(AWAY)
    seen.server.new()
    seen.watch(seconds=0)
    seen.watch(dialog="two", initial=True)
    seen.pass_time(2 * NOTIFY_INTERVAL)
    assert seen.server.new() == []
    assert seen.contact() is not None


def test_what_was_never_published_is_only_forgotten(desk: Desk) -> None:
    desk.watch(initial=True)
    desk.watch(seconds=0)
    assert desk.server.new() == [("forget", PRIVATE.uri)]


def test_the_end_of_an_unknown_dialog_is_nothing(desk: Desk) -> None:
    desk.watch(seconds=0)
    desk.pass_time(NOTIFY_INTERVAL)
    assert desk.server.log == []
    assert desk.network.asked == []


def test_an_account_that_is_no_more_takes_its_contacts_along(seen: Desk) -> None:
    seen.tell(AWAY)
    seen.tell(ONLINE)  # which waits
    seen.server.new()
    seen.watches.end(seen.account)
    assert seen.server.new() == [("unpublish", PRIVATE.uri), ("forget", PRIVATE.uri)]
    seen.pass_time(2 * NOTIFY_INTERVAL)
    assert seen.server.new() == []


# ---- publications expire, gateways restart


def test_a_publication_is_made_again_before_it_expires(seen: Desk) -> None:
    before = seen.server.last()
    seen.pass_time(REPUBLISH - NOTIFY_INTERVAL - 10)
    assert seen.server.new() == []
    seen.pass_time(LONGEST_LOOK + 10)
    assert seen.server.new() == [("publish", PRIVATE.uri)]
    assert seen.server.last() == before
    seen.pass_time(LONGEST_LOOK + 10)
    assert seen.server.new() == []


def test_a_dialog_that_outlived_a_restart_is_active_already(desk: Desk) -> None:
    desk.list("to")
    desk.network.statuses[BOB] = ONLINE
    desk.watches.restore(desk.account, desk.command(), allowed=True)
    desk.loop.run()
    assert desk.server.new() == [("publish", PRIVATE.uri)]


def test_one_that_was_pending_is_let_in_when_the_contact_has_decided(desk: Desk) -> None:
    desk.list("to")
    desk.network.statuses[BOB] = ONLINE
    desk.watches.restore(desk.account, desk.command(), allowed=False)
    desk.loop.run()
    assert desk.server.new() == [("publish", PRIVATE.uri), ("allow", PRIVATE.uri), ("refresh", PRIVATE.uri)]


def test_one_whose_contact_withdrew_meanwhile_is_blocked(desk: Desk) -> None:
    desk.watches.restore(desk.account, desk.command(), allowed=True)
    desk.loop.run()
    desk.pass_time(NOTIFY_INTERVAL)
    desk.server.new()
    desk.refuse()
    assert ("block", PRIVATE.uri) in desk.server.new()


def test_a_dialog_that_ended_before_the_restart_is_nothing(desk: Desk) -> None:
    desk.watches.restore(desk.account, desk.command(seconds=-1), allowed=True)
    desk.loop.run()
    assert desk.server.log == []
    assert desk.contact() is None


# ---- a contact that is a SIP user of his own


@pytest.fixture
def mapped(desk: Desk) -> Desk:
    """Alice watches a SIP user who has an account, and sees it."""
    desk.list("to")
    desk.network.statuses[BOB] = ONLINE
    desk.watch(MAPPED, initial=True)
    return desk


def test_a_sip_user_has_rules_of_his_own(mapped: Desk) -> None:
    assert mapped.server.new() == [("publish", MAPPED.uri)]
    assert _is_open(mapped.server.last(MAPPED))


def test_a_sip_user_whose_account_refuses_is_shown_without_it(mapped: Desk) -> None:
    mapped.pass_time(NOTIFY_INTERVAL)
    mapped.server.new()
    mapped.refuse()
    assert mapped.server.new() == [("publish", MAPPED.uri)]
    assert not _is_open(mapped.server.last(MAPPED))
    assert mapped.contact(MAPPED) is not None


def test_a_sip_user_who_is_not_watched_any_more_keeps_his_rules_and_watchers(mapped: Desk) -> None:
    mapped.pass_time(NOTIFY_INTERVAL)
    mapped.server.new()
    mapped.watch(MAPPED, seconds=0)
    assert mapped.server.new() == [("unpublish", MAPPED.uri)]


# ---- one that fails


def test_a_contact_that_fails_does_not_keep_the_others_waiting(seen: Desk, caplog: pytest.LogCaptureFixture) -> None:
    other = GATEWAY.presentity(GATEWAY.contact_uri("prpl-jabber", "dave@xmpp.example"), ALICE)
    seen.network.entries["dave@xmpp.example"] = RosterEntry("dave@xmpp.example", subscription="to")
    seen.account.roster_changed()
    seen.network.broken = {BOB}
    seen.watches.contact_changed(seen.account, BOB)
    seen.watches.watch(seen.account, seen.command(other, contact="dave@xmpp.example", dialog="two", initial=True))
    seen.loop.run(2 * NOTIFY_INTERVAL)
    assert ("publish", other.uri) in seen.server.new()
    assert "a status nobody thought of" in caplog.text
    seen.network.broken = set()
    seen.tell(AWAY)
    assert ("publish", PRIVATE.uri) in seen.server.new()


# ---- what a status becomes


def test_the_picture_of_who_is_there(seen: Desk) -> None:
    seen.network.pictures[BOB] = PNG
    seen.tell(ONLINE)
    assert "data:image/png;base64," in seen.server.last()
    seen.pass_time(NOTIFY_INTERVAL)
    seen.tell(OFFLINE)
    assert "data:" not in seen.server.last()


def test_a_status_in_sip_terms() -> None:
    home = ResourcePresence("home", "", (("", "hi"), ("de", "da"), ("fr", " \t")), -3, 1_700_000_000)
    shown = contact_presence(ContactStatus((home, ResourcePresence("", "xa")), (("", "bye"),), "Bob", "happy"), "x:y")
    first, second = shown.resources
    assert (first.name, first.show, first.priority) == ("home", Show.AVAILABLE, -3)
    assert first.notes == (Note("hi", ""), Note("da", "de"))
    assert first.idle_since is not None
    assert first.idle_since.timestamp() == 1_700_000_000
    assert second == Resource("", Show.XA)
    assert (shown.notes, shown.display_name, shown.icon, shown.mood) == ((Note("bye", ""),), "Bob", "x:y", "happy")


@pytest.mark.parametrize("show", ["chat", "away", "xa", "dnd"])
def test_each_show(show: str) -> None:
    (resource,) = contact_presence(ContactStatus((ResourcePresence("", show),))).resources
    assert resource.show.value == show


def test_nobody_is_there() -> None:
    assert not contact_presence(ContactStatus(notes=(("", "gone"),))).open
