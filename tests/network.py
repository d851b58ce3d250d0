"""Owns a network of a test's own, in which a part of it runs: an address that is not loopback. Knows no server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.servers.kamailio import PROJECT

PUBLIC, ELSEWHERE, LOOPBACK = "192.0.2.1", "192.0.2.2", "127.0.0.1"  # RFC 5737
_SET_UP = f'ip link set lo up && ip address add {PUBLIC}/32 dev lo && ip address add {ELSEWHERE}/32 dev lo && exec "$@"'


def run_in_network(module: str, directory: Path) -> Any:
    """What the module's last line of output says, as JSON. The test is skipped where namespaces are not allowed."""
    if _run("true").returncode:
        pytest.skip("no network namespaces here")
    done = _run(sys.executable, "-m", module, str(directory))
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["unshare", "-rn", "sh", "-c", _SET_UP, "sh", *command],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        check=False,
    )
