"""Owns what rows of the mapping cost that belong to nobody who is there: messages in a small and in a large table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.cases.messages import Load, sustained
from bench.gateways import ThisGateway, Variant
from bench.peer import FROM_IM, TO_IM
from bench.results import Measured

CASE = "rows"


def measure(directory: Path, rows: int, mysql: bool, load: Load) -> Iterator[Measured]:
    with ThisGateway(directory, Variant(rows=rows, mysql=mysql)) as peer:
        for direction in (TO_IM, FROM_IM):
            peer.flows[direction].warm_up()
            figures = sustained(peer, peer.flows[direction], load) | {"rows": float(rows)}
            yield Measured(CASE, "MariaDB" if mysql else "SQLite", f"{rows} rows, {direction}", figures)
