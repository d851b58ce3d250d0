"""Owns the repair of Kamailio's module rls on SQLite, where it ends its process at the first NOTIFY, and loses changes.

rls asks the database module for functions that db_sqlite does not have:

- "replace"; without it rls calls "affected rows", which is missing too. "insert" can stand for it, since the table of
  ``db/scripts.py`` lets a row take the place of an older one: the arguments that are left over do no harm to C.
- transactions; without them a NOTIFY that comes between "which contacts have changed" and "now nobody has" is never
  told to the phone. Here they are made of SQLite's own.
"""

from __future__ import annotations

import ctypes
import logging
import os
from ctypes import POINTER, c_int, c_void_p
from pathlib import Path
from typing import ClassVar

from purple_bridge.errors import ConfigurationError

logger = logging.getLogger(__name__)

# places in Kamailio's db_func_t, in pointers
INIT, CLOSE, INSERT, DELETE, UPDATE, REPLACE = 2, 4, 9, 10, 11, 12
START, END, ABORT, LAST = 18, 19, 20, 22
SQLITE_OK = 0
FAILED = -1

_Functions = c_void_p * (LAST + 1)
_Extension = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p)
_Start = ctypes.CFUNCTYPE(c_int, c_void_p, c_int)
_Finish = ctypes.CFUNCTYPE(c_int, c_void_p)


class _Str(ctypes.Structure):
    """Kamailio's ``str``."""

    _fields_: ClassVar = [("s", c_void_p), ("len", c_int)]


class _Opened(ctypes.Structure):
    """db_sqlite's ``struct sqlite_connection``: Kamailio's part, then SQLite's handle."""

    _fields_: ClassVar = [("id", c_void_p), ("ref", ctypes.c_uint), ("next", c_void_p), ("handle", c_void_p)]


class _Connection(ctypes.Structure):
    """``db1_con_t``."""

    _fields_: ClassVar = [("table", c_void_p), ("opened", POINTER(_Opened))]


def make_rls_replace() -> None:
    """Give rls what it needs. Call it before the fork, behind the start of the modules, on SQLite only.

    Does nothing without rls. Raises ConfigurationError if Kamailio is not as it is known.
    """
    rls, module = _loaded("rls.so"), _loaded("db_sqlite.so")
    if rls is None or module is None:
        return
    for name in ("rlpres_dbf", "rls_dbf"):
        functions = _Functions.in_dll(rls, name)
        known = {INSERT: "db_sqlite_insert", DELETE: "db_sqlite_delete", UPDATE: "db_sqlite_update"}
        if any(functions[place] != _address(module, symbol) for place, symbol in known.items()):
            raise ConfigurationError("this Kamailio's module rls cannot work with SQLite: use another database")
        _check_handle(functions, _Str.in_dll(rls, "rlpres_db_url"))
        _complete(functions)


def _complete(functions: ctypes.Array[c_void_p]) -> None:
    if functions[REPLACE] is None:
        functions[REPLACE] = functions[INSERT]
    if functions[START] is None:
        for place, function in ((START, _start_function), (END, _end_function), (ABORT, _abort_function)):
            functions[place] = ctypes.cast(function, c_void_p).value


def _check_handle(functions: ctypes.Array[c_void_p], url: _Str) -> None:
    """A connection is opened as rls does it, and SQLite asked for its handle: it is where it is looked for."""
    seen: list[int | None] = []

    def remember(handle: int | None, _message: int | None, _api: int | None) -> int:
        seen.append(handle)
        return SQLITE_OK

    extension, library = _Extension(remember), _sqlite()
    library.sqlite3_auto_extension(extension)
    connect = ctypes.CFUNCTYPE(POINTER(_Connection), POINTER(_Str))(functions[INIT] or 0)
    connection = connect(ctypes.byref(url))
    library.sqlite3_cancel_auto_extension(extension)
    if not connection or not seen or connection.contents.opened.contents.handle != seen[-1]:
        raise ConfigurationError("this Kamailio's module db_sqlite is unknown to the gateway: use another database")
    ctypes.CFUNCTYPE(None, POINTER(_Connection))(functions[CLOSE] or 0)(connection)


# ---- called by rls, in any process


def _start(connection: int, _lock: int) -> int:
    """For writing at once (sqlite.org/lang_transaction.html): what is read then stays true until the end."""
    return _execute(connection, b"BEGIN IMMEDIATE") if _is_outside(connection) else 0


def _end(connection: int) -> int:
    return 0 if _is_outside(connection) else _execute(connection, b"COMMIT")


def _abort(connection: int) -> int:
    """rls calls it at the end of everything, with a transaction or without."""
    return 0 if _is_outside(connection) else _execute(connection, b"ROLLBACK")


def _is_outside(connection: int) -> bool:
    return bool(_sqlite().sqlite3_get_autocommit(c_void_p(_handle(connection))))


def _execute(connection: int, statement: bytes) -> int:
    code = _sqlite().sqlite3_exec(c_void_p(_handle(connection)), statement, None, None, None)
    if code != SQLITE_OK:
        logger.error("rls: %s: error %d of SQLite", statement.decode(), code)
    return 0 if code == SQLITE_OK else FAILED


def _handle(connection: int) -> int | None:
    handle: int | None = _Connection.from_address(connection).opened.contents.handle
    return handle


# rls keeps their addresses, so these must stay alive
_start_function, _end_function, _abort_function = _Start(_start), _Finish(_end), _Finish(_abort)


# ---- parts


def _sqlite() -> ctypes.CDLL:
    return ctypes.CDLL("libsqlite3.so.0")


def _loaded(name: str) -> ctypes.CDLL | None:
    """A shared object that this process has loaded."""
    paths = (line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(f"/{name}"))
    path = next(paths, None)
    return None if path is None else ctypes.CDLL(path, mode=os.RTLD_LAZY | os.RTLD_NOLOAD)


def _address(library: ctypes.CDLL, name: str) -> int | None:
    return ctypes.cast(getattr(library, name), c_void_p).value
