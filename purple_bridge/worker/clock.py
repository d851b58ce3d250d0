"""Owns what the clock showed last; finds out that somebody has set it. Asks no clock itself."""

from __future__ import annotations

from dataclasses import dataclass

SLACK = 5.0  # seconds: less is what NTP does, and what a machine that stood still for a moment looks like


@dataclass
class Clock:
    """Two clocks that go at the same pace, one of which can be set."""

    _behind: float | None = None

    def jump(self, now: float, monotonic: float) -> float:
        """Seconds by which the clock was set since the last call; 0: it was not. ``now``: Unix time."""
        before, behind = self._behind, now - monotonic
        if before is not None and abs(behind - before) < SLACK:
            return 0.0
        self._behind = behind
        return 0.0 if before is None else behind - before
