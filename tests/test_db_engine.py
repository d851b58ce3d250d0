"""Connections: time limits, SQLite settings, no password in an error."""

from __future__ import annotations

import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from purple_bridge.db.engine import make_engine
from tests.databases import frozen
from tests.servers.base import Server

MakeEngine = Callable[[str], Engine]
SLEEP = {"mariadb": "SELECT SLEEP(30)", "postgres": "SELECT pg_sleep(30)"}


@pytest.fixture
def engine_of() -> Iterator[MakeEngine]:
    """Engines with a time limit of one second."""
    with ExitStack() as stack:

        def make(url: str) -> Engine:
            engine = make_engine(url, timeout=1.0)
            stack.callback(engine.dispose)
            return engine

        yield make


@pytest.fixture(params=["mariadb", "postgres"])
def server(request: pytest.FixtureRequest) -> Server:
    running = request.getfixturevalue(request.param)
    assert isinstance(running, Server)
    return running


def _url(server: Server, password: str = "kamailiorw") -> str:
    scheme, database = {"mariadb": ("mysql", "mysql"), "postgres": ("postgres", "postgres")}[server.name]
    return f"{scheme}://kamailio:{password}@127.0.0.1:{server.port}/{database}"


def _fails_within(engine: Engine, statement: str, seconds: float) -> str:
    started = time.monotonic()
    with pytest.raises(SQLAlchemyError) as caught, engine.connect() as connection:
        connection.exec_driver_sql(statement)
    assert time.monotonic() - started < seconds
    return str(caught.value)


def _answers(engine: Engine) -> bool:
    with engine.connect() as connection:
        return connection.exec_driver_sql("SELECT 1").scalar() == 1


def test_a_slow_answer_is_not_waited_for(server: Server, engine_of: MakeEngine) -> None:
    engine = engine_of(_url(server))
    assert _answers(engine)
    _fails_within(engine, SLEEP[server.name], 4)
    assert _answers(engine)


def test_a_frozen_server_is_not_waited_for(server: Server, engine_of: MakeEngine) -> None:
    engine = engine_of(_url(server))
    backend = None
    if server.name == "postgres":
        with engine.connect() as connection:
            backend = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
    with frozen(server, backend):
        _fails_within(engine, "SELECT 1", 6)
    assert _answers(engine)


@pytest.mark.parametrize("scheme", ["mysql", "postgres"])
def test_a_port_that_says_nothing_is_not_waited_for(scheme: str, engine_of: MakeEngine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        # libpq takes two seconds as the least
        _fails_within(engine_of(f"{scheme}://u:p@127.0.0.1:{port}/d"), "SELECT 1", 5)


def test_a_refused_password_is_not_shown(server: Server, engine_of: MakeEngine) -> None:
    assert "verysecret" not in _fails_within(engine_of(_url(server, "verysecret")), "SELECT 1", 4)


def test_an_error_does_not_show_what_was_written(tmp_path: Path, engine_of: MakeEngine) -> None:
    (tmp_path / "k.db").touch()
    engine = engine_of(f"sqlite:///{tmp_path / 'k.db'}")
    with pytest.raises(SQLAlchemyError) as caught, engine.connect() as connection:
        connection.exec_driver_sql("INSERT INTO missing VALUES (?)", ("verysecret",))
    assert "verysecret" not in str(caught.value)


def test_a_mistyped_path_makes_no_file(tmp_path: Path, engine_of: MakeEngine) -> None:
    _fails_within(engine_of(f"sqlite:///{tmp_path / 'missing.db'}"), "SELECT 1", 2)
    assert not list(tmp_path.iterdir())


def test_a_path_with_the_characters_of_a_uri(tmp_path: Path, engine_of: MakeEngine) -> None:
    path = tmp_path / "a b#c%41&d.db"
    path.touch()
    assert _answers(engine_of(f"sqlite:///{path}"))


def test_sqlite_is_set_up_for_more_than_one_process(tmp_path: Path) -> None:
    path = tmp_path / "k.db"
    path.touch()
    engine = make_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        values = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout")
        ]
    engine.dispose()
    assert values == ["wal", 1, 5000]


def test_sqlite_waits_for_another_writer_but_not_for_ever(tmp_path: Path, engine_of: MakeEngine) -> None:
    path = tmp_path / "k.db"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA journal_mode=WAL")
    other.execute("CREATE TABLE t (x)")
    engine = engine_of(f"sqlite:///{path}")
    other.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    assert "locked" in _fails_within(engine, "INSERT INTO t VALUES (1)", 3)
    assert time.monotonic() - started > 0.9
    other.execute("COMMIT")
    other.close()
