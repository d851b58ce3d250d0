"""Owns the state directory: its files, their permissions, the lock that one running gateway holds on it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from purple_bridge.errors import ConfigurationError

LONGEST_SOCKET_PATH = 107  # bytes, unix(7): sun_path


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """``path`` is absolute. Files that hold passwords get mode 0600, directories 0700."""

    path: Path

    @property
    def run(self) -> Path:
        """Directory of the sockets, and of files that end with the process."""
        return self.path / "run"

    @property
    def wrapper(self) -> Path:
        return self.path / "kamailio-run.cfg"

    @property
    def tls_config(self) -> Path:
        return self.path / "kamailio-tls.cfg"

    @property
    def settings(self) -> Path:
        return self.path / "settings.json"

    @property
    def rpc_socket(self) -> Path:
        return self.run / "rpc.sock"

    @property
    def ctl_socket(self) -> Path:
        return self.run / "ctl.sock"

    def worker_socket(self, number: int) -> Path:
        """Control socket of worker ``number``, from 1."""
        return self.run / f"worker-{number}.sock"

    def create(self) -> None:
        """Make the directories. Raises ConfigurationError if that fails or a socket path would be too long."""
        if len(os.fsencode(self.worker_socket(999))) > LONGEST_SOCKET_PATH:
            raise ConfigurationError(f"{self.path}: too long for Unix sockets; choose a shorter --state-dir")
        try:
            for directory in (self.path, self.run):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"{error.filename}: {error.strerror}; choose another --state-dir") from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for one running gateway. Raises ConfigurationError if another one holds it."""
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with open(descriptor, "r+") as lock:  # noqa: PTH123 - of a descriptor
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                owner = lock.read().strip()
                raise ConfigurationError(
                    f"{self.path}: in use by another gateway (process {owner}); stop it, or choose another --state-dir"
                ) from error
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def remove_sockets(self) -> None:
        """Remove what a run leaves in the directory of the sockets."""
        for entry in self.run.iterdir():
            if entry.is_socket() or entry.is_fifo():
                entry.unlink(missing_ok=True)

    def read_settings(self) -> dict[str, str]:
        """What the launcher, or the last run, has written; empty where there is nothing that can be read."""
        try:
            found = json.loads(self.settings.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def write_settings(self, values: Mapping[str, str]) -> None:
        """What the other commands of `purplectl` need to find this gateway."""
        write_private(self.settings, json.dumps(dict(values), indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, at no moment more; replaces it in one step."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - of a descriptor
        file.write(text)
    temporary.replace(path)
