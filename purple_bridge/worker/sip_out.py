"""What the gateway publishes into SIP: PUBLISH through Kamailio's module pua; owns no state."""

from __future__ import annotations

from collections.abc import Callable

from purple_bridge.addresses import SipAddress
from purple_bridge.meter import Meter
from purple_bridge.metrics import IM_TO_SIP, PRESENCE
from purple_bridge.worker.rpc import RpcClient

PUBLISH_SECONDS = 3600


class SipSender:
    """The presence of IM contacts, for Kamailio's presence server (RFC 3903); pua keeps the ETags."""

    def __init__(self, rpc: RpcClient, meter: Meter | None = None) -> None:
        self._rpc, self._meter = rpc, meter or Meter.detached()

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

    def refresh_list(self, user: SipAddress) -> None:
        """The user's contact list is another now: who watches it as a whole (RFC 4662) watches other contacts."""
        self._rpc.call("rls.update_subs", [user.uri, "presence"], f"contact list of {user.uri}")

    def _publish(self, presentity: SipAddress, identifier: str, expires: int, body: str) -> None:
        self._meter.count(PRESENCE, IM_TO_SIP)
        kind = "application/pidf+xml" if body else "."
        parameters = [presentity.uri, str(expires), "presence", kind, identifier, ".", ".", "."]
        self._rpc.call("pua.send_publish", [*parameters, body] if body else parameters, f"PUBLISH of {presentity.uri}")
