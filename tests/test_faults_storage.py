"""Databases that hang or are locked, a disk that is full: phones have their answers, and nothing accepted is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.quick import holds


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ["db-stopped", "sqlite-locked", "disk-full"])
def test_it_holds(name: str, tmp_path: Path) -> None:
    holds(name, tmp_path)
