"""Contact lists end to end: the roster as a document for phones and as one address to watch (RFC 4826, RFC 4662)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

import pytest
from sqlalchemy import select

from purple_bridge.db.engine import make_engine
from purple_bridge.db.tables import xcap
from purple_bridge.ownership import owner_of
from tests.agents.rlmi import ListPhone, ListState, ListSubscription, list_state
from tests.agents.xmpp import XmppUser
from tests.gateway import PASSWORD, Gateway, sip, xmpp_contact
from tests.pairs import Pair, asks, make_pair, rules_of
from tests.servers.prosody import Prosody
from tests.waiting import wait_equal, wait_until

LISTS = "urn:ietf:params:xml:ns:resource-lists"
NAME = f"{{{LISTS}}}display-name"
DOCUMENT_TYPE, ELEMENT_TYPE = "application/resource-lists+xml", "application/xcap-el+xml"
TITLE = "Contacts"  # the list of those without a group
TIMEOUT = 30.0

PROJECT = Path(__file__).parents[1]

# the shipped route script, in which the gateway hears late of who has read a document
SLOW_READER = """\
import time

import KSR
from kemi import gateway


def mod_init():
    routes = gateway.mod_init()
    functions = type(KSR.purple)
    tell = functions.handle_xcap

    def tell_late(self, auid, uri, method, conditional=0):
        if method == "GET":
            time.sleep(1)
        return tell(self, auid, uri, method, conditional)

    functions.handle_xcap = tell_late
    return routes
"""

Lists = dict[str, dict[str, str]]  # name of the list -> URI -> display name


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("lists"), users={}) as running:
        yield running


@pytest.fixture
def other_client(pair: Pair, prosody: Prosody) -> XmppUser:
    """The user's own chat client, beside the gateway."""
    return pair.gateway.xmpp_user(prosody, pair.user, "other")


# ---- the roster becomes a document


def test_the_roster_is_a_document(pair: Pair, other_client: XmppUser) -> None:
    other_client.save_contact("one@localhost", "One", ["Friends", "Work"])
    other_client.save_contact("two@localhost", "Two")
    other_client.save_contact("three@localhost", groups=["Work"])
    one, two, three = (xmpp_contact(f"{name}@localhost") for name in ("one", "two", "three"))
    wait_lists(pair, {"Friends": {one: "One"}, "Work": {one: "One", three: ""}, TITLE: {two: "Two"}})
    answer = pair.xcap.get(lists_of(pair.user))
    assert answer.media_type == DOCUMENT_TYPE
    assert answer.etag


def test_what_another_client_changes_shows_up(pair: Pair, other_client: XmppUser) -> None:
    one = xmpp_contact("one@localhost")
    other_client.save_contact("one@localhost", "One", ["Friends"])
    wait_lists(pair, {"Friends": {one: "One"}})
    etag = pair.xcap.get(lists_of(pair.user)).etag
    other_client.save_contact("one@localhost", "Uno", ["Family", "Work"])
    wait_lists(pair, {"Family": {one: "Uno"}, "Work": {one: "Uno"}})
    assert pair.xcap.get(lists_of(pair.user)).etag != etag
    other_client.save_contact("one@localhost")
    wait_lists(pair, {TITLE: {one: ""}})
    other_client.remove_contact("one@localhost")
    wait_lists(pair, {})


def test_names_of_all_kinds(pair: Pair, other_client: XmppUser) -> None:
    other_client.save_contact("one@localhost", 'R&D <"友達"> it\'s 100%', ["A & B", "Grüße"])
    other_client.save_contact("two+tag=x@localhost", "Two")
    name, one = 'R&D <"友達"> it\'s 100%', xmpp_contact("one@localhost")
    two = "sip:two+tag=x*localhost@xmpp.im.example.org"
    wait_lists(pair, {"A & B": {one: name}, "Grüße": {one: name}, TITLE: {two: "Two"}})


def test_who_is_asked_by_a_phone_is_on_the_list(pair: Pair) -> None:
    pair.watch_allowed()
    wait_lists(pair, {TITLE: {pair.contact_uri: ""}})


def test_the_list_stays_while_the_account_is_offline(pair: Pair, other_client: XmppUser) -> None:
    other_client.save_contact("one@localhost", "One", ["Friends"])
    wanted: Lists = {"Friends": {xmpp_contact("one@localhost"): "One"}}
    wait_lists(pair, wanted)
    etag = pair.xcap.get(lists_of(pair.user)).etag
    assert pair.phone.publish(None, expires=0).status == 200
    pair.gateway.wait_state(pair.jid, "offline")
    other_client.save_contact("two@localhost", "Two", ["Friends"])
    assert pair.xcap.get(lists_of(pair.user)).etag == etag
    pair.gateway.publish_until_seen(pair.phone, pair.user, pair.jid)
    wait_lists(pair, {"Friends": {**wanted["Friends"], xmpp_contact("two@localhost"): "Two"}})


# ---- the phone changes the document


def test_a_phone_adds_a_contact(pair: Pair, other_client: XmppUser) -> None:
    """PUT of the whole document, which was read before."""
    other_client.save_contact("one@localhost", "One", ["Friends"])
    one = xmpp_contact("one@localhost")
    wait_lists(pair, {"Friends": {one: "One"}})
    put(pair, {"Friends": {one: "One", pair.contact_uri: "My Contact"}})
    pair.contact.wait_presence(asks(pair.jid))
    wait_roster(
        other_client,
        {"one@localhost": ("One", {"Friends"}), pair.contact.jid: ("My Contact", {"Friends"})},
    )
    pair.contact.approve(pair.jid)
    wait_until(lambda: other_client.roster()[pair.contact.jid].subscription == "to", TIMEOUT, "the permission")
    wait_lists(pair, {"Friends": {one: "One", pair.contact_uri: "My Contact"}})


def test_a_phone_adds_one_entry(pair: Pair, other_client: XmppUser) -> None:
    """RFC 4825 §8.2: PUT of an element, without having read the list."""
    other_client.save_contact("one@localhost", "One", ["Friends"])
    one = xmpp_contact("one@localhost")
    wait_lists(pair, {"Friends": {one: "One"}})
    element = f"<entry uri={quoteattr(pair.contact_uri)}><display-name>Mine</display-name></entry>"
    answer = pair.xcap.put(entry_of(pair.user, "Friends", pair.contact_uri), element, ELEMENT_TYPE)
    assert answer.status in (200, 201)
    pair.contact.wait_presence(asks(pair.jid))
    wait_roster(other_client, {"one@localhost": ("One", {"Friends"}), pair.contact.jid: ("Mine", {"Friends"})})


def test_a_phone_renames_and_moves_a_contact(pair: Pair, other_client: XmppUser) -> None:
    other_client.save_contact("one@localhost", "One", ["Friends"])
    one = xmpp_contact("one@localhost")
    wait_lists(pair, {"Friends": {one: "One"}})
    put(pair, {"Family": {one: "Uno"}, "Work": {one: "Uno"}})
    wait_roster(other_client, {"one@localhost": ("Uno", {"Family", "Work"})})
    put(pair, {TITLE: {one: "Uno"}})
    wait_roster(other_client, {"one@localhost": ("Uno", set())})
    wait_lists(pair, {TITLE: {one: "Uno"}})


def test_a_phone_removes_one_entry(pair: Pair, other_client: XmppUser) -> None:
    other_client.save_contact("one@localhost", "One", ["Friends"])
    other_client.save_contact("two@localhost", "Two", ["Friends"])
    one, two = xmpp_contact("one@localhost"), xmpp_contact("two@localhost")
    wait_lists(pair, {"Friends": {one: "One", two: "Two"}})
    assert pair.xcap.delete(entry_of(pair.user, "Friends", one)).status == 200
    wait_roster(other_client, {"two@localhost": ("Two", {"Friends"})})
    wait_lists(pair, {"Friends": {two: "Two"}})


def test_a_phone_removes_a_contact_from_the_document_it_has_read(pair: Pair, other_client: XmppUser) -> None:
    other_client.save_contact("one@localhost", "One", ["Friends"])
    other_client.save_contact("two@localhost", "Two", ["Friends"])
    one, two = xmpp_contact("one@localhost"), xmpp_contact("two@localhost")
    wait_lists(pair, {"Friends": {one: "One", two: "Two"}})
    put(pair, {"Friends": {two: "Two"}})
    wait_roster(other_client, {"two@localhost": ("Two", {"Friends"})})
    wait_lists(pair, {"Friends": {two: "Two"}})


def test_a_phone_removes_a_contact_as_soon_as_it_has_read_the_document(tmp_path: Path, prosody: Prosody) -> None:
    """On two connections, so through two of Kamailio's processes, of which the first is slow."""
    script, config = tmp_path / "slow.py", tmp_path / "slow.cfg"
    script.write_text(SLOW_READER)
    config.write_text(f'#!redefine KEMI_SCRIPT "{script}"\ninclude_file "{PROJECT}/kamailio.cfg"\n')
    with Gateway(tmp_path / "gw", users={}, options=["--config", str(config)]) as gateway:
        pair = make_pair(gateway, prosody)
        other_client = gateway.xmpp_user(prosody, pair.user, "other")
        other_client.save_contact("one@localhost", "One", ["Friends"])
        other_client.save_contact("two@localhost", "Two", ["Friends"])
        one, two = xmpp_contact("one@localhost"), xmpp_contact("two@localhost")
        wait_until(lambda: stored_lists(pair) == {"Friends": {one: "One", two: "Two"}}, TIMEOUT, "the document")
        assert pair.xcap.get(lists_of(pair.user)).status == 200
        put(pair, {"Friends": {two: "Two"}})
        wait_roster(other_client, {"two@localhost": ("Two", {"Friends"})})
        wait_lists(pair, {"Friends": {two: "Two"}})


def test_a_contact_that_is_removed_sees_it(pair: Pair, other_client: XmppUser) -> None:
    """RFC 6121 §2.5: the permissions go, both."""
    pair.watch_allowed()
    pair.ask()
    pair.wait_told("subscribed")
    wait_lists(pair, {TITLE: {pair.contact_uri: ""}})
    assert pair.xcap.delete(entry_of(pair.user, TITLE, pair.contact_uri)).status == 200
    pair.wait_told("unsubscribed")
    wait_roster(other_client, {})


def test_a_phone_that_never_read_the_list_removes_nobody(pair: Pair, other_client: XmppUser) -> None:
    other_client.save_contact("one@localhost", "One", ["Friends"])
    one = xmpp_contact("one@localhost")
    wait_until(lambda: stored_lists(pair) == {"Friends": {one: "One"}}, TIMEOUT, "the document")
    put(pair, {"Buddies": {pair.contact_uri: "New"}})
    pair.contact.wait_presence(asks(pair.jid))
    wait_roster(other_client, {"one@localhost": ("One", {"Friends"}), pair.contact.jid: ("New", {"Buddies"})})
    wait_lists(pair, {"Friends": {one: "One"}, "Buddies": {pair.contact_uri: "New"}})


def test_entries_of_others_stay(pair: Pair, other_client: XmppUser) -> None:
    """What is no IM contact is the phone's own affair, in whatever list it stands."""
    other_client.save_contact("one@localhost", "One", ["Friends"])
    one = xmpp_contact("one@localhost")
    wait_lists(pair, {"Friends": {one: "One"}})
    others = {"tel:+4930123456": "Phone", sip("dave"): "Dave", "sip:x@elsewhere.example": "X"}
    put(pair, {"Friends": {one: "One", **others}, "Own": {"tel:+1": "One"}})
    other_client.save_contact("two@localhost", "Two", ["Friends"])
    two = xmpp_contact("two@localhost")
    wait_lists(pair, {"Friends": {one: "One", two: "Two", **others}, "Own": {"tel:+1": "One"}})
    other_client.remove_contact("one@localhost")
    other_client.remove_contact("two@localhost")
    wait_lists(pair, {"Friends": others, "Own": {"tel:+1": "One"}})
    assert other_client.roster() == {}


def test_a_change_waits_for_the_account(pair: Pair, other_client: XmppUser) -> None:
    other_client.save_contact("one@localhost", "One", ["Friends"])
    one = xmpp_contact("one@localhost")
    wait_lists(pair, {"Friends": {one: "One"}})
    assert pair.phone.publish(None, expires=0).status == 200
    pair.gateway.wait_state(pair.jid, "offline")
    put(pair, {"Friends": {pair.contact_uri: "Mine"}})
    pair.gateway.publish_until_seen(pair.phone, pair.user, pair.jid)
    pair.contact.wait_presence(asks(pair.jid))
    wait_roster(other_client, {pair.contact.jid: ("Mine", {"Friends"})})
    wait_lists(pair, {"Friends": {pair.contact_uri: "Mine"}})


# ---- one address for the whole list


def test_one_subscription_sees_all_contacts(pair: Pair, prosody: Prosody) -> None:
    """Who is there, who changes, and who joins the list later."""
    second = make_pair(pair.gateway, prosody).contact
    pair.watch_allowed().unsubscribe()
    wait_lists(pair, {TITLE: {pair.contact_uri: ""}})
    with list_phone(pair) as phone:
        watch = phone.subscribe_list(sip(f"{pair.user}-contacts"))
        assert watch.status == 200
        wait_list(watch, lambda state: state.basic(pair.contact_uri) == "open")

        pair.contact.presence(show="dnd", status="do not disturb")
        second_uri = xmpp_contact(second.jid)
        assert pair.phone.subscribe(second_uri).status == 200  # which puts it on the list
        second.wait_presence(asks(pair.jid))
        second.approve(pair.jid)
        busy = wait_list(watch, lambda state: "busy" in activities(state, pair.contact_uri))
        presence = busy.resources[pair.contact_uri].presence
        assert presence is not None
        assert presence.note == "do not disturb"
        wait_until(lambda: any(state.basic(second_uri) == "open" for state in states(watch)), TIMEOUT, "the second")

        pair.contact.presence(type="unavailable")
        wait_list(watch, lambda state: state.basic(pair.contact_uri) == "closed")
        assert watch.unsubscribe().status == 200


def test_a_list_that_is_still_empty(pair: Pair) -> None:
    """A phone may be set up before there is any contact."""
    wait_lists(pair, {})
    with list_phone(pair) as phone:
        watch = phone.subscribe_list(sip(f"{pair.user}-contacts"))
        assert watch.status == 200
        assert not wait_list(watch, lambda state: state.full).resources
        pair.watch_allowed()
        wait_list(watch, lambda state: state.basic(pair.contact_uri) == "open")


def test_a_contact_that_is_put_on_the_list_joins_it(pair: Pair, prosody: Prosody) -> None:
    second = make_pair(pair.gateway, prosody).contact
    pair.watch_allowed()
    wait_lists(pair, {TITLE: {pair.contact_uri: ""}})
    with list_phone(pair) as phone:
        watch = phone.subscribe_list(sip(f"{pair.user}-contacts"))
        wait_list(watch, lambda state: state.basic(pair.contact_uri) == "open")
        put(pair, {TITLE: {pair.contact_uri: "", xmpp_contact(second.jid): "Second"}})
        second.wait_presence(asks(pair.jid))
        second.approve(pair.jid)
        wait_list(watch, lambda state: state.basic(xmpp_contact(second.jid)) == "open")
        assert pair.xcap.delete(entry_of(pair.user, TITLE, pair.contact_uri)).status == 200
        wait_until(lambda: pair.contact_uri not in full_state(watch).resources, 40, "a list without the contact")


def test_a_list_is_true_again_after_a_crash(tmp_path: Path, prosody: Prosody) -> None:
    with Gateway(tmp_path / "gw", users={}) as gateway:
        pair = make_pair(gateway, prosody)
        pair.watch_allowed()
        wait_lists(pair, {TITLE: {pair.contact_uri: ""}})
        with list_phone(pair) as phone:
            watch = phone.subscribe_list(sip(f"{pair.user}-contacts"))
            wait_list(watch, lambda state: state.basic(pair.contact_uri) == "open")
            before = lists_in(pair.xcap.get(lists_of(pair.user)).body)
            gateway.kamailio.kill()
            pair.contact.presence(show="away")
            gateway.kamailio.start()
            wait_list(watch, lambda state: "away" in activities(state, pair.contact_uri), 30)
            assert lists_in(pair.xcap.get(lists_of(pair.user)).body) == before


def test_a_list_is_its_owners_alone(pair: Pair, prosody: Prosody) -> None:
    other = make_pair(pair.gateway, prosody)
    pair.watch_allowed()
    wait_lists(pair, {TITLE: {pair.contact_uri: ""}})
    with list_phone(other) as phone:
        assert phone.subscribe_list(sip(f"{pair.user}-contacts")).status == 403
        assert phone.subscribe(sip(f"{pair.user}-contacts")).status == 403
    for path in (lists_of(pair.user), f"rls-services/users/{sip(pair.user)}/index", rules_of(pair.user)):
        assert other.xcap.get(path).status == 403
        assert other.xcap.delete(path).status == 403


def test_two_accounts_are_one_list(pair: Pair, prosody: Prosody, other_client: XmppUser) -> None:
    """On two workers; a change reaches the account whose contact it is."""
    owner = owner_of("prpl-jabber", pair.jid, 2)
    names = (f"{pair.user}b{number}" for number in count())
    second = next(name for name in names if owner_of("prpl-jabber", f"{name}@localhost", 2) != owner)
    prosody.add_user(second, PASSWORD)
    pair.gateway.add_xmpp_account(pair.user, prosody, second)
    pair.gateway.wait_state(f"{second}@localhost", "online")
    seconds_client = pair.gateway.xmpp_user(prosody, second, "other")
    other_client.save_contact("one@localhost", "One", ["Friends"])
    seconds_client.save_contact("two@localhost", "Two", ["Friends"])
    one, two = xmpp_contact("one@localhost"), xmpp_contact("two@localhost")
    wait_lists(pair, {"Friends": {one: "One", two: "Two"}})
    put(pair, {"Friends": {one: "Uno"}, "Work": {two: "Due"}})
    wait_roster(other_client, {"one@localhost": ("Uno", {"Friends"})})
    wait_roster(seconds_client, {"two@localhost": ("Due", {"Work"})})
    assert pair.xcap.delete(entry_of(pair.user, "Work", two)).status == 200
    wait_roster(seconds_client, {})
    wait_lists(pair, {"Friends": {one: "Uno"}})
    pair.gateway.remove_account(f"{second}@localhost")


# ---- parts


def lists_of(user: str) -> str:
    return f"resource-lists/users/{sip(user)}/index"


def entry_of(user: str, group: str, uri: str) -> str:
    selector = f'resource-lists/list[@name="{group}"]/entry[@uri="{uri}"]'
    return f"{lists_of(user)}/~~/{quote(selector, safe='/@=:')}"


def lists_in(body: bytes) -> Lists:
    """A list without entries does not count: whether it is there is nobody's affair."""
    found = {
        group.get("name", ""): {
            entry.get("uri", ""): entry.findtext(NAME, "") for entry in group.iter(f"{{{LISTS}}}entry")
        }
        for group in ET.fromstring(body).iter(f"{{{LISTS}}}list")
    }
    return {name: entries for name, entries in found.items() if entries}


def document(lists: Lists) -> str:
    """As a phone writes it."""
    written = "".join(
        f"<list name={quoteattr(name)}>"
        + "".join(
            f"<entry uri={quoteattr(uri)}><display-name>{escape(label)}</display-name></entry>"
            for uri, label in entries.items()
        )
        + "</list>"
        for name, entries in lists.items()
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<resource-lists xmlns="{LISTS}">{written}</resource-lists>'


def put(pair: Pair, lists: Lists) -> None:
    """PUT of the whole document, without a condition."""
    assert pair.xcap.put(lists_of(pair.user), document(lists), DOCUMENT_TYPE).status in (200, 201)


def wait_lists(pair: Pair, wanted: Lists) -> None:
    """Until the phone reads this; reading it makes the phone one that knows the list."""

    def read() -> Lists:
        answer = pair.xcap.get(lists_of(pair.user))
        return lists_in(answer.body) if answer.status == 200 else {"": {"status": str(answer.status)}}

    wait_equal(read, wanted, TIMEOUT, "the lists")


def stored_lists(pair: Pair) -> Lists:
    """Without the gateway's knowledge."""
    path = f"/xcap-root/{lists_of(pair.user)}"
    engine = make_engine(pair.gateway.kamailio.db_url)
    with engine.connect() as connection:
        found = connection.execute(select(xcap.c.doc).where(xcap.c.doc_uri == path)).scalar()
    engine.dispose()
    return lists_in(bytes(found)) if found else {}


def wait_roster(client: XmppUser, wanted: dict[str, tuple[str, set[str]]]) -> None:
    """``wanted``: name and groups by JID."""

    def read() -> dict[str, tuple[str, set[str]]]:
        return {jid: (item.name, set(item.groups)) for jid, item in client.roster().items()}

    wait_equal(read, wanted, TIMEOUT, "the roster")


def list_phone(pair: Pair) -> ListPhone:
    phone = ListPhone(sip(pair.user), PASSWORD, ("127.0.0.1", pair.gateway.kamailio.port))
    assert phone.register().status == 200
    return phone


def wait_list(watch: ListSubscription, predicate: Callable[[ListState], bool], timeout: float = TIMEOUT) -> ListState:
    notify = watch.wait_notify(lambda found: bool(found.body) and predicate(list_state(found)), timeout)
    return list_state(notify)


def states(watch: ListSubscription) -> list[ListState]:
    """All that was told so far; the list server tells of several contacts together or one after the other."""
    return [list_state(notify) for notify in watch.notifies if notify.body]


def full_state(watch: ListSubscription) -> ListState:
    """RFC 4662 §5.2: what a refresh gets."""
    assert watch.refresh().status == 200
    return wait_list(watch, lambda state: state.full)


def activities(state: ListState, uri: str) -> tuple[str, ...]:
    found = state.resources.get(uri)
    return found.presence.activities if found and found.presence else ()
