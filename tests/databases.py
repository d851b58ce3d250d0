"""Owns the three databases as one parameter of a test: an empty one of each kind, and what was asked of it."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from purple_bridge.db.engine import make_engine
from purple_bridge.db.scripts import our_scripts
from purple_bridge.db.tables import version
from tests.servers.base import Server, is_stopped
from tests.waiting import wait_until

KINDS = ("sqlite", "mariadb", "postgres")

# The table as operators of the old module have it
OLD_TABLE = {
    "sqlite": "id INTEGER PRIMARY KEY NOT NULL",
    "mysql": "id INT UNSIGNED PRIMARY KEY NOT NULL AUTO_INCREMENT",
    "postgresql": "id SERIAL PRIMARY KEY NOT NULL",
}

# What keeps everybody else from writing to a table, and nobody from reading it
LOCK = {"mariadb": "LOCK TABLES purple_queue READ", "postgres": "LOCK TABLE purple_queue IN EXCLUSIVE MODE"}

_numbers = itertools.count(1)


def empty_database(kind: str, request: pytest.FixtureRequest, directory: Path) -> str:
    """The URL of a database without tables; on SQLite a file that does not exist yet."""
    if kind == "sqlite":
        return f"sqlite:///{directory / 'kamailio.db'}"
    url = request.getfixturevalue(kind).create_database(f"db_test_{next(_numbers)}")
    assert isinstance(url, str)
    return url


def empty_file(directory: Path) -> str:
    """The URL of an SQLite file that exists and has no tables."""
    path = directory / "kamailio.db"
    path.touch()
    return f"sqlite:///{path}"


@contextmanager
def open_empty(kind: str, request: pytest.FixtureRequest, directory: Path) -> Iterator[Engine]:
    """A database without tables, until the block ends."""
    engine = make_engine(empty_file(directory) if kind == "sqlite" else empty_database(kind, request, directory))
    yield engine
    engine.dispose()


def create_ours(engine: Engine, table: str = "purplemap") -> None:
    """The gateway's tables alone, which takes less time than all of them."""
    with engine.begin() as connection:
        version.create(connection, checkfirst=True)
        if engine.dialect.name != "mysql":  # ON CONFLICT needs what Kamailio's file has
            connection.exec_driver_sql("CREATE UNIQUE INDEX IF NOT EXISTS version_idx ON version (table_name)")
        for script in our_scripts(engine.dialect.name, table):
            for statement in script.statements:
                connection.exec_driver_sql(statement)


def create_old_table(connection: Connection, table: str = "purplemap") -> None:
    """The mapping table of the old module, without index and without row in ``version``."""
    connection.exec_driver_sql(
        f"CREATE TABLE {table} ({OLD_TABLE[connection.dialect.name]}, sip_user VARCHAR(128) NOT NULL, "
        "ext_user VARCHAR(128) NOT NULL, ext_prot VARCHAR(16) NOT NULL, ext_pass VARCHAR(64))"
    )


@contextmanager
def frozen(server: Server, backend: int | None = None) -> Iterator[None]:
    """Stopped until the block ends. ``backend``: the process behind a PostgreSQL connection, in a group of its own."""
    if backend:
        os.kill(backend, signal.SIGSTOP)
        wait_until(lambda: is_stopped(backend), 5, "the process behind the connection stands still")
    server.pause()
    try:
        yield
    finally:
        server.resume()
        if backend:
            os.kill(backend, signal.SIGCONT)


def run(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


@contextmanager
def statements_of(engine: Engine) -> Iterator[list[tuple[str, Any]]]:
    """The statements, with their parameters, that reach the database inside the block."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: Connection, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        seen.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)
