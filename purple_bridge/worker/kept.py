"""The messages that lie in the table ``silo`` until a phone registers: owns which of a user's rows is the next one.

Knows the rows, not how they are sent: the postman does that.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

from purple_bridge.db import silo
from purple_bridge.db.silo import KeptRow, StoredMessage
from purple_bridge.kept_users import KeptUsers

logger = logging.getLogger(__name__)

PAGE = 50  # rows in memory for each user
MOST_LEFT = 10  # rows in succession: it is not they that a phone fails on


class Rows(Protocol):
    """store.Store; ``done`` gets False or None when the database failed."""

    def store_kept(self, messages: list[StoredMessage], done: Callable[[bool], None]) -> None: ...

    def load_kept(self, user: str, after: int, limit: int, done: Callable[[list[KeptRow] | None], None]) -> None: ...

    def erase_kept(self, number: int, done: Callable[[bool], None]) -> None: ...


class Shelf:
    """``users``: shared with all processes. ``user``: SipAddress.key."""

    def __init__(self, rows: Rows, users: KeptUsers) -> None:
        self._rows, self._users = rows, users
        self._empty: dict[str, int] = {}  # users without rows, each with the stamp for which that is true
        self._unerased: dict[int, KeptRow] = {}  # a phone has them, the database as well

    def store(self, messages: list[StoredMessage], done: Callable[[bool], None]) -> None:
        """For the users' next REGISTER, in this order; ``done`` learns whether the database has them."""

        def stored(well: bool) -> None:
            for username, domain in {(message.username, message.domain) for message in messages}:
                self._users.mark(username, domain)
            done(well)

        self._rows.store_kept(messages, stored)

    def may_have(self, user: str) -> bool:
        """Without asking the database: False is certain, True is not. Where the user's rows are handed out."""
        asked = self._users.asked(*_owner(user))
        if self._users.stamp(*_owner(user)) not in (0, self._empty.get(user)):
            return True
        self._users.done(*_owner(user), asked)
        return False

    def open(self, user: str, left: set[KeptRow]) -> HandOut:
        """All rows that the user has now, but for those ``left``. One at a time for each user, in all workers."""
        return HandOut(self, self._rows, self._users, user, left)

    def ask(self, user: str) -> None:
        """What was stored is about to be handed out, perhaps by another worker."""
        self._users.ask(*_owner(user))

    def is_handing_out(self, user: str) -> bool:
        """This worker or another has older messages of the user under way."""
        return self._users.is_handing_out(*_owner(user))

    def erase(self, row: KeptRow, done: Callable[[bool], None] = lambda _well: None) -> None:
        """A phone has it. While the database refuses to forget it, it is remembered here and not handed out again."""
        self._unerased[row.id] = row

        def erased(well: bool) -> None:
            if well:
                self._unerased.pop(row.id, None)
            done(well)

        self._rows.erase_kept(row.id, erased)

    def is_erased(self, row: KeptRow) -> bool:
        """The whole row is compared: SQLite gives the number of an erased row to a new one."""
        return self._unerased.get(row.id) == row

    def note_empty(self, user: str, stamp: int) -> None:
        if not self._unerased:
            self._empty[user] = stamp


class HandOut:
    """A walk over one user's rows in the order of their numbers, a page at a time; ``leave`` or ``erase`` each, and
    ``close`` it. ``left``: rows that it passes by, and those that it leaves."""

    def __init__(self, shelf: Shelf, rows: Rows, users: KeptUsers, user: str, left: set[KeptRow]) -> None:
        self.user = user
        self._shelf, self._rows, self._users, self._left = shelf, rows, users, left
        owner = _owner(user)
        self._asked, self._stamp = users.ask(*owner), users.stamp(*owner)
        self._page: deque[KeptRow] = deque()
        self._after = 0
        self._is_last = False
        self._failures = 0  # in succession

    def next(self, done: Callable[[KeptRow | None], None]) -> None:
        """``done`` gets the next row; None: there is none, or the database does not answer."""
        if self._page:
            done(self._page.popleft())
        elif self._is_last:
            if not self._left:
                self._shelf.note_empty(self.user, self._stamp)
            done(None)
        else:
            self._rows.load_kept(self.user, self._after, PAGE, lambda rows: self._loaded(rows, done))

    def erase(self, row: KeptRow, done: Callable[[bool], None]) -> None:
        """See ``Shelf.erase``."""
        self._failures = 0
        self._shelf.erase(row, done)

    def leave(self, row: KeptRow) -> bool:
        """It stays for the next REGISTER, and with it, if this is False, all behind it."""
        self._left.add(row)
        self._failures += 1
        return self._failures < MOST_LEFT

    def close(self) -> None:
        """From now on nothing waits for it."""
        username, domain = _owner(self.user)
        self._users.done(username, domain, self._asked)

    def _loaded(self, rows: list[KeptRow] | None, done: Callable[[KeptRow | None], None]) -> None:
        if rows is None:
            logger.error("what is kept for %s cannot be read: it waits for the next REGISTER", self.user)
            done(None)
            return
        self._is_last = len(rows) < PAGE
        for row in rows:
            self._after = row.id
            if self._shelf.is_erased(row):
                self._shelf.erase(row)
            elif row not in self._left:
                self._page.append(row)
        self.next(done)


@lru_cache(maxsize=4096)
def _owner(user: str) -> tuple[str, str]:
    """silo.owner, for which each letter asks."""
    return silo.owner(user)
