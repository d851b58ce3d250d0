"""Owns every header line the gateway sends, so that none can be injected; must not know who sends them.

CR and LF in a value given to Kamailio's tm go out on the wire as they are: here is where they stop.
URIs and header values with control characters are refused; display names, which people choose, are cleaned.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from purple_bridge.addresses import SipAddress
from purple_bridge.errors import BadRequest

MAX_DISPLAY = 100
"""Characters of a display name; a longer one is cut."""

# RFC 3261 §25.1, rule "token".
_TOKEN = re.compile(r"[A-Za-z0-9.!%*_+`'~-]+")
# RFC 3261 §25.1: a URI is visible ASCII; RFC 3986 §2: without angle brackets and quotes, which end it.
_URI = re.compile(r"""sips?:[!#-;=?-~]+""", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# Unicode general categories: controls, formats (bidi overrides, zero width), surrogates.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs"})

Parameters = Iterable[tuple[str, str | None]]


def header_block(pairs: Iterable[tuple[str, str]]) -> str:
    """Header lines, each ended with CRLF (RFC 3261 §7.3.1), in the order given; ``""`` for no pairs.

    Raises BadRequest for a name that is no token and for a value with control characters.
    """
    given = list(pairs)
    if _CONTROL.search("".join([value for _name, value in given])):  # one search for all of them
        for name, value in given:
            _value(name, value)
    return "".join([f"{_name(name)}: {value}\r\n" for name, value in given])


@lru_cache(maxsize=256)
def _name(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise BadRequest(f"not a header name: {name[:60]!a}")
    return name


def _value(name: str, value: str) -> str:
    if _CONTROL.search(value):
        raise BadRequest(f"control character in the header {name}")
    return value


def name_addr(address: SipAddress | str, display: str | None = None, params: Parameters = ()) -> str:
    """``"Al" <sip:alice@example.org>;tag=1`` (RFC 3261 §25.1): always with brackets, always quoted.

    A parameter with the value None is a flag. Raises BadRequest for a URI or parameter that is none.
    """
    uri = address.gruu if isinstance(address, SipAddress) else address
    name = clean_display(display) if display else ""
    shown = f"{_quoted(name)} " if name else ""
    return f"{shown}{_bracketed(uri)}" + "".join([_parameter(name, value) for name, value in params])


@lru_cache(maxsize=4096)
def _bracketed(uri: str) -> str:
    if not _URI.fullmatch(uri):
        raise BadRequest(f"not a SIP address: {uri[:60]!a}")
    return f"<{uri}>"


def clean_display(text: str) -> str:
    """One line of visible text of at most ``MAX_DISPLAY`` characters.

    White space is folded; controls, bidi controls and zero-width characters, with which a name could
    imitate another, are removed.
    """
    if not text:
        return ""
    folded = " ".join(text.split())
    visible = "".join(char for char in folded if unicodedata.category(char) not in _INVISIBLE)
    return " ".join(visible.split())[:MAX_DISPLAY].rstrip()


def _quoted(text: str) -> str:
    """RFC 3261 §25.1, rule "quoted-string"."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _parameter(name: str, value: str | None) -> str:
    if value is None:
        return f";{_name(name)}"
    return f";{_name(name)}={value if _TOKEN.fullmatch(value) else _quoted(_value(name, value))}"
