"""Owns a private PostgreSQL cluster; knows nothing of the tables in it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import ClassVar

from tests.servers.base import Server, run_as

USER, PASSWORD = "kamailio", "kamailiorw"
SYSTEM_USER = "postgres"
DEBIAN_BINARIES = Path("/usr/lib/postgresql")

# Without syncing: what is in it is lost with the tests anyway.
CONFIG = """\
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
fsync = off
synchronous_commit = off
full_page_writes = off
shared_buffers = 16MB
max_connections = 200
"""


class Postgres(Server):
    """A database server with one user, `kamailio`, who may do everything over TCP.

    PostgreSQL refuses to run as root: started by root it becomes the system user `postgres`.
    """

    name: ClassVar[str] = "postgres"
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT  # "fast": does not wait for clients to leave

    @property
    def data_path(self) -> Path:
        return self.directory / "data"

    def privileges(self) -> list[str]:
        return run_as(SYSTEM_USER)

    def prepare(self) -> None:
        """Create the cluster at the first start."""
        if not (self.data_path / "PG_VERSION").exists():
            self._initdb()
        (self.data_path / "postgresql.conf").write_text(CONFIG.format(port=self.port))

    def command(self) -> list[str]:
        return [_binary("postgres"), "-D", str(self.data_path)]

    def probe(self) -> bool:
        """The user of the tests can run a query."""
        return self._run("SELECT 1").returncode == 0

    def create_database(self, name: str) -> str:
        """Create the database `name` and return its URL. Raises RuntimeError with the server's words."""
        done = self._run(f'CREATE DATABASE "{name}"')
        if done.returncode:
            raise RuntimeError(done.stderr)
        return f"postgres://{USER}:{PASSWORD}@{self.host}:{self.port}/{name}"

    def _run(self, sql: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [_binary("psql"), "-X", "-h", self.host, "-p", str(self.port), "-U", USER, "-c", sql, "postgres"],
            env={**self.environment(), "PGPASSWORD": PASSWORD, "PGCONNECT_TIMEOUT": "2"},
            capture_output=True,
            text=True,
            check=False,
        )

    def _initdb(self) -> None:
        password_file = self.directory / "password"
        password_file.write_text(PASSWORD)
        self.data_path.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(self.data_path, SYSTEM_USER, SYSTEM_USER)
        done = subprocess.run(
            [
                *("setpriv", *self.privileges(), _binary("initdb"), "-D", str(self.data_path), "-U", USER),
                *(f"--pwfile={password_file}", "--auth=scram-sha-256", "--encoding=UTF8"),
                *("--no-locale", "--no-sync"),
            ],
            cwd=self.directory,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"initdb failed: {done.stdout}{done.stderr}")


def _binary(name: str) -> str:
    """The newest installed version; Debian keeps the server's programs out of PATH."""
    versions = sorted(DEBIAN_BINARIES.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    if versions:
        return str(versions[-1])
    found = shutil.which(name)
    if found is None:
        raise RuntimeError(f"{name} is not installed (Debian: postgresql)")
    return found
