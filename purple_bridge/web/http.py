"""Owns HTTP requests and answers as values, and what is refused before a page sees it; does no I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qsl, unquote

MAX_BODY = 65_536  # octets
MAX_FIELDS = 2_000  # of one form
FORM_TYPE = "application/x-www-form-urlencoded"
HTML, JSON, TEXT = "text/html; charset=utf-8", "application/json", "text/plain; charset=utf-8"

REASONS = {
    200: "OK",
    303: "See Other",
    304: "Not Modified",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    411: "Length Required",
    413: "Payload Too Large",
    415: "Unsupported Media Type",
    421: "Misdirected Request",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}

# nothing but our own files runs, and no other site can frame a page, guess a type or learn an address of ours;
# not `no-referrer`: browsers then send `Origin: null` with our own forms as well
SECURITY_HEADERS = (
    (
        "Content-Security-Policy",
        "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
NO_STORE = ("Cache-Control", "no-store")

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")


class Refused(Exception):
    """An answer other than success, in words for whoever reads the page."""

    def __init__(self, status: int, words: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(words)
        self.status, self.words, self.headers = status, words, tuple(headers)


@dataclass(frozen=True, slots=True)
class Raw:
    """A request as it came: ``target`` is the request URI, header names are in lower case.

    ``address``: whose connection it is. ``secure``: it came over TLS.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: str = ""
    address: str = ""
    secure: bool = False


Fields = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Request:
    """A request that can be read. ``query`` and ``form``: name -> its values in their order."""

    method: str
    path: str
    query: Fields
    headers: Mapping[str, str]
    form: Fields = field(default_factory=dict)
    address: str = ""
    secure: bool = False

    @classmethod
    def parse(cls, raw: Raw) -> Self:
        """Raises Refused: 400 for what cannot be read, 411, 413, 415 for a body that is not taken."""
        path, _, query = _without_host(raw.target).partition("?")
        form = _form(raw) if raw.method == "POST" else {}
        return cls(raw.method, _path(path), _fields(query), raw.headers, form, raw.address, raw.secure)

    @property
    def host(self) -> str:
        """The name in Host without the port, in lower case; empty for none that can be read (RFC 9112 §3.2)."""
        match = _HOST.fullmatch(self.headers.get("host", ""))
        return match[1].lower() if match else ""

    def asked(self, name: str) -> str:
        """A value of the query, empty for none."""
        return self.query.get(name, ("",))[-1]

    def given(self, name: str) -> str:
        """A value of the form, empty for none."""
        return self.form.get(name, ("",))[-1]

    @property
    def was_passed_on(self) -> bool:
        """By a proxy, which may be on this machine while its client is not (RFC 7239)."""
        return any(name in self.headers for name in ("forwarded", "x-forwarded-for"))

    def cookie(self, name: str) -> str:
        """Its value, empty for none (RFC 6265 §5.4)."""
        pairs = (pair.strip().partition("=") for pair in self.headers.get("cookie", "").split(";"))
        return next((value.strip('"') for key, equals, value in pairs if equals and key == name), "")

    def is_from_elsewhere(self) -> bool:
        """Another site made the browser send this: what a browser says itself, where it says it."""
        origin, host = self.headers.get("origin"), self.headers.get("host", "")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            return True
        return self.headers.get("sec-fetch-site", "none") not in ("same-origin", "none")


def _without_host(target: str) -> str:
    """RFC 9112 §3.2.2: a request target may be absolute."""
    return re.sub(r"^https?://[^/]*", "", target, flags=re.IGNORECASE) or "/"


def _path(text: str) -> str:
    try:
        path = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise Refused(400, "The address of the page is not UTF-8.") from None
    if not path.startswith("/") or _CONTROL.search(path):
        raise Refused(400, "The address of the page cannot be read.")
    return path


def _form(raw: Raw) -> Fields:
    if "transfer-encoding" in raw.headers:
        raise Refused(411, "The form must be sent with its length.")
    length = raw.headers.get("content-length", "0").strip()
    if not length.isascii() or not length.isdigit():
        raise Refused(400, "Content-Length is no number.")
    if max(int(length[:9]), len(raw.body)) > MAX_BODY:
        raise Refused(413, f"The form is too large: {MAX_BODY} octets at most.")
    if raw.headers.get("content-type", FORM_TYPE).partition(";")[0].strip().lower() != FORM_TYPE:
        raise Refused(415, f"A form is sent as {FORM_TYPE}.")
    return _fields(raw.body)


def _fields(text: str) -> Fields:
    found: dict[str, list[str]] = {}
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:  # UnicodeDecodeError is one
        raise Refused(400, "The form cannot be read.") from None
    for name, value in pairs:
        if _CONTROL.search(name + value):
            raise Refused(400, "The form has a control character in it.")
        found.setdefault(name, []).append(value)
    return {name: tuple(values) for name, values in found.items()}


@dataclass(frozen=True, slots=True)
class Response:
    """``headers``: beside the ones that every answer has."""

    status: int
    body: str = ""
    media_type: str = HTML
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def reason(self) -> str:
        return REASONS[self.status]

    def all_headers(self) -> list[tuple[str, str]]:
        """What goes out beside Content-Type and Content-Length."""
        own = [*SECURITY_HEADERS, *self.headers]
        return own if any(name == NO_STORE[0] for name, _ in own) else [*own, NO_STORE]


def see_other(path: str, *headers: tuple[str, str]) -> Response:
    """After a form: the browser gets the page that shows what became of it, and a reload repeats nothing."""
    return Response(303, "", HTML, (("Location", path), *headers))
