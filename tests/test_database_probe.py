"""A SIP worker finds out in a moment that the database hangs, whatever the database is."""

from __future__ import annotations

import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from purple_bridge.database_state import DatabaseBoard, DatabaseState
from purple_bridge.db.engine import make_engine
from purple_bridge.db.schema import create_all
from purple_bridge.functions import database_probe
from purple_bridge.functions.database_probe import DatabaseProbe
from tests.databases import LOCK, empty_database, frozen
from tests.servers.base import Server
from tests.waiting import wait_until

MakeProbe = Callable[[str], DatabaseProbe]

SERVERS = ["mariadb", "postgres"]
END = {
    "mariadb": ("SELECT CONNECTION_ID()", "KILL CONNECTION {}"),
    "postgres": ("SELECT pg_backend_pid()", "SELECT pg_terminate_backend({})"),
}


@pytest.fixture(autouse=True)
def _no_answer_counts_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_probe, "FRESH", -1.0)


@pytest.fixture
def probe_of() -> Iterator[MakeProbe]:
    with ExitStack() as stack:

        def make(url: str) -> DatabaseProbe:
            probe = DatabaseProbe(url)
            stack.callback(probe._drop)
            return probe

        yield make


def _number(probe: DatabaseProbe, question: str) -> int:
    """Of the probe's own connection."""
    connection: Any = probe._connection
    with closing(connection.cursor()) as cursor:
        cursor.execute(question)
        return int(cursor.fetchone()[0])


@pytest.mark.parametrize("writing", [True, False])
@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_that_hangs(
    kind: str, writing: bool, request: pytest.FixtureRequest, tmp_path: Path, probe_of: MakeProbe
) -> None:
    """The drivers' own limits are whole seconds, and libpq has none."""
    server: Server = request.getfixturevalue(kind)
    probe = probe_of(empty_database(kind, request, tmp_path))
    assert probe.look(writing=True) is DatabaseState.WELL
    backend = _number(probe, END[kind][0]) if kind == "postgres" else None
    with frozen(server, backend):
        begin = time.monotonic()
        assert probe.look(writing) is (DatabaseState.READ_ONLY if writing else DatabaseState.SILENT)
        assert time.monotonic() - begin < 0.9
    assert probe.look(writing=True) is DatabaseState.WELL


@pytest.mark.parametrize("kind", SERVERS)
def test_a_lock_on_all_tables(kind: str, request: pytest.FixtureRequest, tmp_path: Path, probe_of: MakeProbe) -> None:
    """As of a backup: whoever reads has an answer, who writes waits."""
    url = empty_database(kind, request, tmp_path)
    create_all(url, "purplemap")
    probe, other = probe_of(url), make_engine(url)
    assert probe.look(writing=True) is DatabaseState.WELL
    with other.connect() as connection:
        connection.exec_driver_sql(LOCK[kind])
        assert probe.look(writing=True) is DatabaseState.READ_ONLY
        assert probe.look(writing=False) is DatabaseState.WELL
        connection.invalidate()
    other.dispose()
    wait_until(lambda: probe.look(writing=True) is DatabaseState.WELL, 10, "it can be written again")


@pytest.mark.parametrize("kind", SERVERS)
def test_a_table_that_is_not_there(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, probe_of: MakeProbe
) -> None:
    """Or that this user must not write: the server is well."""
    assert probe_of(empty_database(kind, request, tmp_path)).look(writing=True) is DatabaseState.WELL


@pytest.mark.parametrize("kind", SERVERS)
def test_a_connection_that_the_server_has_ended(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, probe_of: MakeProbe
) -> None:
    """As it does to one that was idle for long, and when it restarts."""
    url = empty_database(kind, request, tmp_path)
    probe, other = probe_of(url), make_engine(url)
    assert probe.look(writing=True) is DatabaseState.WELL
    number, end = _number(probe, END[kind][0]), END[kind][1]
    with other.begin() as connection:
        connection.exec_driver_sql(end.format(number))
    other.dispose()
    assert probe.look(writing=True) is DatabaseState.WELL
    assert _number(probe, END[kind][0]) != number


@pytest.mark.parametrize("scheme", ["mysql", "postgres"])
def test_no_server(scheme: str, probe_of: MakeProbe) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert probe_of(f"{scheme}://u:p@127.0.0.1:{port}/d").look(writing=True) is DatabaseState.SILENT


def test_a_locked_file(tmp_path: Path, probe_of: MakeProbe) -> None:
    url = f"sqlite:///{tmp_path}/purple.db"
    create_all(url, "purplemap")
    probe = probe_of(url)
    assert probe.look(writing=True) is DatabaseState.WELL
    with closing(sqlite3.connect(tmp_path / "purple.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert probe.look(writing=True) is DatabaseState.READ_ONLY
        other.execute("ROLLBACK")
        assert probe.look(writing=True) is DatabaseState.WELL
        other.execute("BEGIN IMMEDIATE")  # which the probe must not keep anybody from


def test_an_answer_counts_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, probe_of: MakeProbe) -> None:
    """A request asks several times."""
    url = f"sqlite:///{tmp_path}/purple.db"
    create_all(url, "purplemap")
    probe = probe_of(url)
    monkeypatch.setattr(database_probe, "FRESH", 3600.0)
    assert probe.look(writing=True) is DatabaseState.WELL
    with closing(sqlite3.connect(tmp_path / "purple.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert probe.look(writing=True) is DatabaseState.WELL


def test_what_one_has_met_counts_for_all_and_not_for_ever() -> None:
    board = DatabaseBoard(2)

    def wait(state: DatabaseState) -> None:
        wait_until(lambda: board.state is state, 5, f"the database is {state.name}")

    board.set(2, DatabaseState.READ_ONLY)
    board.suspect(DatabaseState.SILENT, 0.2)
    wait(DatabaseState.SILENT)
    wait(DatabaseState.READ_ONLY)
    board.set(2, DatabaseState.WELL)
    wait(DatabaseState.WELL)
