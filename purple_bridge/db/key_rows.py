"""Owns the passwords of all rows as far as keys are concerned: which key each needs, and writing them anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, Row, Select, Table, bindparam, select, update

from purple_bridge.db.passwords import Passwords, Seal, Unreadable, in_plain, parse
from purple_bridge.db.provision import check_width
from purple_bridge.db.tables import PURPLEMAP, purplemap_table

PAGE = 500  # rows that are written, and locked, at a time
NAMED = 20  # rows that cannot be read and are named

Wanted = Callable[[str | None], bool]  # whether a row with this key (None: a plain one) is written anew


@dataclass(slots=True)
class Census:
    """How many rows there are of each kind, and the ids of the first of those that cannot be read."""

    none: int = 0
    plain: int = 0
    by_key: Counter[str] = field(default_factory=Counter)  # encrypted ones, unreadable included
    unreadable: int = 0
    named: list[tuple[int, str]] = field(default_factory=list)  # id, why
    _wrong: Counter[str] = field(default_factory=Counter)

    def readable_by(self, key: str) -> int:
        return self.by_key[key] - self._wrong[key]

    def add(self, row: Row[Any], passwords: Passwords) -> None:
        if row.ext_pass is None:
            self.none += 1
            return
        key: str | None = None
        try:
            key = parse(row.ext_pass).key
            if key is None:
                self.plain += 1
            else:
                self.by_key[key] += 1
                passwords.read(row.ext_pass, row.ext_prot, row.ext_user)
        except Unreadable as error:
            self.unreadable += 1
            self._wrong[key or ""] += 1
            if len(self.named) < NAMED:
                self.named.append((row.id, str(error)))


def census(engine: Engine, passwords: Passwords, table: str = PURPLEMAP) -> Census:
    """Reads every row, in pages. Raises SQLAlchemyError."""
    mapping, last, found = purplemap_table(table, engine.dialect.name), -1, Census()
    while True:
        with engine.connect() as connection:
            page = connection.execute(_page(mapping, last)).all()
        for row in page:
            found.add(row, passwords)
        if not page:
            return found
        last = page[-1].id


def rewrite(
    engine: Engine,
    passwords: Passwords,
    wanted: Wanted,
    table: str = PURPLEMAP,
    progress: Callable[[int], None] = lambda _rows: None,
    *,
    plain: bool = False,
) -> int:
    """Write the passwords of these rows anew, with the first key, or ``plain``; how many. What cannot be read stays.

    Page by page, each a transaction of its own: whoever stops it has rows of both kinds, all of which can be read.
    Raises SQLAlchemyError, and ConfigurationError where the column is too narrow, or the key file cannot be used.
    """
    mapping, last, written = purplemap_table(table, engine.dialect.name), -1, 0
    while True:
        with passwords.writing() as seal, engine.begin() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA secure_delete=ON")  # what was plain is written over
                connection.exec_driver_sql("BEGIN IMMEDIATE")  # where rows have no locks
            page = connection.execute(_page(mapping, last).with_for_update()).all()
            changes = list(_changes(page, passwords, wanted, in_plain if plain else seal))
            _write(connection, mapping, changes)
        written += len(changes)
        progress(len(page))
        if not page:
            _forget(engine)
            return written
        last = page[-1].id


def _forget(engine: Engine) -> None:
    """SQLite's write-ahead log holds the rows as they were until it is written over."""
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


def _page(table: Table, last: int) -> Select[Any]:
    c = table.c
    return select(c.id, c.ext_prot, c.ext_user, c.ext_pass).where(c.id > last).order_by(c.id).limit(PAGE)


def _changes(page: Sequence[Row[Any]], passwords: Passwords, wanted: Wanted, seal: Seal) -> Iterator[dict[str, Any]]:
    for row in page:
        try:
            if row.ext_pass is None or not wanted(parse(row.ext_pass).key):
                continue
            text = passwords.read(row.ext_pass, row.ext_prot, row.ext_user)
        except Unreadable:
            continue
        yield {"row_id": row.id, "stored": seal(text, row.ext_prot, row.ext_user)}


def _write(connection: Connection, table: Table, changes: list[dict[str, Any]]) -> None:
    if changes:
        check_width(connection, table, (change["stored"] for change in changes))
        statement = update(table).where(table.c.id == bindparam("row_id")).values(ext_pass=bindparam("stored"))
        connection.execute(statement, changes)
