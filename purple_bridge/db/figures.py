"""How much lies in the tables, for the metrics: owns queries that read each table once, and no row's content."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Engine, func, select

from purple_bridge.db.tables import purple_queue, purplemap_table, silo


@dataclass(frozen=True, slots=True)
class Lying:
    """``count`` rows, the first of them written at ``oldest``: Unix time in seconds, 0 without a row."""

    count: int = 0
    oldest: int = 0


@dataclass(frozen=True, slots=True)
class TableFigures:
    """``waiting`` and ``set_aside``: rows of purple_queue, by protocol. ``kept``: rows of silo that a phone can get.

    ``mapped``: rows of the mapping table, by protocol.
    """

    waiting: dict[str, Lying]
    set_aside: dict[str, Lying]
    kept: Lying
    mapped: dict[str, int]


def look(engine: Engine, table: str, now: int) -> TableFigures:
    """``table``: the mapping table; ``now``: Unix time in seconds. Raises SQLAlchemyError."""
    with engine.connect() as connection:
        queue = _queue(connection)
        return TableFigures(
            {protocol: found for (protocol, held), found in queue.items() if not held},
            {protocol: found for (protocol, held), found in queue.items() if held},
            _kept(connection, now),
            _mapped(connection, table),
        )


def _queue(connection: Connection) -> dict[tuple[str, bool], Lying]:
    columns = purple_queue.c
    statement = select(columns.ext_prot, columns.held, func.count(), func.min(columns.created))
    rows = connection.execute(statement.group_by(columns.ext_prot, columns.held))
    return {(protocol, held != 0): Lying(count, oldest) for protocol, held, count, oldest in rows}


def _kept(connection: Connection, now: int) -> Lying:
    wanted = (silo.c.exp_time > now, silo.c.snd_time == 0)
    count, oldest = connection.execute(select(func.count(), func.min(silo.c.inc_time)).where(*wanted)).one()
    return Lying(count, oldest or 0)


def _mapped(connection: Connection, table: str) -> dict[str, int]:
    protocol = purplemap_table(table, connection.dialect.name).c.ext_prot
    rows = connection.execute(select(protocol, func.count()).group_by(protocol))
    return {row[0]: row[1] for row in rows}
