"""Owns the question whether the database takes what is written, which changes nothing. Knows not who asks.

A backup (``mysqldump``, ``FLUSH TABLES WITH READ LOCK``), a replica, another program's transaction on SQLite: it
answers whoever reads, and who writes waits or is refused.
"""

from __future__ import annotations

import sqlite3

LOCK_SECONDS = 1  # the least that MySQL knows

_NOTHING = "DELETE FROM purple_queue WHERE 1 = 0"
QUESTIONS = {"sqlite": "BEGIN IMMEDIATE", "mysql": _NOTHING, "postgresql": _NOTHING}
"""By SQLAlchemy's dialect; a transaction may be open then."""

SETTINGS = {
    "mysql": f"SET SESSION lock_wait_timeout = {LOCK_SECONDS}",
    "postgresql": f"SET lock_timeout = '{LOCK_SECONDS}s'",
}
"""For a new connection, so that the server itself gives up waiting; SQLite's limit is ``make_engine``'s."""

# MySQL (mysqld_error.h): a lock was waited for, --read-only, read-only mode; PostgreSQL: lock_not_available,
# read_only_sql_transaction
_REFUSALS = {1205, 1290, 1836, "55P03", "25006"}


def is_refusal(error: BaseException | None) -> bool:
    """``error``: the driver's. True: nobody can write now. Another one, as of a missing right, says nothing of that."""
    if isinstance(error, sqlite3.OperationalError):
        return True
    code = getattr(error, "sqlstate", None) or next(iter(getattr(error, "args", ())), None)
    return code in _REFUSALS
