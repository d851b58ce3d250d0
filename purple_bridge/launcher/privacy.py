"""Owns what keeps the passwords that a process holds in memory from becoming files; all of it goes on to children."""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path

NO_DATA = "0x10"  # core(5): of all that is mapped only the ELF headers


def keep_private() -> None:
    """Files are for their owner alone, and there are no core dumps.

    A handler in /proc/sys/kernel/core_pattern need not ask for the limit (core(5)): what it gets has no data in it. The
    hard limit stays, so that root can have a dump of a process that runs.
    """
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with contextlib.suppress(OSError):  # a kernel without core dumps has no such file
        Path("/proc/self/coredump_filter").write_text(NO_DATA)
