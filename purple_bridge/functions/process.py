"""Owns what each process opens for itself after the fork: connections to the database, counts, ids of messages."""

from __future__ import annotations

import logging
import time

from sqlalchemy import Engine

from purple_bridge.commands import RANKS
from purple_bridge.database_state import DatabaseState
from purple_bridge.db.engine import make_engine
from purple_bridge.db.mapping import DatabaseUnavailable, Mapping
from purple_bridge.db.passwords import Passwords
from purple_bridge.functions.database_probe import LIMIT, DatabaseProbe
from purple_bridge.live import LiveSettings
from purple_bridge.meter import Meter
from purple_bridge.queued import QueueWriter
from purple_bridge.shared import Shared

logger = logging.getLogger(__name__)

SUSPICION = 2.0  # seconds; by then the workers know whether the database answers
LEFT_ALONE = 15.0  # seconds until the next request may find out
WRITE_SECONDS = 1.0  # a SIP worker waits so long for a row to be written


class Numbers:
    """Message ids: microseconds since 1970, then this process's rank, so that they grow and no two are the same."""

    def __init__(self, rank: int) -> None:
        self._rank = rank % RANKS
        self._last = 0

    def next(self) -> int:
        self._last = max(self._last + 1, time.time_ns() // 1000)
        return self._last * RANKS + self._rank


class Process:
    """Made before the fork; ``open`` after it. Until then ``mapping`` is None, and nobody reads the counts.

    ``engine``: for queries; ``queue``: writes rows of messages, over a connection of its own; ``numbers``: their ids.
    """

    engine: Engine
    queue: QueueWriter
    numbers: Numbers

    def __init__(self, live: LiveSettings, shared: Shared) -> None:
        self._live, self._board, self._database = live, shared.board, shared.database
        self.mapping: Mapping | None = None
        self.meter = Meter.detached()

    def open(self, rank: int, meter: Meter | None) -> None:
        """Connections to the database are never shared over a fork, so each process makes its own.

        ``rank``, ``meter``: see ``PurpleFunctions.open_database``.
        """
        self.meter = meter or self.meter
        settings = self._live.now
        self.engine = make_engine(settings.db_url)
        self.mapping = Mapping(
            self.engine,
            settings.db_table,
            generation=self._board.rows_generation,
            may_ask=lambda: self._database_state(writing=False) is not DatabaseState.SILENT,
            passwords=Passwords(settings.key_path),
        )
        self._probe = DatabaseProbe(settings.db_url)
        self.queue = QueueWriter(make_engine(settings.db_url, timeout=WRITE_SECONDS))
        self.numbers = Numbers(rank)

    def ask_database(self, *, writing: bool) -> None:
        """Raises DatabaseUnavailable, rather than to wait for it: at once where the workers have seen it, else after a
        question of this process's own."""
        if self._database_state(writing=writing) > (DatabaseState.WELL if writing else DatabaseState.READ_ONLY):
            raise DatabaseUnavailable("The database does not answer")

    def _database_state(self, *, writing: bool) -> DatabaseState:
        state = self._database.state
        if state is DatabaseState.WELL:
            state = self._probe.look(writing)
            if state is not DatabaseState.WELL:
                self._database.suspect(state, SUSPICION)
                logger.warning("the database has not answered within %g s: what needs it is 503 for a moment", LIMIT)
        return state

    def leave_database(self) -> None:
        """A request has waited for it although it answers: a lock on one of its tables, for example."""
        self._database.suspect(DatabaseState.SILENT, LEFT_ALONE)
