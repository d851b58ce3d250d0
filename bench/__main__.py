"""This gateway, its peers and two limits on the same work, in one go on loopback.

The command starts the servers itself, one contestant after the other, as often as there are rounds; what it prints are
medians. Progress goes to stderr, tables go to stdout.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from bench import document, machine
from bench.cases.messages import Load
from bench.contestants import NAMES
from bench.peer import SEVERAL
from bench.plan import CASES, Plan
from bench.results import Measured, as_json, from_json, medians
from bench.sheets import Sheet, share_of_limits, sheets

Machine = dict[str, str]


@dataclass(frozen=True, slots=True)
class Options:
    rounds: int
    messages: int
    window: int
    seconds: float
    only: tuple[str, ...]
    cases: tuple[str, ...]
    accounts: list[int]
    rows: list[int]
    many: int
    watchers: int
    json_file: Path | None
    add: tuple[Path, ...]
    write_docs: bool

    def plan(self) -> Plan:
        load = Load(self.messages, self.window, self.seconds)
        return Plan(
            self.cases or CASES[:1], self.only or NAMES, self.accounts, self.rows, load, self.many, self.watchers
        )


def _numbers(_context: click.Context, _parameter: click.Parameter, text: str) -> list[int]:
    """Numbers parted by commas."""
    try:
        return sorted({int(number) for number in text.split(",")})
    except ValueError:
        raise click.BadParameter("write numbers, parted by commas") from None


@click.command(help=__doc__)
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(0), help="0: measure nothing, for --add.")
@click.option("--messages", default=10000, show_default=True, help="Messages as fast as they are taken.")
@click.option("--window", default=64, show_default=True, help="How many of them are on their way at once.")
@click.option("--seconds", default=5.0, show_default=True, help="How long at each steady rate.")
@click.option(
    "--only", multiple=True, type=click.Choice(NAMES), help="These contestants; again for each. [default: all]"
)
@click.option("--cases", multiple=True, type=click.Choice(CASES), help="Again for each. [default: messages]")
@click.option("--accounts", default="50,200", show_default=True, callback=_numbers, help="Accounts online.")
@click.option("--rows", default="10,100000", show_default=True, callback=_numbers, help="Rows of others.")
@click.option(
    "--many", default=1_000_000, show_default=True, type=click.IntRange(10_000), help="Messages of the case memory."
)
@click.option("--watchers", default=50, show_default=True, type=click.IntRange(1), help="Of the case presence.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write medians and single rounds there.")
@click.option("--add", multiple=True, type=click.Path(exists=True, path_type=Path), help="Show what --json wrote, too.")
@click.option("--write-docs", is_flag=True, help="Write docs/performance.md and its plot.")
def main(**given: Any) -> None:
    options = Options(**given)
    if options.accounts[0] <= SEVERAL:
        raise click.UsageError(f"--accounts: more than {SEVERAL}")
    plan = options.plan()
    described, measured = _added(options.add)
    for each in _measure(plan, options.rounds):
        measured.append(each)
        described |= _circumstances(plan, options.rounds)
        _save(options.json_file, described, measured)
    _show(measured)
    if options.write_docs:
        document.write(described, medians(measured))


def _circumstances(plan: Plan, rounds: int) -> Machine:
    return machine.describe() | {
        case: f"rounds: {rounds}; {machine.busy_in_words(looks)}" for case, looks in plan.looks.items()
    }


def _added(files: Sequence[Path]) -> tuple[Machine, list[Measured]]:
    described: Machine = {}
    measured: list[Measured] = []
    for file in files:
        values = json.loads(file.read_text())
        described |= values["machine"]
        measured += from_json(values)
    return described, measured


def _measure(plan: Plan, rounds: int) -> Iterator[Measured]:
    for number in range(1, rounds + 1):
        yield from _announced(plan.round(), f"round {number}/{rounds}")


def _save(file: Path | None, described: Machine, measured: Sequence[Measured]) -> None:
    """After each measurement: whoever stops the command has what there is."""
    if file:
        file.write_text(json.dumps(as_json(described, measured), indent=1))


def _announced(measured: Iterator[Measured], where: str) -> Iterator[Measured]:
    for each in measured:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in each.figures.items())
        click.echo(f"{where}: {each.case}, {each.name}, {each.what}: {each.problem or figures}", err=True)
        yield each


def _show(measured: Sequence[Measured]) -> None:
    console = Console()
    for sheet in sheets(medians(measured)):
        console.print(_table(sheet))
    console.print(share_of_limits(medians(measured)), highlight=False)


def _table(sheet: Sheet) -> Table:
    table = Table(title=sheet.title)
    for place, column in enumerate(sheet.columns):
        table.add_column(column, justify="left" if place < 2 else "right", overflow="fold")
    for row in sheet.rows:
        table.add_row(*row)
    return table


if __name__ == "__main__":
    main()
