"""The contact list of an account, as libpurple keeps it; blist.h, status.h."""

from __future__ import annotations

from dataclasses import dataclass

from . import c
from .glib import decode

# status.h PurpleStatusPrimitive
OFFLINE, AVAILABLE, UNAVAILABLE, INVISIBLE, AWAY, EXTENDED_AWAY = 1, 2, 3, 4, 5, 6


@dataclass(frozen=True, slots=True)
class BuddyStatus:
    """``primitive``: PurpleStatusPrimitive; ``message``: as it came; ``idle_since``: Unix seconds, 0: not idle."""

    primitive: int
    message: str
    idle_since: int

    @property
    def online(self) -> bool:
        return self.primitive not in (0, OFFLINE)


def status_of(buddy: int) -> BuddyStatus:
    """What is known of a PurpleBuddy now."""
    presence = c.purple_quick.purple_buddy_get_presence(buddy)
    status = c.purple_quick.purple_presence_get_active_status(presence)
    kind = c.purple_quick.purple_status_get_type(status)
    idle = c.purple_quick.purple_presence_is_idle(presence)
    has_message = c.purple_quick.purple_status_type_get_attr(kind, b"message")
    message = c.purple_quick.purple_status_get_attr_string(status, b"message") if has_message else None
    return BuddyStatus(
        primitive=c.purple_quick.purple_status_type_get_primitive(kind),
        message=decode(message),
        idle_since=c.purple_quick.purple_presence_get_idle_time(presence) if idle else 0,
    )


def find(account: int, name: str) -> int | None:
    """The PurpleBuddy of this name, or None."""
    found: int | None = c.purple_quick.purple_find_buddy(account, name.encode())
    return found


def add(account: int, name: str) -> int:
    """Put ``name`` on the account's list here and on the server, which asks the contact's permission."""
    buddy: int = c.purple.purple_buddy_new(account, name.encode(), None)
    c.purple.purple_blist_add_buddy(buddy, None, None, None)
    c.purple.purple_account_add_buddy_with_invite(account, buddy, None)
    return buddy
