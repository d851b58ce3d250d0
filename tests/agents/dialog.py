"""Owns the state of a SIP dialog seen from the side that began it (RFC 3261 §12); does no I/O."""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, field

from tests.agents.sip import Request, Response, parameter, uri_of


def new_token() -> str:
    """For tags, branches and Call-IDs: at least 32 random bits (RFC 3261 §19.3)."""
    return secrets.token_hex(8)


@dataclass
class Dialog:
    """Before the first answer it describes an out-of-dialog request: no remote tag, no route set.

    Whoever sends a request holds `sending` until its final response, so CSeq numbers go out in order.
    """

    local_uri: str
    remote_uri: str
    remote_target: str
    call_id: str = field(default_factory=new_token)
    local_tag: str = field(default_factory=new_token)
    remote_tag: str | None = None
    route_set: list[str] = field(default_factory=list)
    local_cseq: int = 0
    remote_cseq: int = 0
    sending: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def established(self) -> bool:
        return self.remote_tag is not None

    @property
    def next_hop(self) -> str | None:
        """The URI that says where the next request goes, or None: to the outbound proxy (RFC 3261 §8.1.2)."""
        if self.route_set:
            return uri_of(self.route_set[0])
        return self.remote_target if self.established else None

    def next_headers(self, method: str) -> list[tuple[str, str]]:
        """The headers that identify the next request of the dialog; counts its CSeq (§12.2.1.1)."""
        self.local_cseq += 1
        to_tag = f";tag={self.remote_tag}" if self.remote_tag else ""
        return [
            *(("Route", route) for route in self.route_set),
            ("From", f"<{self.local_uri}>;tag={self.local_tag}"),
            ("To", f"<{self.remote_uri}>{to_tag}"),
            ("Call-ID", self.call_id),
            ("CSeq", f"{self.local_cseq} {method}"),
        ]

    def confirm_by_response(self, response: Response) -> None:
        """A 2xx: Record-Route is read backwards (§12.1.2); later ones refresh the target only (§12.2.1.2)."""
        routes = response.headers.values("Record-Route")[::-1]
        self._confirm(response.headers.get("To"), response.headers.get("Contact"), routes)

    def confirm_by_request(self, request: Request) -> None:
        """A NOTIFY may arrive before the 2xx and creates the dialog as well (RFC 6665 §4.4.1)."""
        routes = request.headers.values("Record-Route")
        self._confirm(request.headers.get("From"), request.headers.get("Contact"), routes)

    def accept_cseq(self, cseq: int) -> bool:
        """False for a request older than the last one (RFC 3261 §12.2.2)."""
        if cseq <= self.remote_cseq:
            return False
        self.remote_cseq = cseq
        return True

    def _confirm(self, remote: str, contact: str, routes: list[str]) -> None:
        if not self.established:
            self.remote_tag = parameter(remote, "tag")
            self.route_set = routes
        if contact:
            self.remote_target = uri_of(contact)
