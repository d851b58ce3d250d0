"""Owns the life of one real server process: start, probe, stop; knows no protocol."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import signal
import socket
import subprocess
from pathlib import Path
from typing import ClassVar, Self

from tests.waiting import free_port, wait_until

HOST = "127.0.0.1"


class Server:
    """A server in a directory of its own, on a loopback port that stays the same over restarts.

    It runs in its own session and process group. The kernel kills it (PR_SET_PDEATHSIG) when the thread
    that started it ends, so start it from a thread that lives as long as the server should.
    """

    name: ClassVar[str] = "server"
    start_seconds: ClassVar[float] = 30.0
    stop_seconds: ClassVar[float] = 8.0
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    stdin: ClassVar[int] = subprocess.DEVNULL

    def __init__(self, directory: Path, port: int | None = None) -> None:
        self.directory = directory
        self.host = HOST
        self.port = port or free_port()
        self.log_path = directory / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)

    def prepare(self) -> None:
        """Write the configuration and whatever else must exist; called before every start."""

    def command(self) -> list[str]:
        """The command line that runs the server in the foreground."""
        raise NotImplementedError

    def privileges(self) -> list[str]:
        """Further options of setpriv(1) for a server that must not run as root."""
        return []

    def environment(self) -> dict[str, str]:
        """The environment of the process; default: that of the tests."""
        return dict(os.environ)

    def probe(self) -> bool:
        """True as soon as the server answers; default: it accepts a TCP connection."""
        try:
            with socket.create_connection((self.host, self.port), timeout=1):
                return True
        except OSError:
            return False

    @property
    def pid(self) -> int:
        """Process id and process group id. Raises RuntimeError while nothing runs."""
        if self._process is None:
            raise RuntimeError(f"{self.name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start the process and wait until it answers. Raises AssertionError with the end of its log."""
        if self.running:
            raise RuntimeError(f"{self.name} is already running")
        self.prepare()
        self._spawn()
        try:
            wait_until(self._is_ready, self.start_seconds, f"{self.name} answers on {self.port}")
        except BaseException as error:
            self.kill()
            error.add_note(f"end of {self.log_path}:\n{self.log_tail()}")
            raise
        return self

    def stop(self) -> None:
        """Ask the process to end, then kill what is left of its group; returns when all are gone."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, self.stop_signal)
        self.resume()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(self.stop_seconds)
        self.kill()

    def kill(self) -> None:
        """SIGKILL to the whole group; returns when all are gone."""
        if self._process is None:
            return
        group = self.pid
        self._signal_group(signal.SIGKILL)
        self._process.wait()
        self._process = None
        wait_until(lambda: not group_members(group), 5, f"process group of {self.name} is gone")

    def restart(self) -> None:
        """stop() and start() on the same port, with the same data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing is answered; returns when the last thread stands still."""
        self._signal_group(signal.SIGSTOP)
        wait_until(lambda: all(map(is_stopped, group_members(self.pid))), 5, f"{self.name} stands still")

    def resume(self) -> None:
        """SIGCONT after pause()."""
        self._signal_group(signal.SIGCONT)

    def log_tail(self, lines: int = 30) -> str:
        """The last lines of what the process printed, over all its starts."""
        if not self.log_path.exists():
            return "(no log)"
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _spawn(self) -> None:
        """setpriv(1) sets the parent death signal, so no Python runs between fork and exec."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "SIGKILL", *self.privileges(), *self.command()],
                cwd=self.directory,
                env=self.environment(),
                stdin=self.stdin,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _is_ready(self) -> bool:
        if not self.running:
            code = self._process.returncode if self._process else None
            raise AssertionError(f"{self.name} ended with code {code} instead of answering")
        return self.probe()

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)


def run_as(user: str) -> list[str]:
    """Options of setpriv(1) that turn root into `user`; nothing to do for anybody else.

    CAP_DAC_OVERRIDE stays, because the directories above belong to root and are closed to others.
    """
    if os.geteuid() != 0:
        return []
    group = grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name
    capabilities = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return [f"--reuid={user}", f"--regid={group}", "--clear-groups", *capabilities]


def group_members(group: int) -> list[int]:
    """Process ids that belong to the process group and are not zombies (proc(5), `stat`)."""
    return [pid for pid in _process_ids() if _group_of(pid) == group]


def is_stopped(pid: int) -> bool:
    """Each of its threads is; a process that has ended is as well."""
    return all(_state_of(thread) == "T" for thread in Path(f"/proc/{pid}/task").glob("*/stat"))


def _state_of(stat: Path) -> str:
    try:
        return stat.read_text(errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return "T"


def _process_ids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _group_of(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    state, _parent, group = stat.rpartition(")")[2].split()[:3]
    return None if state == "Z" else int(group)
