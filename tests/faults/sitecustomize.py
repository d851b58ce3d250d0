"""Loaded by the Python of a Kamailio under test that has this directory in PYTHONPATH: libpurple's crash, on demand.

libpurple has no message known to crash it, so the process aborts where libpurple would: within the call that takes a
message, and only for one that says so.
"""

from __future__ import annotations

import os
from typing import Any

from purple_bridge.libpurple.protocol import OutgoingMessage
from purple_bridge.libpurple.xmpp import Xmpp

CRASHES = "this text crashes libpurple"

_send_im = Xmpp.send_im


def _crash(self: Any, account: Any, connection: int, message: OutgoingMessage) -> int:
    if message.text == CRASHES:
        os.abort()
    return _send_im(self, account, connection, message)


Xmpp.send_im = _crash  # type: ignore[method-assign]
