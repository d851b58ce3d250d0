"""Owns a thread that asks the database a few times a second whether it answers; must not know what depends on it.

A process that serves phones can only find out by waiting, and everybody behind it waits with it. So a worker finds out
for all: what nobody has answered within LIMIT counts as no answer, although the question is still on its way.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from purple_bridge.database_state import DatabaseState
from purple_bridge.db import write_test
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
        self._without_answer = DatabaseState.SILENT

    def start(self) -> None:
        threading.Thread(target=self._run, name="purple-database", daemon=True).start()

    def look(self) -> None:
        """Each PAUSE, from a thread that waits for nothing."""
        asked_at, state, why = self._asked_at, self._found, self._why
        if asked_at is not None and time.monotonic() - asked_at > LIMIT and state is DatabaseState.WELL:
            state, why = self._without_answer, f"no answer within {LIMIT:g} s"
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
            self._begin(DatabaseState.SILENT)
            try:
                connection = connection or self._connect()
                self._found, self._why = self._ask(connection)
            except SQLAlchemyError as error:
                self._found, self._why = self._without_answer, in_words(error)
                if connection is not None:
                    _drop(connection)
                connection = None
            self._asked_at = None
            pause.wait(PAUSE)

    def _begin(self, without_answer: DatabaseState) -> None:
        """A question, and what it means if nothing comes."""
        self._without_answer, self._asked_at = without_answer, time.monotonic()

    def _connect(self) -> Connection:
        connection = self._engine.connect()
        if setting := write_test.SETTINGS.get(self._engine.dialect.name):
            connection.exec_driver_sql(setting)
            connection.commit()
        return connection

    def _ask(self, connection: Connection) -> tuple[DatabaseState, str]:
        """Raises SQLAlchemyError. Where something is locked, readers are answered: so it is asked to write as well."""
        connection.execute(text("SELECT 1"))
        self._begin(DatabaseState.READ_ONLY)
        try:
            connection.exec_driver_sql(write_test.QUESTIONS[self._engine.dialect.name])
        except DBAPIError as error:
            if error.connection_invalidated:
                raise
            connection.rollback()
            if write_test.is_refusal(error.orig):
                return DatabaseState.READ_ONLY, in_words(error)
        connection.rollback()
        return DatabaseState.WELL, ""


_WORDS = {DatabaseState.READ_ONLY: "cannot be written", DatabaseState.SILENT: "does not answer"}


def _drop(connection: Connection) -> None:
    try:
        connection.invalidate()
        connection.close()
    except SQLAlchemyError as error:
        logger.debug("the connection that failed: %s", in_words(error))
