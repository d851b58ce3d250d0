"""Owns the checks of what the accounts' rows allow on the way to their IM servers; signs nothing on."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy.exc import SQLAlchemyError

from purple_bridge.db.engine import make_engine
from purple_bridge.db.mapping import DatabaseUnavailable, Mapping
from purple_bridge.encryption import sends_password_in_clear
from purple_bridge.launcher.preflight import Finding

SUBJECT = "encryption"
MOST_NAMED = 3


def check_connections(db_url: str, table: str) -> Iterator[Finding]:
    """A warning for the accounts whose password may cross the network in clear; nothing where the table has no rows."""
    engine = make_engine(db_url)
    try:
        rows = [row for row in Mapping(engine, table).all_accounts() if row.has_password]
    except (SQLAlchemyError, DatabaseUnavailable):
        return  # the check of the database says why
    finally:
        engine.dispose()
    clear = [row for row in rows if sends_password_in_clear(row.protocol, dict(row.options))]
    if clear:
        names = ", ".join(f"{row.protocol} {row.ext_user}" for row in clear[:MOST_NAMED])
        more = f" and {len(clear) - MOST_NAMED} more" if len(clear) > MOST_NAMED else ""
        text = f"the password of {names}{more} may cross the network in clear: see SECURITY in `purplectl status`"
        yield Finding("warn", SUBJECT, text)
    elif rows:
        yield Finding("ok", SUBJECT, "no password crosses the network in clear")
