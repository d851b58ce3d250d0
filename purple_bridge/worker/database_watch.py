"""Owns a thread that asks the database a few times a second whether it answers; must not know what depends on it.

A process that serves phones can only find out by waiting, and everybody behind it waits with it. So a worker finds out
for all: what nobody has answered within LIMIT counts as no answer, although the question is still on its way.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from purple_bridge.database_state import DatabaseState
from purple_bridge.db.engine import make_engine
from purple_bridge.db.words import in_words

logger = logging.getLogger(__name__)

LIMIT = 1.0  # seconds
PAUSE = 0.25  # seconds between two questions, and between two looks at the one that is on its way


class DatabaseWatch:
    """``show``: called in the thread of ``look``, with each state that is another one than before."""

    def __init__(self, db_url: str, show: Callable[[DatabaseState], None]) -> None:
        self._engine = make_engine(db_url, timeout=LIMIT)
        self._show, self._state = show, DatabaseState.WELL
        self._found, self._why = DatabaseState.WELL, ""
        self._asked_at: float | None = None

    def start(self) -> None:
        threading.Thread(target=self._run, name="purple-database", daemon=True).start()

    def look(self) -> None:
        """Each PAUSE, from a thread that waits for nothing."""
        asked_at, state, why = self._asked_at, self._found, self._why
        if asked_at is not None and time.monotonic() - asked_at > LIMIT and state is DatabaseState.WELL:
            state, why = DatabaseState.SILENT, f"no answer within {LIMIT:g} s"
        if state is self._state:
            return
        if state is DatabaseState.WELL:
            logger.info("the database answers again")
        else:
            logger.error("the database %s: %s", _WORDS[state], why)
        self._state = state
        self._show(state)

    def _run(self) -> None:
        connection: Connection | None = None
        pause = threading.Event()
        while True:
            self._asked_at = time.monotonic()
            try:
                connection = connection or self._engine.connect()
                self._found, self._why = _ask(self._engine, connection), "its file is locked"
            except SQLAlchemyError as error:
                self._found, self._why = DatabaseState.SILENT, in_words(error)
                if connection is not None:
                    _drop(connection)
                connection = None
            self._asked_at = None
            pause.wait(PAUSE)


_WORDS = {DatabaseState.READ_ONLY: "cannot be written", DatabaseState.SILENT: "does not answer"}


def _ask(engine: Engine, connection: Connection) -> DatabaseState:
    """Raises SQLAlchemyError. SQLite answers readers while another program writes, so there it is asked to write."""
    connection.execute(text("SELECT 1"))
    state = DatabaseState.WELL
    if engine.dialect.name == "sqlite":
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        except SQLAlchemyError:
            state = DatabaseState.READ_ONLY
    connection.rollback()
    return state


def _drop(connection: Connection) -> None:
    try:
        connection.invalidate()
        connection.close()
    except SQLAlchemyError as error:
        logger.debug("the connection that failed: %s", in_words(error))
