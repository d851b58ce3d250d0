"""Owns what rows of the mapping cost that belong to nobody who is there: messages in a small and in a large table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.cases.messages import Load, sustained
from bench.gateways import ThisGateway, Variant
from bench.peer import FROM_IM, TO_IM
from bench.results import Measured

CASE = "rows"
DATABASES = ("SQLite", "MariaDB")


def measure(name: str, directory: Path, rows: int, load: Load) -> Iterator[Measured]:
    """``name``: one of DATABASES."""
    with ThisGateway(directory, Variant(rows=rows, mysql=name == "MariaDB")) as peer:
        for direction in (TO_IM, FROM_IM):
            peer.flows[direction].warm_up()
            figures = sustained(peer, peer.flows[direction], load) | {"rows": float(rows)}
            yield Measured(CASE, name, f"{rows:,} rows, {direction}", figures)
