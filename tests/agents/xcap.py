"""Owns an XCAP client for tests (RFC 4825): one HTTP request each call, with digest; knows no document."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

from tests.agents.sip import challenge

TIMEOUT = 10.0
POLICY, RULES = "urn:ietf:params:xml:ns:common-policy", "urn:ietf:params:xml:ns:pres-rules"


def rules_document(*rules: tuple[str, str]) -> str:
    """RFC 5025: for each (SIP URI, handling) one rule; handling is allow, block, polite-block or confirm."""
    written = "".join(
        f'<rule id="r{place}"><conditions><identity><one id={quoteattr(uri)}/></identity></conditions>'
        f"<actions><pr:sub-handling>{handling}</pr:sub-handling></actions><transformations/></rule>"
        for place, (uri, handling) in enumerate(rules)
    )
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    return f'{head}<ruleset xmlns="{POLICY}" xmlns:pr="{RULES}">{written}</ruleset>'


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def etag(self) -> str:
        """As it was sent, in quotes; empty without one."""
        return self.headers.get("etag", "")

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0]


class XcapClient:
    """A user with a password; without one a challenge is what it gets."""

    def __init__(self, user: str, password: str, server: tuple[str, int]) -> None:
        self.user, self._password, self._server = user, password, server

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, headers)

    def put(self, path: str, body: bytes | str, media_type: str = "application/xml", **headers: str) -> Answer:
        return self.request("PUT", path, {"Content-Type": media_type, **headers}, body)

    def delete(self, path: str, **headers: str) -> Answer:
        return self.request("DELETE", path, headers)

    def request(self, method: str, path: str, headers: Mapping[str, str], body: bytes | str | None = None) -> Answer:
        """``path`` below the XCAP root, or absolute; header names may be written with ``_`` for ``-``."""
        uri = path if path.startswith(("/", "http:")) else f"/xcap-root/{path}"
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        octets = body.encode() if isinstance(body, str) else body
        answer = self._once(method, uri, fields, octets)
        found = challenge([answer.headers.get("www-authenticate", "")]) if answer.status == 401 else None
        if found is None or not self._password:
            return answer
        credentials = found.answer(self.user, self._password, method, uri)
        return self._once(method, uri, {**fields, "Authorization": credentials}, octets)

    def _once(self, method: str, uri: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        connection = http.client.HTTPConnection(*self._server, timeout=TIMEOUT)
        try:
            connection.request(method, uri, body, dict(headers))
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())
        finally:
            connection.close()
