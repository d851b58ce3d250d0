"""The SIP request that Kamailio handles now, read through KSR; must not know what the gateway does with it."""

from __future__ import annotations

import binascii
from functools import lru_cache
from typing import Any

import msgspec

from purple_bridge.addresses import SipAddress
from purple_bridge.errors import BodyTooLarge

DEFAULT_EXPIRES = 3600  # RFC 3903 §4.1 leaves it to the server; RFC 3856 §6.4: 3600 s for a subscription
LOCATION = "location"  # usrloc's table, as every kamailio.cfg calls it
_LONGEST_KEPT = 256  # characters of a URI that is remembered: who sends it chooses it
MAX_NOT_UTF_8 = 65_535 // 4 * 3  # octets of a body in another charset

# what a MESSAGE is asked for: one call of Kamailio's `$_s`, which writes all into one text, costs as much as each
_MESSAGE = ("$ci", "$cs", "$ft", "$cT", "$hdr(Content-Encoding)", "$hdr(Expires)", "$hdr(Subject)", "$hdrc(Subject)",
            "$hdr(Content-Language)")  # fmt: skip
_BETWEEN = "\x1f"
_MESSAGE_AT_ONCE = f"$_s({_BETWEEN.join(_MESSAGE)})"
_NULL = "<null>"  # how `$_s` writes what is not there
_WAY = f"$_s({_BETWEEN.join(('$pr', '$si', '$sp', '$Ri:$Rp'))})"


class MessageHeaders(msgspec.Struct, frozen=True):
    """Of a MESSAGE; "" for what it has not. In the order of ``_MESSAGE``."""

    call_id: str
    cseq: str
    from_tag: str
    content_type: str
    content_encoding: str
    expires: str
    subject: str
    language: str


class Request:
    """One object for all requests of a process, which come one after the other: each look asks Kamailio."""

    def __init__(self, ksr: Any) -> None:
        self._ksr = ksr

    def text(self, variable: str) -> str:
        """A pseudo-variable's value, empty where there is none. Raises UnicodeDecodeError."""
        value = self._ksr.pv.get(variable)
        return "" if value is None else str(value)

    def for_log(self, variable: str) -> str:
        """``text``, or ? for what is not UTF-8."""
        try:
            return self.text(variable)
        except UnicodeDecodeError:
            return "?"

    def has(self, variable: str) -> bool:
        """Whether the pseudo-variable has a value, and not an empty one."""
        return bool(self._ksr.pv.get(variable))

    def set_uri(self, uri: str) -> None:
        """Rewrite the request URI."""
        self._ksr.pv.sets("$ru", uri)

    def event(self) -> str:
        """The event package, without parameters (RFC 6665 §8.2.1)."""
        return self.text("$hdr(Event)").partition(";")[0].strip().lower()

    def expires(self) -> int:
        """Seconds, DEFAULT_EXPIRES for a header that is missing or cannot be read."""
        return expires_of(self.text("$hdr(Expires)"), DEFAULT_EXPIRES)

    def body(self) -> bytes:
        """The body's octets: KEMI hands over text, so what is not UTF-8 comes as base64.

        Raises BodyTooLarge: what a transformation makes has at most 65,535 octets, and of three it makes four.
        """
        try:
            return self.text("$rb").encode()
        except UnicodeDecodeError:
            encoded = self.text("$(rb{s.encode.base64})")
        if not encoded:
            raise BodyTooLarge(f"more than {MAX_NOT_UTF_8} octets can be sent as UTF-8 only")
        return binascii.a2b_base64(encoded)

    def message_headers(self) -> MessageHeaders:
        """A value with the sign that parts them, and what is too long for one text, is read again by itself."""
        values = self.text(_MESSAGE_AT_ONCE).split(_BETWEEN)
        if len(values) != len(_MESSAGE):
            values = [self.text(name) for name in _MESSAGE]
        there = values.pop(_MESSAGE.index("$hdrc(Subject)")) != "0"
        texts = ["" if value == _NULL else value for value in values]
        if there and not texts[6]:
            texts[6] = self.text("$hdr(Subject)")  # its text is "<null>"
        return MessageHeaders(*texts)

    def way(self) -> str:
        """From where it came, and to which listener, as ``way_of`` writes it."""
        return self.text(_WAY)

    def listener(self) -> str:
        """Address and port of the listener that it came to."""
        return f"{self.text('$Ri')}:{self.text('$Rp')}"

    def bindings(self, uri: str) -> list[tuple[int, int]]:
        """When each contact of the user in LOCATION registered last, and when it expires; Unix seconds."""
        registrar = self._ksr.registrar
        if registrar.reg_fetch_contacts(LOCATION, uri, "purple") < 0:
            return []
        places = range(int(self.text("$ulc(purple=>count)") or 0))
        modified = [int(self.text(f"$(ulc(purple=>modified)[{place}])")) for place in places]
        expires = [int(self.text(f"$(ulc(purple=>expires)[{place}])")) for place in places]
        registrar.reg_free_contacts("purple")
        return list(zip(modified, expires, strict=True))

    def add_to_reply(self, header: str) -> None:
        """``header``: one line, without its end; for the reply that is sent next."""
        self._ksr.hdr.append_to_reply(f"{header}\r\n")

    def reply(self, status: int, reason: str) -> None:
        """Answer it."""
        self._ksr.sl.send_reply(status, reason)


def way_of(protocol: str, host: str, port: int, listener: str) -> str:
    """A way that ``Request.way`` can say. ``listener``: ADDRESS:PORT."""
    return _BETWEEN.join((protocol, host, str(port), listener))


def expires_of(value: str, default: int) -> int:
    """RFC 3261 §20.19: seconds; for a value that is missing or cannot be read the default counts."""
    value = value.strip()
    return min(int(value), 2**31) if value.isascii() and value.isdigit() else default


def parsed(uri: str) -> SipAddress:
    """``SipAddress.parse``, remembered for a URI of a usual length. Raises BadRequest."""
    return (_parsed if len(uri) <= _LONGEST_KEPT else SipAddress.parse)(uri)


@lru_cache(maxsize=65536)
def _parsed(uri: str) -> SipAddress:
    return SipAddress.parse(uri)
