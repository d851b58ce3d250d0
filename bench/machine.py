"""Owns the description of the machine that measures: what it is made of, what runs on it, how busy others keep it."""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
import time
import timeit
from collections.abc import Sequence
from functools import cache
from pathlib import Path

PACKAGES = ("kamailio", "libpurple0", "libpurple0t64", "prosody", "mariadb-server", "bitlbee-libpurple")
LOOK_SECONDS = 0.3
ADDITIONS = "total, numbers = 0, range(1_000_000)"


@cache
def describe() -> dict[str, str]:
    """No name, no address, no path of this machine."""
    return {
        "CPU": _cpu(),
        "a million additions in Python": f"{_addition_milliseconds():.0f} ms",
        "cores": str(os.cpu_count()),
        "main memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GB",
        "system": _found(r'PRETTY_NAME="(.*)"', "/etc/os-release"),
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        **_versions(),
    }


def busy() -> float:
    """Percent of all cores in use at this moment, while nothing of the comparison runs (proc(5), `stat`)."""
    idle, total = _jiffies()
    time.sleep(LOOK_SECONDS)
    idle_then, total_then = _jiffies()
    return 100 * (1 - (idle_then - idle) / max(total_then - total, 1))


def busy_in_words(looks: Sequence[float]) -> str:
    """What others use of all cores."""
    return (
        f"in use by others, looked at before each: {statistics.median(looks):.0f} % (median), {max(looks):.0f} % (most)"
    )


def _cpu() -> str:
    """Different generations may have the same name."""
    fields = ("model name", "cpu family", "model", "cpu MHz")
    name, family, model, megahertz = (_found(rf"\n{field}\s*: (.*)", "/proc/cpuinfo") for field in fields)
    return f"{name}, family {family}, model {model}, {megahertz.partition('.')[0]} MHz"


def _addition_milliseconds() -> float:
    """How fast one core is, the best of some tries: so that figures of two machines can be compared."""
    return 1000 * min(timeit.repeat("for number in numbers: total += number", ADDITIONS, number=1, repeat=7))


def _found(pattern: str, path: str) -> str:
    found = re.search(pattern, Path(path).read_text())
    return found[1].strip() if found else "unknown"


def _versions() -> dict[str, str]:
    """As Debian names them."""
    query = ["dpkg-query", "-W", "-f", "${Package} ${Version}\n", *PACKAGES]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, check=False).stdout
    except OSError:
        return {}
    return dict(line.split(" ", 1) for line in answer.splitlines() if not line.endswith(" "))


def _jiffies() -> tuple[int, int]:
    """Idle (with waiting for disks), and all."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return fields[3] + fields[4], sum(fields)
