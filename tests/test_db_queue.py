"""The queue of messages in the database: order, chunks, crashes, and a connection that is lost, on each database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from purple_bridge.db import queue
from purple_bridge.db.queue import Backlog, QueueConnection, QueueRow
from purple_bridge.ownership import account_digest
from tests.databases import create_ours, run, statements_of

NOW = 4_000_000_000  # after 2038: more than 32 bits with a sign
FIRST = 1 << 62  # an id of 63 bits
ALICE, BOB = (account_digest("prpl-jabber", f"{name}@example.org").hex() for name in ("alice", "bob"))
EVERY_OCTET = bytes(range(256)) + "%s '\" \\ Grüße \N{SMILING FACE WITH SUNGLASSES}".encode()

KILL = {
    "postgresql": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()",
    "mysql": "SELECT concat('KILL ', id) FROM information_schema.processlist "
    "WHERE db = database() AND id <> connection_id()",
}


@pytest.fixture
def engine(any_database: Engine) -> Engine:
    create_ours(any_database)
    return any_database


@pytest.fixture
def connection(engine: Engine) -> Iterator[QueueConnection]:
    connection = QueueConnection(engine)
    yield connection
    connection.close()


def row(number: int = 0, **changes: Any) -> QueueRow:
    """Of alice's account; ``number`` counts from the first id."""
    plain = QueueRow(
        id=FIRST + number,
        account=ALICE,
        ext_prot="prpl-jabber",
        ext_user="alice@example.org",
        sip_user="alice@sip.example.org",
        contact="bob@example.org",
        call_id="abc@192.0.2.1",
        fingerprint="0123456789abcdef",
        created=NOW,
        expires=NOW + 3600,
        crashes=0,
        held=0,
        message=b"{}",
    )
    return replace(plain, **changes)


def _ids(rows: list[QueueRow]) -> list[int]:
    return [one.id - FIRST for one in rows]


def test_a_row_comes_back_as_it_was(engine: Engine, connection: QueueConnection) -> None:
    """Also 4-octet UTF-8, and columns that are full."""
    face = "\N{SMILING FACE WITH SUNGLASSES}"
    full = row(
        2,
        ext_prot="p" * 64,
        ext_user=face * 128,
        sip_user=face * 128,
        contact=face * 255,
        call_id=face * 255,
        crashes=1,
        message=EVERY_OCTET,
    )
    queue.insert(engine, [row(1, message=EVERY_OCTET)])
    connection.insert([full])
    assert queue.load(engine, ALICE, 0, 10) == [row(1, message=EVERY_OCTET), full]
    assert queue.get(engine, full.id) == full
    assert queue.get(engine, 1) is None


def test_a_megabyte(engine: Engine, connection: QueueConnection) -> None:
    """Every octet of it is one that MySQL escapes, and there are more than one packet takes."""
    large = [row(number, message=b"'" * (1 << 20)) for number in range(20)]
    connection.insert(large)
    assert queue.load(engine, ALICE, 0, 30) == large


def test_an_id_that_is_there_stays_as_it_is(engine: Engine, connection: QueueConnection) -> None:
    first = row(1, message=b"first", crashes=1)
    connection.insert([first])
    connection.insert([row(1, message=b"second"), row(2)])
    queue.insert(engine, [row(1, message=b"third"), row(2), row(3)])
    assert queue.load(engine, ALICE, 0, 10) == [first, row(2), row(3)]


def test_many_rows_in_few_statements(engine: Engine) -> None:
    many = [row(number) for number in range(250)]
    with statements_of(engine) as seen:
        queue.insert(engine, many)
        assert queue.delete(engine, [one.id for one in many[:230]]) == 230
    assert len([text for text, _ in seen if text.startswith("INSERT")]) == 3
    assert len([text for text, _ in seen if text.startswith("DELETE")]) == 1
    assert _ids(queue.load(engine, ALICE, 0, 100)) == list(range(230, 250))


def test_nothing_to_do_is_no_statement(engine: Engine) -> None:
    with statements_of(engine) as seen:
        queue.insert(engine, [])
        assert queue.delete(engine, []) == 0
        assert queue.retry(engine, []) == 0
    assert seen == []


def test_all_rows_of_an_insert_or_none(engine: Engine) -> None:
    """The second statement fails; the first one's rows go with it."""
    too_long = row(150, ext_prot="p" * 65)
    rows = [*(row(number) for number in range(150)), too_long]
    if engine.dialect.name == "sqlite":  # there no column is too short
        rows[-1] = row(150, created=None)
    with pytest.raises(SQLAlchemyError):
        queue.insert(engine, rows)
    assert queue.load(engine, ALICE, 0, 10) == []


def test_a_value_that_is_too_long_is_an_error_not_cut(engine: Engine, connection: QueueConnection) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite does not care for lengths")
    with pytest.raises(DBAPIError):
        connection.insert([row(1, contact="x" * 256)])
    connection.insert([row(2)])
    assert _ids(queue.load(engine, ALICE, 0, 10)) == [2]


def test_load_goes_on_where_it_ended(engine: Engine) -> None:
    queue.insert(engine, [row(number) for number in (5, 1, 4, 2, 3)])
    queue.insert(engine, [row(6, account=BOB), row(7, held=1)])
    assert _ids(queue.load(engine, ALICE, 0, 2)) == [1, 2]
    assert _ids(queue.load(engine, ALICE, FIRST + 2, 10)) == [3, 4, 5]
    assert _ids(queue.load(engine, BOB, 0, 10)) == [6]


def test_backlog_names_every_account_once(engine: Engine) -> None:
    gtalk = row(4, ext_prot="gtalk", ext_user="Alice@Example.org")
    queue.insert(engine, [row(1), row(2), gtalk, row(3, held=1), row(5, account=BOB, ext_user="bob@example.org")])
    found = {one.account: one for one in queue.backlog(engine)}
    assert found.keys() == {ALICE, BOB}
    assert found[BOB] == Backlog(BOB, "prpl-jabber", "bob@example.org", 1)
    assert found[ALICE].count == 3
    assert (found[ALICE].ext_prot, found[ALICE].ext_user) in {
        ("gtalk", "Alice@Example.org"),
        ("prpl-jabber", "alice@example.org"),
    }


def test_what_is_set_aside_does_not_expire(engine: Engine) -> None:
    times = {1: NOW + 1, 2: NOW, 3: NOW - 1, 4: NOW - 2}
    queue.insert(engine, [row(number, expires=expires, held=int(number == 4)) for number, expires in times.items()])
    assert _ids(queue.expired(engine, NOW, 10)) == [3, 2]
    assert _ids(queue.expired(engine, NOW, 1)) == [3]


def test_two_crashes_set_a_message_aside(engine: Engine) -> None:
    """The first one finds no row: it was sent without."""
    assert queue.note_crash(engine, row(1, message=EVERY_OCTET)) == 1
    assert queue.load(engine, ALICE, 0, 10) == [row(1, message=EVERY_OCTET, crashes=1)]
    assert queue.note_crash(engine, row(1, message=EVERY_OCTET)) == 2
    assert queue.load(engine, ALICE, 0, 10) == []
    assert queue.get(engine, FIRST + 1) == row(1, message=EVERY_OCTET, crashes=2, held=1)


def test_retry_forgets_the_crashes(engine: Engine) -> None:
    for number in (1, 1, 2, 2, 3):
        queue.note_crash(engine, row(number))
    assert queue.retry(engine, [FIRST + 1, FIRST + 99]) == 1
    assert queue.load(engine, ALICE, 0, 10) == [row(1), row(3, crashes=1)]
    assert queue.retry(engine, [FIRST + 1]) == 1  # there is nothing to change, and still it is there


def test_rows_in_pages(engine: Engine) -> None:
    count = 2 * queue.PAGE + 1
    queue.insert(engine, [row(number, held=number % 2) for number in range(count)])
    queue.insert(engine, [row(count, ext_user="Bob@Example.org")])
    assert _ids(list(queue.rows(engine))) == list(range(count + 1))
    assert _ids(list(queue.rows(engine, held=True))) == list(range(1, count, 2))
    assert _ids(list(queue.rows(engine, ext_user="bob@example.ORG"))) == [count]
    assert _ids(list(queue.rows(engine, held=True, ext_user="bob@example.org"))) == []


def test_fingerprints_of_the_last_minute(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "FINGERPRINTS", 3)
    queue.insert(engine, [row(number, created=NOW + number, fingerprint=f"{number:016x}") for number in range(20)])
    assert [int(text, 16) for text in queue.fingerprints(engine, NOW + 13)] == [19, 18, 17, 16, 15, 14, 13]
    assert len(queue.fingerprints(engine, NOW)) == 20
    assert queue.fingerprints(engine, NOW + 20) == []


def test_the_indexes_serve_the_queries(engine: Engine) -> None:
    if engine.dialect.name != "sqlite":
        pytest.skip("the others decide by the number of rows")
    with statements_of(engine) as seen:
        queue.load(engine, ALICE, 0, 10)
        queue.expired(engine, NOW, 10)
    plans = []
    with engine.connect() as connection:
        for text, parameters in seen:
            plans.append([step.detail for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", parameters)])
    assert plans == [
        ["SEARCH purple_queue USING INDEX purple_queue_account_idx (account=? AND id>?)"],
        ["SEARCH purple_queue USING INDEX purple_queue_expires_idx (expires<?)"],
    ]


# --- the connection that stays open -----------------------------------------------------------------------


def test_one_statement_for_each_call(engine: Engine, connection: QueueConnection) -> None:
    if engine.dialect.name != "sqlite":
        pytest.skip("only SQLite's driver tells what it executes")
    connection.insert([row(1)])
    seen: list[str] = []
    assert connection._cursor is not None
    connection._cursor.connection.set_trace_callback(seen.append)
    connection.insert([row(2)])
    connection.delete([FIRST + 1])
    assert [text.split()[0] for text in seen] == ["INSERT", "DELETE"]
    assert _ids(queue.load(engine, ALICE, 0, 10)) == [2]


def test_it_leaves_the_pool_to_others(engine: Engine) -> None:
    """The pool has two connections; here are three that stay open."""
    connections = [QueueConnection(engine) for _ in range(3)]
    for number, connection in enumerate(connections):
        connection.insert([row(number)])
    assert _ids(queue.load(engine, ALICE, 0, 10)) == [0, 1, 2]
    for connection in connections:
        connection.close()


def test_a_connection_closed_by_the_server_is_made_again(
    engine: Engine, connection: QueueConnection, caplog: pytest.LogCaptureFixture
) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("there is no server")
    connection.insert([row(1)])
    with engine.connect() as other:
        for statement in other.exec_driver_sql(KILL[engine.dialect.name]).scalars().all():
            if isinstance(statement, str):
                other.exec_driver_sql(statement)
    connection.insert([row(2)])
    connection.delete([FIRST + 1])
    assert _ids(queue.load(engine, ALICE, 0, 10)) == [2]
    assert caplog.records == []


def test_each_call_is_committed_at_once(engine: Engine, connection: QueueConnection) -> None:
    other = QueueConnection(engine)
    connection.insert([row(1), row(2)])
    other.insert([row(3)])
    assert _ids(queue.load(engine, ALICE, 0, 10)) == [1, 2, 3]
    other.delete([FIRST + 1])
    connection.delete([FIRST + 2])
    assert _ids(queue.load(engine, ALICE, 0, 10)) == [3]
    other.close()


def test_after_an_error_it_works_again(engine: Engine, connection: QueueConnection) -> None:
    connection.insert([row(1)])
    run(engine, "ALTER TABLE purple_queue RENAME TO elsewhere")
    with pytest.raises(SQLAlchemyError):
        connection.insert([row(2)])
    run(engine, "ALTER TABLE elsewhere RENAME TO purple_queue")
    connection.insert([row(3)])
    assert _ids(queue.load(engine, ALICE, 0, 10)) == [1, 3]


def test_a_text_of_an_error_has_no_message_in_it(engine: Engine) -> None:
    with pytest.raises(SQLAlchemyError) as caught:
        queue.insert(engine, [row(1, created="x" if engine.dialect.name != "sqlite" else None, message=b"secret")])
    assert "secret" not in str(caught.value)
