"""Owns what a long run leaves in memory: very many messages in all directions through one gateway."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from bench.cases.messages import Load
from bench.gateways import ThisGateway
from bench.results import Figures, Measured
from bench.servers import memory_kilobytes, shared_kilobytes

CASE = "memory"
NAMES = ("SQLite",)
LOOKS = (0.1, 0.25, 0.5, 1.0)  # shares of the messages
TURN = 1000  # messages before another direction has its turn


def measure(name: str, directory: Path, total: int, load: Load) -> Iterator[Measured]:
    """``name``: one of NAMES; ``total``: messages in all. Of ``load`` the window counts."""
    with ThisGateway(directory) as peer:
        sent, lost, started, first = 0, 0, time.monotonic(), 0.0
        flows = list(peer.flows.values())
        for share in LOOKS:
            while sent < total * share:
                result = flows[sent // TURN % len(flows)].at_most(TURN, load.window)
                sent, lost = sent + result.sent, lost + result.lost
                peer.check()
            figures = _memory(peer) | {"lost": float(lost), "rate": sent / (time.monotonic() - started)}
            first = first or figures["memory"]
            yield Measured(CASE, name, f"{sent:,}", figures | {"growth": 100 * (figures["memory"] / first - 1)})


def _memory(peer: ThisGateway) -> Figures:
    """Kilobytes of all processes of the gateway; ``shared``: Kamailio's shared memory and the gateway's."""
    processes = peer.processes()
    return {"memory": float(memory_kilobytes(processes)), "shared": float(shared_kilobytes(processes))}
