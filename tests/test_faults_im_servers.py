"""IM servers and name servers that say nothing: SIP and the other accounts go on, and nothing accepted is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.quick import holds


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ["im-stopped", "im-half-open", "dns-silent"])
def test_it_holds(name: str, tmp_path: Path) -> None:
    holds(name, tmp_path)
