"""Owns the making and upgrading of all tables, Kamailio's and the gateway's; both may be run again at any time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Column, Connection, Engine, String, Table, inspect, select, update

from purple_bridge.db.engine import make_engine
from purple_bridge.db.scripts import (
    KAMAILIO_FILES,
    KAMAILIO_SHARES,
    LOCATION_FILES,
    TableScript,
    kamailio_scripts,
    our_scripts,
)
from purple_bridge.db.tables import (
    PURPLEMAP,
    PURPLEMAP_VERSION,
    has_options,
    purplemap_table,
    table_name,
    version,
)
from purple_bridge.db.urls import location_url, sqlalchemy_url
from purple_bridge.errors import ConfigurationError

Progress = Callable[[str], None]
STATEMENT_TIMEOUT = 60.0  # seconds: an ALTER TABLE of many rows takes longer than a look-up may


@dataclass(slots=True)
class SchemaReport:
    """``created``, ``kept``: names of tables. ``changed``: what was done to existing ones, in words."""

    created: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)


def create_all(
    url: str,
    table: str = PURPLEMAP,
    progress: Progress = lambda _line: None,
    *,
    shares: tuple[Path, ...] = KAMAILIO_SHARES,
) -> SchemaReport:
    """Create what is missing of Kamailio's tables and ours; a table that exists is left alone.

    On SQLite this makes the file (mode 0600) and a second one for usrloc, see ``location_url``. ``progress``
    gets a line for each table. Raises ConfigurationError, and SQLAlchemyError for what the database refuses.
    """
    report = SchemaReport()
    dialect = sqlalchemy_url(url).get_backend_name()
    name = table_name(table, dialect)
    scripts = kamailio_scripts(dialect, KAMAILIO_FILES, shares) + our_scripts(dialect, name)
    _create(url, scripts, report, progress)
    if location_url(url) != url:
        location = kamailio_scripts(dialect, LOCATION_FILES, shares)
        _create(location_url(url), location, report, progress, suffix=" (location file)")
    return report


def upgrade(url: str, table: str = PURPLEMAP, progress: Progress = lambda _line: None) -> SchemaReport:
    """Bring an existing mapping table up to date, keeping its rows, and create our tables that are missing.

    Adds ``ext_options`` and the indexes, and widens columns that are too short. Raises ConfigurationError
    where there is no Kamailio database yet, SQLAlchemyError for what the database refuses.
    """
    report = SchemaReport()
    with _transaction(url) as connection:
        if not inspect(connection).has_table(version.name):
            raise ConfigurationError("the database has no version table: run `purplectl db create` first")
        dialect = connection.dialect.name
        _apply(connection, our_scripts(dialect, table_name(table, dialect)), report, progress, adopt=True)
        for done in _upgrade_purplemap(connection, purplemap_table(table, dialect)):
            report.changed.append(done)
            progress(done)
    return report


def _create(url: str, scripts: list[TableScript], report: SchemaReport, progress: Progress, suffix: str = "") -> None:
    _make_private_file(url)
    with _transaction(url) as connection:
        _apply(connection, scripts, report, lambda line: progress(line + suffix))


@contextmanager
def _transaction(url: str) -> Iterator[Connection]:
    """One transaction for the whole schema, where the database has that: MySQL commits each CREATE TABLE."""
    engine = make_engine(url, timeout=STATEMENT_TIMEOUT)
    try:
        with engine.begin() as connection:
            if engine.dialect.name == "sqlite":  # Python's sqlite3 opens a transaction for INSERT only
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
    finally:
        engine.dispose()


def _make_private_file(url: str) -> None:
    """An empty SQLite file that only its owner can read; made by root it belongs to the directory's owner."""
    target = sqlalchemy_url(url)
    if target.get_backend_name() != "sqlite":
        return
    path = Path(target.database or "")
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
            if os.geteuid() == 0:
                owner = path.parent.stat()
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ConfigurationError(f"purple.db_url: {path} cannot be made: {error.strerror}") from None


def _apply(
    connection: Connection,
    scripts: list[TableScript],
    report: SchemaReport,
    progress: Progress,
    *,
    adopt: bool = False,
) -> None:
    """Run the scripts of tables that are missing; ``adopt``: also of those that exist without a version row."""
    tables = set(inspect(connection).get_table_names())
    for script in scripts:
        known = _version_of(connection, script.table) if version.name in tables else None
        if known is not None and script.table in tables:
            report.kept.append(script.table)
            progress(_kept(script, known))
            continue
        if script.table in tables and not adopt:
            raise ConfigurationError(
                f"table {script.table} exists, but has no row in the version table: "
                "drop it if it is empty, else add the row"
            )
        for statement in script.statements:
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
        (report.kept if script.table in tables else report.created).append(script.table)
        progress(f"created {script.table}")
        tables.add(script.table)


def _version_of(connection: Connection, table: str) -> int | None:
    statement = select(version.c.table_version).where(version.c.table_name == table)
    return connection.execute(statement).scalar()


def _kept(script: TableScript, known: int) -> str:
    if known == script.version:
        return f"kept {script.table}"
    return f"kept {script.table}: version {known}, where version {script.version} is expected"


def _upgrade_purplemap(connection: Connection, table: Table) -> Iterator[str]:
    if not has_options(connection, table):
        _alter(connection, table, f"ADD COLUMN {_definition(connection, table.c.ext_options)}")
        yield f"added {table.name}.ext_options"
    for column in _too_short(connection, table):
        _alter(connection, table, _widening(connection, column))
        yield f"widened {table.name}.{column.name}"
    for index in sorted(table.indexes, key=lambda index: str(index.name)):
        if not inspect(connection).has_index(table.name, str(index.name)):
            index.create(connection)
            yield f"added index {index.name}"
    if _version_of(connection, table.name) != PURPLEMAP_VERSION:
        row = version.c.table_name == table.name
        connection.execute(update(version).where(row).values(table_version=PURPLEMAP_VERSION))
        yield f"set the version of {table.name} to {PURPLEMAP_VERSION}"


def _too_short(connection: Connection, table: Table) -> Iterator[Column[str]]:
    """Columns that hold less than ours; SQLite does not care for lengths."""
    if connection.dialect.name == "sqlite":
        return
    for found in inspect(connection).get_columns(table.name):
        wanted = table.c.get(found["name"])
        length = getattr(found["type"], "length", None)
        if wanted is not None and isinstance(wanted.type, String) and wanted.type.length and length:
            if length < wanted.type.length:
                yield wanted


def _widening(connection: Connection, column: Column[str]) -> str:
    if connection.dialect.name == "mysql":
        return f"MODIFY {_definition(connection, column)}"
    kind = column.type.compile(connection.dialect)
    return f"ALTER COLUMN {connection.dialect.identifier_preparer.format_column(column)} TYPE {kind}"


def _definition(connection: Connection, column: Column[str]) -> str:
    name = connection.dialect.identifier_preparer.format_column(column)
    kind = column.type.compile(connection.dialect)
    return f"{name} {kind}" if column.nullable else f"{name} {kind} NOT NULL"


def _alter(connection: Connection, table: Table, change: str) -> None:
    name = connection.dialect.identifier_preparer.format_table(table)
    connection.exec_driver_sql(f"ALTER TABLE {name} {change}")


def engine_ready(engine: Engine, table: str = PURPLEMAP) -> bool:
    """Whether the tables the gateway cannot do without are there. Raises SQLAlchemyError."""
    with engine.connect() as connection:
        names = set(inspect(connection).get_table_names())
    return {version.name, table_name(table, engine.dialect.name)} <= names
