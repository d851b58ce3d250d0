"""Owns the reading of ``purple.db_url``, one URL for Kamailio's modules and ours; opens no connection.

The form is Kamailio's, ``scheme://[user[:password]@]host[:port]/database``, taken apart by its rules:
nothing is percent-decoded, a password runs up to the last ``@``, ``?`` ends the name of the database.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from sqlalchemy import URL

from purple_bridge.errors import ConfigurationError

FORMS = "sqlite:////path/file.db, mysql://user:password@host/name or postgres://user:password@host/name"
_DRIVERS = {"sqlite": "sqlite", "mysql": "mysql+mysqldb", "postgres": "postgresql+psycopg"}
_HOST = r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<host>[^:/@\[\]]*))"
_PLACE = re.compile(_HOST + r"(?::(?P<port>[0-9]{1,5}))?/(?P<rest>.*)", re.S)


@dataclass(frozen=True, slots=True)
class _Parts:
    scheme: str
    user: str | None
    password: str | None
    host: str
    port: int | None
    database: str


def sqlalchemy_url(url: str) -> URL:
    """SQLAlchemy's form of Kamailio's URL; ConfigurationError, without the password, if it cannot be read."""
    parts = _split(url)
    return URL.create(
        _DRIVERS[parts.scheme],
        username=parts.user,
        password=parts.password,
        host=parts.host or None,
        port=parts.port,
        database=parts.database,
        query={"charset": "utf8mb4"} if parts.scheme == "mysql" else {},
    )


def redacted(url: str) -> str:
    """The URL for people and logs: ``***`` for the password, or for all of it where it cannot be read."""
    try:
        parts = _split(url)
    except ConfigurationError:
        scheme = url.partition("://")[0]
        return f"{scheme if scheme in _DRIVERS else '***'}://***"
    secret = "" if parts.password is None else ":***"
    user = "" if parts.user is None else f"{parts.user}{secret}@"
    host = f"[{parts.host}]" if ":" in parts.host else parts.host
    port = "" if parts.port is None else f":{parts.port}"
    return f"{parts.scheme}://{user}{host}{port}/{parts.database}"


def location_url(url: str) -> str:
    """Where usrloc keeps its contacts: on SQLite ``<stem>-location.db`` beside the main file, else ``url``.

    Kamailio's db_sqlite has no busy timeout, so what Kamailio writes often gets a file with a single writer.
    """
    parts = _split(url)
    if parts.scheme != "sqlite":
        return url
    path = PurePosixPath(parts.database)
    return f"sqlite:///{path.with_name(f'{path.stem}-location.db')}"


def _split(url: str) -> _Parts:
    scheme, separator, rest = url.strip().partition("://")
    if not separator or scheme not in _DRIVERS:
        raise _wrong(f"it must be one of {FORMS}")
    user, password, place = _split_credentials(rest)
    match = _PLACE.fullmatch(place)
    if match is None or int(match["port"] or 1) not in range(1, 65536):
        raise _wrong(f"host, port or database cannot be read; the form is {FORMS}")
    host = match["ipv6"] or match["host"]
    database = match["rest"].partition("?")[0]
    _check_database(scheme, host, database)
    return _Parts(scheme, user, password, host, int(match["port"]) if match["port"] else None, database)


def _split_credentials(rest: str) -> tuple[str | None, str | None, str]:
    """User, password, the rest; there are credentials only if an ``@`` comes before the first ``/``."""
    if "@" not in rest.partition("/")[0]:
        return None, None, rest
    credentials, _, place = rest.rpartition("@")
    user, colon, password = credentials.partition(":")
    return user, password if colon else None, place


def _check_database(scheme: str, host: str, database: str) -> None:
    if not database:
        raise _wrong("the name of the database is missing")
    if scheme == "sqlite":
        if host or not database.startswith("/") or not PurePosixPath(database).name:
            raise _wrong("SQLite needs an absolute path: sqlite:////path/file.db (four slashes)")
    elif "@" in database:
        raise _wrong("Kamailio cannot read a '/' in the user name or password; choose a password without it")


def _wrong(what: str) -> ConfigurationError:
    return ConfigurationError(f"purple.db_url: {what}")
