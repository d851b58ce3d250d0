"""What the gateway publishes into SIP: PUBLISH through Kamailio's module pua; owns no state."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from purple_bridge import kamailio_rls
from purple_bridge.addresses import SipAddress
from purple_bridge.meter import Meter
from purple_bridge.metrics import IM_TO_SIP, PRESENCE
from purple_bridge.worker.rpc import RpcClient

PUBLISH_SECONDS = 3600
LOCATION = "location"  # usrloc's table of the phones
PERMANENT = float("inf")


class SipSender:
    """The presence of IM contacts, for Kamailio's presence server (RFC 3903); pua keeps the ETags."""

    def __init__(self, rpc: RpcClient, meter: Meter | None = None) -> None:
        self._rpc, self._meter = rpc, meter or Meter.detached()
        self._has_lists = kamailio_rls.is_loaded()

    def publish(self, presentity: SipAddress, identifier: str, body: bytes) -> None:
        """A new presence, or the same one again before it expires."""
        self._publish(presentity, identifier, PUBLISH_SECONDS, body.decode())

    def unpublish(self, presentity: SipAddress, identifier: str) -> None:
        """Nobody watches the contact any more: RFC 3903 §4.1, removing."""
        self._publish(presentity, identifier, 0, "")

    def refresh_watchers(self, presentity: SipAddress, done: Callable[[], None]) -> None:
        """The presence server decides anew who may see the presentity, and tells the watchers; then ``done``."""
        parameters: list[str | int] = [presentity.uri, "presence", 0]
        self._rpc.call("presence.refreshWatchers", parameters, f"watchers of {presentity.uri}", done)

    def notify_again(self, presentity: SipAddress) -> None:
        """What the presence server's table says has changed past it: the watchers are told."""
        self._rpc.call("presence.refreshWatchers", [presentity.uri, "presence", 1], f"state of {presentity.uri}")

    def refresh_list(self, user: SipAddress) -> None:
        """The user's contact list is another now: who watches it as a whole (RFC 4662) watches other contacts."""
        if self._has_lists:
            self._rpc.call("rls.update_subs", [user.uri, "presence"], f"contact list of {user.uri}")

    def registered_until(self, sip_key: str, done: Callable[[float], None]) -> None:
        """``done`` learns when the last registration of the user's phones ends: Unix seconds, 0: there is none."""
        self._rpc.ask("ul.lookup", [LOCATION, sip_key], lambda result: done(_last_expiry(result)))

    def _publish(self, presentity: SipAddress, identifier: str, expires: int, body: str) -> None:
        self._meter.count(PRESENCE, IM_TO_SIP)
        kind = "application/pidf+xml" if body else "."
        parameters = [presentity.uri, str(expires), "presence", kind, identifier, ".", ".", "."]
        self._rpc.call("pua.send_publish", [*parameters, body] if body else parameters, f"PUBLISH of {presentity.uri}")


def _last_expiry(record: Any) -> float:
    """Of the contacts in a record of usrloc: seconds from now, or a word where there is no such time."""
    try:
        ends = [entry["Contact"]["Expires"] for entry in record["Contacts"]]
    except (TypeError, KeyError):
        return 0.0
    if "permanent" in ends:
        return PERMANENT
    return max((time.time() + end for end in ends if isinstance(end, int) and end > 0), default=0.0)
