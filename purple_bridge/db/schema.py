"""Owns the making and upgrading of all tables, Kamailio's and the gateway's; both may be run again at any time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from sqlalchemy import Column, Connection, Table, delete, insert, inspect, select, update

from purple_bridge.db.engine import make_engine
from purple_bridge.db.scripts import (
    CORRECTED,
    KAMAILIO_FILES,
    KAMAILIO_SHARES,
    LISTS_FILES,
    LOCATION_FILES,
    TableScript,
    kamailio_scripts,
    our_scripts,
)
from purple_bridge.db.tables import (
    PURPLEMAP,
    PURPLEMAP_VERSION,
    active_watchers,
    has_options,
    purplemap_table,
    table_name,
    version,
    watchers,
)
from purple_bridge.db.urls import location_url, sqlalchemy_url
from purple_bridge.errors import ConfigurationError

Progress = Callable[[str], None]
STATEMENT_TIMEOUT = 60.0  # seconds: an ALTER TABLE of many rows takes longer than a look-up may


@dataclass(slots=True)
class SchemaReport:
    """``created``, ``kept``: names of tables.

    ``changed``, ``warnings``: what was done to existing tables and what is odd about them, in words.
    """

    created: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


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

    Adds ``ext_options`` and the indexes, widens columns that are too short, and makes rls's tables anew on SQLite where
    they are still Kamailio's (``has_old_lists``). Raises ConfigurationError
    where there is no Kamailio database yet, SQLAlchemyError for what the database refuses.
    """
    report = SchemaReport()
    with _transaction(url) as connection:
        if not inspect(connection).has_table(version.name):
            raise ConfigurationError("the database has no version table: run `purplectl db create` first")
        dialect = connection.dialect.name
        scripts = our_scripts(dialect, table_name(table, dialect))
        _create_missing(connection, scripts, report, progress)
        report.warnings.clear()  # what they say is put right now
        for done in chain(
            _upgrade_purplemap(connection, purplemap_table(table, dialect)),
            _widen_presence(connection),
            _renew_lists(connection),
        ):
            report.changed.append(done)
            progress(done)
    return report


def _create(url: str, scripts: list[TableScript], report: SchemaReport, progress: Progress, suffix: str = "") -> None:
    _make_private_file(url)
    with _transaction(url) as connection:
        _create_missing(connection, scripts, report, lambda line: progress(line + suffix))
        report.changed.extend(_widen_presence(connection))


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
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return
    except OSError as error:
        raise ConfigurationError(f"purple.db_url: {path} cannot be made: {error.strerror}") from None
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    os.close(descriptor)


def _create_missing(
    connection: Connection, scripts: list[TableScript], report: SchemaReport, progress: Progress
) -> None:
    tables = set(inspect(connection).get_table_names())
    for script in scripts:
        if script.table in tables:
            _keep(script, _version_of(connection, script.table) if version.name in tables else None, report)
            progress(f"kept {script.table}")
        else:
            _run(connection, script)
            report.created.append(script.table)
            progress(f"created {script.table}")
        tables.add(script.table)


def _keep(script: TableScript, known: int | None, report: SchemaReport) -> None:
    """A table with another version, or none, stays too: but Kamailio may refuse it, so the report says so."""
    report.kept.append(script.table)
    if known != script.version:
        found = "no version" if known is None else f"version {known}"
        report.warnings.append(f"{script.table} has {found}, where version {script.version} is expected")


def _run(connection: Connection, script: TableScript) -> None:
    for statement in script.statements:
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def _version_of(connection: Connection, table: str) -> int | None:
    statement = select(version.c.table_version).where(version.c.table_name == table)
    return connection.execute(statement).scalar()


def _upgrade_purplemap(connection: Connection, table: Table) -> Iterator[str]:
    if not has_options(connection, table):
        _alter(connection, table, f"ADD COLUMN {_definition(connection, table.c.ext_options)}")
        yield f"added {table.name}.ext_options"
    yield from _widen(connection, table)
    for index in sorted(table.indexes, key=lambda index: str(index.name)):
        if not inspect(connection).has_index(table.name, str(index.name)):
            index.create(connection)
            yield f"added index {index.name}"
    if _set_version(connection, table.name, PURPLEMAP_VERSION):
        yield f"set the version of {table.name} to {PURPLEMAP_VERSION}"


def _widen_presence(connection: Connection) -> Iterator[str]:
    for table in (active_watchers, watchers):
        if inspect(connection).has_table(table.name):
            yield from _widen(connection, table)


def _widen(connection: Connection, table: Table) -> Iterator[str]:
    for column in _too_short(connection, table):
        _alter(connection, table, _widening(connection, column))
        yield f"widened {table.name}.{column.name}"


def has_old_lists(connection: Connection) -> bool:
    """An SQLite file whose tables of contact lists are missing, or would end Kamailio (``scripts.CORRECTIONS``)."""
    return connection.dialect.name == "sqlite" and any(not _is_corrected(connection, each) for each in _lists())


def _renew_lists(connection: Connection) -> Iterator[str]:
    """What is in them lasts an hour; phones subscribe again."""
    if not has_old_lists(connection):
        return
    for script in _lists():
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {script.table}")
        connection.execute(delete(version).where(version.c.table_name == script.table))
        _run(connection, script)
        yield f"made {script.table} anew"


def _lists() -> list[TableScript]:
    return kamailio_scripts("sqlite", LISTS_FILES)


def _is_corrected(connection: Connection, script: TableScript) -> bool:
    statement = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?"
    found = connection.exec_driver_sql(statement, (script.table,)).scalar()
    return found is not None and CORRECTED in found


def _set_version(connection: Connection, table: str, wanted: int) -> bool:
    """Make the row in the version table say ``wanted``; whether that was a change."""
    known = _version_of(connection, table)
    if known is None:
        connection.execute(insert(version).values(table_name=table, table_version=wanted))
    elif known != wanted:
        connection.execute(update(version).where(version.c.table_name == table).values(table_version=wanted))
    return known != wanted


def _too_short(connection: Connection, table: Table) -> Iterator[Column[str]]:
    """Columns that hold less than ours; SQLite does not care for lengths."""
    if connection.dialect.name == "sqlite":
        return
    found = {column["name"]: column["type"] for column in inspect(connection).get_columns(table.name)}
    for column in table.c:
        wanted, length = getattr(column.type, "length", None), getattr(found[column.name], "length", None)
        if wanted and length and length < wanted:
            yield column


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
