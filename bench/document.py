"""Owns docs/performance.md and its plot: the figures of one run in the words of a template."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bench import chart
from bench.cases import accounts
from bench.results import Measured
from bench.sheets import Sheet, share_of_limits, sheets

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs"
PLOT = "performance-accounts.svg"
LINES = {"to cpu": "SIP→XMPP", "from cpu": "XMPP→SIP"}


def write(machine: dict[str, str], measured: Sequence[Measured], docs: Path = DOCS) -> None:
    """``measured``: medians. The plot is written where accounts were measured."""
    lines = _lines(measured)
    if lines:
        title = "CPU time of the gateway for one message, by accounts online"
        (docs / PLOT).write_text(chart.svg(title, "accounts online", "µs", lines))
    (docs / "performance.md").write_text(_text(machine, measured, PLOT if lines else ""))


def _text(machine: dict[str, str], measured: Sequence[Measured], plot: str) -> str:
    environment = Environment(
        loader=FileSystemLoader(HERE),
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["markdown"] = _markdown
    values = {"machine": machine, "sheets": sheets(measured), "limits": share_of_limits(measured), "plot": plot}
    return environment.get_template("performance.md.jinja").render(values)


def _markdown(sheet: Sheet) -> str:
    rule = ["---"] * 2 + ["---:"] * (len(sheet.columns) - 2)
    return "\n".join("| " + " | ".join(row) + " |" for row in (sheet.columns, rule, *sheet.rows))


def _lines(measured: Sequence[Measured]) -> list[chart.Line]:
    """One for each direction and kind of connection; a single point is no line."""
    made = []
    for kind, words in (("plain", ""), ("tls", ", TLS")):
        found = [
            each.figures for each in measured if (each.case, each.name) == (accounts.CASE, kind) and not each.problem
        ]
        for figure, direction in LINES.items():
            points = tuple((each["accounts"], each[figure]) for each in found)
            made.append(chart.Line(direction + words, points))
    return [line for line in made if len(line.points) > 1]
