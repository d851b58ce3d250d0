"""XMPP's <message/>: owns what is read from one and written into one; knows neither signals nor connections.

RFC 6121 §5, XEP-0085 (chat states), XEP-0184 (receipts), XEP-0203 (delay), XEP-0280 (carbons).
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from . import xmlnode
from .protocol import OutgoingMessage
from .xmlnode import attribute

CLIENT = b"jabber:client"
STANZAS = b"urn:ietf:params:xml:ns:xmpp-stanzas"
CARBONS = b"urn:xmpp:carbons:2"
CHAT_STATES = b"http://jabber.org/protocol/chatstates"
DELAY = b"urn:xmpp:delay"
FORWARD = b"urn:xmpp:forward:0"
RECEIPTS = b"urn:xmpp:receipts"

LONGEST_THREAD = 256  # characters; RFC 6121 §5.2.5 recommends a UUID, which has 36

LAST_SECOND = 1 << 37  # some thousand years from now: a year of five digits could not be written any more

# everything but Char of XML 1.0 §2.2: a server closes the stream of who sends one
NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# RFC 6120 §8.3.3: the error type that goes with each condition, where it is not "cancel"
ERROR_TYPES = {
    "bad-request": "modify",
    "forbidden": "auth",
    "jid-malformed": "modify",
    "not-acceptable": "modify",
    "not-authorized": "auth",
    "policy-violation": "modify",
    "recipient-unavailable": "wait",
    "redirect": "modify",
    "registration-required": "auth",
    "remote-server-timeout": "wait",
    "resource-constraint": "wait",
    "subscription-required": "auth",
    "unexpected-request": "wait",
}
CANCELLING = {
    "conflict",
    "feature-not-implemented",
    "gone",
    "internal-server-error",
    "item-not-found",
    "not-allowed",
    "remote-server-not-found",
    "service-unavailable",
    "undefined-condition",
}


# RFC 6120 §8.3.3.5, §8.3.3.14: their character data is the new address
MOVED = {"gone", "redirect"}

_ACTIVE = f"<active xmlns='{CHAT_STATES.decode()}'/>"
_REQUEST = f"<request xmlns='{RECEIPTS.decode()}'/>"


@dataclass(frozen=True, slots=True)
class Peer:
    """What a contact's last text said of him: the thread that an answer belongs to (RFC 6121 §5.2.5), and whether
    he has chat states: who answers without one is told no more of them (XEP-0085 §5.1)."""

    thread: str = ""
    knows_states: bool = True


@dataclass(slots=True)  # not frozen, which would take twice the time to make
class Message:
    """What a received <message/> says, beyond what libpurple tells of it.

    ``text``: None without <body/>; ``receipt``: the id that a <received/> is about; ``chat_state``: its name;
    ``sent_at``: Unix seconds, 0 if not delayed; ``thread``: "" for one that is too long to be given back.
    """

    ident: str
    sender: str
    recipient: str
    text: str | None
    subject: str
    language: str
    wants_receipt: bool
    receipt: str
    chat_state: str
    sent_at: int
    thread: str


def read(node: int) -> Message:
    """One pass over the children; of each kind the first counts, but see ``_best`` and ``_thread``."""
    found: dict[tuple[bytes, bytes], int] = {}
    bodies, threads, chat_state = [], [], b""
    for namespace, name, child in xmlnode.children(node):
        found.setdefault((namespace, name), child)
        if name == b"body" and namespace == CLIENT:
            bodies.append(child)
        elif name == b"thread" and namespace == CLIENT:
            threads.append(child)
        elif namespace == CHAT_STATES:
            chat_state = name
    body = _best(bodies)
    ident = attribute(node, b"id")
    subject, receipt = found.get((CLIENT, b"subject")), found.get((RECEIPTS, b"received"))
    return Message(
        ident=ident,
        sender=attribute(node, b"from"),
        recipient=attribute(node, b"to"),
        text=xmlnode.text_of(body) if body else None,
        subject=xmlnode.text_of(subject) if subject else "",
        language=(xmlnode.language_of(body) if body else "") or xmlnode.language_of(node),
        wants_receipt=bool(ident) and (RECEIPTS, b"request") in found,
        receipt=attribute(receipt, b"id") if receipt else "",
        chat_state=chat_state.decode(),
        sent_at=_stamp(found.get((DELAY, b"delay"))),
        thread=_thread(threads),
    )


def _thread(found: list[int]) -> str:
    """The first; one that is too long is taken out of the <message/>, so that libpurple does not know it either.

    It is kept for each contact and stands in each answer, and a server ends the stream of who sends it too much.
    """
    texts = []
    for thread in found:
        text = xmlnode.text_of(thread)
        if len(text) > LONGEST_THREAD:
            xmlnode.free(thread)
        else:
            texts.append(text)
    return texts[0] if texts else ""


def _best(bodies: list[int]) -> int | None:
    """RFC 6121 §5.2.3: several differ in xml:lang; the one without is the writer's default."""
    if len(bodies) > 1:
        return next((body for body in bodies if not xmlnode.language_of(body)), bodies[0])
    return bodies[0] if bodies else None


def _stamp(delay: int | None) -> int:
    """XEP-0203 with the time of XEP-0082; one that cannot be read is none."""
    return unix_time(attribute(delay, b"stamp")) if delay else 0


def unix_time(text: str) -> int:
    """Unix seconds of a time as XEP-0082 writes it; 0: it is none, or one that no clock has shown."""
    try:
        stamp = datetime.fromisoformat(text)
    except ValueError:
        return 0
    seconds = int((stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)).timestamp())
    return seconds if 0 < seconds < LAST_SECOND else 0


def carbon(node: int) -> tuple[bytes, int] | None:
    """XEP-0280: (``sent`` or ``received``, the <message/> that is copied), or None."""
    for namespace, name, copy in xmlnode.children(node):
        if namespace == CARBONS and name in (b"sent", b"received"):
            forwarded = xmlnode.child(copy, FORWARD, b"forwarded")
            message = forwarded and xmlnode.child(forwarded, CLIENT, b"message")
            return (name, message) if message else None
    return None


def error(node: int) -> tuple[str, str]:
    """RFC 6120 §8.3.2: (condition, text) of a stanza of type error.

    Where the contact has moved, its new address is in angle brackets at the end of the text.
    """
    condition, text, address = "undefined-condition", "", ""
    parent = xmlnode.child(node, CLIENT, b"error")
    for namespace, name, child in xmlnode.children(parent) if parent else ():
        if namespace == STANZAS and name == b"text":
            text = text or xmlnode.text_of(child)
        elif namespace == STANZAS:
            condition = name.decode()
            address = xmlnode.text_of(child).strip() if condition in MOVED else ""
    return condition, f"{text} <{address}>".lstrip() if address else text


def stanza(message: OutgoingMessage, peer: Peer) -> bytes:
    """The whole <message/> of a plain text, as libpurple would write it, with what libpurple does not know."""
    ident = f" id='{message.ident}'" if message.ident else ""
    language = f" xml:lang='{html.escape(message.language)}'" if message.language else ""
    parts = [f"<message type='chat'{ident} to='{html.escape(message.who)}'{language}>"]
    if peer.thread:
        parts.append(f"<thread>{html.escape(peer.thread, quote=False)}</thread>")
    if peer.knows_states:
        parts.append(_ACTIVE)
    if message.subject:
        parts.append(f"<subject>{html.escape(message.subject, quote=False)}</subject>")
    parts.append(f"<body>{html.escape(message.text, quote=False)}</body>")
    if message.wants_receipt:
        parts.append(_REQUEST)
    parts.append("</message>")
    return "".join(parts).encode()


def amend(node: int, message: OutgoingMessage) -> None:
    """Put what libpurple does not know into the <message/> that it made."""
    if message.ident:
        xmlnode.set_attribute(node, b"id", message.ident)
    if message.language:
        xmlnode.set_attribute(node, b"xml:lang", message.language)
    if message.text:
        _replace_body(node, message.text)
    if message.subject:
        xmlnode.add(node, b"subject", text=message.subject)
    if message.wants_receipt:
        xmlnode.add(node, b"request", RECEIPTS)


def _replace_body(node: int, text: str) -> None:
    old = xmlnode.child(node, None, b"body")
    if old:
        xmlnode.free(old)
    xmlnode.add(node, b"body", text=text)


def receipt(who: str, ident: str) -> int:
    """XEP-0184 §5.3: a new <message/> that says that ``ident`` arrived."""
    node = xmlnode.new(b"message", to=who, type="chat")
    xmlnode.add(node, b"received", RECEIPTS, id=ident)
    return node


def bounce(who: str, ident: str, condition: str, text: str, address: str = "") -> int:
    """RFC 6120 §8.3: a new <message/> of type error about the message ``ident``; an unknown condition is undefined.

    ``address``: a URI, the new address of who has moved.
    """
    known = condition if condition in CANCELLING or condition in ERROR_TYPES else "undefined-condition"
    node = xmlnode.new(b"message", to=who, type="error")
    if ident:
        xmlnode.set_attribute(node, b"id", ident)
    parent = xmlnode.add(node, b"error", type=ERROR_TYPES.get(known, "cancel"))
    xmlnode.add(parent, known.encode(), STANZAS, NOT_XML.sub("\ufffd", address) if known in MOVED else "")
    if text:
        xmlnode.add(parent, b"text", STANZAS, NOT_XML.sub("\ufffd", text))
    return node


def is_out_of_date(name: bytes, node: int, is_ours: re.Pattern[str]) -> bool:
    """Whether a stanza written on a stream that is gone should not be written again on the next one.

    Presence without ``to`` is sent anew by every log-in; a chat state is of the moment; messages with an id that
    ``is_ours`` the application sends again. Subscriptions, receipts, errors and queries still hold.
    """
    if name == b"presence":
        return not attribute(node, b"to")
    if name != b"message":
        return False
    if is_ours.fullmatch(attribute(node, b"id")):
        return True
    inside = list(xmlnode.children(node))
    return any(kind == CHAT_STATES for kind, _, _ in inside) and not any(tag == b"body" for _, tag, _ in inside)
