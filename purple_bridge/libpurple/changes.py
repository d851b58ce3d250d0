"""Tells the application what changed on contact lists: owns what waits to be told, at most once per turn of the loop.

libpurple reports more changes than there are, and one change several times; networks say more than libpurple reports.
A contact is told of when what an application can read of it differs from when it was told of last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import glib
from .callbacks import guarded
from .events import Events

if TYPE_CHECKING:
    from .accounts import Account


class Changes:
    """Between whoever sees that something may have changed, and ``Events``."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._contacts: dict[tuple[Account, str], None] = {}  # in the order in which they changed
        self._rosters: dict[Account, None] = {}
        self._scheduled = False

    def contact(self, account: Account, name: str) -> None:
        """Presence, avatar, alias or mood of ``name`` may have changed."""
        self._contacts[account, name] = None
        self._schedule()

    def roster(self, account: Account) -> None:
        """The contact list is there, or is another now."""
        self._rosters[account] = None
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            glib.call_soon(self._tell)

    def _tell(self) -> None:
        rosters, self._rosters = self._rosters, {}
        contacts, self._contacts = self._contacts, {}
        self._scheduled = False
        for account in rosters:
            if account.connected:
                guarded(self._events.roster_changed)(account)
        for account, name in contacts:
            if account.connected and account.is_news(name):
                guarded(self._events.buddy_changed)(account, name)
