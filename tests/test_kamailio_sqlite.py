"""SQLite as Kamailio's modules use it: a function of KSR waits for the file while it holds Python's lock.

Each scenario has a process of its own, since an auto extension is the whole process's.
"""

from __future__ import annotations

import ctypes
import os
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from purple_bridge import kamailio_sqlite
from purple_bridge.kamailio_sqlite import BUSY_SECONDS, WAITS, make_sqlite_wait
from tests.children import run_in_child

SQLITE_OK, SQLITE_BUSY = 0, 5
COMMIT_AFTER = 0.3  # seconds
OWN_TIMEOUT = 1500  # milliseconds, of SQLite itself


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A database with the table t, and a write-ahead log as the gateway has it."""
    connection = sqlite3.connect(tmp_path / "kamailio.db")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE t (x INTEGER)")
    connection.close()
    return str(tmp_path / "kamailio.db")


class FromC:
    """A connection opened by C code that never gives Python's lock away, as functions of KSR do not."""

    def __init__(self, path: str) -> None:
        self._library = ctypes.PyDLL("libsqlite3.so.0")
        self._connection = ctypes.c_void_p()
        assert self._library.sqlite3_open(path.encode(), ctypes.byref(self._connection)) == SQLITE_OK

    def wait_by_itself(self) -> None:
        """What a site might try instead."""
        self._library.sqlite3_busy_timeout(self._connection, OWN_TIMEOUT)

    def write(self) -> tuple[int, float]:
        """The result, and how many seconds it took."""
        started = time.monotonic()
        result = self._library.sqlite3_exec(self._connection, b"INSERT INTO t VALUES (2)", None, None, None)
        return result, time.monotonic() - started


def _write_behind_another_thread(path: str, how: str) -> tuple[int, float]:
    """Another thread of this process is in the middle of a transaction, and needs Python's lock to end it."""
    if how == "made to wait":
        make_sqlite_wait()
        make_sqlite_wait()
    connection = FromC(path)
    if how == "SQLite's own wait":
        connection.wait_by_itself()
    writer = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("INSERT INTO t VALUES (1)")
    commit = threading.Timer(COMMIT_AFTER, writer.execute, ["COMMIT"])
    commit.start()
    result = connection.write()
    commit.join()
    writer.close()
    return result


def test_a_write_waits_for_a_thread_that_needs_pythons_lock(path: str) -> None:
    result, seconds = run_in_child(_write_behind_another_thread, path, "made to wait")
    assert result == SQLITE_OK
    assert COMMIT_AFTER * 0.9 < seconds < COMMIT_AFTER + 0.5
    with closing(sqlite3.connect(path)) as reader:
        assert reader.execute("SELECT x FROM t ORDER BY x").fetchall() == [(1,), (2,)]


def test_without_it_the_write_fails_at_once(path: str) -> None:
    """This is what Kamailio's db_sqlite does by itself."""
    result, seconds = run_in_child(_write_behind_another_thread, path, "not at all")
    assert result == SQLITE_BUSY
    assert seconds < COMMIT_AFTER


def test_a_wait_that_keeps_pythons_lock_waits_in_vain(path: str) -> None:
    """The reason for the handler: nobody can commit meanwhile."""
    result, seconds = run_in_child(_write_behind_another_thread, path, "SQLite's own wait")
    assert result == SQLITE_BUSY
    assert seconds > OWN_TIMEOUT / 1000 * 0.9


def _write_while_another_process_writes(path: str, seconds: float) -> tuple[int, float]:
    kamailio_sqlite.BUSY_SECONDS = seconds
    make_sqlite_wait()
    return FromC(path).write()


def test_it_gives_up_after_a_while(path: str) -> None:
    lock = sqlite3.connect(path, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    result, seconds = run_in_child(_write_while_another_process_writes, path, 0.4)
    lock.close()
    assert result == SQLITE_BUSY
    assert 0.4 <= seconds < 1.5


def test_all_waits_together_are_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short ones first: most transactions take less than a millisecond."""
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    asked = next(count for count in range(10_000) if not kamailio_sqlite._wait(None, count))
    assert asked == len(waits)
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (WAITS[0], WAITS[-1])
    assert sum(waits) == pytest.approx(BUSY_SECONDS, abs=WAITS[-1])


def _synchronous_of_a_forked_child(path: str) -> list[int]:
    """PRAGMA synchronous before, after, and in a child; 1: NORMAL."""
    before = _synchronous(path)
    make_sqlite_wait()
    child = os.fork()
    if not child:
        os._exit(_synchronous(path))
    return [before, _synchronous(path), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]


def _synchronous(path: str) -> int:
    connection = sqlite3.connect(path)
    (value,) = connection.execute("PRAGMA synchronous").fetchone()
    connection.close()
    return int(value)


def test_connections_of_this_process_and_its_children_are_set_up(path: str) -> None:
    before, after, in_the_child = run_in_child(_synchronous_of_a_forked_child, path)
    assert (before, after, in_the_child) == (2, 1, 1)


def test_nothing_happens_where_there_is_no_sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_name: str, **_options: Any) -> None:
        raise OSError("no such file")

    monkeypatch.setattr(ctypes, "CDLL", fail)
    make_sqlite_wait()
