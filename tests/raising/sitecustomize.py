"""Loaded by the Python of a Kamailio under test that has this directory in PYTHONPATH: errors that quote a message.

No message is known to make the gateway fail, so it fails where it would: in a function that has the text at hand, and
only for texts that say so.
"""

from __future__ import annotations

from typing import Any

from purple_bridge.functions import message as sip_message
from purple_bridge.worker.account import OwnedAccount
from purple_bridge.worker.messages import Messages

IN_A_ROUTE, IN_A_WORKER, FROM_THE_NETWORK = "fails in a route", "fails in a worker", "fails when it comes"

_send_text, _send, _deliver = sip_message.Messages._send_text, OwnedAccount.send, Messages._deliver


def _fail_in_route(self: Any, said: Any, *rest: Any) -> None:
    if IN_A_ROUTE in said.text:
        raise ValueError(said.text)
    _send_text(self, said, *rest)


def _fail_in_worker(self: Any, message: Any) -> None:
    if IN_A_WORKER in message.text:
        raise KeyError(message.text)
    _send(self, message)


def _fail_when_it_comes(self: Any, account: Any, sender: Any, message: Any) -> None:
    if FROM_THE_NETWORK in (message.text or message.html):
        raise RuntimeError(f"cannot deliver {message}")
    _deliver(self, account, sender, message)


sip_message.Messages._send_text = _fail_in_route  # type: ignore[method-assign, assignment]
OwnedAccount.send = _fail_in_worker  # type: ignore[method-assign]
Messages._deliver = _fail_when_it_comes  # type: ignore[method-assign]
