"""Owns one repair inside Kamailio: its db_sqlite gives up at once on a locked file; here it learns to wait.

SQLite runs an "auto extension" for every connection that its process opens (sqlite.org/c3ref/auto_extension.html). Set
before the fork, it reaches the connections that Kamailio's modules open in each child.
"""

from __future__ import annotations

import ctypes

BUSY_MILLISECONDS = 5000
# with a write-ahead log a crash of the machine may cost the last commits, never the file; no fsync for each commit
PRAGMAS = b"PRAGMA synchronous=NORMAL"
SQLITE_OK = 0

_Extension = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)


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
    library.sqlite3_busy_timeout(ctypes.c_void_p(connection), BUSY_MILLISECONDS)
    library.sqlite3_exec(ctypes.c_void_p(connection), PRAGMAS, None, None, None)
    return SQLITE_OK


_set_up_function = _Extension(_set_up)  # SQLite keeps its address, so this must stay alive
