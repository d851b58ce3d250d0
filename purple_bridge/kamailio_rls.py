"""Owns the repair of Kamailio's module rls, which on SQLite ends its process at the first NOTIFY, and loses contacts.

On every database: rls reads the contacts of a list as if they came in the order of their addresses, octet by octet, but
does not ask for that order, and leaves out those that come late. Here it is asked for.

On SQLite rls wants functions that db_sqlite does not have:

- "replace"; without it rls calls "affected rows", which is missing too. "insert" can stand for it, since the table of
  ``db/scripts.py`` lets a row take the place of an older one: the arguments that are left over do no harm to C.
- transactions; without them a NOTIFY that comes between "which contacts have changed" and "now nobody has" is never
  told to the phone. Here they are made of SQLite's own.
"""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Callable
from ctypes import POINTER, c_int, c_void_p
from pathlib import Path
from typing import ClassVar

from purple_bridge.errors import ConfigurationError

logger = logging.getLogger(__name__)

# places in Kamailio's db_func_t, in pointers
INIT, CLOSE, QUERY, INSERT, DELETE, UPDATE, REPLACE = 2, 4, 5, 9, 10, 11, 12
START, END, ABORT, QUERY_LOCK, LAST = 18, 19, 20, 21, 22
# database module -> ORDER BY of octets, whatever the language of the database
ORDERS = {
    "db_sqlite": b"resource_uri",
    "db_mysql": b"BINARY resource_uri",
    "db_postgres": b'resource_uri COLLATE "C"',
}
IN_MEMORY = b"sqlite:///:memory:"
SQLITE_OK = 0
FAILED = -1

_Functions = c_void_p * (LAST + 1)
_Extension = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p)
_Start = ctypes.CFUNCTYPE(c_int, c_void_p, c_int)
_Finish = ctypes.CFUNCTYPE(c_int, c_void_p)
_Query = ctypes.CFUNCTYPE(c_int, *[c_void_p] * 5, c_int, c_int, c_void_p, c_void_p)
_kept: list[object] = []  # rls keeps the addresses of functions, so they must stay alive


class _Str(ctypes.Structure):
    """Kamailio's ``str``."""

    _fields_: ClassVar = [("s", ctypes.c_char_p), ("len", c_int)]


class _Opened(ctypes.Structure):
    """db_sqlite's ``struct sqlite_connection``: Kamailio's part, then SQLite's handle."""

    _fields_: ClassVar = [("id", c_void_p), ("ref", ctypes.c_uint), ("next", c_void_p), ("handle", c_void_p)]


class _Connection(ctypes.Structure):
    """``db1_con_t``."""

    _fields_: ClassVar = [("table", c_void_p), ("quote", c_void_p), ("opened", POINTER(_Opened))]


def repair_rls() -> None:
    """Call it before the fork, behind the start of the modules. Does nothing without rls.

    Raises ConfigurationError if Kamailio is not as it is known.
    """
    rls = _loaded("rls.so")
    if rls is None:
        return
    for name in ("rlpres_dbf", "rls_dbf"):
        functions = _Functions.in_dll(rls, name)
        if _module_of(functions) == "db_sqlite":
            _check_handle(functions)
            _complete(functions)
    _sort(_Functions.in_dll(rls, "rlpres_dbf"))


def is_loaded() -> bool:
    """Whether this Kamailio has contact lists that can be watched as one address."""
    return _loaded("rls.so") is not None


def _module_of(functions: ctypes.Array[c_void_p]) -> str:
    """The database module whose functions these are; which shows, too, that they are where they should be."""
    for module in ORDERS:
        library = _loaded(f"{module}.so")
        if library and functions[INSERT] == _address(library, f"{module}_insert"):
            known = {QUERY: "query", DELETE: "delete", UPDATE: "update"}
            if all(functions[place] == _address(library, f"{module}_{name}") for place, name in known.items()):
                return module
    raise ConfigurationError("this Kamailio's module rls is unknown to the gateway, and would lose contacts of a list")


def _sort(functions: ctypes.Array[c_void_p]) -> None:
    text = ORDERS[_module_of(functions)]
    order = _Str(text, len(text))
    for place in (QUERY, QUERY_LOCK):
        if functions[place] is not None:
            query = _Query(_sorted(_Query(functions[place] or 0), order))
            _kept.append(query)
            functions[place] = ctypes.cast(query, c_void_p).value


def _sorted(original: Callable[..., int], own: _Str) -> Callable[..., int]:
    """The query; where it wants no order, in ``own``."""

    def query(*arguments: int | None) -> int:
        *first, order, result = arguments
        return original(*first, order or ctypes.addressof(own), result)

    return query


def _complete(functions: ctypes.Array[c_void_p]) -> None:
    if functions[REPLACE] is None:
        functions[REPLACE] = functions[INSERT]
    if functions[START] is None:
        for place, function in ((START, _start_function), (END, _end_function), (ABORT, _abort_function)):
            functions[place] = ctypes.cast(function, c_void_p).value


def _check_handle(functions: ctypes.Array[c_void_p]) -> None:
    """A connection is opened as rls does it, and SQLite tells its handle: it is where it is looked for."""
    seen: list[int | None] = []

    def remember(handle: int | None, _message: int | None, _api: int | None) -> int:
        seen.append(handle)
        return SQLITE_OK

    extension, library = _Extension(remember), _sqlite()
    library.sqlite3_auto_extension(extension)
    connect = ctypes.CFUNCTYPE(POINTER(_Connection), POINTER(_Str))(functions[INIT] or 0)
    connection = connect(_Str(IN_MEMORY, len(IN_MEMORY)))
    library.sqlite3_cancel_auto_extension(extension)
    opened = connection.contents.opened if connection else None
    if not opened or not seen or opened.contents.handle != seen[-1]:
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


# these must stay alive too
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
