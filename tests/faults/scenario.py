"""Owns what a fault is here: its name, what holds while it lasts, the figures that were measured. Breaks nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

Figure = float | int | str


class Unavailable(Exception):
    """This machine cannot make the fault (rights, a module of the kernel, a package); the text says why."""


@dataclass
class Report:
    """Filled by a scenario while it runs. ``figures``: what was measured, in words of the table, in order.

    ``broken``: what did not hold; a scenario goes on after it, so that all is seen.
    """

    figures: dict[str, Figure] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    unavailable: str = ""
    seconds: float = 0.0
    quick: bool = False

    def check(self, holds: bool, what: str) -> None:
        if not holds:
            self.broken.append(what)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Seconds of the block become a figure."""
        begin = time.monotonic()
        yield
        self.figures[what] = round(time.monotonic() - begin, 1)


@dataclass(frozen=True)
class Context:
    """``directory``: for the servers of this run; ``quick``: as short as the test suite can bear."""

    directory: Path
    quick: bool
    report: Report = field(default_factory=Report)


Run = Callable[[Context], None]


@dataclass(frozen=True)
class Scenario:
    """``holds``: what is promised, for the table; ``in_tests``: its quick form belongs to the test suite."""

    name: str
    fault: str
    holds: str
    run: Run
    in_tests: bool


SCENARIOS: dict[str, Scenario] = {}


def scenario(name: str, fault: str, holds: str, in_tests: bool = True) -> Callable[[Run], Run]:
    """Registers the decorated function under ``name``."""

    def register(run: Run) -> Run:
        SCENARIOS[name] = Scenario(name, fault, holds, run, in_tests)
        return run

    return register


def perform(chosen: Scenario, context: Context) -> Report:
    """Run it; what a server or a wait says when it fails becomes part of the report."""
    begin = time.monotonic()
    try:
        chosen.run(context)
    except Unavailable as why:
        context.report.unavailable = str(why)
    except AssertionError as error:
        context.report.broken.append("\n".join([str(error), *getattr(error, "__notes__", [])]))
    context.report.quick = context.quick
    context.report.seconds = round(time.monotonic() - begin, 1)
    return context.report
