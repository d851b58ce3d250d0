"""Owns namespaces of the kernel for one process: its own mounts. Knows neither servers nor faults."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

from tests.faults.scenario import Unavailable


@cache
def _can_mount() -> bool:
    """As root, or where users may make namespaces of their own."""
    if shutil.which("unshare") is None:
        return False
    tried = subprocess.run(
        [*_unshare(), "mount", "-t", "tmpfs", "-o", "size=1m", "none", "/mnt"], capture_output=True, check=False
    )
    return tried.returncode == 0


def _unshare() -> list[str]:
    return ["unshare", "--mount", "--propagation", "private"]


def with_file(place: Path, content: Path) -> list[str]:
    """What to put in front of a command that shall see ``content`` at ``place``. Raises Unavailable."""
    if not _can_mount():
        raise Unavailable("mount namespaces need root")
    return [*_unshare(), "sh", "-c", f'mount --bind "{content}" "{place}" && exec "$@"', "sh"]
