"""Owns how a database is connected to: pool, time limits, SQLite settings. Knows no table.

An engine belongs to the process that made it: make it after the fork, never share it across one.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Any, cast
from urllib.parse import quote

import psycopg
from psycopg.abc import RV, PQGen
from sqlalchemy import URL, Dialect, Engine, create_engine, event
from sqlalchemy.pool import ConnectionPoolEntry

from purple_bridge.db.urls import sqlalchemy_url

TIMEOUT = 5.0  # seconds that a statement may take: a SIP worker waits for it
CONNECT_TIMEOUT = 3.0  # seconds


def make_engine(url: str, *, timeout: float = TIMEOUT) -> Engine:
    """An engine for one or two threads of this process; ``url`` in Kamailio's form.

    ``timeout``: seconds that a connection attempt (at most 3), a read or a write may take; on SQLite, the
    wait for another writer. Connects on first use. An SQLite file is not created here: that is for
    ``create_all``. Raises ConfigurationError for a URL that cannot be read.
    """
    target = sqlalchemy_url(url)
    dialect = target.get_backend_name()
    engine = create_engine(
        _existing_file(target) if dialect == "sqlite" else target,
        connect_args=_limits(dialect, timeout),
        pool_size=2,
        max_overflow=0,
        pool_timeout=timeout,
        pool_pre_ping=True,
        hide_parameters=True,  # an error text must not show the password of an INSERT
    )
    if dialect == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
    if dialect == "postgresql":
        event.listen(engine, "do_connect", _connect_postgres)
    return engine


def _limits(dialect: str, timeout: float) -> dict[str, Any]:
    if dialect == "sqlite":
        return {"timeout": timeout}
    connect = max(1, round(min(timeout, CONNECT_TIMEOUT)))
    if dialect == "mysql":
        whole = max(1, round(timeout))
        return {"connect_timeout": connect, "read_timeout": whole, "write_timeout": whole}
    return {"connect_timeout": connect, "answer_timeout": timeout}


def _existing_file(target: URL) -> URL:
    """The same file by a URI whose ``mode=rw`` keeps a mistyped path from becoming an empty database."""
    return target.set(database=f"file:{quote(target.database or '')}", query={"uri": "true", "mode": "rw"})


def _set_up_sqlite(connection: sqlite3.Connection, _record: ConnectionPoolEntry) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


class LimitedConnection(psycopg.Connection[Any]):
    """A PostgreSQL connection that gives up on a silent server; libpq itself would wait for ever."""

    answer_timeout = TIMEOUT

    def wait(self, gen: PQGen[RV], interval: float = 0.1) -> RV:
        return super().wait(self._limited(gen), min(interval, self.answer_timeout / 4))

    def _limited(self, gen: PQGen[RV]) -> PQGen[RV]:
        """``gen``, closed with the connection once it has waited for ``answer_timeout`` seconds."""
        end = time.monotonic() + self.answer_timeout
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() > end:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"no answer within {self.answer_timeout:g} s")
                wanted = gen.send(ready)
        except StopIteration as done:
            return cast(RV, done.value)


def _connect_postgres(
    _dialect: Dialect, _record: ConnectionPoolEntry, arguments: list[Any], parameters: dict[str, Any]
) -> LimitedConnection:
    answer_timeout = parameters.pop("answer_timeout")
    connection = LimitedConnection.connect(*arguments, **parameters)
    connection.answer_timeout = answer_timeout
    return connection
