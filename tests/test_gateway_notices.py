"""What people are told beside their messages: failures, typing, receipts, copies; and messages that are more than text.

Each test has an Alice with a phone and a Bob with a chat client of their own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.agents.irc import IrcUser
from tests.agents.phone import Phone, Received
from tests.agents.xmpp import XmppMessage, XmppUser
from tests.gateway import Gateway, sip, xmpp_contact
from tests.servers.ngircd import Ngircd
from tests.servers.prosody import Prosody

NUMBERS = count(1)

COMPOSING = "application/im-iscomposing+xml"
CPIM = "message/cpim"
RECEIPTS = "urn:xmpp:receipts"
NOBODY = "nosuchuser@localhost"
DECLINE = (603, "Decline")

IMDN = "{urn:ietf:params:xml:ns:imdn}"
STANZAS = "{urn:ietf:params:xml:ns:xmpp-stanzas}"
CLIENT = "{jabber:client}"


@dataclass(frozen=True)
class Talk:
    """``alice``: her SIP user name; ``to_alice``: the JID Bob writes to, ``to_bob``: the URI her phone writes to."""

    gateway: Gateway
    prosody: Prosody
    alice: str
    to_alice: str
    phone: Phone
    bob: XmppUser
    to_bob: str

    def befriend(self) -> None:
        """They see each other's presence, as RFC 8048 §5.3 has it."""
        watch = self.phone.subscribe(self.to_bob)
        self.bob.wait_presence(lambda presence: presence.type == "subscribe")
        self.bob.approve(self.to_alice)
        self.bob.subscribe(self.to_alice)
        watch.wait_notify(lambda notify: notify.presence is not None and notify.presence.basic == "open")
        self.bob.wait_presence(lambda presence: presence.from_bare == self.to_alice and presence.type == "available")

    def stranger(self) -> XmppUser:
        name = f"stranger{next(NUMBERS)}"
        self.prosody.add_user(name, "secret")
        return self.gateway.xmpp_user(self.prosody, name)

    def at_the_desk(self) -> XmppUser:
        """Another client of Alice's own account."""
        return self.gateway.xmpp_user(self.prosody, self.alice, "desk")

    def hear_from_bob(self, text: str = "and now this") -> None:
        """Whatever Bob sent before, and whatever became of it, has arrived at the phone."""
        self.phone.answer = (200, "OK")
        self.bob.send(self.to_alice, text)
        self.phone.wait_message(lambda message: message.text == text)

    def hear_from_alice(self, text: str = "and now that") -> None:
        """Whatever Bob was told before has arrived."""
        assert self.phone.message(self.to_bob, text).status == 202
        self.bob.wait_message(lambda message: message.body == text)


def _meet(gateway: Gateway, prosody: Prosody, **options: bool) -> Talk:
    number = next(NUMBERS)
    alice, bob = f"alice{number}", f"bob{number}"
    for name in (alice, bob):
        prosody.add_user(name, "secret")
    gateway.add_user(alice)
    gateway.add_xmpp_account(alice, prosody, None, **options)
    phone = gateway.online_phone(alice, f"{alice}@localhost")
    to_bob = xmpp_contact(f"{bob}@localhost")
    return Talk(gateway, prosody, alice, f"{alice}@localhost", phone, gateway.xmpp_user(prosody, bob), to_bob)


@pytest.fixture
def talk(gateway: Gateway, prosody: Prosody) -> Talk:
    return _meet(gateway, prosody)


@dataclass(frozen=True)
class IrcTalk:
    phone: Phone
    alice: str
    bob: IrcUser
    to_bob: str


@pytest.fixture
def irc_talk(gateway: Gateway, ngircd: Ngircd) -> IrcTalk:
    alice, phone = _irc_phone(gateway, ngircd)
    nick = f"bob{next(NUMBERS)}"
    return IrcTalk(phone, alice, gateway.irc_user(ngircd, nick), _irc_contact(nick))


def _irc_phone(gateway: Gateway, ngircd: Ngircd) -> tuple[str, Phone]:
    alice = f"alice{next(NUMBERS)}"
    gateway.add_user(alice)
    gateway.add_irc_account(alice, ngircd, alice)
    return alice, gateway.online_phone(alice, f"{alice}@127.0.0.1")


def _irc_contact(nick: str) -> str:
    return f"sip:{nick}@irc.im.example.org"


def _cpim(text: str, message_id: str = "", wants: str = "", content_type: str = "text/plain; charset=utf-8") -> str:
    """RFC 3862, RFC 5438 §6."""
    request = f"imdn.Disposition-Notification: {wants}\r\n" if wants else ""
    imdn = f"NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: {message_id}\r\n{request}" if message_id else ""
    head = f"From: <sip:a@example.org>\r\nTo: <sip:b@example.org>\r\nDateTime: 2026-05-04T03:02:01Z\r\n{imdn}"
    return f"{head}\r\nContent-Type: {content_type}\r\n\r\n{text}"


@dataclass(frozen=True)
class Envelope:
    """A CPIM message, taken apart; ``imdn_status``: of a receipt, such as ``delivered``."""

    headers: dict[str, str]
    about_body: dict[str, str]
    body: str

    @property
    def imdn_status(self) -> str:
        status = ET.fromstring(self.body).find(f".//{IMDN}status/*")
        return "" if status is None else status.tag.removeprefix(IMDN)

    @property
    def about(self) -> str:
        """The Message-ID of the message that a receipt is about."""
        return ET.fromstring(self.body).findtext(f"{IMDN}message-id", "")


def _opened(message: Received) -> Envelope:
    assert message.content_type == CPIM, message
    head, about, body = message.body.decode().split("\r\n\r\n", 2)
    return Envelope(_headers(head), _headers(about), body)


def _headers(text: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in text.split("\r\n"))


def _receipt(about: str, status: str = "delivered") -> str:
    """A phone's IMDN (RFC 5438 §11)."""
    document = (
        f"<imdn xmlns='urn:ietf:params:xml:ns:imdn'><message-id>{about}</message-id>"
        "<datetime>2026-05-04T03:02:01Z</datetime><recipient-uri>sip:a@example.org</recipient-uri>"
        f"<delivery-notification><status><{status}/></status></delivery-notification></imdn>"
    )
    return _cpim(document, f"r-{about}", content_type="message/imdn+xml\r\nContent-Disposition: notification")


def _condition(error: XmppMessage) -> str:
    """RFC 6120 §8.3.3"""
    parent = ET.fromstring(error.xml).find("{*}error")
    assert parent is not None, error.xml
    return next(child.tag.removeprefix(STANZAS) for child in parent if child.tag != f"{STANZAS}text")


def test_a_message_to_one_client_of_a_contact(talk: Talk) -> None:
    """RFC 7247 §6.4: the parameter gr is the resource."""
    desk = talk.gateway.xmpp_user(talk.prosody, talk.bob.jid.partition("@")[0], "desk")
    assert talk.phone.message(f"{talk.to_bob};gr=desk", "for the desk").status == 202
    desk.wait_message(lambda message: message.body == "for the desk")
    talk.hear_from_alice()
    assert [message.body for message in talk.bob.messages] == ["and now that"]


# ---- what did not arrive: the phone is told


def test_an_xmpp_user_who_does_not_exist(talk: Talk) -> None:
    contact = xmpp_contact(NOBODY)
    assert talk.phone.message(contact, "is there anybody?").status == 202
    notice = talk.phone.wait_message()
    assert notice.from_uri == contact
    assert re.fullmatch(rf"Your message to {NOBODY} was not delivered: [a-z][^\n]{{10,}}", notice.text), notice.text


def test_an_irc_nick_that_does_not_exist(irc_talk: IrcTalk) -> None:
    contact = _irc_contact("NoSuchNick")
    assert irc_talk.phone.message(contact, "is there anybody?\nreally?").status == 202
    notice = irc_talk.phone.wait_message()
    assert notice.from_uri.lower() == contact.lower()
    assert "NoSuchNick was not delivered: no such user" in notice.text
    assert irc_talk.phone.message(irc_talk.to_bob, "next").status == 202
    irc_talk.bob.wait_message(lambda message: message.text == "next")
    assert len(irc_talk.phone.messages) == 1, "once, not for each line"


@pytest.mark.parametrize("wants", ["negative-delivery", "positive-delivery, negative-delivery"])
def test_a_phone_that_asks_gets_a_receipt_instead_of_words(talk: Talk, wants: str) -> None:
    """RFC 5438 §7.2.1, §12.2"""
    contact = xmpp_contact(NOBODY)
    assert talk.phone.message(contact, _cpim("x", "id-1@phone", wants), CPIM).status == 202
    notice = talk.phone.wait_message()
    assert notice.from_uri == contact
    receipt = _opened(notice)
    assert (receipt.imdn_status, receipt.about) == ("failed", "id-1@phone")
    assert receipt.about_body == {"Content-Type": "message/imdn+xml", "Content-Disposition": "notification"}
    assert receipt.headers["From"] == f"<{contact}>"
    assert receipt.headers["To"] == f"<{sip(talk.alice)}>"
    assert "imdn.Disposition-Notification" not in receipt.headers, "never a receipt for a receipt"
    assert {"DateTime", "imdn.Message-ID", "NS"} <= receipt.headers.keys()
    talk.hear_from_bob()
    assert len(talk.phone.messages) == 2


@pytest.mark.parametrize("wants", ["", "positive-delivery"])
def test_a_phone_that_does_not_ask_for_failures_gets_words(talk: Talk, wants: str) -> None:
    """RFC 5438 §6.2: no negative IMDN unless asked for; a person must learn of it all the same."""
    assert talk.phone.message(xmpp_contact(NOBODY), _cpim("x", "id-1", wants), CPIM).status == 202
    notice = talk.phone.wait_message()
    assert notice.content_type == "text/plain"
    assert NOBODY in notice.text


def _block(talk: Talk) -> None:
    """XEP-0191; returns when the server has it."""
    item = f"<item jid='{talk.to_alice}'/>"
    talk.bob.send_xml(f"<iq type='set' id='block'><block xmlns='urn:xmpp:blocking'>{item}</block></iq>")
    talk.bob.send(talk.bob.jid, "blocked")
    talk.bob.wait_message(lambda message: message.body == "blocked")


def test_who_is_blocked_is_told(talk: Talk) -> None:
    _block(talk)
    assert talk.phone.message(talk.to_bob, "hello?").status == 202
    notice = talk.phone.wait_message()
    assert notice.from_uri == talk.to_bob
    assert "blocked you" in notice.text
    assert talk.phone.message(talk.to_bob, _cpim("hello?", "id-2", "negative-delivery"), CPIM).status == 202
    assert _opened(talk.phone.wait_message()).about == "id-2"
    assert [message.body for message in talk.bob.messages] == ["blocked"]


def _moved(user: XmppUser, message: XmppMessage, condition: str, address: str, text: str) -> None:
    """RFC 6120 §8.3.3.5, §8.3.3.14"""
    names = f"<{condition} xmlns='{STANZAS[1:-1]}'>{address}</{condition}><text xmlns='{STANZAS[1:-1]}'>{text}</text>"
    error = f"<error type='cancel'>{names}</error>"
    user.send_xml(f"<message to='{message.from_jid}' type='error' id='{message.id}'>{error}</message>")


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("gone", "has moved to another address: xmpp:bob@new.example (Bye)"),
        ("redirect", "can be reached at another address now: xmpp:bob@new.example (Bye)"),
    ],
)
def test_the_new_address_of_a_contact_is_told(talk: Talk, condition: str, words: str) -> None:
    assert talk.phone.message(talk.to_bob, "hello?").status == 202
    _moved(talk.bob, talk.bob.wait_message(), condition, "xmpp:bob@new.example", "Bye")
    assert talk.phone.wait_message().text.endswith(f" was not delivered: {words}")


# ---- what did not arrive: the IM user is told


@pytest.mark.parametrize(
    ("answer", "condition"),
    [
        ((415, "Unsupported Media Type"), "not-acceptable"),
        ((488, "Not Acceptable Here"), "not-acceptable"),
        (DECLINE, "recipient-unavailable"),
        ((403, "Leave me alone"), "forbidden"),
    ],
)
def test_what_a_phone_refuses_is_an_error_for_the_xmpp_user(
    talk: Talk, answer: tuple[int, str], condition: str
) -> None:
    """RFC 7247 §7"""
    talk.phone.answer = answer
    talk.bob.send_xml(f"<message to='{talk.to_alice}' type='chat' id='b-1'><body>hello</body></message>")
    talk.phone.wait_message()
    error = talk.bob.wait_error()
    assert (error.id, error.from_bare, _condition(error)) == ("b-1", talk.to_alice, condition)
    talk.hear_from_bob()
    talk.hear_from_alice()
    assert len(talk.bob.errors) == 1


def test_what_a_phone_refuses_is_told_to_the_irc_user(irc_talk: IrcTalk) -> None:
    """RFC 2812 §3.3.2: in a NOTICE, which no program answers."""
    irc_talk.phone.answer = (488, "Not Acceptable Here")
    irc_talk.bob.privmsg(irc_talk.alice, "hello")
    irc_talk.phone.wait_message()
    told = irc_talk.bob.wait_message()
    assert told.command == "NOTICE"
    assert told.text.startswith(f"Your message to {irc_talk.alice}@example.org was not delivered: the phone cannot")


# ---- never a notice for a notice


@pytest.mark.parametrize(
    ("body", "content_type"),
    [("x", "text/plain"), (_cpim("x", "i", "negative-delivery"), CPIM)],
    ids=["words", "receipt"],
)
@pytest.mark.parametrize("answer", [DECLINE, (415, "Unsupported Media Type")])
def test_a_phone_that_refuses_the_notice(talk: Talk, body: str, content_type: str, answer: tuple[int, str]) -> None:
    talk.phone.answer = answer
    assert talk.phone.message(talk.to_bob, body, content_type).status == 202
    _bounce(talk.bob, talk.bob.wait_message())
    talk.phone.wait_message()
    talk.hear_from_bob()
    talk.hear_from_alice()
    assert (len(talk.phone.messages), len(talk.bob.messages), talk.bob.errors) == (2, 2, [])


def _bounce(user: XmppUser, message: XmppMessage) -> None:
    """RFC 6120 §8.3"""
    reason = f"<error type='cancel'><service-unavailable xmlns='{STANZAS[1:-1]}'/></error>"
    user.send_xml(f"<message to='{message.from_jid}' type='error' id='{message.id}'>{reason}</message>")


def test_an_xmpp_user_who_bounces_the_error(talk: Talk) -> None:
    talk.phone.answer = DECLINE
    talk.bob.send_xml(f"<message to='{talk.to_alice}' type='chat' id='b-1'><body>hello</body></message>")
    _bounce(talk.bob, talk.bob.wait_error())
    talk.hear_from_bob()
    talk.hear_from_alice()
    assert [message.text for message in talk.phone.messages] == ["hello", "and now this"]
    assert len(talk.bob.errors) == 1


@pytest.mark.parametrize(
    ("answer", "condition", "words"),
    [
        ((301, "Moved Permanently"), "gone", "has moved to another address: sip:alice@new.example"),
        ((302, "Moved Temporarily"), "redirect", "can be reached at another address now: sip:alice@new.example"),
    ],
)
def test_the_new_address_of_a_phone_is_told(talk: Talk, answer: tuple[int, str], condition: str, words: str) -> None:
    """RFC 7247 §7, RFC 3261 §21.3"""
    talk.phone.answer, talk.phone.answer_headers = answer, {"Contact": "<sip:alice@new.example>;expires=60"}
    talk.bob.send_xml(f"<message to='{talk.to_alice}' type='chat' id='b-1'><body>hello</body></message>")
    error = ET.fromstring(talk.bob.wait_error().xml).find("{*}error")
    assert error is not None
    assert error.findtext(f"{STANZAS}{condition}") == "sip:alice@new.example"
    assert error.findtext(f"{STANZAS}text") == words


def test_a_headline_comes_as_any_text_and_its_failure_is_no_error(talk: Talk) -> None:
    """RFC 6121 §5.2.2"""
    talk.phone.answer = DECLINE
    talk.bob.send(talk.to_alice, "no service tonight", type="headline")
    message = talk.phone.wait_message()
    assert (message.text, message.from_uri, message.answered) == ("no service tonight", talk.to_bob, DECLINE[0])
    talk.hear_from_bob()
    talk.hear_from_alice()
    assert talk.bob.errors == []


def test_two_irc_users_of_the_gateway_whose_phones_refuse_everything(gateway: Gateway, ngircd: Ngircd) -> None:
    (first, one), (second, two) = _irc_phone(gateway, ngircd), _irc_phone(gateway, ngircd)
    one.answer = two.answer = DECLINE
    assert one.message(_irc_contact(second), "hello").status == 202
    assert two.wait_message().text == "hello"
    assert f"Your message to {second}@example.org" in one.wait_message().text
    witness = gateway.irc_user(ngircd, f"witness{next(NUMBERS)}")
    witness.privmsg(first, "and me?")
    assert witness.wait_message().command == "NOTICE", "all that was refused before has been told, too"
    two.answer = (200, "OK")
    witness.privmsg(second, "the end")
    two.wait_message(lambda message: message.text == "the end")
    assert (len(one.messages), len(two.messages)) == (2, 2)


# ---- typing (RFC 3994, XEP-0085, RFC 7573 §6)


def _composing(state: str) -> str:
    refresh = "<refresh>90</refresh>" if state == "active" else ""
    return f"<isComposing xmlns='urn:ietf:params:xml:ns:im-iscomposing'><state>{state}</state>{refresh}</isComposing>"


def _says(phone: Phone, to: str, state: str) -> None:
    assert phone.message(to, _composing(state), COMPOSING).status == 202


def test_the_phone_types(talk: Talk) -> None:
    talk.befriend()
    for state in ("active", "active", "idle"):
        _says(talk.phone, talk.to_bob, state)
    talk.bob.wait_chat_state("composing")
    talk.bob.wait_chat_state("active")
    _says(talk.phone, talk.to_bob, "active")
    talk.bob.wait_chat_state("composing")
    talk.hear_from_alice("done")
    _says(talk.phone, talk.to_bob, "idle")
    talk.hear_from_alice("the end")
    alone = [message.chat_state for message in talk.bob.chat_states if not message.body]
    assert alone == ["composing", "active", "composing"]


def test_the_xmpp_user_types(talk: Talk) -> None:
    states = ("composing", "paused", "composing", "inactive", "composing", "active", "composing", "gone", "composing")
    for state in states:
        talk.bob.send_chat_state(talk.to_alice, state)
        talk.bob.send_chat_state(talk.to_alice, state)
        told = talk.phone.wait_message()
        assert (_told(told), told.from_uri) == ("active" if state == "composing" else "idle", talk.to_bob)
    active = "<active xmlns='http://jabber.org/protocol/chatstates'/>"
    talk.bob.send_xml(f"<message to='{talk.to_alice}' type='chat'><body>written</body>{active}</message>")
    talk.hear_from_bob()
    told_last = [_told(message) for message in talk.phone.messages[len(states) :]]
    assert told_last == ["written", "and now this"], "a message implies idle"


def _told(message: Received) -> str:
    """A typing notice's state, or the text."""
    if message.content_type != COMPOSING:
        return message.text
    return ET.fromstring(message.body).findtext("{urn:ietf:params:xml:ns:im-iscomposing}state", "")


def test_typing_can_be_switched_off(gateway: Gateway, prosody: Prosody) -> None:
    talk = _meet(gateway, prosody, typing=False)
    talk.befriend()
    _says(talk.phone, talk.to_bob, "active")
    talk.hear_from_alice()
    assert [message.chat_state for message in talk.bob.chat_states if not message.body] == []
    talk.bob.send_chat_state(talk.to_alice, "composing")
    talk.hear_from_bob()
    assert len(talk.phone.messages) == 1


# ---- receipts (RFC 5438, XEP-0184)


def _wants_receipt(message: XmppMessage) -> bool:
    return ET.fromstring(message.xml).find(f"{{{RECEIPTS}}}request") is not None


def _confirm(user: XmppUser, message: XmppMessage) -> None:
    user.send_xml(f"<message to='{message.from_jid}'><received xmlns='{RECEIPTS}' id='{message.id}'/></message>")


def test_the_xmpp_user_confirms_what_the_phone_sent(talk: Talk) -> None:
    for number in (1, 2):
        body = _cpim(f"text {number}", f"id-{number}", "positive-delivery")
        assert talk.phone.message(talk.to_bob, body, CPIM).status == 202
    first, second = talk.bob.wait_message(), talk.bob.wait_message()
    assert [(message.body, _wants_receipt(message)) for message in (first, second)] == [
        ("text 1", True),
        ("text 2", True),
    ]
    assert talk.phone.messages == [], "a 2xx of the server is no delivery (RFC 5438 §12.2)"
    _confirm(talk.bob, second)
    _confirm(talk.bob, second)
    receipt = talk.phone.wait_message()
    assert receipt.from_uri == talk.to_bob
    assert (_opened(receipt).imdn_status, _opened(receipt).about) == ("delivered", "id-2")
    assert "<datetime>2026-05-04T03:02:01Z</datetime>" in receipt.text
    _confirm(talk.bob, first)
    assert _opened(talk.phone.wait_message()).about == "id-1"
    talk.hear_from_bob()
    assert len(talk.phone.messages) == 3, "each told once"


def test_nobody_is_asked_for_a_receipt_that_no_phone_wants(talk: Talk) -> None:
    assert talk.phone.message(talk.to_bob, "plain").status == 202
    assert talk.phone.message(talk.to_bob, _cpim("in an envelope", "id-1", "negative-delivery"), CPIM).status == 202
    plain, enveloped = talk.bob.wait_message(), talk.bob.wait_message()
    assert not _wants_receipt(plain)
    assert not _wants_receipt(enveloped)
    for message in (plain, enveloped):
        _confirm(talk.bob, message)
    talk.hear_from_bob()
    assert len(talk.phone.messages) == 1


def test_only_the_one_who_has_a_message_can_confirm_it(talk: Talk) -> None:
    assert talk.phone.message(talk.to_bob, _cpim("x", "id-1", "positive-delivery"), CPIM).status == 202
    message = talk.bob.wait_message()
    mallory = talk.stranger()
    _confirm(mallory, message)
    mallory.send(talk.to_alice, "hello")
    assert talk.phone.wait_message().text == "hello"
    _confirm(talk.bob, message)
    assert _opened(talk.phone.wait_message()).about == "id-1"


def _ask_receipt(talk: Talk, ident: str, text: str) -> None:
    request = f"<request xmlns='{RECEIPTS}'/>"
    talk.bob.send_xml(f"<message to='{talk.to_alice}' type='chat' id='{ident}'><body>{text}</body>{request}</message>")


def test_the_phone_confirms_what_the_xmpp_user_sent(talk: Talk) -> None:
    assert talk.phone.message(talk.to_bob, _cpim("I read CPIM"), CPIM).status == 202
    talk.bob.wait_message()
    _ask_receipt(talk, "b 1/ü", "did you get it?")
    message = talk.phone.wait_message()
    envelope = _opened(message)
    assert envelope.body == "did you get it?"
    assert envelope.headers["imdn.Disposition-Notification"] == "positive-delivery"
    assert envelope.about_body["Content-Type"].replace(" ", "") == "text/plain;charset=utf-8"
    assert envelope.headers["From"] == f"<{talk.to_bob}>"
    receipt = _receipt(envelope.headers["imdn.Message-ID"])
    assert talk.phone.message(talk.to_bob, receipt, CPIM).status == 202
    stanza = talk.bob.wait_any(lambda message: RECEIPTS in message.xml)
    received = ET.fromstring(stanza.xml).find(f"{{{RECEIPTS}}}received")
    assert received is not None
    assert (received.get("id"), stanza.from_bare) == ("b 1/ü", talk.to_alice)
    talk.hear_from_alice()
    assert len(talk.bob.messages) == 2, "a receipt is no message"


def test_a_receipt_of_failure_confirms_nothing(talk: Talk) -> None:
    assert talk.phone.message(talk.to_bob, _cpim("I read CPIM"), CPIM).status == 202
    talk.bob.wait_message()
    _ask_receipt(talk, "b-1", "did you get it?")
    message_id = _opened(talk.phone.wait_message()).headers["imdn.Message-ID"]
    assert talk.phone.message(talk.to_bob, _receipt(message_id, "failed"), CPIM).status == 202
    talk.hear_from_alice()
    assert not [message for message in talk.bob.all_messages if RECEIPTS in message.xml]


def test_a_phone_that_never_wrote_cpim(talk: Talk) -> None:
    """It gets plain text, and nothing is confirmed in its name."""
    assert talk.phone.message(talk.to_bob, "plain").status == 202
    _ask_receipt(talk, "b-1", "did you get it?")
    message = talk.phone.wait_message()
    assert (message.content_type, message.text) == ("text/plain", "did you get it?")
    talk.hear_from_alice()
    assert not [message for message in talk.bob.all_messages if RECEIPTS in message.xml]


def test_a_phone_that_does_not_read_cpim_any_more(talk: Talk) -> None:
    """RFC 3862 is for those that have said so; another phone of the same user may not."""
    assert talk.phone.message(talk.to_bob, _cpim("I read CPIM"), CPIM).status == 202
    talk.bob.wait_message()
    talk.phone.answer = (415, "Unsupported Media Type")
    _ask_receipt(talk, "b-1", "did you get it?")
    assert talk.phone.wait_message().content_type == CPIM
    refused = talk.phone.wait_message()
    assert (refused.content_type, refused.text) == ("text/plain", "did you get it?")
    assert _condition(talk.bob.wait_error()) == "not-acceptable"
    talk.phone.answer = (200, "OK")
    _ask_receipt(talk, "b-2", "and this?")
    assert talk.phone.wait_message().content_type == "text/plain"


# ---- Alice's other clients (XEP-0280)


def test_what_alice_writes_elsewhere_and_gets_elsewhere(talk: Talk) -> None:
    desk = talk.at_the_desk()
    desk.send(talk.bob.jid, "written at the desk")
    talk.bob.wait_message(lambda message: message.body == "written at the desk")
    copy = talk.phone.wait_message()
    assert (copy.text, copy.from_uri) == ("(sent by you) written at the desk", talk.to_bob)
    talk.bob.send(f"{talk.to_alice}/desk", "for the desk")
    desk.wait_message(lambda message: message.body == "for the desk")
    assert talk.phone.wait_message().text == "for the desk"
    talk.hear_from_bob()
    assert len(talk.phone.messages) == 3


def test_copies_that_the_phone_refuses(talk: Talk) -> None:
    """Another client has them, so nobody is told of an error."""
    desk = talk.at_the_desk()
    talk.phone.answer = DECLINE
    desk.send(talk.bob.jid, "written at the desk")
    talk.phone.wait_message()
    talk.bob.send(f"{talk.to_alice}/desk", "for the desk")
    talk.phone.wait_message()
    talk.hear_from_bob()
    talk.hear_from_alice()
    assert (talk.bob.errors, desk.errors) == ([], [])


def test_copies_of_own_messages_can_be_dropped(tmp_path: Path, prosody: Prosody) -> None:
    with Gateway(tmp_path, settings={"own_messages": "drop"}) as gateway:
        talk = _meet(gateway, prosody)
        desk = talk.at_the_desk()
        desk.send(talk.bob.jid, "written at the desk")
        talk.bob.wait_message()
        talk.hear_from_bob()
        assert len(talk.phone.messages) == 1


# ---- more than text


HTML = "<p>Hello <b>Bob</b>,</p><p>see <a href='https://example.org/?a=1&amp;b=2'>this</a> &lt;now&gt;</p>"
PLAIN = "Hello Bob,\nsee this <https://example.org/?a=1&b=2> <now>"


def test_html_of_a_phone_at_xmpp(talk: Talk) -> None:
    """XEP-0071 beside the plain text."""
    assert talk.phone.message(talk.to_bob, HTML, "text/html;charset=utf-8").status == 202
    message = talk.bob.wait_message()
    assert message.body == PLAIN
    html = ET.fromstring(message.xml).find("{http://jabber.org/protocol/xhtml-im}html")
    assert html is not None
    xhtml = "{http://www.w3.org/1999/xhtml}"
    link = html.find(f".//{xhtml}a")
    assert link is not None
    assert (link.get("href"), link.text) == ("https://example.org/?a=1&b=2", "this")
    bold = html.find(f".//{xhtml}span")
    assert bold is not None
    assert (bold.get("style", "").replace(" ", ""), bold.text) == ("font-weight:bold;", "Bob")


def test_html_of_a_phone_at_irc(irc_talk: IrcTalk) -> None:
    assert irc_talk.phone.message(irc_talk.to_bob, HTML, "text/html").status == 202
    lines = [irc_talk.bob.wait_message().text for _ in PLAIN.split("\n")]
    assert lines == PLAIN.split("\n")


def test_formatted_text_of_an_xmpp_user(talk: Talk) -> None:
    """The phone gets the text that came with it."""
    html = (
        "<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>{}</body></html>"
    )
    formatted = html.format("<p>I <strong>am</strong> here</p>")
    text = "<body>I *am* &lt;here&gt;\n  &amp; there</body>"
    talk.bob.send_xml(f"<message to='{talk.to_alice}' type='chat'>{text}{formatted}</message>")
    message = talk.phone.wait_message()
    assert (message.content_type, message.text) == ("text/plain", "I *am* <here>\n  & there")


def test_an_envelope_of_a_phone(talk: Talk) -> None:
    assert talk.phone.message(talk.to_bob, _cpim("<b>Grüße</b> & more\n"), CPIM).status == 202
    assert talk.bob.wait_message().body == "<b>Grüße</b> & more\n"
    body = _cpim("<b>bold</b> &amp; plain", content_type="text/html")
    assert talk.phone.message(talk.to_bob, body, CPIM).status == 202
    assert talk.bob.wait_message().body == "bold & plain"


def test_subject_and_language(talk: Talk) -> None:
    """RFC 7572 §4"""
    headers = {"Subject": "Tea & <biscuits>", "Content-Language": "en-GB, de"}
    assert talk.phone.message(talk.to_bob, "at five", headers=headers).status == 202
    stanza = ET.fromstring(talk.bob.wait_message().xml)
    assert stanza.findtext("{*}subject") == "Tea & <biscuits>"
    assert stanza.get("{http://www.w3.org/XML/1998/namespace}lang") == "en-GB"
    assert stanza.findtext("{*}body") == "at five"
    subject = "<subject>Thé &amp; gâteaux</subject>"
    talk.bob.send_xml(f"<message to='{talk.to_alice}' xml:lang='fr'>{subject}<body>à cinq heures</body></message>")
    message = talk.phone.wait_message()
    assert message.text == "à cinq heures"
    assert message.headers["Subject"] == "Thé & gâteaux"
    assert message.headers["Content-Language"] == "fr"


@pytest.mark.parametrize("content_type", ["image/png", "application/sdp", "multipart/mixed;boundary=x"])
def test_what_cannot_be_sent(talk: Talk, content_type: str) -> None:
    """RFC 3428 §7, RFC 3261 §21.4.13"""
    answer = talk.phone.message(talk.to_bob, "x", content_type)
    assert answer.status == 415
    accepted = {name.strip() for name in answer.headers["Accept"].split(",")}
    assert accepted == {"text/plain", "text/html", CPIM, COMPOSING, "message/imdn+xml"}
    talk.hear_from_alice()
    assert len(talk.bob.messages) == 1


def test_another_content_encoding_is_refused(talk: Talk) -> None:
    """RFC 3261 §20.12, §21.4.13"""
    answer = talk.phone.message(talk.to_bob, "x", headers=[("Content-Encoding", "br")])
    assert (answer.status, answer.headers["Accept-Encoding"]) == (415, "deflate, gzip")
    fields = [("Event", "presence"), ("Content-Type", "application/pidf+xml"), ("Content-Encoding", "deflate")]
    published = talk.phone.request("PUBLISH", talk.phone.aor, fields, b"x")
    assert (published.status, published.headers["Accept-Encoding"]) == (415, "identity")


# ---- questions


@pytest.mark.parametrize(("word", "type"), [("Yes", "subscribed"), ("no", "unsubscribed")])
def test_the_phone_answers_who_asks_to_see_its_presence(talk: Talk, word: str, type: str) -> None:
    talk.bob.subscribe(talk.to_alice)
    question = talk.phone.wait_message()
    assert question.from_uri == talk.to_bob
    assert "Answer yes or no" in question.text
    assert talk.phone.message(talk.to_bob, word).status == 202
    talk.bob.wait_presence(lambda presence: presence.type == type)
    talk.hear_from_alice("yes")
    assert [message.body for message in talk.bob.messages] == ["yes"], "the answer was no message"
