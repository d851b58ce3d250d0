"""The rows of ``purple_queue`` that concern this worker: owns when they are read, expire, or are set aside."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from purple_bridge import logs
from purple_bridge.commands import SendMessage
from purple_bridge.db.queue import Backlog as Count
from purple_bridge.db.queue import QueueRow
from purple_bridge.queued import account_key, message_of, row_of
from purple_bridge.worker.account import OwnedAccount
from purple_bridge.worker.outbox import Outbox
from purple_bridge.worker.queue_rows import QueueRows
from purple_bridge.worker.store import Store

logger = logging.getLogger(__name__)

NOT_KNOWN_YET = 1  # so that an outbox asks the database before it hands anything over


class Backlog:
    """``accounts``: this worker's; ``expired``: called with each message whose wait has ended."""

    def __init__(
        self,
        store: Store,
        always: bool,
        mine: Callable[[str, str], bool],
        accounts: Callable[[], list[OwnedAccount]],
        expired: Callable[[SendMessage], None],
    ) -> None:
        self._store, self._always, self._mine, self._accounts, self._expired = store, always, mine, accounts, expired
        self._counts: dict[str, int] | None = None
        self._passed: dict[str, int] = {}  # since the database was asked for the counts

    def start(self, crashed: SendMessage | None) -> None:
        """``crashed``: what the process before this one was sending when it died."""
        if crashed is not None:
            self._store.note_crash(row_of(crashed), lambda count: _log_crash(crashed, count))
        self.reload()

    def outbox(self, protocol: str, ext_user: str) -> Outbox:
        """For an account that this worker sees for the first time."""
        count = NOT_KNOWN_YET if self._counts is None else self._counts.get(account_key(protocol, ext_user), 0)
        return Outbox(QueueRows(self._store, protocol, ext_user), count, self._always)

    def follow(self, always: bool) -> None:
        """The parameter purple.queue as it is now."""
        self._always = always
        for account in self._accounts():
            account.outbox.always = always

    def passed_by(self, message: SendMessage) -> None:
        """A row for an account that nobody has signed on since the start."""
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s waits in the database: nobody has signed the account on yet", logs.of(message))
        key = account_key(message.protocol, message.ext_user)
        self._passed[key] = self._passed.get(key, 0) + 1
        if self._counts is not None:
            self._counts[key] = self._counts.get(key, 0) + 1

    def forget(self, account: OwnedAccount) -> None:
        """Its row is gone; should it come back, its messages are read from the database."""
        if self._counts is not None:
            self._counts[account_key(account.protocol, account.ext_user)] = len(account.outbox)

    def reload(self) -> None:
        """The database has rows that this worker was not told of."""
        self._passed = {}
        self._store.backlog(self._counted)

    def _counted(self, counts: list[Count] | None) -> None:
        if counts is None:
            return self.reload_later()
        found = {count.account: count.count for count in counts if self._mine(count.ext_prot, count.ext_user)}
        self._counts = {key: found.get(key, 0) + self._passed.get(key, 0) for key in found.keys() | self._passed.keys()}
        for account in self._accounts():
            count = self._counts.get(account_key(account.protocol, account.ext_user), 0)
            if count:
                account.outbox.learn_of_rows(count)
            account.pump()
        return None

    def reload_later(self) -> None:
        """The database failed; what it has is asked for with the next expiry."""
        self._counts = None

    # ------------------------------------------------------------ expiry
    def expire(self) -> None:
        """RFC 3428 §4: what could not be delivered in time is given up, and its sender told."""
        if self._counts is None:
            self.reload()
        self._store.expired_messages(int(time.time()), self._end)

    def _end(self, rows: list[QueueRow] | None) -> None:
        for row in rows or []:
            if self._mine(row.ext_prot, row.ext_user) and self._remove(row):
                self._store.erase_message(row.id)
                message = message_of(row)
                if message is not None:
                    self._expired(message)

    def _remove(self, row: QueueRow) -> bool:
        """False: it is in flight, so it may have arrived."""
        return all(
            account.outbox.remove(row.id)
            for account in self._accounts()
            if account_key(account.protocol, account.ext_user) == row.account
        )

    # ------------------------------------------------------------ purplectl queue
    def changed(self, request: dict[str, Any]) -> dict[str, Any]:
        """``purplectl queue retry`` or ``drop`` has changed the rows ``ids``."""
        if request.get("action") == "drop":
            for number in request.get("ids", []):
                for account in self._accounts():
                    account.outbox.remove(number)
        else:
            self.reload()
        return {}


def _log_crash(message: SendMessage, count: int | None) -> None:
    if count is not None and count >= 2:
        logger.error("%s set aside, it crashed libpurple twice: purplectl queue show %d", logs.of(message), message.id)
    else:
        logger.warning("%s the worker died while it sent this message: it is tried again", logs.of(message))
