"""Owns what is remembered of a table as a whole, so that a change anywhere in it is found; knows no account, no user.

Nothing in the mapping, or in Kamailio's table of SIP users, says when a row was changed, and operators change rows by
plain SQL. So the database makes a number of each thousand ids, in one pass over the table; where the number is another
one, a row is.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from functools import reduce

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Integer,
    Table,
    cast,
    func,
    literal_column,
    select,
)

from purple_bridge.db.tables import has_options

BLOCK = 1000  # ids that are looked at together

Block = int  # the rows with the ids from block * BLOCK to block * BLOCK + BLOCK - 1
Numbers = dict[Block, tuple[int, int]]  # how many rows, and a number made of all they say

_BETWEEN, _NULL = "\x1f", "\x1e"  # what no column holds


class RowChanges:
    """Belongs to one thread of one process."""

    def __init__(self, engine: Engine, table: Table) -> None:
        """``engine``: made in this process."""
        self._engine = engine
        self._table = table
        self._columns: list[str] = []
        self._before: Numbers | None = None
        self._watch: Connection | None = None
        self._version: int | None = None

    def look(self) -> list[Block]:
        """The blocks in which a row was added, changed or removed since the last look; none the first time.

        Raises SQLAlchemyError; the next look then finds what this one would have found.
        """
        version = self._version_of_file()
        if version is not None and version == self._version:
            return []
        blocks = self._compare()
        self._version = version
        return blocks

    def _version_of_file(self) -> int | None:
        """SQLite: another number once anybody else has written to the file, since when there may be something to see.

        sqlite.org/pragma.html#pragma_data_version: it counts for one connection, which must write nothing itself.
        """
        if self._engine.dialect.name != "sqlite":
            return None
        if self._watch is None:
            self._watch = self._engine.connect()
            self._watch.detach()
            weakref.finalize(self, self._watch.close)
        with self._watch.begin():
            return int(self._watch.exec_driver_sql("PRAGMA data_version").scalar_one())

    def _compare(self) -> list[Block]:
        with self._engine.connect() as connection:
            names = self._columns or _columns(connection, self._table)
            now = dict(_numbers(connection, self._table, names))
        self._columns = names
        before, self._before = self._before, now
        if before is None:
            return []
        return sorted(block for block in before.keys() | now.keys() if before.get(block) != now.get(block))


def _columns(connection: Connection, table: Table) -> list[str]:
    names = [column.name for column in table.c]
    return names if has_options(connection, table) else [name for name in names if name != "ext_options"]


def _numbers(connection: Connection, table: Table, names: list[str]) -> Iterator[tuple[Block, tuple[int, int]]]:
    if connection.dialect.name == "sqlite":
        return _hashed_here(connection, table, names)
    block, number = (
        table.c.id // literal_column(str(BLOCK), Integer),
        _number(connection.dialect.name, [table.c[name] for name in names]),
    )
    statement = select(block, func.count(), func.sum(number)).group_by(block)
    return ((int(row[0]), (int(row[1]), int(row[2]))) for row in connection.execute(statement))


def _number(dialect: str, columns: list[Column[str]]) -> ColumnElement[int]:
    """Of one row; the id is in it, so rows that exchange what they say make another sum."""
    line = func.concat_ws(_BETWEEN, *_texts(columns))
    return cast(func.hashtext(line), BigInteger) if dialect == "postgresql" else func.crc32(line)


def _hashed_here(connection: Connection, table: Table, names: list[str]) -> Iterator[tuple[Block, tuple[int, int]]]:
    """SQLite has no function for it; the rows come as one text a block, which leaves Python's lock free meanwhile."""
    number, text = table.c.id, func.group_concat(_line([table.c[name] for name in names]), "\n")
    first = connection.execute(select(func.min(number))).scalar()
    while first is not None:
        block, end = first // BLOCK, (first // BLOCK + 1) * BLOCK
        statement = select(func.count(), text).where(number.between(block * BLOCK, end - 1))
        count, lines = connection.execute(statement).one()
        yield block, (count, hash(lines))
        first = connection.execute(select(func.min(number)).where(number >= end)).scalar()


def _line(columns: list[Column[str]]) -> ColumnElement[str]:
    """As concat_ws, which SQLite has since 3.44."""
    return reduce(lambda line, text: line.op("||")(_BETWEEN).op("||")(text), _texts(columns))


def _texts(columns: list[Column[str]]) -> list[ColumnElement[str]]:
    return [func.coalesce(column, _NULL) if column.nullable else column for column in columns]
