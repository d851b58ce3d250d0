"""The main job end to end, on each database: a phone and an XMPP client exchange messages and presence."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.agents.phone import Phone
from tests.agents.pidf import pidf
from tests.agents.subscription import Notify, Subscription
from tests.agents.xmpp import XmppUser
from tests.gateway import Gateway, sip, xmpp_contact
from tests.servers.prosody import Prosody

BOB = xmpp_contact("bob@localhost")


@pytest.fixture(scope="module")
def prosody(any_gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prosody]:
    """An XMPP server for each database, so that nobody is on a contact list yet."""
    with Prosody(tmp_path_factory.mktemp("prosody"), {"alice": "secret", "bob": "secret", "carol": "secret"}) as server:
        yield server


@pytest.fixture
def gateway_with_alice(any_gateway: Gateway, prosody: Prosody) -> Gateway:
    if any_gateway.account("alice@localhost")["state"] == "unknown":
        any_gateway.add_xmpp_account("alice", prosody)
    return any_gateway


def test_phone_and_xmpp_client_write_to_each_other(gateway_with_alice: Gateway, prosody: Prosody) -> None:
    bob = gateway_with_alice.xmpp_user(prosody, "bob")
    phone = gateway_with_alice.online_phone("alice", "alice@localhost")

    answer = phone.message(BOB, "Hello <b>Bob</b> & all,\nzwei Zeilen, 😀")
    assert (answer.status, answer.body, answer.headers.get("Contact")) == (202, b"", "")  # RFC 3428 §7
    received = bob.wait_message()
    assert received.body == "Hello <b>Bob</b> & all,\nzwei Zeilen, 😀"
    assert received.from_bare == "alice@localhost"

    bob.send("alice@localhost", "<i>fine</i> &amp; you?\n👍")
    message = phone.wait_message()
    assert message.text == "<i>fine</i> &amp; you?\n👍"
    assert message.from_uri == BOB
    assert message.headers.get("Contact") == ""  # RFC 3428 §4
    assert phone.publish(None, expires=0).status == 200  # all phones of a user count together


def test_presence_both_ways(gateway_with_alice: Gateway, prosody: Prosody) -> None:
    bob, carol = (gateway_with_alice.xmpp_user(prosody, name) for name in ("bob", "carol"))
    phone = gateway_with_alice.online_phone("alice", "alice@localhost")

    # RFC 8048 §5.3: the phone watches each contact, who is asked and agrees
    watch, watch_carol = _watch(phone, bob), _watch(phone, carol)
    bob.subscribe("alice@localhost")
    watch.wait_notify(lambda notify: _shows(notify, "open"))
    watch_carol.wait_notify(lambda notify: _shows(notify, "open"))
    bob.wait_presence(lambda presence: presence.from_bare == "alice@localhost" and presence.type == "available")

    carol.close()
    bob.presence(show="away", status="out fishing")
    notify = watch.wait_notify(lambda notify: _shows(notify, "open", "away"))
    assert notify.presence is not None
    assert notify.presence.note == "out fishing"
    watch_carol.wait_notify(lambda notify: _shows(notify, "closed"))

    phone.publish(pidf(sip("alice"), note="at <lunch> & back soon", activity="meal"))
    seen = bob.wait_presence(lambda presence: presence.show == "away")
    assert seen.status == "at <lunch> & back soon"

    watch.unsubscribe()
    watch_carol.unsubscribe()
    phone.publish(None, expires=0)


def _watch(phone: Phone, contact: XmppUser) -> Subscription:
    watch = phone.subscribe(xmpp_contact(contact.jid))
    assert watch.status in (200, 202)
    contact.wait_presence(lambda presence: presence.type == "subscribe")
    contact.approve("alice@localhost")
    return watch


def test_phone_going_offline_signs_the_account_off(gateway_with_alice: Gateway, prosody: Prosody) -> None:
    bob = gateway_with_alice.xmpp_user(prosody, "bob")
    phone = gateway_with_alice.online_phone("alice", "alice@localhost")
    # RFC 3903 §4.1: a refresh has no body and changes nothing
    assert phone.publish(None, etag=phone.etag).status == 200
    assert gateway_with_alice.account("alice@localhost")["state"] == "online"
    assert phone.publish(None, expires=0, etag=phone.etag).status == 200
    gateway_with_alice.wait_state("alice@localhost", "offline")
    assert phone.message(BOB, "now or never", headers={"Expires": "0"}).status == 480
    for number in range(3):
        assert phone.message(BOB, f"later {number}").status == 202
    assert not bob.messages
    gateway_with_alice.online_phone("alice", "alice@localhost")
    assert [bob.wait_message().body for _ in range(3)] == ["later 0", "later 1", "later 2"]


def _shows(notify: Notify, basic: str, activity: str | None = None) -> bool:
    presence = notify.presence
    if presence is None or presence.basic != basic:
        return False
    return activity in presence.activities if activity else True
