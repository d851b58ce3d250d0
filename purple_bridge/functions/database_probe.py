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
from purple_bridge.db import write_test
from purple_bridge.db.engine import make_engine

LIMIT = 0.2  # seconds that everybody may have to wait, once
FRESH = 0.001  # seconds for which an answer counts: one request asks more than once

SERVER_LOST = 2013  # MySQL's errmsg.h, CR_SERVER_LOST

_READ = "SELECT 1"


class DatabaseProbe:
    """Belongs to one thread of one process. Connects on first use, while the workers find that the database answers."""

    def __init__(self, db_url: str) -> None:
        self._engine = make_engine(db_url, timeout=LIMIT)
        dialect = self._engine.dialect
        self._ask, self._write = _ASK[dialect.name], write_test.QUESTIONS[dialect.name]
        self._errors = (dialect.loaded_dbapi.Error, SQLAlchemyError)
        self._connection: PoolProxiedConnection | None = None
        self._states = {True: DatabaseState.WELL, False: DatabaseState.WELL}
        self._asked_at = {True: float("-inf"), False: float("-inf")}

    def look(self, writing: bool) -> DatabaseState:
        """Whether it can be written, or read alone; after at most LIMIT seconds, where there is a connection."""
        if time.monotonic() - self._asked_at[writing] > FRESH:
            self._states[writing] = self._found(writing)
            self._asked_at[writing] = time.monotonic()
        return self._states[writing]

    def _found(self, writing: bool) -> DatabaseState:
        question, without_answer = (self._write, DatabaseState.READ_ONLY) if writing else (_READ, DatabaseState.SILENT)
        begin = time.monotonic()
        for _ in range(2):  # the server may have been restarted since, or have ended a connection that was idle
            try:
                self._ask((self._connection or self._connect()).driver_connection, question)
                return DatabaseState.WELL
            except self._errors as error:
                if write_test.is_refusal(error):
                    return DatabaseState.READ_ONLY
                if self._is_alive(error):
                    return DatabaseState.WELL
                self._drop()
                if time.monotonic() - begin >= LIMIT:
                    return without_answer
        return DatabaseState.SILENT

    def _is_alive(self, error: Any) -> bool:
        """It is an answer of the server, as to who may not write the table."""
        driver = self._connection.driver_connection if self._connection else None
        return driver is not None and not self._engine.dialect.is_disconnect(error, driver, None)

    def _connect(self) -> PoolProxiedConnection:
        self._connection = connection = self._engine.raw_connection()
        driver: Any = connection.driver_connection
        if self._engine.dialect.name == "mysql":
            driver.autocommit(True)
        elif self._engine.dialect.name == "postgresql":
            driver.autocommit = True
        if setting := write_test.SETTINGS.get(self._engine.dialect.name):
            driver.cursor().execute(setting)
        return connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()


def _ask_mysql(connection: Any, question: str) -> None:
    """In two parts: its own time limits are whole seconds (mysql.h, MYSQL_OPT_READ_TIMEOUT)."""
    connection.send_query(question.encode())
    answered = select.poll()
    answered.register(connection.fileno(), select.POLLIN)
    if not answered.poll(LIMIT * 1000):
        raise connection.OperationalError(SERVER_LOST, f"no answer within {LIMIT:g} s")
    connection.read_query_result()
    connection.store_result()


def _ask_postgres(connection: Any, question: str) -> None:
    connection.execute(question)


def _ask_sqlite(connection: Any, question: str) -> None:
    connection.execute(question)
    connection.rollback()


_ASK: dict[str, Callable[[Any, str], None]] = {
    "mysql": _ask_mysql,
    "postgresql": _ask_postgres,
    "sqlite": _ask_sqlite,
}
