"""The rows of one account's outbox, by way of the store's thread."""

from __future__ import annotations

from collections.abc import Callable

from purple_bridge.commands import SendMessage
from purple_bridge.db.queue import QueueRow
from purple_bridge.queued import account_key, message_of, row_of
from purple_bridge.worker.store import Store


class QueueRows:
    """Implements ``outbox.Rows``."""

    def __init__(self, store: Store, protocol: str, ext_user: str) -> None:
        self._store = store
        self._account = account_key(protocol, ext_user)

    def write(self, message: SendMessage, done: Callable[[bool], None]) -> None:
        self._store.write_message(row_of(message), done)

    def erase(self, number: int, done: Callable[[], None]) -> bool:
        return self._store.erase_message(number, done)

    def load(self, after: int, done: Callable[[list[SendMessage] | None], None]) -> None:
        self._store.load_messages(self._account, after, lambda rows: done(_messages(rows)))


def _messages(rows: list[QueueRow] | None) -> list[SendMessage] | None:
    if rows is None:
        return None
    return [message for row in rows if (message := message_of(row)) is not None]
