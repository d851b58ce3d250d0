"""Owns a Kamailio as an existing site runs it: its own kamailio.cfg, no launcher; knows none of its messages."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path
from typing import ClassVar

from purple_bridge.launcher.listeners import Listener
from purple_bridge.launcher.readiness import answers, worker_is_ready
from purple_bridge.launcher.versions import find_kamailio
from tests.servers.base import HOST, Server
from tests.servers.kamailio import PROJECT, Kamailio


class Site(Kamailio):
    """The files of one of docs/examples; free ports and the directories are values of its `#!trydef`s."""

    name: ClassVar[str] = "kamailio"

    def __init__(self, directory: Path, config: Path, script: Path) -> None:
        super().__init__(directory, users={"alice": "secret", "bob": "secret"})
        self.config = config
        self.db_url = f"sqlite:///{self.state_dir}/purple.db"
        self.defines = {
            "SIP_PORT": str(self.port),
            "INTERNAL_PORT": str(self.internal_port),
            "DB_URL": f'"{self.db_url}"',
            "STATE_DIR": f'"{self.state_dir}"',
            "RPC_SOCKET": f'"{self.rpc_socket}"',
            "INTERNAL": f'"{HOST}:{self.internal_port}"',
            "INTERNAL_URI": f'"sip:{HOST}:{self.internal_port}"',
            "SCRIPT": f'"{script}"',
        }

    @property
    def _log_file(self) -> Path:
        return self.log_path

    @property
    def rpc_socket(self) -> Path:
        return self.directory / "rpc.sock"

    def environment(self) -> dict[str, str]:
        """What docs/existing-sites.md asks for, and no more."""
        return {
            **os.environ,
            "LD_PRELOAD": "libpurple.so.0",
            "PYTHONPATH": f"{PROJECT}:{sysconfig.get_path('purelib')}",
        }

    def command(self) -> list[str]:
        defines = [word for name, value in self.defines.items() for word in ("-A", f"{name}={value}")]
        return [find_kamailio().program, "-DD", "-E", "-m", "64", "-f", str(self.config), *defines]

    def log_tail(self, lines: int = 30) -> str:
        return Server.log_tail(self, lines)

    def probe(self) -> bool:
        """SIP and both workers answer."""
        workers = [self.state_dir / "run" / f"worker-{number}.sock" for number in (1, 2)]
        return answers(Listener("udp", HOST, self.port)) and all(map(worker_is_ready, workers))
