"""Owns the life of Kamailio's processes: start, watch, end all of them. Knows no SIP, no configuration.

Kamailio is the leader of a session and process group of its own. Its main process may crash while it ends and leave
children that hold the ports, so this process becomes the one that orphans are handed to (PR_SET_CHILD_SUBREAPER) and
ends only when none is left. The other way round, main ends when this process is killed (its parent death signal), and
the children end with main (``die_with_parent``, called by the route script in each of them).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Self

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
STOP_SECONDS = 5.0
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class ProcessDied(Exception):
    """A process of the gateway ended by itself; the text names it."""


class StopRequested(Exception):
    """SIGTERM or SIGINT came."""


def die_with_parent() -> None:
    """Let the kernel kill this process when the one that forked it ends (prctl(2), PR_SET_PDEATHSIG)."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


class Supervisor:
    """Runs one command and whatever it forks; ``close()`` must be called, by ``with`` for example.

    The process that uses it must have no other children: at the end it kills all it has.
    """

    def __init__(self) -> None:
        self._main: subprocess.Popen[bytes] | None = None
        self._watched: dict[int, str] = {}  # pidfd -> what the process is
        self._poll = select.poll()
        self._stopping = False

    def start(self, command: list[str], environment: Mapping[str, str], log: IO[bytes] | int) -> None:
        """Start ``command``, its output in ``log``. From now on this process answers SIGTERM and SIGINT."""
        self._catch_signals()
        _prctl(PR_SET_CHILD_SUBREAPER, 1)
        self._main = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        self.watch(self._main.pid, "the main process")

    def watch(self, pid: int, description: str) -> None:
        """From now on the end of this process ends wait()."""
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError as error:
            raise ProcessDied(f"{description} (process {pid}) died") from error
        self._watched[descriptor] = f"{description} (process {pid})"
        self._poll.register(descriptor, select.POLLIN)

    def wait(self, seconds: float | None = None) -> None:
        """Return after ``seconds``, or never for None. Raises ProcessDied or StopRequested as soon as it is so."""
        events = self._poll.poll(None if seconds is None else seconds * 1000)
        if self._stopping:
            raise StopRequested
        for descriptor, _ in events:
            if descriptor in self._watched:
                raise ProcessDied(f"{self._watched[descriptor]} died")

    def close(self) -> None:
        """End everything: ask main, wait 5 s for it, then kill all that is left; returns when all are gone."""
        if self._main is None:
            return
        self._main.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._main.wait(STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._main.pid, signal.SIGKILL)
        self._main.wait()
        self._main = None
        _end_orphans()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _catch_signals(self) -> None:
        wakeup, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        for number in STOP_SIGNALS:
            signal.signal(number, self._request_stop)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._poll.register(wakeup, select.POLLIN)

    def _request_stop(self, _number: int, _frame: object) -> None:
        self._stopping = True


def _end_orphans() -> None:
    """Kill and reap every child of this process; the children of a killed one are children by then, too."""
    while True:
        for pid in _children():
            with contextlib.suppress(PermissionError):  # what the start script of another user has left behind
                os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children() -> list[int]:
    """Children of this process, zombies among them (proc(5), ``/proc/pid/task/tid/children``)."""
    tasks = Path("/proc/self/task").iterdir()
    return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
