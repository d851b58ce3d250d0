"""The gateway as a watcher of a SIP user in the name of an IM contact: owns one dialog (RFC 6665, RFC 3856).

Knows neither accounts nor what follows from the user's decision.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable

from purple_bridge.addresses import OWN_CALL_ID, SipAddress
from purple_bridge.errors import BadRequest
from purple_bridge.libpurple import glib
from purple_bridge.sip_headers import name_addr
from purple_bridge.worker.uac import Request, UserAgentClient

logger = logging.getLogger(__name__)

EXPIRES = 3600  # seconds, RFC 8048 §5.2.1, RFC 3856 §6.4
REFRESH = EXPIRES - 300  # sufficiently in advance (RFC 8048 §5.2.2)
AGAIN = 30.0
LAST_NOTIFY = 40.0  # RFC 3261, timer F and some more: how long the server may try to tell the end
REFUSALS = (403, 489, 603)  # RFC 8048 §5.2.2; 423 and 481 say nothing about the authorization

Told = Callable[[str], None]


class SipWatch:
    """``told(state)``: ``active``, ``pending`` or ``rejected``; may come several times."""

    def __init__(self, client: UserAgentClient, contact: SipAddress, user: SipAddress, told: Told) -> None:
        self._client, self._contact, self._user, self._told = client, contact, user, told
        self._call_id, self._tag = "", ""
        self._remote_tag, self._target = "", ""
        self._cseq = 0
        self._timer = 0
        self._ended = False
        self._over = False  # the server has ended this dialog

    def start(self) -> None:
        """SUBSCRIBE; the NOTIFY that follows tells what the user's presence rules say."""
        if self._call_id:
            self._client.forget(self._call_id)
        self._call_id, self._tag = f"{secrets.token_hex(12)}{OWN_CALL_ID}", secrets.token_hex(8)
        self._remote_tag, self._target, self._cseq = "", f"{self._user.uri};proto=purple", 0
        self._over = False
        self._client.expect(self._call_id, self._notified)
        self._subscribe(EXPIRES, self._answered)

    def decided(self) -> None:
        """``told`` is not called any more."""
        self._ended = True
        self._stop_timer()

    def end(self) -> None:
        """RFC 8048 §5.2.3: a SUBSCRIBE with Expires 0; the last NOTIFY may come behind the answer."""
        self.decided()
        if self._remote_tag:
            self._subscribe(0, lambda _status, _reason: None)
        glib.add_timer(LAST_NOTIFY, lambda: self._client.forget(self._call_id))

    def _subscribe(self, expires: int, done: Callable[[int, str], None]) -> None:
        self._cseq += 1
        tag = [("tag", self._remote_tag)] if self._remote_tag else []
        contact = f"sip:{self._contact.encoded_user}@{self._client.sent_by}"
        headers = [
            ("From", name_addr(self._contact, params=[("tag", self._tag)])),
            ("To", name_addr(self._user, params=tag)),
            ("Call-ID", self._call_id),
            ("CSeq", f"{self._cseq} SUBSCRIBE"),
            ("Contact", name_addr(contact)),
            ("Event", "presence"),
            ("Accept", "application/pidf+xml"),
            ("Expires", str(expires)),
        ]
        try:
            self._client.send(self._target, headers, b"", done, method="SUBSCRIBE")
        except BadRequest as error:
            logger.warning("%s cannot watch %s: %s", self._contact.uri, self._user.uri, error)
            reason = str(error)
            glib.call_soon(lambda: done(400, reason))

    def _answered(self, status: int, reason: str) -> None:
        if self._ended or self._over:
            return
        self._stop_timer()
        if status < 300:
            self._timer = glib.add_timer(REFRESH, self._refresh)
            return
        logger.info("%s watches %s: %d %s", self._contact.uri, self._user.uri, status, reason)
        if status in REFUSALS:
            self._told("rejected")
        else:
            self._timer = glib.add_timer(AGAIN, self._again)
            self._told("pending")

    def _refresh(self) -> None:
        self._timer = 0
        self._subscribe(EXPIRES, self._refreshed)

    def _refreshed(self, status: int, reason: str) -> None:
        """RFC 6665 §4.1.2.2: the dialog is gone, which says nothing about the authorization."""
        if status in (408, 481) and not self._ended:
            self.start()
        else:
            self._answered(status, reason)

    def _notified(self, request: Request) -> tuple[int, str]:
        """RFC 6665 §4.1.3: a NOTIFY makes the dialog, and may come in front of the answer to the SUBSCRIBE."""
        if request.method != "NOTIFY":
            return 405, "Method Not Allowed"
        self._remote_tag, self._target = request.tag("from"), request.target or self._target
        state, _, parameters = request.header("subscription-state").partition(";")
        state = state.strip().lower()
        if not self._ended and state in ("active", "pending"):
            glib.call_soon(lambda: self._tell(state))
        elif not self._ended and state == "terminated":
            self._terminated(parameters.replace(" ", "").lower())
        return 200, "OK"

    def _terminated(self, parameters: str) -> None:
        """RFC 6665 §4.1.3: for most reasons the watcher may subscribe again, after a while."""
        self._stop_timer()
        self._remote_tag, self._over = "", True
        if "reason=rejected" in parameters:
            glib.call_soon(lambda: self._tell("rejected"))
        elif "reason=noresource" not in parameters:
            self._timer = glib.add_timer(AGAIN, self._again)

    def _again(self) -> None:
        self._timer = 0
        self.start()

    def _tell(self, state: str) -> None:
        if not self._ended:
            self._told(state)

    def _stop_timer(self) -> None:
        if self._timer:
            glib.remove(self._timer)
            self._timer = 0
