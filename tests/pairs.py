"""Owns the people of one test of presence: a SIP user with an XMPP account, an XMPP contact, and the names of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from tests.agents.phone import Phone, Received, Subscription
from tests.agents.subscription import Notify
from tests.agents.xcap import XcapClient, rules_document
from tests.agents.xmpp import XmppPresence, XmppUser
from tests.gateway import PASSWORD, Gateway, sip, xmpp_contact
from tests.servers.prosody import Prosody

RULES_TYPE = "application/auth-policy+xml"
_numbers = count(1)


@dataclass
class Pair:
    """``user`` has the XMPP account ``jid`` and a phone that is online; ``contact`` is somebody else on XMPP."""

    gateway: Gateway
    user: str
    jid: str
    phone: Phone
    contact: XmppUser

    @property
    def contact_uri(self) -> str:
        """By which the phone knows the contact."""
        return xmpp_contact(self.contact.jid)

    @property
    def xcap(self) -> XcapClient:
        return XcapClient(self.user, PASSWORD, ("127.0.0.1", self.gateway.kamailio.port))

    # ------------------------------------------------------------ the user watches the contact
    def watch(self) -> Subscription:
        """The contact is asked; what it says is the test's affair."""
        watch = self.phone.subscribe(self.contact_uri)
        assert watch.status == 200
        return watch

    def watch_allowed(self) -> Subscription:
        """The contact is asked, says yes, and is seen."""
        watch = self.watch()
        self.contact.wait_presence(asks(self.jid))
        self.contact.approve(self.jid)
        watch.wait_notify(shows("open"))
        return watch

    # ------------------------------------------------------------ the contact watches the user
    def ask(self) -> None:
        """The contact asks to see the user."""
        self.contact.subscribe(self.jid)

    def wait_question(self, timeout: float = 30.0) -> Received:
        return self.phone.wait_message(lambda message: "asks to see" in message.text, timeout)

    def wait_told(self, kind: str, timeout: float = 30.0) -> XmppPresence:
        """A presence stanza of this type, from the user."""
        return self.contact.wait_presence(
            lambda stanza: stanza.type == kind and stanza.from_jid.partition("/")[0] == self.jid, timeout
        )

    def told(self, kind: str) -> list[XmppPresence]:
        """All of this type that the contact got so far from the user."""
        return [
            stanza
            for stanza in self.contact.presences
            if stanza.type == kind and stanza.from_jid.partition("/")[0] == self.jid
        ]

    # ------------------------------------------------------------ presence rules
    def put_rules(self, *rules: tuple[str, str]) -> None:
        """(SIP URI, handling) for each; no rules at all leaves an empty document."""
        answer = self.xcap.put(rules_of(self.user), rules_document(*rules), RULES_TYPE)
        assert answer.status in (200, 201)

    def delete_rules(self) -> None:
        assert self.xcap.delete(rules_of(self.user)).status == 200


def make_pair(gateway: Gateway, prosody: Prosody, **account: bool | int | str) -> Pair:
    """People that no other test knows."""
    number = next(_numbers)
    user, contact = f"user{number}", f"contact{number}"
    gateway.add_user(user)
    for name in (user, contact):
        prosody.add_user(name, PASSWORD)
    gateway.add_xmpp_account(user, prosody, None, **account)
    jid = f"{user}@{prosody.domain}"
    client = gateway.xmpp_user(prosody, contact)
    return Pair(gateway, user, jid, gateway.online_phone(user, jid), client)


def rules_of(user: str) -> str:
    return f"pres-rules/users/{sip(user)}/index"


def asks(jid: str) -> Callable[[XmppPresence], bool]:
    return lambda stanza: stanza.type == "subscribe" and stanza.from_jid.partition("/")[0] == jid


def shows(basic: str, activity: str = "") -> Callable[[Notify], bool]:
    """A NOTIFY of an active subscription with a document that says so."""

    def matches(notify: Notify) -> bool:
        presence = notify.presence if notify.state == "active" else None
        return presence is not None and presence.basic == basic and (not activity or activity in presence.activities)

    return matches


def is_in(state: str) -> Callable[[Notify], bool]:
    return lambda notify: notify.state == state
