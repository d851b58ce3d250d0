"""A short day, and the page that says what the long ones have measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import cases, document
from tests.faults.scenario import SCENARIOS, Report
from tests.faults.soak import Soak

__all__ = ["cases"]

MESSAGES = 10_000


@pytest.mark.timeout(240)
def test_a_short_day(tmp_path: Path) -> None:
    """The bound on memory is that of the long day, by which it has settled."""
    totals = Soak(tmp_path, MESSAGES, growth=0.5).run()
    assert (totals.messages >= MESSAGES, totals.broken) == (True, [])


def test_every_fault_is_in_the_page() -> None:
    text = document.PAGE.read_text()
    missing = [name for name in SCENARIOS if document.row(name, Report()).split(" | ")[0] not in text]
    assert not missing
