"""Owns what was measured: single rounds, their medians, and both as JSON; knows no server."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Measured:
    """``case``: the kind of measurement; ``name``: what was measured; ``what``: the direction, or the size.

    ``problem``: in words why there are no figures.
    """

    case: str
    name: str
    what: str
    figures: Figures = field(default_factory=dict)
    problem: str = ""


def medians(rounds: Iterable[Measured]) -> list[Measured]:
    """One for each case, name and what, in the order of their first round; a problem of any round stays."""
    groups: dict[tuple[str, str, str], list[Measured]] = {}
    for measured in rounds:
        groups.setdefault((measured.case, measured.name, measured.what), []).append(measured)
    return [_median(group) for group in groups.values()]


def _median(group: Sequence[Measured]) -> Measured:
    first = group[0]
    names = dict.fromkeys(name for measured in group for name in measured.figures)
    figures = {
        name: statistics.median(measured.figures[name] for measured in group if name in measured.figures)
        for name in names
    }
    problem = next((measured.problem for measured in group if measured.problem), "")
    return Measured(first.case, first.name, first.what, figures, problem)


def as_json(machine: dict[str, str], rounds: Sequence[Measured]) -> dict[str, Any]:
    return {
        "machine": machine,
        "medians": [asdict(measured) for measured in medians(rounds)],
        "rounds": [asdict(measured) for measured in rounds],
    }


def from_json(document: dict[str, Any]) -> list[Measured]:
    return [Measured(**values) for values in document["rounds"]]
