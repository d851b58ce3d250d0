"""Owns the checks of an installation: versions, modules, libpurple, database, permissions, each a finding in words."""

from __future__ import annotations

import stat
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from sqlalchemy import Engine, String, column, func, select, table
from sqlalchemy.exc import SQLAlchemyError

from purple_bridge.db.engine import make_engine
from purple_bridge.db.key_file import read_keys
from purple_bridge.db.key_rows import Census, census
from purple_bridge.db.passwords import Passwords
from purple_bridge.db.schema import has_old_lists
from purple_bridge.db.tables import table_name
from purple_bridge.db.urls import location_url, redacted, sqlalchemy_url
from purple_bridge.errors import ConfigurationError
from purple_bridge.launcher.versions import (
    Kamailio,
    check_libpurple,
    check_python,
    check_version,
    find_kamailio,
    missing_packages,
)
from purple_bridge.ownership import plugin_of

Level = Literal["ok", "warn", "fail"]
USUAL_PROTOCOLS = {"prpl-jabber", "prpl-irc", "prpl-simple"}
LIBPURPLE_IS_FINE = "can be loaded"
FOR_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `purplectl check`; the ``text`` of a fail says what to do."""

    level: Level
    subject: str
    text: str


def check_programs(database: str, tls: bool = False) -> Iterator[Finding]:
    """Kamailio, its modules and its Python, libpurple.

    ``database``: the scheme of purple.db_url; ``tls``: there is a TLS listener.
    """
    try:
        kamailio = find_kamailio()
    except ConfigurationError as error:
        yield Finding("fail", "kamailio", str(error))
        return
    yield _finding("kamailio", partial(check_version, kamailio), f"version {kamailio.version_text}")
    yield from _modules(kamailio, database, tls)
    yield _finding("python", partial(check_python, kamailio), "Kamailio embeds the Python of this environment")
    yield _finding("libpurple", check_libpurple, LIBPURPLE_IS_FINE)


def _modules(kamailio: Kamailio, database: str, tls: bool) -> Iterator[Finding]:
    missing = missing_packages(kamailio, database, tls)
    for package, modules in missing.items():
        yield Finding("fail", "modules", f"{', '.join(modules)} missing: apt-get install {package}")
    if not missing:
        yield Finding("ok", "modules", "all that kamailio.cfg loads are installed")


def check_database(db_url: str, mapping: str) -> Iterator[Finding]:
    """The database answers and has the tables. ``mapping``: purple.db_table."""
    try:
        mapping = table_name(mapping, sqlalchemy_url(db_url).get_backend_name())
        location = location_url(db_url)
    except ConfigurationError as error:
        yield Finding("fail", "database", str(error))
        return
    tables = [(db_url, name) for name in ("version", "subscriber", "silo", "xcap", "rls_watchers", mapping)]
    for url, name in (*tables, (location, "location")):
        finding = _finding("database", partial(_read_table, url, name), f"{redacted(url)}: {name} can be read")
        yield finding
        if finding.level == "fail":
            return
    yield _finding("database", partial(_check_lists, db_url), f"{redacted(db_url)}: contact lists can be stored")


def _check_lists(db_url: str) -> None:
    engine = make_engine(db_url)
    try:
        with engine.connect() as connection:
            if has_old_lists(connection):
                raise ConfigurationError(
                    f"{redacted(db_url)}: rls_watchers is of an older version: purplectl db upgrade"
                )
    finally:
        engine.dispose()


def _read_table(db_url: str, name: str) -> None:
    engine = make_engine(db_url)
    try:
        with engine.connect() as connection:
            connection.execute(select(func.count(column("id"))).select_from(table(name)))
    except SQLAlchemyError as error:
        reason = " ".join(str(getattr(error, "orig", error)).split())
        raise ConfigurationError(
            f"{redacted(db_url)}: {name} cannot be read ({reason}); start the database, or run purplectl db create"
        ) from error
    finally:
        engine.dispose()


def check_protocols(allowed: Collection[str] = ()) -> Finding:
    """The protocol plugins that libpurple finds; starts libpurple in this process. ``allowed``: purple.protocols."""
    from purple_bridge.libpurple.allowed import left_alone  # noqa: PLC0415 - loads the C library
    from purple_bridge.libpurple.plugins import list_protocols  # noqa: PLC0415 - loads the C library

    found = {protocol.id for protocol in list_protocols(allowed)}
    missing = set(allowed or USUAL_PROTOCOLS) - found
    names = ", ".join(sorted(missing))
    if missing and allowed:
        return Finding("warn", "plugins", f"{names} of purple.protocols: no such plugin is installed")
    if not found:
        return Finding("fail", "plugins", "libpurple finds no protocol plugin: apt-get install libpurple0")
    if missing:
        return Finding("warn", "plugins", f"{names} missing: apt-get install libpurple0")
    others = f"; not allowed by purple.protocols: {', '.join(left_alone())}" if allowed and left_alone() else ""
    return Finding("ok", "plugins", ", ".join(sorted(found)) + others)


def check_rows(db_url: str, mapping: str, key_path: Path, allowed: Collection[str]) -> Iterator[Finding]:
    """The passwords of the mapping can be read, and its protocols are allowed; silent where the table cannot be read.

    ``key_path``, ``allowed``: purple.key_file and purple.protocols.
    """
    engine = make_engine(db_url)
    try:
        found = census(engine, Passwords(key_path), mapping)
        others = dict(_rows_not_allowed(engine, mapping, allowed)) if allowed else {}
    except (SQLAlchemyError, ConfigurationError):
        return
    finally:
        engine.dispose()
    yield from _check_key(key_path, found)
    for protocol, count in sorted(others.items()):
        text = f"{count} accounts of {protocol}, which purple.protocols does not allow: add it there, or remove them"
        yield Finding("warn", "accounts", text)


def _rows_not_allowed(engine: Engine, mapping: str, allowed: Collection[str]) -> Iterator[tuple[str, int]]:
    rows, protocol = table(mapping), column("ext_prot", String)
    with engine.connect() as connection:
        for name, count in connection.execute(select(protocol, func.count()).select_from(rows).group_by(protocol)):
            if plugin_of(name) not in allowed:
                yield name, count


def _check_key(path: Path, found: Census) -> Iterator[Finding]:
    encrypted = found.by_key.total()
    try:
        keys = read_keys(path)
    except ConfigurationError as error:
        yield Finding("fail", "key", str(error))
        return
    if keys and path.stat().st_mode & FOR_OTHERS:
        yield Finding("fail", "key", f"others can read {path}: chmod go= {path}, then purplectl key rotate")
    elif found.unreadable:
        why = "there is no key file {path}" if not keys else "they need another key"
        text = f"the passwords of {found.unreadable} accounts cannot be read, {why.format(path=path)}"
        yield Finding("fail", "key", f"{text}: take the copy of the key file; see purplectl key status")
    elif keys:
        plain = f", {found.plain} plain (purplectl key encrypt)" if found.plain else ""
        yield Finding("ok", "key", f"{path}: {encrypted} passwords encrypted{plain}")


def check_permissions(state: Path, private: tuple[Path, ...]) -> Iterator[Finding]:
    """The state directory exists, and nobody else can read the files with passwords in them."""
    if not state.is_dir():
        yield Finding("warn", "permissions", f"{state} does not exist yet; purplectl run makes it")
        return
    for path in private:
        if path.exists() and path.stat().st_mode & FOR_OTHERS:
            yield Finding("fail", "permissions", f"{path} holds passwords and others can read it: chmod go= {path}")
            return
    yield Finding("ok", "permissions", f"{state}: files with passwords are private")


def _finding(subject: str, check: Callable[[], None], fine: str) -> Finding:
    try:
        check()
    except ConfigurationError as error:
        return Finding("fail", subject, str(error))
    return Finding("ok", subject, fine)
