"""Owns the statements that change the mapping table; the gateway itself only reads it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Mapping as Options
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Row, Table, bindparam, delete, insert, null, select, update

from purple_bridge.addresses import SipAddress
from purple_bridge.db.account import Account, OptionValue
from purple_bridge.db.passwords import NO_KEYS, Passwords, Seal, Unreadable, plain
from purple_bridge.db.tables import PURPLEMAP, has_options, password_width, purplemap_table
from purple_bridge.errors import ConfigurationError

T = TypeVar("T")

PAGE = 1000  # rows in one statement

_NO_OPTIONS = "{} has no column ext_options: run `purplectl db upgrade` first"
_TOO_NARROW = "{}.ext_pass holds {} characters, and this password takes {}: run `purplectl db upgrade` first"


def stored_user(user: SipAddress) -> str:
    """The column ``sip_user``: of all spellings of a user the one that every database finds (``Mapping``)."""
    return SipAddress(user.user.lower(), user.host).uri


def add_account(
    engine: Engine,
    user: SipAddress,
    protocol: str,
    ext_user: str,
    password: str | None,
    options: Options[str, OptionValue],
    table: str = PURPLEMAP,
    passwords: Passwords = NO_KEYS,
) -> None:
    """Add a row, its password encrypted if there is a key.

    Raises SQLAlchemyError, and ConfigurationError where the table cannot hold options or password, or where the key
    file cannot be used.
    """
    row: dict[str, str | None] = {"sip_user": stored_user(user), "ext_prot": protocol, "ext_user": ext_user}
    mapping = purplemap_table(table, engine.dialect.name)
    with passwords.writing() as seal, engine.begin() as connection:
        row |= _password_column(connection, mapping, seal(password, protocol, ext_user))
        connection.execute(insert(mapping).values(row | _options_column(connection, mapping, options)))


def change_account(
    engine: Engine,
    row: Account,
    *,
    password: str | None = None,
    options: Options[str, OptionValue] | None = None,
    table: str = PURPLEMAP,
    passwords: Passwords = NO_KEYS,
) -> None:
    """Replace the password, all options, or both; None leaves what is there. Raises as ``add_account`` does."""
    mapping = purplemap_table(table, engine.dialect.name)
    with passwords.writing() as seal, engine.begin() as connection:
        changes: dict[str, Any] = {}
        if password is not None:
            changes |= _password_column(connection, mapping, seal(password, row.protocol, row.ext_user))
        if options is not None:
            changes |= _options_column(connection, mapping, options)
        if changes:
            connection.execute(update(mapping).where(mapping.c.id == row.id).values(changes))


def remove_account(engine: Engine, row_id: int, table: str = PURPLEMAP) -> None:
    """Remove a row, if it is there. Raises SQLAlchemyError."""
    mapping = purplemap_table(table, engine.dialect.name)
    with engine.begin() as connection:
        connection.execute(delete(mapping).where(mapping.c.id == row_id))


@dataclass(frozen=True, slots=True)
class Change:
    """A row and the columns of it that get another value; ``protocol``, ``ext_user``: as stored."""

    row_id: int
    protocol: str
    ext_user: str
    values: dict[str, str | None]


def write_rows(
    engine: Engine,
    added: Sequence[dict[str, str | None]],
    changed: Sequence[Change],
    table: str = PURPLEMAP,
    progress: Callable[[int], None] = lambda _rows: None,
    passwords: Passwords = NO_KEYS,
) -> None:
    """All of them or, when an error is raised, none. ``progress``: rows done.

    ``added``: columns as they are stored, but for the password, which is encrypted here if there is a key; so it is in
    the changes. Raises as ``add_account`` does.
    """
    mapping = purplemap_table(table, engine.dialect.name)
    with passwords.writing() as seal, engine.begin() as connection:
        _seal_rows(connection, mapping, seal, added, changed)
        rows = [*added, *(change.values for change in changed)]
        if not has_options(connection, mapping):
            if any(row.get("ext_options") for row in rows):
                raise ConfigurationError(_NO_OPTIONS.format(mapping.name))
            for row in rows:
                row.pop("ext_options", None)
        for chunk in _chunks(added):
            connection.execute(insert(mapping), chunk)
            progress(len(chunk))
        _change(connection, mapping, changed, progress)


def _change(connection: Connection, table: Table, changes: Sequence[Change], progress: Callable[[int], None]) -> None:
    """Those that set the same columns together: one by one they would take ten times as long."""
    alike: dict[tuple[str, ...], list[Change]] = defaultdict(list)
    for change in changes:
        alike[tuple(change.values)].append(change)
    for names, same in alike.items():
        statement = update(table).where(table.c.id == bindparam("row_id"))
        statement = statement.values({name: bindparam(f"new_{name}") for name in names})
        for chunk in _chunks(same):
            if names:
                connection.execute(statement, [_parameters(change) for change in chunk])
            progress(len(chunk))


def _parameters(change: Change) -> dict[str, int | str | None]:
    return {"row_id": change.row_id, **{f"new_{name}": value for name, value in change.values.items()}}


def stored_rows(
    engine: Engine, table: str = PURPLEMAP, passwords: Passwords | None = None
) -> Iterator[Sequence[str | None]]:
    """The columns ``sip_user`` to ``ext_options`` of every row, by id; without ``passwords`` none of them.

    Raises SQLAlchemyError, and Unreadable for a password that cannot be decrypted.
    """
    mapping, last = purplemap_table(table, engine.dialect.name), -1
    with engine.connect() as connection:
        options = mapping.c.ext_options if has_options(connection, mapping) else null()
    c = mapping.c
    statement = select(c.id, c.sip_user, c.ext_user, c.ext_prot, c.ext_pass, options).order_by(c.id).limit(PAGE)
    while True:
        with engine.connect() as connection:  # each page for itself: a slow reader keeps nobody from writing
            page = connection.execute(statement.where(c.id > last)).all()
        if not page:
            return
        yield from ((*row[1:4], _password(row, passwords), row[5]) for row in page)
        last = page[-1].id


def _password(row: Row[Any], passwords: Passwords | None) -> str | None:
    if passwords is None:
        return None
    try:
        return plain(passwords.read(row.ext_pass, row.ext_prot, row.ext_user))
    except Unreadable as error:
        raise Unreadable(f"row {row.id}: {error}") from None


def _chunks(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    return (rows[start : start + PAGE] for start in range(0, len(rows), PAGE))


def _seal_rows(
    connection: Connection,
    table: Table,
    seal: Seal,
    added: Sequence[dict[str, str | None]],
    changed: Sequence[Change],
) -> None:
    new = [(row, str(row["ext_prot"]), str(row["ext_user"])) for row in added]
    sealed = [*new, *((change.values, change.protocol, change.ext_user) for change in changed)]
    for values, protocol, ext_user in sealed:
        if "ext_pass" in values:
            values["ext_pass"] = seal(values["ext_pass"], protocol, ext_user)
    check_width(connection, table, (values.get("ext_pass") for values, _protocol, _ext_user in sealed))


def check_width(connection: Connection, table: Table, stored: Iterable[str | None]) -> None:
    """Raises ConfigurationError where the column is too narrow: some databases would cut what is too long."""
    longest = max((len(text) for text in stored if text is not None), default=0)
    width = password_width(connection, table)
    if width is not None and longest > width:
        raise ConfigurationError(_TOO_NARROW.format(table.name, width, longest))


def _password_column(connection: Connection, table: Table, stored: str | None) -> dict[str, str | None]:
    check_width(connection, table, [stored])
    return {"ext_pass": stored}


def _options_column(connection: Connection, table: Table, options: Options[str, OptionValue]) -> dict[str, str | None]:
    if has_options(connection, table):
        return {"ext_options": json.dumps(dict(options)) if options else None}
    if options:
        raise ConfigurationError(_NO_OPTIONS.format(table.name))
    return {}
