"""Owns who logs in: SIP users and their passwords, by Kamailio's table ``subscriber``. Knows no cookie."""

from __future__ import annotations

import secrets

from sqlalchemy import Engine

from purple_bridge.addresses import SipAddress
from purple_bridge.db.subscribers import Credentials, credentials
from purple_bridge.errors import BadRequest

LONGEST = 512  # characters of a name or a password
NOBODY = Credentials(SipAddress("nobody", "invalid"), secrets.token_hex(16))


def log_in(engine: Engine, name: str, password: str) -> Credentials | None:
    """The user whose SIP address, or user name, and password these are; None for nobody.

    An unknown name takes as long as a wrong password. Raises SQLAlchemyError.
    """
    known = _known(engine, name[:LONGEST]) or [NOBODY]
    fitting = [one for one in known if one.is_password(password[:LONGEST])]
    return fitting[0] if fitting and fitting[0] is not NOBODY else None


def ha1_of(engine: Engine, key: str) -> str | None:
    """What the password of a user (``SipAddress.key``) is checked with; None: there is none. Raises SQLAlchemyError."""
    name, _, domain = key.rpartition("@")
    return next((one.ha1 for one in credentials(engine, name, domain) if one.user.key == key), None)


def _known(engine: Engine, name: str) -> list[Credentials]:
    text = name.strip()
    if "@" not in text:
        return credentials(engine, text)
    try:
        user = SipAddress.parse(text if text.lower().startswith(("sip:", "sips:")) else f"sip:{text}")
    except BadRequest:
        user = NOBODY.user
    return credentials(engine, user.user, user.host)
