"""Where the mapping has changed: what is seen, on each database, and what a look costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, delete, insert, update
from sqlalchemy.exc import SQLAlchemyError

from purple_bridge.db.engine import make_engine
from purple_bridge.db.row_changes import BLOCK, RowChanges
from purple_bridge.db.tables import purplemap_table
from tests.databases import create_old_table, create_ours, run, statements_of

OPTIONS = '{"port": 5222}'


@pytest.fixture
def engine(any_database: Engine) -> Engine:
    """With rows 1 to 3, one in another block, and one far away."""
    create_ours(any_database)
    _add(any_database, *(_row(number) for number in (1, 2, 3, BLOCK, 50 * BLOCK)))
    return any_database


def _row(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "sip_user": f"sip:user{number}@example.org",
        "ext_user": f"user{number}@x",
        "ext_prot": "prpl-jabber",
        "ext_pass": None,
        "ext_options": None,
        **more,
    }


def _table(engine: Engine) -> Any:
    return purplemap_table("purplemap", engine.dialect.name)


def _add(engine: Engine, *rows: dict[str, Any]) -> None:
    with engine.begin() as connection:
        connection.execute(insert(_table(engine)), list(rows))


def _set(engine: Engine, number: int, **values: Any) -> None:
    table = _table(engine)
    with engine.begin() as connection:
        connection.execute(update(table).where(table.c.id == number).values(values))


def _remove(engine: Engine, number: int) -> None:
    table = _table(engine)
    with engine.begin() as connection:
        connection.execute(delete(table).where(table.c.id == number))


def test_nothing_has_changed(engine: Engine) -> None:
    changes = RowChanges(engine, _table(engine))
    assert changes.look() == []  # the first look has nothing to compare with
    assert changes.look() == []


@pytest.mark.parametrize(
    ("change", "block"),
    [
        (lambda engine: _add(engine, _row(4)), 0),
        (lambda engine: _add(engine, _row(BLOCK - 1)), 0),
        (lambda engine: _add(engine, _row(7 * BLOCK + 1)), 7),
        (lambda engine: _remove(engine, 2), 0),
        (lambda engine: _remove(engine, 50 * BLOCK), 50),
        (lambda engine: _set(engine, 1, ext_pass="secret"), 0),
        (lambda engine: _set(engine, 1, ext_pass=""), 0),
        (lambda engine: _set(engine, 1, ext_options=OPTIONS), 0),
        (lambda engine: _set(engine, BLOCK, sip_user="sip:bob@example.org"), 1),
        (lambda engine: _set(engine, BLOCK, ext_user="bob@x"), 1),
        (lambda engine: _set(engine, BLOCK, ext_prot="gtalk"), 1),
        (lambda engine: _set(engine, 3, sip_user="SIP:user3@example.org"), 0),
    ],
)
def test_a_change_is_found_once(engine: Engine, change: Callable[[Engine], None], block: int) -> None:
    changes = RowChanges(engine, _table(engine))
    changes.look()
    change(engine)
    assert changes.look() == [block]
    assert changes.look() == []


def test_rows_that_exchange_what_they_say(engine: Engine) -> None:
    _set(engine, 1, ext_pass="one")
    _set(engine, 2, ext_pass="two")
    changes = RowChanges(engine, _table(engine))
    changes.look()
    _set(engine, 1, ext_pass="two")
    _set(engine, 2, ext_pass="one")
    assert changes.look() == [0]


def test_a_value_that_moves_to_the_next_column(engine: Engine) -> None:
    _set(engine, 1, ext_pass="a", ext_options="b")
    changes = RowChanges(engine, _table(engine))
    changes.look()
    _set(engine, 1, ext_pass="ab", ext_options="")
    assert changes.look() == [0]


def test_a_row_that_is_removed_and_added_again_with_its_id(engine: Engine) -> None:
    changes = RowChanges(engine, _table(engine))
    changes.look()
    _remove(engine, 3)
    _add(engine, _row(3, ext_user="another@x"))
    assert changes.look() == [0]


def test_several_changes(engine: Engine) -> None:
    changes = RowChanges(engine, _table(engine))
    changes.look()
    _remove(engine, 50 * BLOCK)
    _add(engine, _row(4), _row(5), _row(90 * BLOCK))
    assert changes.look() == [0, 50, 90]


def test_an_empty_table_fills(any_database: Engine) -> None:
    create_ours(any_database)
    changes = RowChanges(any_database, _table(any_database))
    assert changes.look() == []
    _add(any_database, _row(1))
    assert changes.look() == [0]


def test_a_table_of_the_old_module(any_database: Engine) -> None:
    with any_database.begin() as connection:
        create_old_table(connection)
    changes = RowChanges(any_database, _table(any_database))
    changes.look()
    run(any_database, "INSERT INTO purplemap (sip_user, ext_user, ext_prot) VALUES ('sip:a@x', 'a@y', 'gtalk')")
    assert changes.look() == [0]


def test_what_changes_while_the_database_fails_is_found_afterwards(engine: Engine) -> None:
    changes = RowChanges(engine, _table(engine))
    changes.look()
    run(engine, "ALTER TABLE purplemap RENAME TO elsewhere")
    with pytest.raises(SQLAlchemyError):
        changes.look()
    run(engine, "ALTER TABLE elsewhere RENAME TO purplemap")
    _set(engine, 1, ext_pass="new")
    assert changes.look() == [0]


def test_no_row_is_read(engine: Engine) -> None:
    """A number for each block comes back, whatever the table says; on SQLite by one statement each."""
    changes = RowChanges(engine, _table(engine))
    changes.look()
    _set(engine, 2, ext_user="user2@x")  # the file is another one, the rows are not
    with statements_of(engine) as statements:
        assert changes.look() == []
    looks = [statement for statement, _ in statements if "purplemap" in statement]
    assert all("count(*)" in statement or "min(" in statement for statement in looks)
    assert len(looks) == (7 if engine.dialect.name == "sqlite" else 1)


def test_a_file_that_nobody_has_written_to_is_not_read(engine: Engine) -> None:
    if engine.dialect.name != "sqlite":
        pytest.skip("a server does not say so")
    changes = RowChanges(engine, _table(engine))
    other = make_engine(f"sqlite:///{engine.url.database}".replace("file:", ""))
    changes.look()
    with statements_of(engine) as seen:
        assert changes.look() == []
    assert [text for text, _ in seen] == ["PRAGMA data_version"]
    for writer in (engine, other):
        _set(writer, 2, ext_pass=f"by {id(writer)}")
        assert changes.look() == [0]
        assert changes.look() == []
    other.dispose()


def test_a_look_that_failed_is_made_up_for(engine: Engine) -> None:
    changes = RowChanges(engine, _table(engine))
    changes.look()
    _set(engine, 2, ext_pass="new")
    run(engine, "ALTER TABLE purplemap RENAME TO elsewhere")
    with pytest.raises(SQLAlchemyError):
        changes.look()
    run(engine, "ALTER TABLE elsewhere RENAME TO purplemap")
    assert changes.look() == [0]
