"""Owns how a message for a phone is written; must not know which phone, nor what else is in the request."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from urllib.parse import quote, unquote

from purple_bridge.bodies import cpim, imdn
from purple_bridge.bodies.cpim import Cpim

TEXT_TYPE = "text/plain;charset=utf-8"

_IM_PREFIX = "im-"
_CALL_ID = re.compile(r"[^.]+\.(?P<message_id>im-.+)@[^@]+")
_LONGEST_IN_CALL_ID = 100

# What tells each status; forbidden and error are said of the delivery.
_KIND = {
    status: kind
    for kind, statuses in reversed(imdn.STATUSES.items())  # delivery last, so that it wins
    for status in statuses
}


def text_body(text: str) -> tuple[str, bytes]:
    """(Content-Type, body). Raises UnicodeEncodeError for lone surrogates."""
    return TEXT_TYPE, text.encode()


def message_id_of_ident(ident: str) -> str:
    """The Message-ID (RFC 5438 §6.3, a token of RFC 3862 §3.6) for an IM network's own id of a message.

    "" for no id, and for one so long that a receipt for it would not be read.
    """
    message_id = _IM_PREFIX + quote(ident, safe="", errors="replace")
    return message_id if ident and len(message_id) <= imdn.MAX_MESSAGE_ID else ""


def ident_of_message_id(message_id: str) -> str:
    """The IM network's own id that ``message_id_of_ident`` made a Message-ID of; "" for any other Message-ID.

    Also of a Call-ID that ``call_id`` made: phones that know no CPIM name messages by it in their receipts.
    """
    if call_id := _CALL_ID.fullmatch(message_id):
        message_id = call_id["message_id"]
    return unquote(message_id.removeprefix(_IM_PREFIX)) if message_id.startswith(_IM_PREFIX) else ""


def call_id(unique: str, message_id: str = "") -> str:
    """A Call-ID, from which ``ident_of_message_id`` gets the IM network's id again. ``unique``: without a dot."""
    short = 0 < len(message_id) <= _LONGEST_IN_CALL_ID
    return f"{unique}.{message_id}@purple" if short else f"{unique}@purple"


def cpim_message(
    sender_uri: str, recipient_uri: str, text: str, written_at: int, message_id: str = "", wants: Iterable[str] = ()
) -> tuple[str, bytes]:
    """(Content-Type, body): a text in an envelope (RFC 3862). ``written_at``: Unix seconds.

    ``wants``: the receipts asked for, of ``imdn.WANTS``; without a ``message_id`` none is asked for (RFC 5438 §6.3).
    Raises BadRequest for control characters in a URI or the id.
    """
    headers = _headers(sender_uri, recipient_uri, written_at)
    if message_id:
        headers += _message_id(message_id)
    if message_id and (asked := sorted(wants)):
        headers.append(("imdn.Disposition-Notification", ", ".join(asked)))
    content_type, body = text_body(text)
    return cpim.MEDIA_TYPE, cpim.build(Cpim(tuple(headers), content_type, body))


def imdn_message(
    sender_uri: str,
    recipient_uri: str,
    message_id: str,
    about_message_id: str,
    status: str,
    now: int,
    about_date_time: str = "",
) -> tuple[str, bytes]:
    """(Content-Type, body): the receipt ``message_id`` for the message ``about_message_id``.

    RFC 5438 §7.2.1: in an envelope, with a Message-ID and DateTime of its own, and without a request: no receipt
    is sent for a receipt. ``sender_uri``: who received the message. ``status``: of ``imdn.STATUSES``.
    ``now``: Unix seconds. ``about_date_time``: the message's own DateTime; without one it is ``now``.
    Raises KeyError for another status, BadRequest for control characters in what the envelope names.
    """
    headers = (*_headers(sender_uri, recipient_uri, now), *_message_id(message_id))
    written = about_date_time or _date_time(now)
    body = imdn.build(about_message_id, written, sender_uri, sender_uri, status, _KIND[status])
    disposition = (("Content-Disposition", "notification"),)
    return cpim.MEDIA_TYPE, cpim.build(Cpim(headers, imdn.MEDIA_TYPE, body, disposition))


def _headers(sender_uri: str, recipient_uri: str, seconds: int) -> list[tuple[str, str]]:
    return [("From", f"<{sender_uri}>"), ("To", f"<{recipient_uri}>"), ("DateTime", _date_time(seconds))]


def _message_id(message_id: str) -> list[tuple[str, str]]:
    return [("NS", f"imdn <{cpim.IMDN}>"), ("imdn.Message-ID", message_id)]


def _date_time(seconds: int) -> str:
    """RFC 3862 §4.4: RFC 3339, here in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
