"""Owns what the kernel says of a gateway's processes: how many, zombies, descriptors, memory. Knows no gateway."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Census:
    """Of a process and all that descend from it. ``megabytes``: anonymous memory (proc(5), RssAnon) of all."""

    processes: int
    zombies: int
    descriptors: int
    megabytes: float

    def __str__(self) -> str:
        return f"{self.processes} processes, {self.zombies} zombies, {self.descriptors} fds, {self.megabytes:.0f} MB"


def census(root: int) -> Census:
    """``root``: process id; what has ended meanwhile is not counted."""
    every = [root, *descendants(root)]
    alive = [pid for pid in every if _state(pid) not in ("", "Z")]
    zombies = sum(_state(pid) == "Z" for pid in every)
    descriptors = sum(_descriptors(pid) for pid in alive)
    return Census(len(alive), zombies, descriptors, sum(map(anonymous_kilobytes, alive)) / 1024)


def descendants(root: int) -> list[int]:
    """Process ids of children, their children, and so on (proc(5), ``/proc/pid/task/tid/children``)."""
    found: list[int] = []
    waiting = [root]
    while waiting:
        children = _children(waiting.pop())
        found += children
        waiting += children
    return found


def _children(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []


def _state(pid: int) -> str:
    """One letter, as in ps(1); empty for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _descriptors(pid: int) -> int:
    try:
        return len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return 0


def anonymous_kilobytes(pid: int) -> int:
    """Memory of a process that is its own; 0 when it has gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon:")), 0)
