"""Owns the statements on ``purple_presence``, the presence each SIP user asked for last; status is opaque."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, delete, select
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.sql.dml import Insert

from purple_bridge.db.tables import purple_presence


@dataclass(frozen=True, slots=True)
class WantedPresence:
    """``sip_user``: ``SipAddress.key``. ``expires``: Unix time in seconds. ``status``: JSON."""

    sip_user: str
    expires: int
    status: str


def save_presence(engine: Engine, wanted: WantedPresence) -> None:
    """Keep this as the user's presence, in the place of what was kept. Raises SQLAlchemyError."""
    with engine.begin() as connection:
        connection.execute(_upsert(engine.dialect.name, wanted))


def delete_presence(engine: Engine, sip_user: str) -> None:
    """Forget the user's presence, if there is one. Raises SQLAlchemyError."""
    with engine.begin() as connection:
        connection.execute(delete(purple_presence).where(purple_presence.c.sip_user == sip_user))


def load_presences(engine: Engine, now: int) -> list[WantedPresence]:
    """What has not expired at ``now`` (Unix time in seconds), by user. Raises SQLAlchemyError."""
    table = purple_presence
    statement = select(table).where(table.c.expires > now).order_by(table.c.sip_user)
    with engine.connect() as connection:
        return [WantedPresence(row.sip_user, row.expires, row.status) for row in connection.execute(statement)]


def presences_of(engine: Engine, sip_users: list[str], now: int) -> list[WantedPresence]:
    """As ``load_presences``, of these users alone. Raises SQLAlchemyError."""
    table = purple_presence
    statement = select(table).where(table.c.sip_user.in_(sip_users), table.c.expires > now)
    with engine.connect() as connection:
        return [WantedPresence(row.sip_user, row.expires, row.status) for row in connection.execute(statement)]


def delete_expired_presences(engine: Engine, now: int) -> int:
    """Forget what has expired at ``now``; the number of rows. Raises SQLAlchemyError."""
    with engine.begin() as connection:
        return connection.execute(delete(purple_presence).where(purple_presence.c.expires <= now)).rowcount


def _upsert(dialect: str, wanted: WantedPresence) -> Insert:
    row = {"sip_user": wanted.sip_user, "expires": wanted.expires, "status": wanted.status}
    change = {"expires": wanted.expires, "status": wanted.status}
    if dialect == "mysql":
        return mysql.insert(purple_presence).values(row).on_duplicate_key_update(change)
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return insert(purple_presence).values(row).on_conflict_do_update(index_elements=["sip_user"], set_=change)
