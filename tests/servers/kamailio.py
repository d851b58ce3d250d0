"""Owns a whole gateway for tests: `purplectl run` with free ports and users of its own; knows none of its messages."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from sqlalchemy import text

from purple_bridge.db.engine import make_engine
from purple_bridge.db.schema import create_all
from purple_bridge.launcher import rpc
from tests.servers.base import HOST, Server, group_members
from tests.waiting import free_port, wait_until

PROJECT = Path(__file__).parents[2]
PURPLECTL = "from purple_bridge.cli.main import main; main()"
TABLE_ROW = text(
    "INSERT INTO subscriber (username, domain, password, ha1, ha1b) VALUES (:user, :domain, '', :ha1, :ha1b)"
)


class Kamailio(Server):
    """The gateway in `directory`, with the same ports and the same data over restarts.

    `users`: name -> password in `domain`; `settings`: purple.NAME -> value; `options`: more for `purplectl run`.
    `log_path` is what the launcher prints, `log` what Kamailio and the workers log.
    """

    name: ClassVar[str] = "purplectl"
    start_seconds: ClassVar[float] = 70.0
    stop_seconds: ClassVar[float] = 12.0

    def __init__(
        self,
        directory: Path,
        domain: str = "example.org",
        workers: int = 2,
        auth: bool = True,
        db_url: str | None = None,
        settings: Mapping[str, str | int] | None = None,
        users: Mapping[str, str] | None = None,
        options: Iterable[str] = (),
    ) -> None:
        super().__init__(directory)
        self.domain, self.workers, self.auth = domain, workers, auth
        self.internal_port = free_port("udp")
        self.state_dir = directory / "state"
        self.db_url = db_url or f"sqlite:///{self.state_dir}/purple.db"
        self.settings: dict[str, str | int] = dict(settings or {})
        self.users = dict(users or {})
        self.options = list(options)
        self.python_path: list[Path] = []  # more directories for Kamailio's Python
        self.prefix: list[str] = []  # what runs the launcher, in a namespace of its own for example
        self.variables: dict[str, str] = {}  # more for the environment
        self._has_tables = False

    @property
    def log(self) -> str:
        """Everything Kamailio logged, over all its starts."""
        path = self._log_file
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def rpc_socket(self) -> Path:
        return self.state_dir / "run" / "rpc.sock"

    def prepare(self) -> None:
        self.log_path.unlink(missing_ok=True)  # `ready` must be that of this start
        if not self._has_tables:
            self.state_dir.mkdir(mode=0o700, exist_ok=True)
            create_all(self.db_url, str(self.settings.get("db_table", "purplemap")))
            self.add_users(self.users)
            self._has_tables = True

    def environment(self) -> dict[str, str]:
        """The database URL holds a password, so it is no argument."""
        return {
            **os.environ,
            "PURPLE_DB_URL": self.db_url,
            "PYTHONPATH": ":".join(map(str, [*self.python_path, PROJECT])),
            **self.variables,
        }

    def command(self) -> list[str]:
        settings = {"internal": f"{HOST}:{self.internal_port}", **self.settings}
        return [
            *self.prefix,
            *(sys.executable, "-c", PURPLECTL, "run"),
            *("--listen", f"udp:{HOST}:{self.port}", "--listen", f"tcp:{HOST}:{self.port}"),
            *("--domain", self.domain, "--state-dir", str(self.state_dir), "--workers", str(self.workers)),
            *("--log-file", str(self._log_file)),
            *(word for name, value in settings.items() for word in ("--set", f"purple.{name}={value}")),
            *([] if self.auth else ["--no-auth"]),
            *self.options,
        ]

    def probe(self) -> bool:
        return "ready" in self.log_path.read_text(errors="replace").splitlines()

    def kill(self) -> None:
        """SIGKILL to the launcher; Kamailio must then end by itself, and is helped if it does not."""
        groups = self._kamailio_groups()
        super().kill()
        try:
            wait_until(lambda: not any(map(group_members, groups)), 10, "Kamailio ends when its launcher is gone")
        finally:
            for group in groups:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)

    def send_signal(self, number: signal.Signals) -> None:
        """To the launcher alone."""
        os.kill(self.pid, number)

    def wait_end(self, timeout: float = 10) -> int:
        """The launcher's exit code; subprocess.TimeoutExpired if it has not ended after `timeout` seconds."""
        assert self._process is not None
        return self._process.wait(timeout)

    def log_tail(self, lines: int = 30) -> str:
        return super().log_tail(lines) + "\n" + "\n".join(self.log.splitlines()[-lines:])

    def processes(self) -> list[dict[str, Any]]:
        """Kamailio's own table: index, pid, rank, description; the main process is the first."""
        table: list[dict[str, Any]] = rpc.call(self.rpc_socket, "core.psa")
        return table

    def worker_pid(self, number: int) -> int:
        """Process id of the worker, from 1."""
        return next(int(process["pid"]) for process in self.processes() if process["rank"] == number)

    def kill_worker(self, number: int) -> None:
        """SIGKILL to one worker; the launcher then ends everything."""
        os.kill(self.worker_pid(number), signal.SIGKILL)

    @property
    def _log_file(self) -> Path:
        return self.directory / "kamailio.log"

    def _kamailio_groups(self) -> list[int]:
        """The launcher's children lead their process groups (proc(5), ``/proc/pid/task/tid/children``)."""
        try:
            path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
            return [int(pid) for pid in path.read_text().split()]
        except (OSError, RuntimeError):
            return []

    def add_users(self, users: Mapping[str, str]) -> None:
        """Name -> password; works while the server runs, too."""
        engine = make_engine(self.db_url)
        with engine.begin() as connection:
            for user, password in users.items():
                connection.execute(TABLE_ROW, _credentials(user, self.domain, password))
        engine.dispose()


def _credentials(user: str, domain: str, password: str) -> dict[str, str]:
    """RFC 2617 §3.2.2.2; ha1b is for user names that are written with their domain."""
    names = {"ha1": user, "ha1b": f"{user}@{domain}"}
    digests = {
        key: hashlib.md5(f"{name}:{domain}:{password}".encode(), usedforsecurity=False).hexdigest()
        for key, name in names.items()
    }
    return {"user": user, "domain": domain, **digests}
