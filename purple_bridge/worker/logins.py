"""How fast accounts sign on: a queue that lets one through at a time, so that no IM server sees a login storm."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from purple_bridge.libpurple import glib

LOGINS_PER_SECOND = 20  # of the whole gateway


class LoginQueue:
    """Owns the order in which this worker's accounts sign on."""

    def __init__(self, workers: int) -> None:
        self._interval = workers / LOGINS_PER_SECOND
        self._waiting: deque[Callable[[], None]] = deque()
        self._ticking = False

    def submit(self, login: Callable[[], None]) -> None:
        """Call ``login`` when its turn comes: at once if nobody waits."""
        self._waiting.append(login)
        if not self._ticking:
            self._ticking = True
            glib.call_soon(self._next)

    def _next(self) -> None:
        glib.add_timer(self._interval, self._tick)
        self._waiting.popleft()()

    def _tick(self) -> None:
        if self._waiting:
            self._next()
        else:
            self._ticking = False
