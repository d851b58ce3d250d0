"""Owns a private MariaDB and its data directory; knows nothing of the tables in it."""

from __future__ import annotations

import getpass
import subprocess
from pathlib import Path
from typing import ClassVar

from tests.servers.base import Server

USER, PASSWORD = "kamailio", "kamailiorw"

# Small and without syncing: what is in it is lost with the tests anyway.
OPTIONS = [
    "--innodb-buffer-pool-size=16M",
    "--innodb-log-file-size=4M",
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-flush-method=nosync",
    "--key-buffer-size=1M",
    "--performance-schema=OFF",
    "--skip-log-bin",
    "--skip-name-resolve",
    "--max-connections=200",
]

INIT_SQL = """\
CREATE USER IF NOT EXISTS '{user}'@'%' IDENTIFIED BY '{password}';
GRANT ALL PRIVILEGES ON *.* TO '{user}'@'%' WITH GRANT OPTION;
"""


class MariaDB(Server):
    """A database server with one user, `kamailio`, who may do everything over TCP."""

    name: ClassVar[str] = "mariadb"

    @property
    def socket_path(self) -> Path:
        return self.directory / "s"

    @property
    def data_path(self) -> Path:
        return self.directory / "data"

    def prepare(self) -> None:
        """Create the system tables at the first start."""
        if not (self.data_path / "mysql").exists():
            self._install()
        init = INIT_SQL.format(user=USER, password=PASSWORD)
        (self.directory / "init.sql").write_text(init)

    def command(self) -> list[str]:
        return [
            *("mariadbd", "--no-defaults", f"--user={getpass.getuser()}", f"--datadir={self.data_path}"),
            *("--bind-address=127.0.0.1", f"--port={self.port}", f"--socket={self.socket_path}"),
            *(f"--pid-file={self.directory / 'pid'}", f"--init-file={self.directory / 'init.sql'}"),
            f"--tmpdir={self.directory}",
            *OPTIONS,
        ]

    def probe(self) -> bool:
        """The user of the tests can run a query."""
        return self._run("SELECT 1").returncode == 0

    def create_database(self, name: str) -> str:
        """Create the database `name` and return its URL. Raises RuntimeError with the server's words."""
        done = self._run(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
        if done.returncode:
            raise RuntimeError(done.stderr)
        return f"mysql://{USER}:{PASSWORD}@{self.host}:{self.port}/{name}"

    def _run(self, sql: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *("mariadb", "--no-defaults", f"--host={self.host}", f"--port={self.port}"),
                *(f"--user={USER}", "--connect-timeout=2", f"--execute={sql}"),
            ],
            env={**self.environment(), "MYSQL_PWD": PASSWORD},
            capture_output=True,
            text=True,
            check=False,
        )

    def _install(self) -> None:
        done = subprocess.run(
            [
                *("mariadb-install-db", "--no-defaults", f"--user={getpass.getuser()}", "--skip-test-db"),
                *(f"--datadir={self.data_path}", "--skip-name-resolve", "--innodb-log-file-size=4M"),
                f"--tmpdir={self.directory}",  # another server that starts clears the common one
                "--auth-root-authentication-method=normal",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"mariadb-install-db failed: {done.stdout}{done.stderr}")
