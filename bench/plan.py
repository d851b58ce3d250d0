"""Owns what is measured in which order; knows neither how nor what becomes of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import machine
from bench.cases import accounts, messages, rows
from bench.contestants import by_name
from bench.results import Measured

CASES = (messages.CASE, accounts.CASE, rows.CASE)


@dataclass
class Plan:
    """What one round does; ``looks``: by case, how busy the machine was before each measurement, in percent."""

    cases: Sequence[str]
    contestants: Sequence[str]
    counts: Sequence[int]
    rows: Sequence[int]
    load: messages.Load
    looks: dict[str, list[float]] = field(default_factory=dict)

    def round(self) -> Iterator[Measured]:
        for case in self.cases:
            yield from {messages.CASE: self._messages, accounts.CASE: self._accounts, rows.CASE: self._rows}[case]()

    def _messages(self) -> Iterator[Measured]:
        for name in self.contestants:
            with self._directory(messages.CASE) as directory:
                yield from messages.measure(by_name(name), Path(directory), self.load)

    def _accounts(self) -> Iterator[Measured]:
        for tls in (False, True):
            with self._directory(accounts.CASE) as directory:
                yield from accounts.measure(Path(directory), self.counts, tls, self.load)

    def _rows(self) -> Iterator[Measured]:
        for mysql in (False, True):
            for count in self.rows:
                with self._directory(rows.CASE) as directory:
                    yield from rows.measure(Path(directory), count, mysql, self.load)

    def _directory(self, case: str) -> tempfile.TemporaryDirectory[str]:
        self.looks.setdefault(case, []).append(machine.busy())
        return tempfile.TemporaryDirectory(prefix="bench-")
