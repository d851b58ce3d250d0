"""Databases that hang or are locked, a disk that is full: phones have their answers, and nothing accepted is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import cases
from tests.faults.scenario import SCENARIOS, Context, perform

__all__ = ["cases"]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ["db-stopped", "sqlite-locked", "disk-full"])
def test_it_holds(name: str, tmp_path: Path) -> None:
    report = perform(SCENARIOS[name], Context(tmp_path, quick=True))
    if report.unavailable:
        pytest.skip(report.unavailable)
    assert not report.broken, report
