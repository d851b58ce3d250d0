"""Bad clients, lost datagrams, a script that is read again, a crowd that comes back: phones notice nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import cases
from tests.faults.scenario import SCENARIOS, Context, perform

__all__ = ["cases"]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ["sip-loss", "clients-stalled", "script-reload", "reconnect-storm"])
def test_it_holds(name: str, tmp_path: Path) -> None:
    report = perform(SCENARIOS[name], Context(tmp_path, quick=True))
    if report.unavailable:
        pytest.skip(report.unavailable)
    assert not report.broken, report
