"""Messages that need nothing any more do not come again, although their rows go later."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from sqlalchemy import Engine

from purple_bridge import acknowledged
from purple_bridge.acknowledged import SLOT, SLOTS, Acknowledged, file_of, left_behind
from purple_bridge.addresses import GatewayDomain
from purple_bridge.commands import SendMessage
from purple_bridge.db import queue
from purple_bridge.db.engine import make_engine
from purple_bridge.db.queue import QueueRow
from purple_bridge.db.schema import create_all
from purple_bridge.queued import account_key, row_of
from purple_bridge.worker import store as store_module
from purple_bridge.worker.store import Store
from tests.databases import run
from tests.loops import run_until

fork = multiprocessing.get_context("fork")

KEY = account_key("prpl-jabber", "alice@example.org")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path


def _mark_and_wait(path: Path, ready: Connection) -> None:
    marks = Acknowledged(path)
    for number in (1 << 60, 5, 6, 7):
        marks.add(number)
    marks.remove([6, 999])
    ready.send(True)
    signal.pause()


def test_a_killed_process_leaves_its_marks_behind(state: Path) -> None:
    ours, theirs = fork.Pipe()
    process = fork.Process(target=_mark_and_wait, args=(file_of(state, 2), theirs))
    process.start()
    assert ours.recv()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    Acknowledged(file_of(state, 1)).add(8)
    assert sorted(left_behind(state)) == [5, 7, 8, 1 << 60]
    acknowledged.forget(state)
    assert left_behind(state) == []
    assert list((state / "run").iterdir()) == []


def test_the_file_has_an_end(state: Path) -> None:
    marks = Acknowledged(file_of(state, 1))
    assert all(marks.add(number) for number in range(1, SLOTS + 1))
    assert not marks.add(SLOTS + 1)
    assert marks.add(1), "it is there already"
    marks.remove([1, 2])
    assert marks.add(SLOTS + 1)
    assert sorted(left_behind(state)) == list(range(3, SLOTS + 2))


def test_a_new_start_has_no_marks_and_the_file_is_private(state: Path) -> None:
    Acknowledged(file_of(state, 1)).add(4)
    Acknowledged(file_of(state, 1))
    assert left_behind(state) == []
    found = file_of(state, 1).stat()
    assert found.st_mode & 0o777 == 0o600
    assert found.st_blocks * 512 >= SLOTS * SLOT, "a full disk would kill the worker at its first mark"


def test_a_torn_file_is_read_as_far_as_it_goes(state: Path) -> None:
    file_of(state, 1).write_bytes((7).to_bytes(8, sys.byteorder) + b"\1\2\3")
    assert left_behind(state) == [7]


# --- the store, which erases the rows


def _row(number: int) -> QueueRow:
    return row_of(
        SendMessage(
            id=number,
            protocol="prpl-jabber",
            ext_user="alice@example.org",
            contact="bob@example.org",
            text="hi",
            sip_user="alice@example.org",
            call_id=f"call-{number}",
        )
    )


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    url = f"sqlite:///{tmp_path}/purple.db"
    create_all(url)
    with _engine(url) as engine:
        queue.insert(engine, [_row(number) for number in range(1, 7)])
    yield url
    while _STORES:
        store = _STORES.pop()
        store._queue.close()
        store._engine.dispose()


_STORES: list[Store] = []  # of the running test


@contextmanager
def _engine(url: str) -> Iterator[Engine]:
    """Its connections end with the block."""
    engine = make_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


def _store(url: str, state: Path) -> Store:
    store = Store(url, "purplemap", GatewayDomain("im.example.org"))
    _STORES.append(store)
    store.acknowledged = Acknowledged(file_of(state, 1))
    return store


def _ids(url: str) -> list[int]:
    with _engine(url) as engine:
        return [row.id for row in queue.rows(engine)]


def test_rows_of_marked_messages_go_together_and_then_their_marks(url: str, state: Path) -> None:
    store = _store(url, state)
    assert all(store.erase_message(number) for number in (1, 3))
    assert sorted(left_behind(state)) == [1, 3]
    run_until(lambda: _ids(url) == [2, 4, 5, 6], "the rows are gone")
    run_until(lambda: left_behind(state) == [], "so the marks are")


def test_many_rows_do_not_wait(url: str, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "ERASE_SECONDS", 3600.0)
    monkeypatch.setattr(store_module, "ERASE_AT_ONCE", 3)
    store = _store(url, state)
    for number in (1, 2, 3):
        store.erase_message(number)
    run_until(lambda: _ids(url) == [4, 5, 6], "the rows are gone")


def test_a_marked_message_is_not_read_again(url: str, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "ERASE_SECONDS", 3600.0)
    store, read = _store(url, state), []
    store.erase_message(2)
    store.load_messages(KEY, 0, lambda rows: read.append([row.id for row in rows or []]))
    store.erase_message(3)
    store.backlog(lambda counts: read.append([count.count for count in counts or []]))
    run_until(lambda: len(read) == 2, "both answers")
    assert read == [[1, 3, 4, 5, 6], [4]]


def test_while_rows_cannot_be_erased_none_is_read(url: str, state: Path) -> None:
    store, read = _store(url, state), list[list[int] | None]()

    def load() -> list[int] | None:
        before = len(read)
        store.load_messages(KEY, 0, lambda rows: read.append(None if rows is None else [row.id for row in rows]))
        run_until(lambda: len(read) > before, "the answer")
        return read[-1]

    engine = store._engine
    run(engine, "CREATE TRIGGER stays BEFORE DELETE ON purple_queue BEGIN SELECT RAISE(FAIL, 'no'); END")
    store.erase_message(1)
    assert load() is None
    assert left_behind(state) == [1]
    run(engine, "DROP TRIGGER stays")
    assert load() == [2, 3, 4, 5, 6]


def test_a_stop_in_good_order_erases_them(url: str, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "ERASE_SECONDS", 3600.0)
    store = _store(url, state)
    store.erase_message(6)
    store.settle()
    assert _ids(url) == [1, 2, 3, 4, 5]


def test_without_room_the_row_is_waited_for(url: str, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acknowledged, "SLOTS", 1)
    store, gone = _store(url, state), []
    assert store.erase_message(1, lambda: gone.append(1))
    assert not store.erase_message(2, lambda: gone.append(2))
    run_until(lambda: gone, "its row is gone")
    assert gone == [2]
    assert _ids(url) == [3, 4, 5, 6]
