"""Owns what a MESSAGE body may be: its Content-Type, charset and size; must not know who sends it.

Text comes out as ``str``; markup, CPIM and typing notices are other modules' concern.
"""

from __future__ import annotations

import encodings
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from encodings.aliases import aliases
from functools import lru_cache
from types import MappingProxyType

from purple_bridge.errors import BadRequest, BodyTooLarge, UnsupportedEncoding

ACCEPTED = ("text/plain", "text/html", "message/cpim", "message/imdn+xml", "application/im-iscomposing+xml")
"""Media types a MESSAGE may have: the Accept header of a 415 (RFC 3261 §21.4.13)."""

ENCODINGS = ("deflate", "gzip")
"""Content codings a MESSAGE may have (RFC 3261 §20.12, RFC 9110 §8.4.1)."""

MAX_BODY = 64_000
"""Octets. With its headers such a request still fits into the 65,535 octets of Kamailio's buffer and of a datagram."""

# RFC 2045 §5.1: a "token" is any printable ASCII character but space and tspecials.
_NAME = r"[!#$%&'*+.^_`{|}~0-9A-Za-z-]+"
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_TYPE = re.compile(rf"\s*({_NAME})\s*/\s*({_NAME})\s*")
_PARAMETER = re.compile(rf";\s*(?:({_NAME})\s*=\s*({_NAME}|{_QUOTED})\s*)?")

# Names without an alias in Python. "idna", "punycode", "unicode_escape" and the like are codecs of Python
# but no charsets, and some of them take quadratic time: not listed, so not accepted.
_CHARSETS = frozenset(aliases) | frozenset(aliases.values()) | {
    "cp1006", "cp720", "cp737", "cp856", "cp874", "cp875", "koi8_t", "koi8_u",
    "mac_arabic", "mac_croatian", "mac_farsi", "mac_romanian", "utf_8_sig",
}  # fmt: skip

# XML 1.0 §2.2 and IRC alike have no way to write these.
_UNCARRIABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class ContentType:
    """A parsed Content-Type. ``type``, ``subtype`` and parameter names are lower case; values are as sent."""

    type: str
    subtype: str
    parameters: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def media_type(self) -> str:
        """``text/plain``, without parameters."""
        return f"{self.type}/{self.subtype}"


PLAIN = ContentType("text", "plain")
"""What a MESSAGE without Content-Type is."""


@lru_cache(maxsize=64)
def parse_content_type(value: str) -> ContentType:
    """A Content-Type value (RFC 3261 §20.15, RFC 2045 §5.1). Of a repeated parameter the first counts.

    Raises BadRequest for what is none.
    """
    head = _TYPE.match(value)
    if not head:
        raise BadRequest(f"not a Content-Type: {value[:60]!a}")
    parameters: dict[str, str] = {}
    at = head.end()
    while at < len(value):
        parameter = _PARAMETER.match(value, at)
        if not parameter:
            raise BadRequest(f"not a Content-Type parameter: {value[at : at + 60]!a}")
        if parameter[1]:
            parameters.setdefault(parameter[1].lower(), _unquoted(parameter[2]))
        at = parameter.end()
    return ContentType(head[1].lower(), head[2].lower(), MappingProxyType(parameters))


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


def decode(body: bytes, charset: str) -> str:
    """Octets to text by the charset parameter's name, without a byte order mark.

    Raises BadRequest for an unknown charset and for octets that are none of its text.
    """
    codec = _codec(charset)
    if codec not in _CHARSETS:
        raise BadRequest(f"unknown charset {charset[:40]!a}; send UTF-8")
    try:
        return body.decode(codec).removeprefix("\ufeff")
    except (UnicodeError, LookupError):
        raise BadRequest(f"the body is not {charset[:40]!a} text") from None


@lru_cache(maxsize=64)
def _codec(charset: str) -> str:
    return encodings.normalize_encoding(charset).lower() if charset.isascii() else ""


def decompressed(body: bytes, encoding: str) -> bytes:
    """The body without its Content-Encoding, at most ``MAX_BODY`` octets of it, however small it came.

    Raises UnsupportedEncoding (415) for another coding, BodyTooLarge, and BadRequest for what is not compressed so.
    """
    coding = encoding.strip().lower().removeprefix("x-")
    if coding in ("", "identity"):
        return body
    if coding not in ENCODINGS:
        raise UnsupportedEncoding(f"the Content-Encoding {encoding[:40]!a} is not understood")
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 32)  # zlib.h: a zlib or a gzip header
    try:
        plain = decoder.decompress(body, MAX_BODY + 1)
    except zlib.error:
        raise BadRequest(f"the body is not {coding}") from None
    if len(plain) > MAX_BODY:
        raise BodyTooLarge(f"the body has more than {MAX_BODY} octets")
    if not decoder.eof:
        raise BadRequest(f"the body is not {coding}")
    return plain


def check_size(body: bytes) -> None:
    """Raises BadRequest for a body that is empty, BodyTooLarge above ``MAX_BODY`` octets."""
    if not body:
        raise BadRequest("a MESSAGE needs a body")
    if len(body) > MAX_BODY:
        raise BodyTooLarge(f"the body has {len(body)} octets; at most {MAX_BODY} can be sent")


def check_text(text: str) -> None:
    """Raises BadRequest for a text that is empty, or has control characters that no IM network can carry."""
    if not text:
        raise BadRequest("a MESSAGE needs a body")
    if bad := _UNCARRIABLE.search(text):
        raise BadRequest(f"the control character U+{ord(bad[0]):04X} cannot be sent in a message")
