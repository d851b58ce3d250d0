"""Owns the statements that change the mapping table; the gateway itself only reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping as Options
from typing import Any

from sqlalchemy import Connection, Engine, Table, delete, insert, update

from purple_bridge.addresses import SipAddress
from purple_bridge.db.account import OptionValue
from purple_bridge.db.tables import PURPLEMAP, has_options, purplemap_table
from purple_bridge.errors import ConfigurationError


def add_account(
    engine: Engine,
    user: SipAddress,
    protocol: str,
    ext_user: str,
    password: str | None,
    options: Options[str, OptionValue],
    table: str = PURPLEMAP,
) -> None:
    """Add a row. Raises SQLAlchemyError, and ConfigurationError where the table cannot hold options."""
    row = {"sip_user": user.uri, "ext_prot": protocol, "ext_user": ext_user, "ext_pass": password}
    mapping = purplemap_table(table, engine.dialect.name)
    with engine.begin() as connection:
        connection.execute(insert(mapping).values(row | _options_column(connection, mapping, options)))


def change_account(
    engine: Engine,
    row_id: int,
    *,
    password: str | None = None,
    options: Options[str, OptionValue] | None = None,
    table: str = PURPLEMAP,
) -> None:
    """Replace the password, all options, or both; None leaves what is there. Raises as ``add_account`` does."""
    mapping = purplemap_table(table, engine.dialect.name)
    with engine.begin() as connection:
        changes: dict[str, Any] = {} if password is None else {"ext_pass": password}
        if options is not None:
            changes |= _options_column(connection, mapping, options)
        if changes:
            connection.execute(update(mapping).where(mapping.c.id == row_id).values(changes))


def remove_account(engine: Engine, row_id: int, table: str = PURPLEMAP) -> None:
    """Remove a row, if it is there. Raises SQLAlchemyError."""
    mapping = purplemap_table(table, engine.dialect.name)
    with engine.begin() as connection:
        connection.execute(delete(mapping).where(mapping.c.id == row_id))


def _options_column(connection: Connection, table: Table, options: Options[str, OptionValue]) -> dict[str, str | None]:
    if has_options(connection, table):
        return {"ext_options": json.dumps(dict(options)) if options else None}
    if options:
        raise ConfigurationError(f"{table.name} has no column ext_options: run `purplectl db upgrade` first")
    return {}
