"""Owns the queue as it is shown: who wrote to whom, never what; and what an administrator does with it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from purple_bridge.commands import ident_of
from purple_bridge.db import queue
from purple_bridge.db.queue import QueueRow
from purple_bridge.web.accounts import Accounts

PAGE_SIZE = 50
LARGEST_ID = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the queue; ``age``, ``left``: seconds, ``left`` None for what is set aside."""

    id: int
    ident: str
    sender: str
    contact: str
    protocol: str
    ext_user: str
    age: int
    left: int | None
    crashes: int
    set_aside: bool


@dataclass(frozen=True, slots=True)
class MessagePage:
    messages: Sequence[Message]
    number: int
    pages: int
    total: int


class Messages:
    """The table, and the workers that have to be told of a change."""

    def __init__(self, engine: Engine, accounts: Accounts) -> None:
        self._engine, self._accounts = engine, accounts

    def page(self, user: str | None, held: bool | None, number: int) -> MessagePage:
        """``user``: only his (``SipAddress.key``). A page that is not there is the last one. Raises SQLAlchemyError."""
        number = max(1, number)
        rows, total = queue.summaries(self._engine, user, held, (number - 1) * PAGE_SIZE, PAGE_SIZE)
        pages = max(1, -(-total // PAGE_SIZE))
        if number > pages:
            return self.page(user, held, pages)
        now = int(time.time())
        return MessagePage([_message(row, now) for row in rows], number, pages, total)

    def retry(self, ids: Sequence[int]) -> int:
        """Send again what was set aside; how many there are. Raises SQLAlchemyError."""
        count = queue.retry(self._engine, ids)
        self._accounts.ask("queue", action="retry", ids=list(ids))
        return count

    def drop(self, ids: Sequence[int]) -> int:
        """Remove for good; how many there were. Raises SQLAlchemyError."""
        count = queue.delete(self._engine, ids)
        self._accounts.ask("queue", action="drop", ids=list(ids))
        return count


def ids_of(texts: Sequence[str]) -> list[int]:
    """The ids in a form; what is none is left out."""
    numbers = [int(text) for text in texts if text.isascii() and text.isdigit() and len(text) < 20]
    return [number for number in dict.fromkeys(numbers) if number <= LARGEST_ID]


def _message(row: QueueRow, now: int) -> Message:
    return Message(
        id=row.id,
        ident=ident_of(row.id),
        sender=f"sip:{row.sip_user}",
        contact=row.contact,
        protocol=row.ext_prot,
        ext_user=row.ext_user,
        age=max(0, now - row.created),
        left=None if row.held else max(0, row.expires - now),
        crashes=row.crashes,
        set_aside=bool(row.held),
    )
