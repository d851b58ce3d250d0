"""Owns what a phone's MESSAGE says: text, a typing notice or a receipt; must not know who sent it to whom."""

from __future__ import annotations

import binascii
from dataclasses import dataclass

import msgspec

from purple_bridge.bodies import composing, content, cpim, imdn, markup
from purple_bridge.bodies.content import ContentType
from purple_bridge.bodies.cpim import Cpim
from purple_bridge.bodies.imdn import Receipt
from purple_bridge.errors import BadRequest, UnsupportedBody

__all__ = ["Receipt", "Said", "Text", "Typing", "read"]


class Text(msgspec.Struct, frozen=True):  # made for each message: a dataclass takes ten times as long
    """``html``: safe markup (``markup.from_html``) of a text/html message, else "".

    ``message_id``, ``wants``, ``date_time``: as in ``imdn.Request``. ``cpim``: it came in a CPIM envelope, so
    the phone understands those.
    """

    text: str
    html: str = ""
    message_id: str = ""
    wants: frozenset[str] = frozenset()
    cpim: bool = False
    date_time: str = ""


@dataclass(frozen=True, slots=True)
class Typing:
    """``refresh``: seconds after which ``active`` is over, if not said again (RFC 3994 §3.3)."""

    active: bool
    refresh: int = composing.DEFAULT_REFRESH


Said = Text | Typing | Receipt

# RFC 3862 §4, RFC 5438 §6: what a Require header may name.
_UNDERSTOOD = {
    cpim.CORE: {"From", "To", "cc", "DateTime", "Subject", "NS", "Require"},
    cpim.IMDN: {"Disposition-Notification", "Message-ID", "Original-To", "IMDN-Record-Route", "IMDN-Route"},
}


def read(content_type: str | None, body: bytes) -> Said:
    """What a MESSAGE (RFC 3428 §4) says. Default charset UTF-8; without Content-Type it is text/plain.

    Raises BodyTooLarge (413), UnsupportedBody (415, send ``content.ACCEPTED`` along) or BadRequest (400: empty,
    not decodable, not well-formed, or with control characters that no IM network can carry).
    """
    content.check_size(body)
    parsed = _parsed(content_type)
    if parsed.media_type == cpim.MEDIA_TYPE:
        return _unwrapped(cpim.parse(body))
    return _plainly(parsed, body)


def _parsed(content_type: str | None) -> ContentType:
    return content.parse_content_type(content_type) if content_type else content.PLAIN


def _plainly(parsed: ContentType, body: bytes) -> Said:
    """What a body says without an envelope, or in one.

    RFC 5438 §7.2.1 wants receipts in envelopes; Linphone sends them without, for messages that had none.
    """
    charset = parsed.parameters.get("charset")
    match parsed.media_type:
        case "text/plain":
            return Text(_checked(content.decode(body, charset or "utf-8")))
        case "text/html":
            html, text = markup.from_html(content.decode(body, charset or "utf-8"))
            return Text(_checked(text), html)
        case composing.MEDIA_TYPE:
            notice = composing.parse(body, charset)
            return Typing(notice.active, notice.refresh)
        case imdn.MEDIA_TYPE:
            return imdn.parse(body, charset)
        case other:
            raise UnsupportedBody(f"{other} cannot be sent; send {', '.join(content.ACCEPTED)}")


def _checked(text: str) -> str:
    content.check_text(text)
    return text


def _unwrapped(message: Cpim) -> Said:
    _check_required(message)
    parsed, body = _parsed(message.content_type), _decoded(message)
    content.check_size(body)
    said = _plainly(parsed, body)
    if not isinstance(said, Text):
        return said
    request = imdn.request_of(message)
    return msgspec.structs.replace(
        said, message_id=request.message_id, wants=request.wants, date_time=request.date_time, cpim=True
    )


def _check_required(message: Cpim) -> None:
    """RFC 3862 §3.5: a message whose required headers are not understood is not understood."""
    for namespace, name in message.required():
        if name not in _UNDERSTOOD.get(namespace, ()):
            raise BadRequest(f"the CPIM header {name[:60]!a} is required, but not understood here")


def _decoded(message: Cpim) -> bytes:
    """The body without its transfer encoding (RFC 2045 §6)."""
    encoding = message.content_header("Content-Transfer-Encoding").lower()
    if encoding in {"", "7bit", "8bit", "binary"}:
        return message.body
    if encoding == "quoted-printable":
        return binascii.a2b_qp(message.body)
    if encoding != "base64":
        raise UnsupportedBody(f"the transfer encoding {encoding[:40]!a} is not understood; send 8bit")
    try:
        return binascii.a2b_base64(message.body)
    except binascii.Error:
        raise BadRequest("the body is not base64") from None
