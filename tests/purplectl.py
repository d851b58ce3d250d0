"""Owns ``purplectl`` as a process, the way operators call it; in this process it is tests/command_line.py."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

from tests.servers.kamailio import PROJECT, PURPLECTL

COMMAND = (sys.executable, "-c", PURPLECTL)


def run_purplectl(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """The real command: error boundary, exit code, libpurple. ``environment``: variables beside those that are set."""
    return subprocess.run(
        [*COMMAND, *arguments],
        input=stdin,
        env={**os.environ, "PYTHONPATH": str(PROJECT), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def on_terminal(*arguments: str, **environment: str) -> bytes:
    """What the real command writes to a terminal of 80 columns."""
    pid, terminal = pty.fork()
    if pid == 0:
        variables = os.environ | {"COLUMNS": "80", "TERM": "xterm"} | environment
        os.execve(sys.executable, [*COMMAND, *arguments], variables)
    written = b""
    try:
        while chunk := os.read(terminal, 65536):
            written += chunk
    except OSError:  # the end: Linux answers EIO on a terminal whose other side is closed
        pass
    os.waitpid(pid, 0)
    os.close(terminal)
    return written
