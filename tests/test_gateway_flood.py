"""A flood from one address is dropped, one from loopback is not, and all is well after it; in a network namespace."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flood import FLOOD, PUBLIC
from tests.servers.kamailio import PROJECT

SET_UP = f'ip link set lo up && ip address add {PUBLIC}/32 dev lo && exec "$@"'


def in_namespace(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["unshare", "-rn", "sh", "-c", SET_UP, "sh", *command], capture_output=True, text=True, cwd=PROJECT, check=False
    )


def test_a_flood_from_one_address_is_dropped(tmp_path: Path) -> None:
    if in_namespace("true").returncode:
        pytest.skip("no network namespaces here")
    done = in_namespace(sys.executable, "-m", "tests.flood", str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["loopback"] == FLOOD
    assert 1 <= result["public"] < FLOOD / 2
    assert result["dropped"] > FLOOD / 4
