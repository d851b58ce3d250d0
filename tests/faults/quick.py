"""Owns the quick form of a fault as a test of the suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import cases
from tests.faults.scenario import SCENARIOS, Context, perform

__all__ = ["cases", "holds"]


def holds(name: str, directory: Path) -> None:
    """What the scenario of this name promises; the test is skipped where this machine cannot make the fault."""
    report = perform(SCENARIOS[name], Context(directory, quick=True))
    if report.unavailable:
        pytest.skip(report.unavailable)
    assert not report.broken, report
