"""Who is writing to whom: owns the timers of RFC 3994, both ways; must not know how a notice is sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from purple_bridge.addresses import SipAddress
from purple_bridge.libpurple import glib

# seconds, RFC 3994 §3.2: an active state is told again, at least 60 s apart, within the interval that the notice names
REFRESH = 90
REFRESH_AFTER = 75.0
# an IM contact that never says that it stopped, because it went away
LONGEST = 120.0

# a phone's own refresh interval counts up to here
LONGEST_REFRESH = 600

To = TypeVar("To", bound=Hashable)
Notify = Callable[[SipAddress, str, bool], None]


@dataclass(slots=True)
class _Writing:
    until: float
    timer: int


class Typist:
    """``notify(sender, user, active)`` sends one notice, now or never."""

    def __init__(self, notify: Notify, refresh_after: float = REFRESH_AFTER, longest: float = LONGEST) -> None:
        self._notify = notify
        self._refresh_after, self._longest = refresh_after, longest
        self._writing: dict[tuple[str, str], _Writing] = {}

    def typing(self, sender: SipAddress, user: str, active: bool) -> None:
        """The IM contact ``sender`` writes to ``user``, or has stopped. What was told already is not told again."""
        writing = self._writing.get((sender.key, user))
        if active and writing is not None:
            writing.until = time.monotonic() + self._longest
        elif active:
            timer = glib.add_timer(self._refresh_after, lambda: self._refresh(sender, user))
            self._writing[sender.key, user] = _Writing(time.monotonic() + self._longest, timer)
            self._notify(sender, user, True)
        elif writing is not None:
            self.wrote(sender, user)
            self._notify(sender, user, False)

    def wrote(self, sender: SipAddress, user: str) -> None:
        """A message implies that its sender has stopped (RFC 3994 §3.3)."""
        writing = self._writing.pop((sender.key, user), None) if self._writing else None
        if writing is not None:
            glib.remove(writing.timer)

    def _refresh(self, sender: SipAddress, user: str) -> bool:
        """Whether the timer runs again."""
        active = time.monotonic() < self._writing[sender.key, user].until
        if not active:
            del self._writing[sender.key, user]
        self._notify(sender, user, active)
        return active


class PhoneTypist(Generic[To]):
    """What phones say of themselves; ``tell(to, active)`` is called when it changes for the contact ``to``."""

    def __init__(self, tell: Callable[[To, bool], None]) -> None:
        self._tell = tell
        self._timers: dict[To, int] = {}

    def typing(self, to: To, active: bool, refresh: int) -> None:
        """RFC 3994 §3.3: who does not say again within ``refresh`` seconds that he is writing has stopped."""
        before = self.wrote(to)
        if active:
            self._timers[to] = glib.add_timer(min(refresh, LONGEST_REFRESH), lambda: self._over(to))
        if active is not before:
            self._tell(to, active)

    def wrote(self, to: To) -> bool:
        """A message implies that its sender has stopped (§3.3). Returns whether he was writing."""
        timer = self._timers.pop(to, None)
        if timer is not None:
            glib.remove(timer)
        return timer is not None

    def _over(self, to: To) -> None:
        del self._timers[to]
        self._tell(to, False)
