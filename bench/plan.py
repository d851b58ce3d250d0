"""Owns what is measured in which order; knows neither how nor what becomes of it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench import machine
from bench.cases import accounts, memory, messages, presence, rows
from bench.contestants import by_name
from bench.peer import PeerDied
from bench.results import Measured

CASES = (messages.CASE, accounts.CASE, rows.CASE, memory.CASE, presence.CASE)


@dataclass
class Plan:
    """What one round does; ``looks``: by case, how busy the machine was before each measurement, in percent."""

    cases: Sequence[str]
    contestants: Sequence[str]
    counts: Sequence[int]
    rows: Sequence[int]
    load: messages.Load
    many: int = 1_000_000  # messages of the case memory
    watchers: int = 50
    looks: dict[str, list[float]] = field(default_factory=dict)

    def round(self) -> Iterator[Measured]:
        measure = {
            messages.CASE: self._messages,
            accounts.CASE: self._accounts,
            rows.CASE: self._rows,
            memory.CASE: self._memory,
            presence.CASE: self._presence,
        }
        for case in self.cases:
            yield from measure[case]()

    def _messages(self) -> Iterator[Measured]:
        for name in self.contestants:
            yield from self._run(messages.CASE, name, partial(messages.measure, by_name(name), load=self.load))

    def _accounts(self) -> Iterator[Measured]:
        for name in accounts.KINDS:
            measure = partial(accounts.measure, name, counts=self.counts, load=self.load)
            yield from self._run(accounts.CASE, name, measure)

    def _rows(self) -> Iterator[Measured]:
        for name in rows.DATABASES:
            for count in self.rows:
                yield from self._run(rows.CASE, name, partial(rows.measure, name, rows=count, load=self.load))

    def _memory(self) -> Iterator[Measured]:
        for name in memory.NAMES:
            measure = partial(memory.measure, name, total=self.many, load=self.load)
            yield from self._run(memory.CASE, name, measure)

    def _presence(self) -> Iterator[Measured]:
        name = f"{self.watchers} watchers"
        yield from self._run(presence.CASE, name, partial(presence.measure, name, watchers=self.watchers))

    def _run(self, case: str, name: str, measure: Callable[[Path], Iterator[Measured]]) -> Iterator[Measured]:
        """What prevents a measurement is a result, too."""
        self.looks.setdefault(case, []).append(machine.busy())
        with tempfile.TemporaryDirectory(prefix="bench-") as directory:
            try:
                yield from measure(Path(directory))
            except (AssertionError, OSError, RuntimeError, PeerDied) as error:
                yield Measured(case, name, "does not run", problem=str(error).splitlines()[0])
