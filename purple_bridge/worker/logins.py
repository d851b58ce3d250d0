"""How fast accounts sign on: owns the order in which they do, so that no IM server sees a login storm.

Twenty a second in the whole gateway. Only where so many wait that this would take longer than WHOLE_SECONDS, as many
as sign all of them on in that time, but never more than the MOST_PER_SECOND. A server that is slow to answer is not
flooded either: of its logins only so many run at a time, and the others' servers do not wait for it.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable

from purple_bridge.libpurple import glib

LOGINS_PER_SECOND = 20  # of the whole gateway
WHOLE_SECONDS = 100.0
MOST_PER_SECOND = 60
CATCH_UP_SECONDS = 0.25  # what a busy loop may make up for
MOST_AT_ONCE = 100  # logins of the whole gateway that run at one server

Login = Callable[[], bool]


def rate(waiting: int, workers: int) -> float:
    """One worker's logins a second; ``waiting``: the most that waited there since nobody did.

    Accounts are shared out evenly, so each worker sees its part of the whole.
    """
    return min(max(LOGINS_PER_SECOND / workers, waiting / WHOLE_SECONDS), MOST_PER_SECOND / workers)


class LoginQueue:
    """The servers take turns, each with its own accounts in their order."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._most_at_once = max(1, MOST_AT_ONCE // workers)
        self._waiting: dict[str, deque[Login]] = {}  # by server
        self._turns: OrderedDict[str, None] = OrderedDict()  # servers with logins that wait and may run
        self._running: Counter[str] = Counter()
        self._count = self._most = 0  # that wait; that waited since nobody did
        self._ticking = False
        self._due = 0.0  # the next login, by the monotonic clock

    def submit(self, server: str, login: Login) -> None:
        """Call ``login`` when its turn comes: at once if nobody waits.

        It returns whether it has begun: it runs then until ``ended(server)`` is called, maybe by itself already.
        """
        self._waiting.setdefault(server, deque()).append(login)
        self._count += 1
        self._most = max(self._most, self._count)
        self._offer(server)
        if not self._ticking:
            self._ticking, self._due = True, time.monotonic()
            glib.call_soon(self._next)

    def ended(self, server: str) -> None:
        """One of the server's logins has succeeded, or failed."""
        self._running[server] -= 1
        if self._running[server] <= 0:
            del self._running[server]
        self._offer(server)

    def _offer(self, server: str) -> None:
        if server in self._waiting and self._running[server] < self._most_at_once:
            self._turns.setdefault(server)

    def _next(self) -> None:
        """A timer that is late does not make those after it late, too; but never many come together."""
        interval, now = 1 / rate(self._most, self._workers), time.monotonic()
        self._due = max(self._due, now - CATCH_UP_SECONDS) + interval
        glib.add_timer(max(0.0, self._due - now), self._tick)
        if self._turns:  # else all wait for servers that answer slowly
            self._run(self._turns.popitem(last=False)[0])

    def _run(self, server: str) -> None:
        login, begun = self._taken(server), False
        self._running[server] += 1
        try:
            begun = login()
        finally:
            if begun:
                self._offer(server)
            else:
                self.ended(server)

    def _taken(self, server: str) -> Login:
        self._count -= 1
        waiting = self._waiting[server]
        login = waiting.popleft()
        if not waiting:
            del self._waiting[server]
        return login

    def _tick(self) -> None:
        if self._count:
            self._next()
        else:
            self._ticking, self._most = False, 0
