"""Owns what accounts cost: signing on many, their memory, the cost of messages among them, and that of being idle."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bench import table
from bench.cases.messages import Load, sustained
from bench.gateways import ThisGateway, Variant
from bench.peer import FROM_IM, SEVERAL, TO_IM
from bench.probe import Probe
from bench.results import Figures, Measured
from bench.servers import cpu_seconds, memory_kilobytes

CASE = "accounts"
KINDS = {"plain": "without TLS", "tls": "TLS"}  # to the XMPP server
LONGEST_SECONDS, POLL_SECONDS = 600.0, 1.0
SETTLE_SECONDS, IDLE_SECONDS = 2.0, 5.0
TRIMMED_SECONDS = 12.0  # so long after the last sign-on the workers give back what those needed
_WORKERS = re.compile(r'listen=udp:[^:\s]+:(\d+) name "workers"')


@dataclass(frozen=True, slots=True)
class SignOn:
    """``stalls``: by listener, the 99th percentile of a request's delay meanwhile, in milliseconds."""

    seconds: float
    cpu_seconds: float
    server_cpu_seconds: float
    stalls: Figures


class Probes:
    """Requests to the phones' listener, and to the one whose processes have a libpurple each."""

    def __init__(self, peer: ThisGateway) -> None:
        kamailio = peer.gateway.kamailio
        wrapper = (kamailio.state_dir / "run" / "kamailio-run.cfg", kamailio.state_dir / "kamailio-run.cfg")
        text = next(path.read_text() for path in wrapper if path.exists())
        workers = _WORKERS.search(text)
        ports = {"stall": kamailio.port, **({"worker stall": int(workers[1])} if workers else {})}
        self._probes = {name: Probe(port) for name, port in ports.items()}

    def measure(self, seconds: float) -> None:
        for probe in self._probes.values():
            probe.measure(seconds / len(self._probes))

    def p99(self, prefix: str = "") -> Figures:
        return {prefix + name: probe.p99() for name, probe in self._probes.items()}

    def close(self) -> None:
        for probe in self._probes.values():
            probe.close()


def measure(name: str, directory: Path, counts: Sequence[int], load: Load) -> Iterator[Measured]:
    """``name``: one of KINDS. ``counts``: accounts online at the same time, in one gateway, all above SEVERAL."""
    names = [f"account{number}" for number in range(max(counts) - SEVERAL)]
    variant = Variant(tls=name == "tls", settings=(("connect_on", "start"),))
    with ThisGateway(directory, variant, names) as peer, closing(Probes(peer)) as probes:
        peer.flows[TO_IM].settle()
        yield Measured(CASE, name, str(SEVERAL), _costs(peer, load) | {"accounts": SEVERAL} | _idle(peer, probes))
        first = memory_kilobytes(peer.processes())
        for before, count in zip((SEVERAL, *counts), counts, strict=False):
            signed_on = _sign_on(peer, names[before - SEVERAL : count - SEVERAL], count, probes)
            probes.measure(TRIMMED_SECONDS)
            figures = {"accounts": float(count), **_sign_on_figures(signed_on, count - before)} | _idle(peer, probes)
            # an account, beyond the first ones, with which the plugins were loaded
            figures["memory"] = (memory_kilobytes(peer.processes()) - first) / (count - SEVERAL)
            yield Measured(CASE, name, str(count), figures | _costs(peer, load))


def _sign_on(peer: ThisGateway, names: Sequence[str], total: int, probes: Probes) -> SignOn:
    """From their rows' commit, which the gateway sees within 2 s, until all are online. Raises AssertionError."""
    before, server, started = cpu_seconds(peer.processes()), peer.cpu_seconds()["server cpu"], time.monotonic()
    table.add(peer.gateway.kamailio.db_url, table.rows_of(names, peer.prosody))
    while (online := peer.online()) < total:
        assert time.monotonic() - started < LONGEST_SECONDS, f"{online} of {total} accounts online"
        probes.measure(POLL_SECONDS)
    spent = cpu_seconds(peer.processes()) - before, peer.cpu_seconds()["server cpu"] - server
    return SignOn(time.monotonic() - started, *spent, probes.p99("sign-on "))


def _sign_on_figures(signed_on: SignOn, count: int) -> Figures:
    """``sign-on cpu``, ``sign-on server cpu``: milliseconds an account."""
    rate, cpu = count / signed_on.seconds, signed_on.cpu_seconds * 1000 / count
    server = signed_on.server_cpu_seconds * 1000 / count
    times = {"seconds": signed_on.seconds, "sign-ons": rate, "sign-on cpu": cpu, "sign-on server cpu": server}
    return times | signed_on.stalls


def _idle(peer: ThisGateway, probes: Probes) -> Figures:
    """``idle``: percent of a core while nothing happens; the delays of requests are measured after that."""
    time.sleep(SETTLE_SECONDS)
    before = cpu_seconds(peer.processes())
    time.sleep(IDLE_SECONDS)
    idle = 100 * (cpu_seconds(peer.processes()) - before) / IDLE_SECONDS
    probes.p99()
    probes.measure(2 * IDLE_SECONDS)
    return {"idle": idle, **probes.p99()}


def _costs(peer: ThisGateway, load: Load) -> Figures:
    figures: Figures = {}
    for name, direction in (("to", TO_IM), ("from", FROM_IM)):
        peer.flows[direction].warm_up()
        there = sustained(peer, peer.flows[direction], load)
        figures |= {f"{name} {key}": there[key] for key in ("rate", "cpu", "lost")}
    return figures
