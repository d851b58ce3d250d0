"""Owns the web page's HTTP: what a request of Kamailio's xhttp says, and how the answer leaves. Knows no page."""

from __future__ import annotations

import ipaddress
import re
import socket

import KSR  # type: ignore[import-not-found]  # exists inside Kamailio only

from purple_bridge.live import LiveSettings
from purple_bridge.web.http import MAX_BODY, Raw
from purple_bridge.web.site import Site

# all that a page looks at
HEADERS = (
    *("Host", "Cookie", "Origin", "Sec-Fetch-Site", "Authorization"),
    *("Forwarded", "X-Forwarded-For"),
    *("Content-Type", "Content-Length", "Transfer-Encoding"),
)


class WebServer:
    """Answers what comes to the listener of ``purple.web``; made before Kamailio forks."""

    def __init__(self, live: LiveSettings) -> None:
        """``live``: what counts now; of it only ``web_admins`` changes at run time."""
        settings = live.now
        self._listeners, self._port = _addresses(settings.web), settings.web.rpartition(":")[2]
        self._site = Site(settings, lambda: _admins(live), _database_answers) if settings.web else None

    def is_here(self) -> bool:
        """The request came to the web page's listener."""
        if self._site is None or _text("$Rp") != self._port:  # that is all that a phone's message costs here
            return False
        return _address(_text("$Ri"), self._port) in self._listeners

    def handle(self) -> None:
        """Answer the HTTP request. Raises nothing but what is an error of Kamailio."""
        if self._site is None:
            return
        try:
            raw = _request()
        except UnicodeDecodeError:
            raw = Raw("GET", "%ff", {"host": "localhost"})  # what cannot be read, either
        response = self._site.answer(raw, _is_ours)
        if _wants_close(raw):
            KSR.set_reply_close()
        for name, value in response.all_headers():
            KSR.hdr.append_to_reply(f"{name}: {value}\r\n")
        KSR.xhttp.xhttp_reply(response.status, response.reason, response.media_type, response.body)


def _admins(live: LiveSettings) -> frozenset[str]:
    live.look()
    return live.now.web_admins


def _database_answers() -> bool:
    return bool(KSR.purple.database_answers(0) > 0)


def _request() -> Raw:
    """Raises UnicodeDecodeError."""
    headers = {name.lower(): value for name in HEADERS if (value := _text(f"$hdr({name})"))}
    length = headers.get("content-length", "0")
    readable = "transfer-encoding" not in headers and (not length.isdigit() or int(length[:9]) <= MAX_BODY)
    return Raw(
        method=_text("$rm"),
        target=_text("$hu"),
        headers=headers,
        body=_text("$rb") if readable else "",
        address=_text("$si"),
        secure=_text("$pr").lower() in ("tls", "wss"),
    )


def _wants_close(raw: Raw) -> bool:
    """What follows a body that was not read cannot be told from it."""
    return "close" in _text("$hdr(Connection)").lower() or "transfer-encoding" in raw.headers


def _is_ours(name: str) -> bool:
    """A domain of this server; ``name`` has no character that a SIP URI could not have."""
    return bool(re.fullmatch(r"[a-z0-9.-]+", name)) and KSR.is_myself(f"sip:{name}") > 0


def _addresses(listener: str) -> set[tuple[str, int]]:
    """What ``purple.web`` names, which may be a name with several addresses."""
    host, _, port = listener.removeprefix("tls:").removeprefix("tcp:").rpartition(":")
    if not host:
        return set()
    found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    return {_address(str(each[4][0]), port) for each in found}


def _address(host: str, port: str) -> tuple[str, int]:
    try:
        return ipaddress.ip_address(host.strip("[]")).compressed, int(port)
    except ValueError:
        return host, 0


def _text(pseudo_variable: str) -> str:
    """Its value, empty if it has none."""
    return str(KSR.pv.gete(pseudo_variable))
