"""Owns one visit of a reader: who it is and what he may do; knows no page."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from purple_bridge.web.http import HTML, Request, Response
from purple_bridge.web.pages import Pages
from purple_bridge.web.sessions import Session


@dataclass(frozen=True, slots=True)
class Visit:
    """A request with its reader. ``admin``: he sees and changes all. ``token``: for his forms."""

    request: Request
    session: Session
    admin: bool
    token: str
    pages: Pages
    now: float = field(default_factory=time.time)

    @property
    def user(self) -> str:
        """``SipAddress.key``; empty before the log-in."""
        return self.session.user

    def may_see(self, sip_user: str) -> bool:
        """What belongs to this SIP user (``SipAddress.key``)."""
        return self.admin or sip_user == self.user

    def page(self, template: str, *, status: int = 200, here: str = "", **values: Any) -> Response:
        """``here``: which of the pages in the bar it belongs to."""
        known = {"user": self.user, "admin": self.admin, "token": self.token, "here": here, "now": self.now}
        return Response(status, self.pages.html(template, **known, **values), HTML)
