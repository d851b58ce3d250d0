"""Owns the comparison itself: messages through one contestant, as fast as it takes them and at steady rates."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.contestants import Contestant
from bench.flow import Flow, Result
from bench.peer import SEVERAL, Peer, PeerDied
from bench.results import Figures, Measured

CASE = "messages"
SLOW, FAST = 20, 1000  # messages a second


@dataclass(frozen=True, slots=True)
class Load:
    """``messages`` of a sustained run, ``window`` of them on their way; ``seconds`` at each steady rate."""

    messages: int = 10000
    window: int = 64
    seconds: float = 5.0


def measure(contestant: Contestant, directory: Path, load: Load) -> Iterator[Measured]:
    """One round of one contestant. Raises AssertionError or OSError if it does not start."""
    with contestant.make(directory) as peer:
        settled = False
        for direction, flow in peer.flows.items():
            try:
                settled = settled or _settle(peer, flow)
                figures = _figures(peer, flow, load, at_rates=str(SEVERAL) not in direction)
            except PeerDied as error:
                yield Measured(CASE, contestant.name, direction, problem=str(error))
                return
            yield Measured(CASE, contestant.name, direction, figures)


def _settle(peer: Peer, flow: Flow) -> bool:
    """True. Raises PeerDied."""
    try:
        flow.settle()
    except OSError:  # nobody listens there any more
        peer.check()
        raise
    return True


def _figures(peer: Peer, flow: Flow, load: Load, at_rates: bool) -> Figures:
    flow.warm_up()
    peer.check()
    figures = sustained(peer, flow, load)
    if not at_rates:
        return figures
    fast = min(FAST, figures["rate"] / 2)
    slow = flow.at_rate(SLOW, min(load.seconds, load.messages / SLOW))
    before = peer.cpu_seconds()["cpu"]
    swift = flow.at_rate(fast, min(load.seconds, load.messages / fast)) if fast else slow
    cpu = 1e6 * (peer.cpu_seconds()["cpu"] - before) / swift.sent
    peer.check()
    return figures | _latency("slow", slow) | _latency("fast", swift) | {"fast rate": fast, "fast cpu": cpu}


def sustained(peer: Peer, flow: Flow, load: Load) -> Figures:
    """``cpu``, ``server cpu``, ``ends cpu``: microseconds a message."""
    before = peer.cpu_seconds()
    result = flow.at_most(load.messages, load.window)
    spent = {name: seconds - before[name] for name, seconds in peer.cpu_seconds().items()}
    peer.check()
    arrived = result.sent - result.lost
    cpu = {name: seconds * 1e6 / arrived if arrived else math.nan for name, seconds in spent.items()}
    counts = {"rate": result.rate, "lost": float(result.lost), "repeated": float(result.repeated)}
    return counts | cpu | _latency("full", result)


def _latency(name: str, result: Result) -> Figures:
    """Milliseconds; a message that is lost at a steady rate counts as well."""
    return {f"{name} p50": result.p50, f"{name} p99": result.p99, f"{name} lost": float(result.lost)}
