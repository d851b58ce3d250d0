"""Owns how figures become lines of an SVG: pure, knows nothing of what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 240, 48  # user units of the SVG
MOST = 90  # points of a line
PADDING = 3  # above the highest point, so that its line is not cut


@dataclass(frozen=True, slots=True)
class Plot:
    """``line``, ``area``: path data. ``now``: the last value in words; ``words``: the plot for who does not see it."""

    name: str
    title: str
    now: str
    words: str
    line: str
    area: str


def plot(name: str, title: str, points: Sequence[tuple[float, float]], unit: str, seconds: float) -> Plot:
    """``points``: (age in seconds, value), the oldest first; ``seconds``: the age at the left edge.

    More than MOST points are drawn as the mean of neighbours, so that the line stays one.
    """
    points = _fewer(points)
    values = [value for _age, value in points]
    now = f"{number(values[-1])}{unit}" if values else "-"
    line = _line(points, seconds, max(values, default=0) or 1)
    return Plot(name, title, now, _words(title, values, unit, seconds), line, _area(line, points, seconds))


def _fewer(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """Counted from the newest, so that a point keeps its neighbours while the line moves on."""
    size = -(-len(points) // MOST)
    if size < 2:
        return points
    groups = [points[max(0, end - size) : end] for end in range(len(points), 0, -size)]
    return [(group[-1][0], sum(value for _age, value in group) / len(group)) for group in reversed(groups)]


def _line(points: Sequence[tuple[float, float]], seconds: float, highest: float) -> str:
    """SVG 2 §9.3: one move, then lines."""
    spots = [f"{_x(age, seconds):.1f} {_y(value, highest):.1f}" for age, value in points]
    return "M" + "L".join(spots) if spots else ""


def _area(line: str, points: Sequence[tuple[float, float]], seconds: float) -> str:
    """The line, closed along the bottom."""
    if not line:
        return ""
    left, right = _x(points[0][0], seconds), _x(points[-1][0], seconds)
    return f"{line}L{right:.1f} {HEIGHT}L{left:.1f} {HEIGHT}Z"


def _x(age: float, seconds: float) -> float:
    return WIDTH * (1 - min(age / seconds, 1))


def _y(value: float, highest: float) -> float:
    return HEIGHT - 1 - (HEIGHT - 1 - PADDING) * value / highest


def _words(title: str, values: Sequence[float], unit: str, seconds: float) -> str:
    if not values:
        return f"{title}: nothing known yet"
    low, high, last = (number(value) + unit for value in (min(values), max(values), values[-1]))
    return f"{title}, last {round(seconds / 60)} minutes: lowest {low}, highest {high}, now {last}"


def number(value: float) -> str:
    """Two figures behind the point at most, without what says nothing: 0, 0.25, 12.5, 1234."""
    if value >= 100 or value == int(value):
        return f"{value:.0f}"
    return f"{value:.2f}".rstrip("0").rstrip(".")
