"""Owns the table of docs/reliability.md: each fault with what was measured. Breaks nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from tests.faults.scenario import SCENARIOS, Report

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
HEAD = "| fault | what holds | measured | command |\n|---|---|---|---|\n"
BEGIN, END = "<!-- made by `python -m tests.faults --write-docs` -->\n", "<!-- end -->\n"
COMMAND = "`python -m tests.faults --only {name}{quick}`"
NAME = re.compile(r"--only ([\w-]+?)(?: --quick)?`")


def write(reports: Mapping[str, Report]) -> None:
    """Put the rows of these faults into the page; others stay. Raises ValueError without a place."""
    text = PAGE.read_text()
    front, begin, rest = text.partition(BEGIN)
    table, end, back = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE} has no place for the table")
    rows = {found[1]: line for line in table.splitlines() if (found := NAME.search(line))}
    rows |= {name: row(name, report) for name, report in reports.items()}
    ordered = "".join(rows[name] + "\n" for name in SCENARIOS if name in rows)
    PAGE.write_text(front + begin + HEAD + ordered + end + back)


def row(name: str, report: Report) -> str:
    """One line of the table."""
    fault = SCENARIOS[name]
    measured = "; ".join(f"{what}: {figure}" for what, figure in report.figures.items())
    if report.unavailable:
        measured = f"not measured: {report.unavailable}"
    if report.broken:
        broken = "; ".join(text.partition("\n")[0] for text in report.broken)
        measured = f"**did not hold: {broken}**; {measured}"
    command = COMMAND.format(name=name, quick=" --quick" if report.quick else "")
    return f"| {fault.fault} | {fault.holds} | {measured.replace('|', '/')} | {command} |"
