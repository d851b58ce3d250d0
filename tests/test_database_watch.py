"""Whether the database answers is known to all within a moment, and nobody has to wait for that."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from purple_bridge.database_state import DatabaseBoard, DatabaseState
from purple_bridge.db.engine import make_engine
from purple_bridge.db.schema import create_all
from purple_bridge.worker.database_watch import DatabaseWatch
from tests.databases import LOCK, empty_database
from tests.servers.mariadb import MariaDB
from tests.waiting import wait_until


class Watched:
    """What a watch shows, looked at as a worker's loop does."""

    def __init__(self, url: str) -> None:
        self.state = DatabaseState.WELL
        self._watch = DatabaseWatch(url, self._show)
        self._watch.start()

    def wait(self, state: DatabaseState) -> None:
        def shown() -> bool:
            self._watch.look()
            return self.state is state

        wait_until(shown, 15, f"the database is {state.name}")

    def _show(self, state: DatabaseState) -> None:
        self.state = state


@pytest.fixture
def own_mariadb(tmp_path: Path) -> Iterator[MariaDB]:
    with MariaDB(tmp_path) as server:
        yield server


def test_the_worst_that_a_worker_sees_counts() -> None:
    board = DatabaseBoard(3)
    seen = [board.state]
    for worker, state in ((1, DatabaseState.READ_ONLY), (3, DatabaseState.SILENT), (3, DatabaseState.WELL)):
        board.set(worker, state)
        seen.append(board.state)
    assert seen == [DatabaseState.WELL, DatabaseState.READ_ONLY, DatabaseState.SILENT, DatabaseState.READ_ONLY]


def test_a_server_that_hangs_or_is_gone_is_silent(own_mariadb: MariaDB) -> None:
    watched = Watched(own_mariadb.create_database("watched"))
    own_mariadb.pause()
    watched.wait(DatabaseState.SILENT)
    own_mariadb.resume()
    watched.wait(DatabaseState.WELL)
    own_mariadb.kill()
    watched.wait(DatabaseState.SILENT)
    own_mariadb.start()
    watched.wait(DatabaseState.WELL)


def test_a_locked_file_can_be_read(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/purple.db"
    create_all(url, "purplemap")
    watched = Watched(url)
    with closing(sqlite3.connect(tmp_path / "purple.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        watched.wait(DatabaseState.READ_ONLY)
    watched.wait(DatabaseState.WELL)


@pytest.mark.parametrize("kind", ["mariadb", "postgres"])
def test_a_locked_table_can_be_read(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """A backup, for example; the watch keeps its connection, and opens no other one for each question."""
    url = empty_database(kind, request, tmp_path)
    create_all(url, "purplemap")
    watched, other = Watched(url), make_engine(url)
    with other.connect() as connection:
        connection.exec_driver_sql(LOCK[kind])
        watched.wait(DatabaseState.READ_ONLY)
        connection.invalidate()
    other.dispose()
    watched.wait(DatabaseState.WELL)
