"""PUBLISH (RFC 3903): what the phones of a user say of his presence, for his IM accounts."""

from __future__ import annotations

import re
import time

from purple_bridge.addresses import SipAddress
from purple_bridge.bodies import content, pidf
from purple_bridge.commands import Published, spec_of
from purple_bridge.db.account import Account as Row
from purple_bridge.errors import (
    BadRequest,
    ConditionFailed,
    IntervalTooBrief,
    NoAccount,
    UnsupportedBody,
    UnsupportedEncoding,
)
from purple_bridge.functions.accounts import Accounts
from purple_bridge.functions.limits import Limits
from purple_bridge.functions.request import Request, parsed
from purple_bridge.functions.workers import Workers
from purple_bridge.presence import OFFLINE, Presence

# seconds: RFC 3856 §6.10 lets watchers hear of a change every 5 s; kamailio.cfg, presence, says the same
MIN_EXPIRES = 5
PIDF_TYPE = "application/pidf+xml"
_ETAG = re.compile(r".*\.[0-9]{1,9}")  # how Kamailio's presence server ends its own (presence/presentity.c)


class Publications:
    """The presence server keeps them; here they are read for the workers."""

    def __init__(self, request: Request, accounts: Accounts, workers: Workers, limits: Limits) -> None:
        self._request, self._accounts, self._workers, self._limits = request, accounts, workers, limits

    def check(self) -> None:
        """See ``PurpleFunctions.check_publish``."""
        self._limits.take_user(parsed(self._request.text("$fu")))
        if self._request.event() == "presence":
            if 0 < self._request.expires() < MIN_EXPIRES:
                raise IntervalTooBrief("Interval Too Brief")
            etag = self._etag()
            if etag and not _ETAG.fullmatch(etag):  # Kamailio would answer 500, and the phone would not start over
                raise ConditionFailed("Conditional Request Failed")
            self._presence()

    def handle(self) -> None:
        """See ``PurpleFunctions.handle_publish``."""
        if self._request.event() != "presence":
            return
        user = parsed(self._request.text("$ru"))
        presence = self._presence()
        expires_at = time.time() + self._request.expires()
        removes = self._removed_tuples() if presence == OFFLINE else frozenset()
        for place, row in enumerate(self._own_rows(user)):
            command = Published(
                account=spec_of(row),
                user=user.uri,
                show=presence.activity if presence else "",
                expires_at=expires_at,
                note=presence.note if presence else "",
                idle_since=presence.idle_since.timestamp() if presence and presence.idle_since else 0.0,
                mood=presence.mood if presence else "",
                priority=presence.priority if presence else None,
                language=presence.language if presence else "",
                etag=self._etag(),
                removes=removes,
                keep=place == 0,
                call_id=self._request.text("$ci"),
            )
            self._workers.hand_over(row, command)

    def _etag(self) -> str:
        """Of the publication that it changes; "" for a new one."""
        return self._request.text("$hdr(SIP-If-Match)").strip()

    def _presence(self) -> Presence | None:
        """The presence in the body; OFFLINE for a removal; None for a refresh (RFC 3903 §4.1)."""
        body = self._request.body()
        if self._request.expires() == 0:
            return OFFLINE
        if not body:
            if not self._request.has("$hdr(SIP-If-Match)"):
                raise BadRequest("A PUBLISH without a body needs SIP-If-Match")
            return None
        if (coding := self._request.text("$hdr(Content-Encoding)").strip().lower()) not in ("", "identity"):
            raise UnsupportedEncoding(f"a PUBLISH with Content-Encoding {coding[:40]!a} is not understood")
        kind = content.parse_content_type(self._request.text("$cT"))
        if kind.media_type != PIDF_TYPE:
            raise UnsupportedBody(f"{kind.media_type} is not understood; send {PIDF_TYPE}")
        return pidf.parse(body, kind.parameters.get("charset"))

    def _removed_tuples(self) -> frozenset[str]:
        """Phones that have lost their ETag remove what they published by the same document with Expires 0."""
        try:
            removes = self._request.expires() == 0 and not self._request.has("$hdr(SIP-If-Match)")
            return pidf.tuple_ids(self._request.body()) if removes else frozenset()
        except BadRequest:  # a removal need not have a document, and may have anything
            return frozenset()

    def _own_rows(self, user: SipAddress) -> tuple[Row, ...]:
        rows = self._accounts.rows(user)
        if not rows:
            raise NoAccount(f"{user.uri} has no IM account")
        return rows
