"""Owns one repair inside Kamailio: its module rls on SQLite ends the process at the first NOTIFY; here it does not.

rls stores what it is told by "replace", else by "update" and "affected rows", and calls the latter without a look
whether the database module has it; db_sqlite has neither. Its "insert" can stand for "replace", since the table of
``db/scripts.py`` lets a row take the place of an older one: the arguments that are left over do no harm to C.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from purple_bridge.errors import ConfigurationError

# places in Kamailio's db_func_t, in pointers
INSERT, DELETE, UPDATE, REPLACE = 9, 10, 11, 12


def make_rls_replace() -> None:
    """Give rls a "replace" where it has none. Call it before the fork, behind the start of the modules, on SQLite only.

    Does nothing without rls. Raises ConfigurationError if Kamailio is not as it is known.
    """
    rls, sqlite = _loaded("rls.so"), _loaded("db_sqlite.so")
    if rls is None or sqlite is None:
        return
    functions = (ctypes.c_void_p * (REPLACE + 1)).in_dll(rls, "rlpres_dbf")
    known = {INSERT: "db_sqlite_insert", DELETE: "db_sqlite_delete", UPDATE: "db_sqlite_update"}
    if any(functions[place] != _address(sqlite, name) for place, name in known.items()):
        raise ConfigurationError("this Kamailio's module rls cannot work with SQLite: use another database")
    if functions[REPLACE] is None:
        functions[REPLACE] = functions[INSERT]


def _loaded(name: str) -> ctypes.CDLL | None:
    """A shared object that this process has loaded."""
    paths = (line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(f"/{name}"))
    path = next(paths, None)
    return None if path is None else ctypes.CDLL(path, mode=os.RTLD_LAZY | os.RTLD_NOLOAD)


def _address(library: ctypes.CDLL, name: str) -> int | None:
    return ctypes.cast(getattr(library, name), ctypes.c_void_p).value
