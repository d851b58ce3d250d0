"""Owns where the SQL files lie and how one is taken apart; executes nothing."""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlparse  # type: ignore[import-untyped]

from purple_bridge.db.tables import PURPLEMAP
from purple_bridge.errors import ConfigurationError

# Where Debian's packages and an installation from source put Kamailio's files
KAMAILIO_SHARES = (Path("/usr/share/kamailio"), Path("/usr/local/share/kamailio"))
KAMAILIO_FILES = ("standard", "auth_db", "usrloc", "presence", "msilo", "permissions", "rls")
# (dialect, Kamailio's file) -> text -> text. rls writes an empty text as a null pointer, which SQLite alone stores as
# NULL, and reads NULL as if it were a text: its process ends. It has no "replace" there either (kamailio_rls.py)
CORRECTED = "ON CONFLICT REPLACE"
_EMPTY = f"DEFAULT '' NOT NULL {CORRECTED}"
CORRECTIONS = {
    ("sqlite", "rls"): {
        "reason VARCHAR(64) NOT NULL": f"reason VARCHAR(64) {_EMPTY}",
        "event_id VARCHAR(64)": f"event_id VARCHAR(64) {_EMPTY}",
        "record_route TEXT": f"record_route TEXT {_EMPTY}",
        "UNIQUE (rlsubs_did, resource_uri)": f"UNIQUE (rlsubs_did, resource_uri) {CORRECTED}",
    }
}
LOCATION_FILES = ("standard", "usrloc")
LISTS_FILES = ("rls",)
OUR_FILE = "purple-create.sql"

# SQLAlchemy's dialect -> Kamailio's directory, Debian's package, our directory
_PLACES = {
    "sqlite": ("db_sqlite", "kamailio-sqlite-modules", "sqlite"),
    "mysql": ("mysql", "kamailio-mysql-modules", "mysql"),
    "postgresql": ("postgres", "kamailio-postgres-modules", "postgres"),
}
_VERSION_ROW = re.compile(r"insert\s+into\s+version\b.*?values\s*\(\s*'(\w+)'\s*,\s*'?(\d+)'?\s*\)", re.I | re.S)


@dataclass(frozen=True, slots=True)
class TableScript:
    """The statements that make one table and end with its row in ``version``."""

    table: str
    version: int
    statements: tuple[str, ...]


def kamailio_scripts(
    dialect: str, names: tuple[str, ...] = KAMAILIO_FILES, shares: tuple[Path, ...] = KAMAILIO_SHARES
) -> list[TableScript]:
    """What the installed Kamailio's files create; ConfigurationError names the package of a missing one."""
    return [
        script
        for name in names
        for script in _table_scripts(_kamailio_file(dialect, name, shares), CORRECTIONS.get((dialect, name)))
    ]


def our_scripts(dialect: str, table: str) -> list[TableScript]:
    """What the gateway's own file creates, with ``table`` in the place of purplemap."""
    folder = _PLACES[dialect][2]
    roots = (Path(__file__).parents[2], Path(sysconfig.get_path("data")) / "share" / "kamailio-purple")
    for path in (root / "sql" / folder / OUR_FILE for root in roots):
        if path.is_file():
            return list(_table_scripts(path, {PURPLEMAP: table}))
    raise ConfigurationError(f"sql/{folder}/{OUR_FILE} is missing: install the gateway again")


def _kamailio_file(dialect: str, name: str, shares: tuple[Path, ...]) -> Path:
    folder, package, _ = _PLACES[dialect]
    for share in shares:
        path = share / folder / f"{name}-create.sql"
        if path.is_file():
            return path
    raise ConfigurationError(f"Kamailio's {folder}/{name}-create.sql is missing: apt-get install {package}")


def _table_scripts(path: Path, renamed: dict[str, str] | None = None) -> Iterator[TableScript]:
    """Every file of Kamailio, and ours, ends what belongs to one table with its row in ``version``."""
    text = path.read_text(encoding="utf-8")
    for old, new in (renamed or {}).items():
        text = text.replace(old, new)
    statements: list[str] = []
    for statement in sqlparse.split(text):
        statements.append(statement)
        row = _VERSION_ROW.search(statement)
        if row:
            yield TableScript(row[1], int(row[2]), tuple(statements))
            statements = []
    if statements:
        raise ConfigurationError(f"{path}: statements after the last row of the version table")
