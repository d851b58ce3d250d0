"""Bad clients, lost datagrams, a script that is read again, a crowd that comes back: phones notice nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.quick import holds


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ["sip-loss", "clients-stalled", "script-reload", "reconnect-storm"])
def test_it_holds(name: str, tmp_path: Path) -> None:
    holds(name, tmp_path)
