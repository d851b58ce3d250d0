"""Owns the envelope of messages, CPIM (RFC 3862), read and written; must not know what a header or a body means.

Strict in what is written. In what is read, a line may end with LF alone and any header may be missing: phones do so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from purple_bridge.bodies import content
from purple_bridge.errors import BadRequest

MEDIA_TYPE = "message/cpim"

CORE = "urn:ietf:params:cpim-headers:"
"""The namespace of headers without a prefix (§3.4)."""
IMDN = "urn:ietf:params:imdn"
"""RFC 5438 §6.1. Phones that use its prefix ``imdn`` without declaring it are understood."""

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Cpim:
    """``headers``: names as written, with their prefix; values with escapes decoded, without parameters.

    ``content_type``: of the body, ``""`` if it is not told. ``content_headers``: what else is told of the body.
    """

    headers: Headers
    content_type: str
    body: bytes
    content_headers: Headers = ()

    def value(self, name: str, namespace: str = CORE) -> str:
        """The first header of this name, without white space around it; "" if there is none."""
        wanted = (namespace, name)
        return next((value.strip() for scope, key, value in self._scoped() if _resolved(key, scope) == wanted), "")

    def required(self) -> list[tuple[str, str]]:
        """(namespace, name) of the headers without which the message must not be understood (§3.5, §4.7)."""
        requires = ((scope, value) for scope, name, value in self._scoped() if name == "Require")
        return [
            _resolved(name.strip(), scope) for scope, value in requires for name in value.split(",") if name.strip()
        ]

    def content_header(self, name: str) -> str:
        """A header of the body; RFC 2045: without regard to case. "" if there is none."""
        return next((value for key, value in self.content_headers if key.lower() == name.lower()), "")

    def _scoped(self) -> Iterator[tuple[dict[str, str], str, str]]:
        """(namespaces by prefix, name, value). §3.4: a prefix means what the last NS header before it says."""
        scope = {"": CORE, "imdn": IMDN}
        for name, value in self.headers:
            yield scope, name, value
            if name == "NS" and (declared := _DECLARATION.fullmatch(value)):
                scope = scope | {declared[1] or "": declared[2]}


def _resolved(name: str, scope: dict[str, str]) -> tuple[str, str]:
    """(namespace, name); the namespace of an unknown prefix is ""."""
    prefix, _, local = name.rpartition(".")
    return scope.get(prefix, ""), local


# --- syntax -------------------------------------------------------------------------------------------------

# §3.6, rules "Header-name" and "Parameter"
_NAME = r"[!#-'*+^_`|~A-Za-z0-9-]+"
_HEADER_NAME = re.compile(rf"(?:{_NAME}\.)?{_NAME}")
_PARAMETERS = rf"""(?:;{_NAME}=(?:"(?:[^"\\]|\\.)*"|[^";\s]*))*"""
_HEADER = re.compile(rf"({_HEADER_NAME.pattern}):{_PARAMETERS} ?(.*)")
_DECLARATION = re.compile(rf"\s*({_NAME})?\s*<([^<>\s]+)>\s*")
# §2.3; two of "\u" can be a surrogate pair
_ESCAPE = re.compile(r"""(?:\\u[0-9A-Fa-f]{4})+|\\[btnr"'\\]""")
_ESCAPED = {r"\b": "\b", r"\t": "\t", r"\n": "\n", r"\r": "\r", r"\"": '"', r"\'": "'", r"\\": "\\"}

# RFC 5322 §2.2 and §2.2.3, for the headers of the body only
_MIME_NAME = re.compile(r"[!-9;-~]++")
_MIME_HEADER = re.compile(rf"({_MIME_NAME.pattern})[ \t]*+:[ \t]*+(.*)")
_FOLD = re.compile(r"\r?\n(?=[ \t])")

_END_OF_HEADERS = re.compile(rb"(?:\A|\r?\n)\r?\n")
_LINE_END = re.compile(r"\r?\n")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


# --- reading ------------------------------------------------------------------------------------------------


def parse(body: bytes) -> Cpim:
    """A message in its envelope (§2), in which nothing but lines and names is checked.

    Raises BadRequest for what has not that form, BodyTooLarge above ``content.MAX_BODY`` octets.
    """
    content.check_size(body)
    head, rest = _parted(body)
    about_body, inner = _parted(rest)
    content_headers = [_mime_header(line) for line in _lines(_FOLD.sub("", about_body))]
    types = [value for name, value in content_headers if name.lower() == "content-type"]
    others = tuple(header for header in content_headers if header[0].lower() != "content-type")
    return Cpim(tuple(map(_header, _lines(head))), types[0] if types else "", inner, others)


def _parted(octets: bytes) -> tuple[str, bytes]:
    """Header lines, and what comes after the empty line that ends them."""
    end = _END_OF_HEADERS.search(octets)
    if not end:
        raise BadRequest("a CPIM message needs an empty line after its headers and another before its body")
    try:
        return octets[: end.start()].decode(), octets[end.end() :]
    except UnicodeDecodeError:
        raise BadRequest("the headers of a CPIM message are UTF-8") from None


def _lines(head: str) -> list[str]:
    return _LINE_END.split(head) if head else []


def _header(line: str) -> tuple[str, str]:
    header = _HEADER.fullmatch(line)
    if not header or _CONTROL.search(line):
        raise BadRequest("a line in front of a CPIM message is no header")
    return header[1], _ESCAPE.sub(_unescaped, header[2])


def _unescaped(escape: re.Match[str]) -> str:
    text = escape[0]
    if text in _ESCAPED:
        return _ESCAPED[text]
    units = bytes.fromhex(text.replace(r"\u", ""))
    return units.decode("utf-16-be", errors="replace")


def _mime_header(line: str) -> tuple[str, str]:
    header = _MIME_HEADER.fullmatch(line)
    if not header or _CONTROL.search(line.replace("\t", " ")):
        raise BadRequest("a line in front of a CPIM message's body is no header")
    return header[1], header[2].strip()


# --- writing ------------------------------------------------------------------------------------------------


def build(message: Cpim) -> bytes:
    """The octets of a message. ``parse`` gives it back.

    Raises BadRequest for a name that is none, and for control characters in a value.
    """
    headers = [_line(_HEADER_NAME, name, value.replace("\\", "\\\\")) for name, value in message.headers]
    about_body = (("Content-Type", message.content_type),) if message.content_type else ()
    about = [_line(_MIME_NAME, name, value) for name, value in (*about_body, *message.content_headers)]
    return "\r\n".join([*headers, "", *about, "", ""]).encode() + message.body


def _line(names: re.Pattern[str], name: str, value: str) -> str:
    if not names.fullmatch(name):
        raise BadRequest(f"not a header name: {name[:60]!a}")
    if _UNWRITABLE.search(value):
        raise BadRequest(f"control character in the CPIM header {name}")
    return f"{name}: {value}"
