"""Owns what accounts cost: signing on many, their memory, the cost of messages among them, and that of being idle."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import table
from bench.cases.messages import Load, sustained
from bench.gateways import ThisGateway, Variant
from bench.peer import FROM_IM, SEVERAL, TO_IM
from bench.results import Figures, Measured
from bench.servers import cpu_seconds, memory_kilobytes

CASE = "accounts"
KINDS = {"plain": "without TLS", "tls": "TLS"}  # to the XMPP server
LONGEST_SECONDS, POLL_SECONDS = 600.0, 0.25
SETTLE_SECONDS, IDLE_SECONDS = 2.0, 4.0


@dataclass(frozen=True, slots=True)
class SignOn:
    seconds: float
    cpu_seconds: float


def measure(name: str, directory: Path, counts: Sequence[int], load: Load) -> Iterator[Measured]:
    """``name``: one of KINDS. ``counts``: accounts online at the same time, in one gateway, all above SEVERAL."""
    names = [f"account{number}" for number in range(max(counts) - SEVERAL)]
    variant = Variant(tls=name == "tls", settings=(("connect_on", "start"),))
    with ThisGateway(directory, variant, names) as peer:
        yield Measured(CASE, name, str(SEVERAL), _costs(peer, load) | {"accounts": SEVERAL, "idle": _idle(peer)})
        first = memory_kilobytes(peer.processes())
        for before, count in zip((SEVERAL, *counts), counts, strict=False):
            signed_on = _sign_on(peer, names[before - SEVERAL : count - SEVERAL], count)
            figures = {"accounts": float(count), **_sign_on_figures(signed_on, count - before), "idle": _idle(peer)}
            # an account, beyond the first ones, with which the plugins were loaded
            figures["memory"] = (memory_kilobytes(peer.processes()) - first) / (count - SEVERAL)
            yield Measured(CASE, name, str(count), figures | _costs(peer, load))


def _sign_on(peer: ThisGateway, names: Sequence[str], total: int) -> SignOn:
    """From their rows' commit, which the gateway sees within 2 s, until all are online. Raises AssertionError."""
    before, started = cpu_seconds(peer.processes()), time.monotonic()
    table.add(peer.gateway.kamailio.db_url, table.rows_of(names, peer.prosody))
    while (online := _online(peer)) < total:
        assert time.monotonic() - started < LONGEST_SECONDS, f"{online} of {total} accounts online"
        time.sleep(POLL_SECONDS)
    return SignOn(time.monotonic() - started, cpu_seconds(peer.processes()) - before)


def _online(peer: ThisGateway) -> int:
    return sum(account["state"] == "online" for account in peer.gateway.accounts())


def _sign_on_figures(signed_on: SignOn, count: int) -> Figures:
    """``sign-on cpu``: milliseconds an account."""
    rate, cpu = count / signed_on.seconds, signed_on.cpu_seconds * 1000 / count
    return {"seconds": signed_on.seconds, "sign-ons": rate, "sign-on cpu": cpu}


def _idle(peer: ThisGateway) -> float:
    """Percent of a core while nothing happens."""
    time.sleep(SETTLE_SECONDS)
    before = cpu_seconds(peer.processes())
    time.sleep(IDLE_SECONDS)
    return 100 * (cpu_seconds(peer.processes()) - before) / IDLE_SECONDS


def _costs(peer: ThisGateway, load: Load) -> Figures:
    figures: Figures = {}
    for name, direction in (("to", TO_IM), ("from", FROM_IM)):
        peer.flows[direction].warm_up()
        there = sustained(peer, peer.flows[direction], load)
        figures |= {f"{name} {key}": there[key] for key in ("rate", "cpu", "lost")}
    return figures
