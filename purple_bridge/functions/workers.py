"""Hands commands over to the IM workers: which of them, and whether it runs."""

from __future__ import annotations

from purple_bridge.board import AccountBoard
from purple_bridge.channels import Channels
from purple_bridge.commands import Command, encode
from purple_bridge.db.account import Account as Row
from purple_bridge.errors import Overloaded
from purple_bridge.kept_users import keeper_of
from purple_bridge.live import LiveSettings
from purple_bridge.ownership import owner_of


class Workers:
    """Those of this gateway, reached over the socket pairs that were made before the fork."""

    def __init__(self, live: LiveSettings, channels: Channels, board: AccountBoard) -> None:
        self._live, self._channels, self._board = live, channels, board

    def hand_over(self, account: Row, command: Command) -> None:
        """To the worker that owns the account. Raises Overloaded."""
        worker = owner_of(account.protocol, account.ext_user, self._live.now.workers)
        if not self._board.ready(worker):
            raise Overloaded(f"IM worker {worker} is not running: purple.workers is at most Kamailio's children")
        self._channels.send(worker, encode(command))

    def tell_keeper(self, user: str, command: Command) -> None:
        """To the one worker for this user (SipAddress.key); if it still starts, it reads it then. Raises Overloaded."""
        self._channels.send(keeper_of(user, self._live.now.workers), encode(command))

    def request_reload(self, account: Row) -> None:
        """The worker that owns the account could not be told of a row: it reads it later."""
        self._board.request_reload(owner_of(account.protocol, account.ext_user, self._live.now.workers))
