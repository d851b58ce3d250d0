"""SIP to XMPP at a steady rate: `python -m bench.messages --rate 1000 --seconds 10`.

Starts prosody and the gateway on loopback, lets sipp send MESSAGEs from one user to one contact, and prints what was
accepted, what arrived, and the CPU time the gateway's processes spent on each message. No peers yet.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.agents.xmpp import XmppUser
from tests.gateway import Gateway, xmpp_contact
from tests.servers.base import group_members
from tests.servers.prosody import Prosody

SCENARIO = Path(__file__).parents[1] / "tests" / "sipp" / "message.xml"
IDLE_SECONDS = 3.0  # no message for so long: what has not arrived is lost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=1000, help="messages a second (default %(default)s)")
    parser.add_argument("--seconds", type=int, default=10, help="how long (default %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="libpurple workers (default %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        _measure(Path(directory), arguments.rate, arguments.rate * arguments.seconds, arguments.workers)


def _measure(directory: Path, rate: int, count: int, workers: int) -> None:
    prosody = Prosody(directory / "prosody", {"alice": "secret", "bob": "secret"})
    with prosody, Gateway(directory / "gateway", auth=False, workers=workers) as gateway:
        gateway.add_xmpp_account("alice", prosody)
        bob = gateway.xmpp_user(prosody, "bob")
        gateway.online_phone("alice", "alice@localhost")
        processes = group_members(os.getpgid(gateway.kamailio.worker_pid(1)))
        before, started = _cpu_seconds(processes), time.monotonic()
        accepted = count if _sipp(directory, gateway.kamailio.port, rate, count) else 0
        sent = time.monotonic() - started
        arrived = _arrived(bob, count)
        _report(rate, accepted, arrived, count / sent, (_cpu_seconds(processes) - before) / max(arrived, 1))


def _sipp(directory: Path, port: int, rate: int, count: int) -> bool:
    """Whether every MESSAGE was answered with 202."""
    command = ["sipp", f"127.0.0.1:{port}", "-sf", str(SCENARIO), "-s", xmpp_contact("bob@localhost")[4:]]
    command += ["-i", "127.0.0.1", "-m", str(count), "-r", str(rate), "-l", "10000", "-nostdin"]
    environment = {"TERM": "dumb", "PATH": "/usr/bin:/bin"}
    log = directory / "sipp.log"
    with log.open("wb") as output:
        done = subprocess.run(command, cwd=directory, env=environment, stdout=output, stderr=output, check=False)
    return done.returncode == 0


def _arrived(client: XmppUser, count: int) -> int:
    seen, since = 0, time.monotonic()
    while seen < count and time.monotonic() - since < IDLE_SECONDS:
        time.sleep(0.05)
        if len(client.messages) != seen:
            seen, since = len(client.messages), time.monotonic()
    return seen


def _cpu_seconds(processes: list[int]) -> float:
    """User and system time of the processes (proc(5), fields 14 and 15 of `stat`)."""
    ticks = 0
    for process in processes:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _report(rate: int, accepted: int, arrived: int, reached: float, cpu: float) -> None:
    table = Table("offered", "reached", "accepted", "arrived", "gateway's CPU")
    table.add_row(f"{rate}/s", f"{reached:.0f}/s", str(accepted), str(arrived), f"{cpu * 1e6:.0f} µs a message")
    Console().print(table)


if __name__ == "__main__":
    main()
