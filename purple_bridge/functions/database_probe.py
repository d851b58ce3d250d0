"""Owns one short question to the database, in front of a request that would wait for it; must not know the request.

Kamailio's modules wait for seconds where a database hangs, and all requests behind them wait as well. The workers'
watch (``worker.database_watch``) needs more than a second to be sure; until it is, this finds out.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import PoolProxiedConnection
from sqlalchemy.exc import SQLAlchemyError

from purple_bridge.database_state import DatabaseState
from purple_bridge.db.engine import make_engine

LIMIT = 0.3  # seconds that everybody may have to wait, once
FRESH = 0.001  # seconds for which an answer counts: one request asks more than once


class DatabaseProbe:
    """Belongs to one thread of one process. Connects on first use, while the workers find that the database answers."""

    def __init__(self, db_url: str) -> None:
        self._engine = make_engine(db_url, timeout=LIMIT)
        self._ask = _QUESTIONS[self._engine.dialect.name]
        self._errors = (self._engine.dialect.loaded_dbapi.Error, SQLAlchemyError)
        self._connection: PoolProxiedConnection | None = None
        self._state, self._asked_at = DatabaseState.WELL, float("-inf")

    def look(self) -> DatabaseState:
        """After at most LIMIT seconds, where there is a connection."""
        if time.monotonic() - self._asked_at > FRESH:
            self._state = self._found()
            self._asked_at = time.monotonic()
        return self._state

    def _found(self) -> DatabaseState:
        begin = time.monotonic()
        if self._connection is not None:
            try:
                return self._ask(self._connection.driver_connection)
            except self._errors:
                self._drop()
                if time.monotonic() - begin >= LIMIT:
                    return DatabaseState.SILENT
        try:  # the server has been restarted since, or ended a connection that was idle
            self._connection = self._engine.raw_connection()
            return self._ask(self._connection.driver_connection)
        except self._errors:
            self._drop()
            return DatabaseState.SILENT

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()


def _ask_mysql(connection: Any) -> DatabaseState:
    """In two parts: its own time limits are whole seconds (mysql.h, MYSQL_OPT_READ_TIMEOUT)."""
    connection.send_query(b"SELECT 1")
    answered = select.poll()
    answered.register(connection.fileno(), select.POLLIN)
    if not answered.poll(LIMIT * 1000):
        raise connection.OperationalError(f"no answer within {LIMIT:g} s")
    connection.read_query_result()
    connection.store_result()
    return DatabaseState.WELL


def _ask_postgres(connection: Any) -> DatabaseState:
    connection.execute("SELECT 1")
    connection.rollback()
    return DatabaseState.WELL


def _ask_sqlite(connection: Any) -> DatabaseState:
    """It answers readers while another program writes, so it is asked to write."""
    try:
        connection.execute("BEGIN IMMEDIATE")
    except connection.OperationalError:
        return DatabaseState.READ_ONLY
    connection.rollback()
    return DatabaseState.WELL


_QUESTIONS: dict[str, Callable[[Any], DatabaseState]] = {
    "mysql": _ask_mysql,
    "postgresql": _ask_postgres,
    "sqlite": _ask_sqlite,
}
