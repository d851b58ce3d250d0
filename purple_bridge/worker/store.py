"""The database for the loop: a thread of its own runs the queries, the answers come back in the loop's thread."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Engine

from purple_bridge.db import presence as presences
from purple_bridge.db.engine import make_engine
from purple_bridge.db.mapping import Account, Mapping, Pair
from purple_bridge.db.presence import WantedPresence
from purple_bridge.libpurple import glib

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Store:
    """Owns the worker's engine and mapping; ``done`` gets None when the database failed."""

    def __init__(self, db_url: str, table: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="purple-store")
        self._engine: Engine = make_engine(db_url)
        self._mapping = Mapping(self._engine, table)

    def cached_owners(self, protocol: str, name: str) -> tuple[Account, ...] | None:
        return self._mapping.cached_owners_of(protocol, name)

    def owners(self, protocol: str, name: str, done: Callable[[tuple[Account, ...] | None], None]) -> None:
        self._run(lambda: self._mapping.owners_of(protocol, name), done)

    def rows(self, pairs: list[Pair], done: Callable[[dict[Pair, tuple[Account, ...]] | None], None]) -> None:
        self._run(lambda: self._mapping.accounts_for_pairs(pairs), done)

    def accounts_of(self, sip_keys: list[str], done: Callable[[dict[str, tuple[Account, ...]] | None], None]) -> None:
        self._run(lambda: self._mapping.refresh(sip_keys), done)

    def all_accounts(self, done: Callable[[list[Account] | None], None]) -> None:
        self._run(lambda: list(self._mapping.all_accounts()), done)

    def presences(self, done: Callable[[list[WantedPresence] | None], None]) -> None:
        """What SIP users wanted before the restart; what has expired meanwhile is forgotten."""
        self._run(self._load_presences, done)

    def _load_presences(self) -> list[WantedPresence]:
        now = int(time.time())
        presences.delete_expired_presences(self._engine, now)
        return presences.load_presences(self._engine, now)

    def save_presence(self, wanted: WantedPresence) -> None:
        self._run(lambda: presences.save_presence(self._engine, wanted), _nothing)

    def delete_presence(self, sip_user: str) -> None:
        self._run(lambda: presences.delete_presence(self._engine, sip_user), _nothing)

    def _run(self, query: Callable[[], T], done: Callable[[T | None], None]) -> None:
        def finished(future: Future[T]) -> None:
            error = future.exception()
            if error is not None:
                logger.error("database: %s", " ".join(str(error).split())[:300])
            glib.call_soon(lambda: done(None if error else future.result()))

        self._thread.submit(query).add_done_callback(finished)


def _nothing(_result: object) -> None:
    """The answer to a write that nobody waits for."""
