"""Owns receipts (IMDN, RFC 5438): what a message asks for, and the documents; must not know who sends them when."""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement

from purple_bridge.bodies import xml
from purple_bridge.bodies.cpim import IMDN, Cpim
from purple_bridge.errors import BadRequest

MEDIA_TYPE = "message/imdn+xml"

POSITIVE_DELIVERY = "positive-delivery"
NEGATIVE_DELIVERY = "negative-delivery"
PROCESSING = "processing"
DISPLAY = "display"
WANTS = frozenset({POSITIVE_DELIVERY, NEGATIVE_DELIVERY, PROCESSING, DISPLAY})
"""What can be asked for (§6.2)."""

# §11.1: which status a notification may tell.
STATUSES = {
    "delivery-notification": ("delivered", "failed", "forbidden", "error"),
    "processing-notification": ("processed", "stored", "forbidden", "error"),
    "display-notification": ("displayed", "forbidden", "error"),
}

MAX_MESSAGE_ID = 1000
"""Characters of a Message-ID."""

_NAMESPACE = "urn:ietf:params:xml:ns:imdn"
_MESSAGE_ID = re.compile(rf"[^\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff\ufffe\uffff]{{1,{MAX_MESSAGE_ID}}}")


# --- what a message asks for --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """``message_id``: by which a receipt names the message, ``""`` without one. ``wants``: a part of ``WANTS``.

    ``date_time``: when it was written, as the message says it; a receipt repeats it (§11.1).
    """

    message_id: str = ""
    wants: frozenset[str] = frozenset()
    date_time: str = ""


def request_of(message: Cpim) -> Request:
    """What the headers ask for. §6.3: a request without a Message-ID cannot be answered, so it is none.

    A Message-ID with white space or of more than ``MAX_MESSAGE_ID`` characters is none. Raises nothing.
    """
    message_id = message.value("Message-ID", IMDN)
    if not _MESSAGE_ID.fullmatch(message_id):
        return Request()
    values = message.value("Disposition-Notification", IMDN).split(",")
    names = {value.partition(";")[0].strip().lower() for value in values}  # §6.2: each may have parameters
    return Request(message_id, WANTS & names, message.value("DateTime"))


# --- receipts -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of the message ``message_id``. ``status``: of ``STATUSES[kind]``.

    ``recipient``: the URI of who received the message, ``""`` where it is not told.
    """

    message_id: str
    status: str
    recipient: str = ""
    kind: str = "delivery-notification"


def parse(body: bytes, charset: str | None = None) -> Receipt:
    """What a receipt tells (§11). ``charset``: the Content-Type parameter. Raises BadRequest for what is none."""
    root = xml.root_of(body, _tag("imdn"), charset)
    message_id = xml.text_of(root, _tag("message-id"))
    if not _MESSAGE_ID.fullmatch(message_id):
        raise BadRequest("a receipt needs the message-id of a message")
    kind, status = _told(root)
    return Receipt(message_id, status, xml.text_of(root, _tag("recipient-uri")), kind)


def _tag(name: str) -> str:
    return f"{{{_NAMESPACE}}}{name}"


def _told(root: Element) -> tuple[str, str]:
    """(kind, status). Extensions may stand beside a status, and are not read."""
    for kind, statuses in STATUSES.items():
        for status in statuses:
            if root.find(f"{_tag(kind)}/{_tag('status')}/{_tag(status)}") is not None:
                return kind, status
    raise BadRequest("a receipt needs a notification with a status of RFC 5438")


def build(
    message_id: str,
    date_time: str,
    recipient_uri: str,
    original_recipient_uri: str,
    status: str,
    kind: str = "delivery-notification",
) -> bytes:
    """A receipt (§11.1). ``date_time``: of the message it is about (RFC 3339). ``recipient_uri``: who received it.

    Its Content-Disposition is "notification" (§7.2.1). Raises ValueError for a status that is none of the kind,
    BadRequest for characters XML cannot carry.
    """
    if status not in STATUSES[kind]:
        raise ValueError(f"{status!r} is no status of a {kind}")
    root = Element("imdn", {"xmlns": _NAMESPACE})
    SubElement(root, "message-id").text = message_id
    SubElement(root, "datetime").text = date_time
    SubElement(root, "recipient-uri").text = recipient_uri
    SubElement(root, "original-recipient-uri").text = original_recipient_uri
    SubElement(SubElement(SubElement(root, kind), "status"), status)
    return xml.document(root)
