"""Owns the servers of the comparison that the tests do not know: a prosody with a component, and what is measured."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from tests.servers.base import group_members
from tests.servers.prosody import Prosody
from tests.waiting import free_port

COMPONENT, SECRET = "sip.localhost", "secret"


class BenchProsody(Prosody):
    """Takes PLAIN, for clients that are as cheap as can be, and has room for the component of Kamailio's module.

    ``nagle``: it may hold small segments back until the one before is acknowledged, which is its default.
    """

    def __init__(self, directory: Path, users: Iterable[str], tls: bool = False, nagle: bool = True) -> None:
        super().__init__(directory, dict.fromkeys(users, "secret"), tls=tls)
        self._nagle = nagle
        self.component_port = free_port("tcp")

    def prepare(self) -> None:
        super().prepare()
        path = self.directory / "prosody.cfg.lua"
        text = path.read_text().replace("allow_unencrypted_plain_auth = false", "allow_unencrypted_plain_auth = true")
        text = f"network_settings = {{ nagle = {str(self._nagle).lower()} }}\n{text}"
        ports = f'component_ports = {{ {self.component_port} }}\ncomponent_interface = "127.0.0.1"\n'
        component = f'Component "{COMPONENT}"\n  component_secret = "{SECRET}"\n'
        path.write_text(text.replace("VirtualHost", f"{ports}VirtualHost", 1) + component)


def cpu_seconds(processes: Iterable[int]) -> float:
    """User and system time of the processes (proc(5), fields 14 and 15 of `stat`); an ended one counts nothing."""
    ticks = 0
    for process in processes:
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def group(pid: int) -> list[int]:
    """All processes of a server's process group."""
    return group_members(os.getpgid(pid))


def memory_kilobytes(processes: Iterable[int]) -> int:
    """Of the processes together, what they share counted once; without files and Kamailio's shared memory."""
    return _sum(processes, "Pss_Anon")


def shared_kilobytes(processes: Iterable[int]) -> int:
    """What the processes have used of the memory that was made before the fork: Kamailio's and the gateway's tables."""
    return _sum(processes, "Pss_Shmem")


def _sum(processes: Iterable[int], field: str) -> int:
    """Kilobytes; ``field`` of `smaps_rollup`, proc(5)."""
    total = 0
    for process in processes:
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            name, _, value = line.partition(":")
            total += int(value.split()[0]) if name == field else 0
    return total
