"""Owns the statements on Kamailio's ``subscriber`` table: SIP users and what their password is checked with.

For auth_db with ``calculate_ha1=0``, ``password_column=ha1`` and ``use_domain=1``: no password is stored.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Engine, and_, delete, func, insert, or_, select, update

from purple_bridge.addresses import SipAddress
from purple_bridge.db.tables import subscriber

SAME_NAME = 10  # users of one name in different domains that ``credentials`` looks at


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a user's password is checked with: MD5 of ``user:domain:password``."""

    user: SipAddress
    ha1: str = field(repr=False)

    def is_password(self, password: str) -> bool:
        """Takes the same time for every password of a length."""
        return hmac.compare_digest(_hashes(self.user, password)["ha1"].encode(), self.ha1.lower().encode())


def add_user(engine: Engine, user: SipAddress, password: str) -> bool:
    """Add the user; False, and nothing done, if it exists. Raises SQLAlchemyError."""
    with engine.begin() as connection:
        if connection.execute(select(subscriber.c.id).where(_is(user))).first():
            return False
        row = {"username": user.user, "domain": user.host, "password": "", **_hashes(user, password)}
        connection.execute(insert(subscriber).values(row))
    return True


def set_password(engine: Engine, user: SipAddress, password: str) -> bool:
    """Change the password; False if there is no such user. Raises SQLAlchemyError."""
    with engine.begin() as connection:
        row = connection.execute(select(subscriber).where(_is(user))).first()
        if row is None:
            return False
        # a phone computes its digest with the name as it was added
        hashes = _hashes(SipAddress(row.username, row.domain), password)
        connection.execute(update(subscriber).where(subscriber.c.id == row.id).values(password="", **hashes))
    return True


def remove_user(engine: Engine, user: SipAddress) -> bool:
    """Remove the user; False if there is no such user. Raises SQLAlchemyError."""
    with engine.begin() as connection:
        return connection.execute(delete(subscriber).where(_is(user))).rowcount > 0


def has_user(engine: Engine, user: SipAddress) -> bool:
    """Whether there is such a user, in whatever case. Raises SQLAlchemyError."""
    with engine.connect() as connection:
        return connection.execute(select(subscriber.c.id).where(_is(user))).first() is not None


def credentials(engine: Engine, user: str, domain: str = "") -> list[Credentials]:
    """Of the users of that name, in whatever case; without ``domain``, of all domains. Raises SQLAlchemyError."""
    table = subscriber
    statement = select(table.c.username, table.c.domain, table.c.ha1).where(_has_name(user))
    if domain:
        statement = statement.where(func.lower(table.c.domain) == domain.lower())
    with engine.connect() as connection:
        rows = connection.execute(statement.order_by(table.c.id).limit(SAME_NAME))
        return [Credentials(SipAddress(row.username, row.domain), row.ha1 or "") for row in rows]


def list_users(engine: Engine) -> list[str]:
    """Every user as ``sip:user@domain``, in order. Raises SQLAlchemyError."""
    table = subscriber
    statement = select(table.c.username, table.c.domain).order_by(table.c.domain, table.c.username)
    with engine.connect() as connection:
        return [SipAddress(row.username, row.domain).uri for row in connection.execute(statement)]


def _is(user: SipAddress) -> ColumnElement[bool]:
    return and_(_has_name(user.user), func.lower(subscriber.c.domain) == user.host)


def _has_name(name: str) -> ColumnElement[bool]:
    """In whatever case; outside of ASCII, where databases may know none, also as it was added."""
    return or_(func.lower(subscriber.c.username) == name.lower(), subscriber.c.username == name)


def _hashes(user: SipAddress, password: str) -> dict[str, str]:
    """RFC 2617 §3.2.2.2, A1 = user:realm:password; ``ha1b`` is for phones that send user@domain as the user."""
    return {
        "ha1": _md5(f"{user.user}:{user.host}:{password}"),
        "ha1b": _md5(f"{user.user}@{user.host}:{user.host}:{password}"),
    }


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
