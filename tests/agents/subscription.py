"""Owns a subscription as the watcher's phone keeps it (RFC 6665 §4.1); the phone does the sending."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Protocol
from xml.etree import ElementTree as ET

from tests.agents.dialog import Dialog
from tests.agents.inbox import Inbox
from tests.agents.pidf import Presence, parse_notify
from tests.agents.sip import Headers, Request, Response, parameter

WATCHERINFO = "{urn:ietf:params:xml:ns:watcherinfo}"


class Sender(Protocol):
    """What the subscription needs of a phone."""

    def send_in_dialog(
        self, dialog: Dialog, method: str, headers: list[tuple[str, str]], body: bytes = b""
    ) -> Response: ...


@dataclass(frozen=True)
class Notify:
    """`state` is active, pending or terminated; `reason` and `expires` as the header has them; `at`: monotonic."""

    state: str
    reason: str | None
    expires: int | None
    headers: Headers
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def presence(self) -> Presence | None:
        """The presence document, or None for a NOTIFY without a body."""
        return parse_notify(self.body) if self.body else None

    @property
    def watchers(self) -> dict[str, str]:
        """Of a NOTIFY of presence.winfo (RFC 3858): status by URI; of one without a body nobody."""
        root = ET.fromstring(self.body) if self.body else ET.Element("nobody")
        return {(one.text or "").strip(): one.get("status", "") for one in root.iter(f"{WATCHERINFO}watcher")}


class Subscription:
    """`response` is the last answer to a SUBSCRIBE; a refused one has no NOTIFY and no dialog."""

    understands: ClassVar[list[tuple[str, str]]] = [("Accept", "application/pidf+xml")]

    def __init__(self, sender: Sender, dialog: Dialog, event: str, expires: int) -> None:
        self.dialog = dialog
        self.event = event
        self.expires = expires
        self.response: Response | None = None
        self.terminated = False
        self._sender = sender
        self._inbox: Inbox[Notify] = Inbox(f"NOTIFY of {dialog.remote_uri}", source=lambda _: "")

    @property
    def notifies(self) -> list[Notify]:
        """Every NOTIFY received, in order."""
        return self._inbox.items

    @property
    def status(self) -> int:
        """The status of the last answer to a SUBSCRIBE, 0 before one came."""
        return self.response.status if self.response else 0

    def subscribe(self, expires: int) -> Response:
        """Send a SUBSCRIBE, the first or a further one, asking for `expires` seconds."""
        headers = [("Event", self.event), ("Expires", str(expires)), *self.understands]
        response = self._sender.send_in_dialog(self.dialog, "SUBSCRIBE", headers)
        self.response = response
        if 200 <= response.status < 300:
            self.dialog.confirm_by_response(response)
        return response

    def refresh(self, expires: int | None = None) -> Response:
        """RFC 6665 §4.1.2.2; default: the time asked for at first."""
        return self.subscribe(self.expires if expires is None else expires)

    def unsubscribe(self) -> Response:
        """RFC 6665 §4.1.2.3: a SUBSCRIBE with Expires 0; a last NOTIFY follows."""
        return self.subscribe(0)

    def wait_notify(self, predicate: Callable[[Notify], bool] | None = None, timeout: float = 30.0) -> Notify:
        """The first matching NOTIFY later than the one given last; AssertionError after `timeout` seconds."""
        return self._inbox.wait(predicate, timeout)

    def forget(self) -> None:
        """wait_notify gives only what comes from now on."""
        self._inbox.forget()

    def receive(self, request: Request) -> tuple[int, str]:
        """Take a NOTIFY of this dialog; returns the answer to it. Called by the phone's reading thread."""
        if self.terminated:
            return 481, "Subscription does not exist"
        if not self.dialog.accept_cseq(int(request.headers["CSeq"].split()[0])):
            return 500, "CSeq out of order"
        self.dialog.confirm_by_request(request)
        notify = _read(request)
        self.terminated = notify.state == "terminated"
        self._inbox.put(notify)
        return 200, "OK"


def _read(request: Request) -> Notify:
    value = request.headers.get("Subscription-State")
    expires = parameter(value, "expires")
    return Notify(
        state=value.partition(";")[0].strip().lower(),
        reason=parameter(value, "reason"),
        expires=int(expires) if expires else None,
        headers=request.headers,
        body=request.body,
    )
