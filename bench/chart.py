"""Owns how figures become an SVG with axes: pure, knows nothing of what they mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import cycle

WIDTH, HEIGHT = 640, 320  # user units
LEFT, RIGHT, TOP, BOTTOM = 64, 150, 40, 48  # around the plot; names of the lines stand on the right
COLOURS = ("#2563a8", "#b3541e", "#3c7d3c", "#7a3c94")
TICKS = 4
LINE_HEIGHT = 14.0
NUMBER_WIDTH = 28.0

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    name: str
    points: tuple[Point, ...]


def svg(title: str, across: str, up: str, lines: Sequence[Line]) -> str:
    """``across``, ``up``: what the axes count, both from 0."""
    widest = max(x for line in lines for x, _ in line.points)
    highest = _round_up(max(y for line in lines for _, y in line.points))
    parts = [*_frame(title, across, up), *_ticks(widest, highest, lines)]
    places = _apart([_y(line.points[-1][1], highest) for line in lines])
    for line, place, colour in zip(lines, places, cycle(COLOURS), strict=False):
        parts += [_drawn(line, colour, widest, highest), _named(line, colour, place)]
    return "\n".join([*parts, "</svg>", ""])


def _frame(title: str, across: str, up: str) -> list[str]:
    """The paper is drawn, so that it can be read on a dark page, too."""
    middle, bottom = LEFT + (WIDTH - LEFT - RIGHT) / 2, HEIGHT - BOTTOM
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        f' aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="20" font-size="14" fill="#1d2733">{escape(title)}</text>',
        f'<text x="{middle:.0f}" y="{HEIGHT - 10}" text-anchor="middle" fill="#46525f">{escape(across)}</text>',
        f'<text x="{LEFT - 6}" y="{TOP - 12}" text-anchor="end" fill="#46525f">{escape(up)}</text>',
        f'<path d="M{LEFT} {TOP}V{bottom}H{WIDTH - RIGHT}" fill="none" stroke="#46525f"/>',
    ]


def _ticks(widest: float, highest: float, lines: Sequence[Line]) -> list[str]:
    """Across: where something was measured, as far as there is room."""
    made = []
    for number in range(TICKS + 1):
        value = highest * number / TICKS
        y = _y(value, highest)
        made.append(f'<text x="{LEFT - 6}" y="{y + 4:.0f}" text-anchor="end" fill="#46525f">{value:g}</text>')
        made.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#d5dbe3"/>')
    last = -math.inf
    for value in sorted({x for line in lines for x, _ in line.points}):
        x, y = _x(value, widest), HEIGHT - BOTTOM + 16
        if x - last >= NUMBER_WIDTH:
            made.append(f'<text x="{x:.1f}" y="{y}" text-anchor="middle" fill="#46525f">{value:g}</text>')
            last = x
    return made


def _drawn(line: Line, colour: str, widest: float, highest: float) -> str:
    spots = [(_x(x, widest), _y(y, highest)) for x, y in line.points]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in spots)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in spots)
    return f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>{dots}'


def _named(line: Line, colour: str, y: float) -> str:
    return f'<text x="{WIDTH - RIGHT + 8}" y="{y + 4:.1f}" fill="{colour}">{escape(line.name)}</text>'


def _apart(places: Sequence[float]) -> list[float]:
    """Names beside each other's lines must not lie on each other: from the lowest upwards, each moves if it has to."""
    moved = list(places)
    last = HEIGHT + LINE_HEIGHT
    for index in sorted(range(len(places)), key=lambda index: -places[index]):
        last = moved[index] = min(places[index], last - LINE_HEIGHT)
    return moved


def _x(value: float, widest: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * value / widest


def _y(value: float, highest: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / highest


def _round_up(value: float) -> float:
    """To one, two or five times a power of ten, in quarters that can be read."""
    step = 10.0 ** len(str(int(value))) / 10
    return next(step * factor for factor in (1, 2, 4, 6, 8, 10) if step * factor >= value)
