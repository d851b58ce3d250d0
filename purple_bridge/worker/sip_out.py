"""What the gateway sends into SIP: MESSAGE through Kamailio's tm and PUBLISH through pua; owns no state."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from email.utils import format_datetime

from purple_bridge.addresses import SipAddress
from purple_bridge.sip_headers import header_block, name_addr
from purple_bridge.worker.rpc import RpcClient

PUBLISH_SECONDS = 3600


class SipSender:
    """``internal``: HOST:PORT of the listener on which Kamailio believes ``;proto=purple``."""

    def __init__(self, rpc: RpcClient, internal: str) -> None:
        self._rpc = rpc
        self._next_hop = f"sip:{internal};transport=udp"

    def message(self, sender: SipAddress, recipient: SipAddress, text: str, written_at: int = 0) -> str:
        """A MESSAGE (RFC 3428 §4: without Contact) to the recipient's phones. Returns its Call-ID.

        ``written_at``: Unix seconds, for a Date header, when the IM network delayed the message.
        """
        call_id = f"{secrets.token_hex(12)}@purple"
        headers = [
            ("From", name_addr(sender, params=[("tag", secrets.token_hex(6))])),
            ("To", name_addr(recipient)),
            ("Call-ID", call_id),
            ("Content-Type", "text/plain;charset=utf-8"),
        ]
        if written_at:
            date = datetime.fromtimestamp(written_at, UTC)
            headers.append(("Date", format_datetime(date, usegmt=True)))
        self._rpc.call(
            "tm.t_uac_start",
            ["MESSAGE", f"{recipient.uri};proto=purple", self._next_hop, ".", header_block(headers), text],
            f"MESSAGE {call_id} to {recipient.uri}",
        )
        return call_id

    def publish(self, presentity: SipAddress, identifier: str, body: bytes) -> None:
        """The presence of an IM contact, to Kamailio's presence server (RFC 3903); pua keeps the ETag."""
        self._publish(presentity, identifier, PUBLISH_SECONDS, body.decode())

    def unpublish(self, presentity: SipAddress, identifier: str) -> None:
        """Nobody watches the contact any more: RFC 3903 §4.1, removing."""
        self._publish(presentity, identifier, 0, "")

    def _publish(self, presentity: SipAddress, identifier: str, expires: int, body: str) -> None:
        parameters = [presentity.uri, str(expires), "presence", "application/pidf+xml", identifier, ".", ".", "."]
        self._rpc.call("pua.send_publish", [*parameters, body] if body else parameters, f"PUBLISH of {presentity.uri}")
