"""Owns one repair inside Kamailio: its db_sqlite gives up at once on a locked file; here it learns to wait.

SQLite runs an "auto extension" for every connection that its process opens (sqlite.org/c3ref/auto_extension.html). Set
before the fork, it reaches the connections that Kamailio's modules open in each child.

A route holds Python's lock while a function of KSR waits for the file, and the worker's own thread needs that lock to
end the very transaction that is waited for. So the waiting is done here, where sleeping gives the lock away.
"""

from __future__ import annotations

import ctypes
import time

BUSY_SECONDS = 5.0
WAITS = (0.001, 0.002, 0.005, 0.01, 0.02)  # seconds: the first waits, then always the last
# with a write-ahead log a crash of the machine may cost the last commits, never the file; no fsync for each commit
PRAGMAS = b"PRAGMA synchronous=NORMAL"
SQLITE_OK = 0

_Extension = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
_BusyHandler = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)  # sqlite.org/c3ref/busy_handler.html


def make_sqlite_wait() -> None:
    """From now on every SQLite connection of this process and its children waits 5 s for another writer.

    Call it before the fork, once or more; does nothing where there is no SQLite library.
    """
    try:
        library = ctypes.CDLL("libsqlite3.so.0")
    except OSError:
        return
    library.sqlite3_auto_extension.argtypes = [_Extension]
    library.sqlite3_auto_extension(_set_up_function)


def _set_up(connection: int | None, _message: int | None, _api: int | None) -> int:
    library = ctypes.CDLL("libsqlite3.so.0")
    library.sqlite3_busy_handler(ctypes.c_void_p(connection), _wait_function, None)
    library.sqlite3_exec(ctypes.c_void_p(connection), PRAGMAS, None, None, None)
    return SQLITE_OK


def _wait(_data: int | None, count: int) -> int:
    """0: no longer. ``count``: how often this was called for the same lock."""
    if count < len(WAITS):
        time.sleep(WAITS[count])
        return 1
    waited = sum(WAITS) + (count - len(WAITS)) * WAITS[-1]
    if waited >= BUSY_SECONDS:
        return 0
    time.sleep(WAITS[-1])
    return 1


# SQLite keeps their addresses, so these must stay alive
_wait_function = _BusyHandler(_wait)
_set_up_function = _Extension(_set_up)
