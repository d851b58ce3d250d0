"""Owns the repair of Kamailio's module tls under OpenSSL 3, where its processes write into one another's memory.

tls lets OpenSSL use shared memory. What OpenSSL keeps for each thread (the queue of its errors, its random numbers) is
made in the main process before it forks; then all children use the one copy at once, without a lock. Kamailio 5.6.3
crashes of it within thousands of connections. Here the main process gives its copies back just before it forks, so that
each child makes its own. Kamailio 6 does the like by itself (``tls_threads_mode``).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path


def repair_tls() -> None:
    """Call it before the fork, once. Does nothing without tls, or without OpenSSL 1.1.1 or later."""
    if not _is_loaded("tls.so"):
        return
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL("libcrypto.so.3", mode=os.RTLD_LAZY | os.RTLD_NOLOAD)
        thread_stop = library.OPENSSL_thread_stop  # OPENSSL_init_crypto(3): frees what belongs to the calling thread
        thread_stop.restype, thread_stop.argtypes = None, ()
        os.register_at_fork(before=thread_stop)


def _is_loaded(name: str) -> bool:
    return any(line.endswith(f"/{name}") for line in Path("/proc/self/maps").read_text().splitlines())
