"""A flood from one address is dropped, one from loopback is not, and all is well after it; in a network namespace."""

from __future__ import annotations

from pathlib import Path

from tests.flood import FLOOD
from tests.network import run_in_network


def test_a_flood_from_one_address_is_dropped(tmp_path: Path) -> None:
    result = run_in_network("tests.flood", tmp_path)
    assert result["loopback"] == FLOOD
    assert 1 <= result["public"] < FLOOD / 2
    assert result["dropped"] > FLOOD / 4
