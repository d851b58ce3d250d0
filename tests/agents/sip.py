"""Owns SIP's text format (RFC 3261 §7, §25) and digest (RFC 7616); does no I/O."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

COMPACT = {  # RFC 3261 §7.3.3, RFC 6665 §8.4
    "v": "Via",
    "f": "From",
    "t": "To",
    "i": "Call-ID",
    "m": "Contact",
    "c": "Content-Type",
    "l": "Content-Length",
    "o": "Event",
    "u": "Allow-Events",
    "s": "Subject",
    "e": "Content-Encoding",
    "k": "Supported",
}


class Headers:
    """Header fields in order; names are case-insensitive, compact names are understood."""

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self._fields = [(COMPACT.get(name.lower(), name), value) for name, value in fields]

    def get(self, name: str, default: str = "") -> str:
        """The first value of `name`."""
        values = self.get_all(name)
        return values[0] if values else default

    def get_all(self, name: str) -> list[str]:
        """Every header line called `name`, unsplit."""
        return [value for key, value in self._fields if key.lower() == name.lower()]

    def values(self, name: str) -> list[str]:
        """Every value of `name`, with comma-separated lists taken apart (RFC 3261 §7.3.1)."""
        return [part for line in self.get_all(name) for part in split_list(line)]

    def items(self) -> list[tuple[str, str]]:
        return list(self._fields)

    def __getitem__(self, name: str) -> str:
        values = self.get_all(name)
        if not values:
            raise KeyError(name)
        return values[0]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.get_all(name))

    def __iter__(self) -> Iterator[str]:
        return iter([name for name, _ in self._fields])

    def __repr__(self) -> str:
        return f"Headers({self._fields!r})"


@dataclass(frozen=True)
class Request:
    method: str
    uri: str
    headers: Headers
    body: bytes = b""

    def encode(self) -> bytes:
        return _encode(f"{self.method} {self.uri} SIP/2.0", self.headers, self.body)


@dataclass(frozen=True)
class Response:
    status: int
    reason: str
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""

    def encode(self) -> bytes:
        return _encode(f"SIP/2.0 {self.status} {self.reason}", self.headers, self.body)


def parse(data: bytes) -> Request | Response:
    """One whole SIP message. Raises ValueError for anything else."""
    head, separator, rest = data.partition(b"\r\n\r\n")
    if not separator:
        raise ValueError("no empty line after the headers")
    first, *lines = re.sub(r"\r\n[ \t]+", " ", head.decode("utf-8", "replace")).split("\r\n")
    headers = Headers(_header(line) for line in lines)
    body = rest[: int(headers.get("Content-Length", str(len(rest))))]
    if first.startswith("SIP/2.0 "):
        _, status, reason = (first + " ").split(" ", 2)
        return Response(int(status), reason.strip(), headers, body)
    method, uri, version = first.split(" ")
    if version != "SIP/2.0":
        raise ValueError(f"not SIP/2.0: {first!r}")
    return Request(method, uri, headers, body)


def split_stream(buffer: bytearray) -> list[bytes]:
    """Take all complete messages off the front of `buffer` (RFC 3261 §18.3)."""
    messages: list[bytes] = []
    while True:
        while buffer.startswith(b"\r\n"):  # keep-alive, RFC 5626 §4.4.1
            del buffer[:2]
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return messages
        length = re.search(rb"\r\n(?:Content-Length|l)[ \t]*:[ \t]*(\d+)", buffer[:end], re.IGNORECASE)
        total = end + 4 + (int(length[1]) if length else 0)
        if len(buffer) < total:
            return messages
        messages.append(bytes(buffer[:total]))
        del buffer[:total]


def split_list(value: str) -> list[str]:
    """Split at the commas that are neither in quotes nor in angle brackets."""
    parts = re.findall(r'(?:"(?:\\.|[^"\\])*"|<[^>]*>|[^,"<])+', value)
    return [part.strip() for part in parts if part.strip()]


def uri_of(value: str) -> str:
    """The URI of a From, To, Contact or Route value (RFC 3261 §20.10)."""
    bracketed = re.search(r"<([^>]*)>", re.sub(r'"(?:\\.|[^"\\])*"', "", value))
    return bracketed[1] if bracketed else value.partition(";")[0].strip()


def parameter(value: str, name: str) -> str | None:
    """A header parameter, such as a tag or a branch, not one of the URI in angle brackets."""
    outside = re.sub(r'"(?:\\.|[^"\\])*"|<[^>]*>', "", value)
    found = re.search(rf";\s*{name}\s*(?:=\s*([^;,\s]*))?\s*(?=;|,|$)", outside, re.IGNORECASE)
    return (found[1] or "") if found else None


def host_port(uri: str, default_port: int = 5060) -> tuple[str, int]:
    """Host and port of a SIP URI; parameters and user part are left out."""
    found = re.match(r"(?i)sips?:(?:[^@]*@)?([^:;?>]+)(?::(\d+))?", uri)
    if not found:
        raise ValueError(f"not a SIP URI: {uri!r}")
    return found[1], int(found[2] or default_port)


def user_host(uri: str) -> tuple[str, str]:
    """User part and host of an address of record such as sip:alice@example.org."""
    user, _, host = uri.partition(":")[2].rpartition("@")
    return user, re.split(r"[:;?]", host)[0]


@dataclass(frozen=True)
class Digest:
    """A challenge of a WWW-Authenticate or Proxy-Authenticate header (RFC 7616 §3.3)."""

    realm: str
    nonce: str
    qop: str
    algorithm: str
    opaque: str
    stale: bool

    def answer(self, username: str, password: str, method: str, uri: str) -> str:
        """The value of the Authorization header for one request (RFC 7616 §3.4), with MD5."""
        return self.answer_by(username, ha1(username, self.realm, password), method, uri)

    def answer_by(self, username: str, ha1: str, method: str, uri: str) -> str:
        """The same with H(A1) of whatever it was made."""
        cnonce, count = secrets.token_hex(8), "00000001"
        ha2 = _md5(f"{method}:{uri}")
        middle = f"{self.nonce}:{count}:{cnonce}:auth" if self.qop else self.nonce
        parts = [
            f'Digest username="{username}", realm="{self.realm}", nonce="{self.nonce}", uri="{uri}"',
            f'response="{_md5(f"{ha1}:{middle}:{ha2}")}", algorithm=MD5',
        ]
        parts += [f'qop=auth, nc={count}, cnonce="{cnonce}"'] if self.qop else []
        parts += [f'opaque="{self.opaque}"'] if self.opaque else []
        return ", ".join(parts)


def ha1(username: str, realm: str, password: str) -> str:
    """H(A1) of RFC 7616 §3.4.2, with MD5."""
    return _md5(f"{username}:{realm}:{password}")


def challenge(values: Iterable[str]) -> Digest | None:
    """The first challenge among the header values that MD5 and qop=auth (or none) can answer."""
    for value in values:
        found = _parse_challenge(value)
        if found and found.algorithm.upper() == "MD5" and (not found.qop or "auth" in found.qop.split(",")):
            return found
    return None


def _parse_challenge(value: str) -> Digest | None:
    scheme, _, rest = value.strip().partition(" ")
    if scheme.lower() != "digest":
        return None
    pairs = re.findall(r'(\w+)\s*=\s*(?:"((?:\\.|[^"\\])*)"|([^\s,]+))', rest)
    found = {name.lower(): quoted or plain for name, quoted, plain in pairs}
    return Digest(
        realm=found.get("realm", ""),
        nonce=found.get("nonce", ""),
        qop=found.get("qop", "").replace(" ", ""),
        algorithm=found.get("algorithm", "MD5"),
        opaque=found.get("opaque", ""),
        stale=found.get("stale", "").lower() == "true",
    )


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _header(line: str) -> tuple[str, str]:
    name, separator, value = line.partition(":")
    if not separator:
        raise ValueError(f"not a header: {line!r}")
    return name.strip(), value.strip()


def _encode(first_line: str, headers: Headers, body: bytes) -> bytes:
    lines = [first_line, *(f"{name}: {value}" for name, value in headers.items())]
    lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body
