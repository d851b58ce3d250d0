"""Linphone, a phone that many people have: its own idea of MESSAGE, receipts and PUBLISH against the gateway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agents.xmpp import XmppUser
from tests.gateway import PASSWORD, Gateway, sip, xmpp_contact
from tests.pairs import asks
from tests.servers.linphone import Linphone
from tests.servers.prosody import Prosody
from tests.waiting import wait_until

RECEIPTS = "urn:xmpp:receipts"
USER = "linda"


@pytest.fixture(scope="module")
def phone(gateway: Gateway, prosody: Prosody, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Linphone]:
    gateway.add_user(USER)
    prosody.add_user(USER, PASSWORD)
    gateway.add_xmpp_account(USER, prosody)
    directory: Path = tmp_path_factory.mktemp("linphone")
    proxy, friend = f"127.0.0.1:{gateway.kamailio.port}", xmpp_contact(f"bob@{prosody.domain}")
    with Linphone(directory, sip(USER), PASSWORD, proxy, friend) as linphone:
        gateway.wait_state(f"{USER}@{prosody.domain}", "online")
        yield linphone


@pytest.fixture
def bob(gateway: Gateway, prosody: Prosody) -> XmppUser:
    return gateway.xmpp_user(prosody, "bob")


def test_it_writes_and_is_written_to(phone: Linphone, bob: XmppUser, prosody: Prosody) -> None:
    phone.type(f"chat {xmpp_contact(f'bob@{prosody.domain}')} Grüße & <3 from a phone")
    assert bob.wait_message().body == "Grüße & <3 from a phone"
    bob.send(f"{USER}@{prosody.domain}", "Grüße zurück")
    wait_until(lambda: "Grüße zurück" in phone.screen, 30, "the answer on the phone's screen")


def test_its_receipt_reaches_the_contact(phone: Linphone, bob: XmppUser, prosody: Prosody) -> None:
    """It comes compressed and without a CPIM envelope, and names the message by its Call-ID."""
    jid = f"{USER}@{prosody.domain}"
    request = f"<request xmlns='{RECEIPTS}'/>"
    bob.send_xml(f"<message to='{jid}' type='chat' id='lin 1'><body>are you there?</body>{request}</message>")
    wait_until(lambda: "are you there?" in phone.screen, 30, "the message on the phone's screen")
    receipt = bob.wait_any(lambda message: RECEIPTS in message.xml)
    assert 'id="lin 1"' in receipt.xml.replace("'", '"')


def test_it_sees_the_contact_and_is_seen(phone: Linphone, bob: XmppUser, prosody: Prosody) -> None:
    jid = f"{USER}@{prosody.domain}"
    bob.wait_presence(asks(jid))
    bob.approve(jid)
    wait_until(lambda: "is Online" in phone.screen, 30, "the contact is online")
    bob.presence(show="dnd")
    wait_until(lambda: "is Busy" in phone.screen, 30, "the contact is busy")
    bob.subscribe(jid)
    bob.wait_presence(lambda presence: presence.type == "subscribed" and presence.from_bare == jid)
    bob.wait_presence(lambda presence: presence.type == "available" and presence.from_bare == jid)


def test_it_signs_off_when_it_quits(phone: Linphone, gateway: Gateway, prosody: Prosody) -> None:
    """Its last PUBLISH has no Content-Length (RFC 3261 §18.3)."""
    phone.quit()
    gateway.wait_state(f"{USER}@{prosody.domain}", "offline")
