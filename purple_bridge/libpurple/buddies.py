"""The contact list of an account, as libpurple keeps it; blist.h, status.h, buddyicon.h."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from . import c, glib
from .events import ContactStatus, ResourcePresence, RosterEntry
from .glib import decode
from .text import strip

# status.h PurpleStatusPrimitive
OFFLINE, AVAILABLE, UNAVAILABLE, INVISIBLE, AWAY, EXTENDED_AWAY = 1, 2, 3, 4, 5, 6

# RFC 6121 §4.7.2.1; every other kind of being online is just that
_SHOWS = {UNAVAILABLE: "dnd", AWAY: "away", EXTENDED_AWAY: "xa"}

DEFAULT_GROUP = "Buddies"  # where libpurple puts a contact that is in no group


@dataclass(frozen=True, slots=True)
class BuddyStatus:
    """``primitive``: PurpleStatusPrimitive; ``message``: as it came; ``idle_since``: Unix seconds, 0: not idle."""

    primitive: int
    message: str
    idle_since: int

    @property
    def online(self) -> bool:
        return self.primitive not in (0, OFFLINE)


# ---------------------------------------------------------------- one contact
def status_of(buddy: int) -> BuddyStatus:
    """What is known of a PurpleBuddy now."""
    presence = c.purple_quick.purple_buddy_get_presence(buddy)
    status = c.purple_quick.purple_presence_get_active_status(presence)
    kind = c.purple_quick.purple_status_get_type(status)
    idle = c.purple_quick.purple_presence_is_idle(presence)
    return BuddyStatus(
        primitive=c.purple_quick.purple_status_type_get_primitive(kind),
        message=_attribute(status, b"message"),
        idle_since=c.purple_quick.purple_presence_get_idle_time(presence) if idle else 0,
    )


def _attribute(status: int, name: bytes) -> str:
    """Of a PurpleStatus, "" if its type has none of this name, or it is not set."""
    kind = c.purple_quick.purple_status_get_type(status)
    if not c.purple_quick.purple_status_type_get_attr(kind, name):
        return ""
    return decode(c.purple_quick.purple_status_get_attr_string(status, name))


def contact_status(buddy: int) -> ContactStatus:
    """What libpurple knows of a PurpleBuddy on any network: one client, one note in a language not told."""
    status = status_of(buddy)
    text = strip(status.message)
    notes = (("", text),) if text else ()
    resources: tuple[ResourcePresence, ...] = ()
    if status.online:
        show = _SHOWS.get(status.primitive, "")
        resources, notes = (ResourcePresence("", show, notes, None, status.idle_since),), ()
    return ContactStatus(resources, notes, alias_of(buddy), mood_of(buddy))


def alias_of(buddy: int) -> str:
    """The name on the contact list, else what the contact calls itself."""
    own = decode(c.purple_quick.purple_buddy_get_local_buddy_alias(buddy))
    return own or server_alias_of(buddy)


def server_alias_of(buddy: int) -> str:
    """What the contact calls itself, "" if not known."""
    return decode(c.purple_quick.purple_buddy_get_server_alias(buddy))


def mood_of(buddy: int) -> str:
    """A name of XEP-0107 §5, whatever the network calls it; "" if none."""
    presence = c.purple_quick.purple_buddy_get_presence(buddy)
    status = c.purple_quick.purple_presence_get_status(presence, b"mood")
    if not status or not c.purple_quick.purple_status_is_active(status):
        return ""
    return _attribute(status, b"mood")


def icon_of(buddy: int) -> bytes:
    """The avatar's octets, b"" if none."""
    icon, size = c.purple_quick.purple_buddy_get_icon(buddy), ctypes.c_size_t()
    data = c.purple_quick.purple_buddy_icon_get_data(icon, size) if icon else None
    return ctypes.string_at(data, size.value) if data else b""


def icon_checksum(buddy: int) -> bytes:
    """Another one for another avatar, b"" if none."""
    icon = c.purple_quick.purple_buddy_get_icon(buddy)
    return (c.purple_quick.purple_buddy_icon_get_checksum(icon) or b"") if icon else b""


# ---------------------------------------------------------------- the list
def key_of(account: int, name: str) -> str:
    """What makes two names the same contact of this account."""
    return decode(c.purple_quick.purple_normalize(account, name.encode()))


def find(account: int, name: str) -> int | None:
    """The PurpleBuddy of this name, or None."""
    found: int | None = c.purple_quick.purple_find_buddy(account, name.encode())
    return found


def find_all(account: int, name: str | None = None) -> list[int]:
    """The PurpleBuddy of each group that the contact is in; without ``name`` those of all contacts."""
    head = c.purple_quick.purple_find_buddies(account, None if name is None else name.encode())
    found = list(glib.iterate_list(head))
    c.glib_quick.g_slist_free(head)
    return found


def name_of(buddy: int) -> str:
    return decode(c.purple_quick.purple_buddy_get_name(buddy))


def roster(account: int) -> list[RosterEntry]:
    """The account's contacts, with their groups."""
    groups: dict[str, list[str]] = {}
    entries: dict[str, RosterEntry] = {}
    for buddy in find_all(account):
        name = name_of(buddy)
        alias = decode(c.purple_quick.purple_buddy_get_local_buddy_alias(buddy))
        entries[name] = RosterEntry(name, alias)
        group = _group_of(buddy)
        groups.setdefault(name, []).extend([group] if group != DEFAULT_GROUP else [])
    return [RosterEntry(name, entry.alias, tuple(groups[name])) for name, entry in entries.items()]


def _group_of(buddy: int) -> str:
    group = c.purple_quick.purple_buddy_get_group(buddy)
    return decode(c.purple_quick.purple_group_get_name(group)) if group else DEFAULT_GROUP


def _group(name: str) -> int:
    """The PurpleGroup of this name, made if there is none."""
    group: int | None = c.purple_quick.purple_find_group(name.encode())
    if group is None:
        group = int(c.purple.purple_group_new(name.encode()))
        c.purple.purple_blist_add_group(group, None)
    return group


def add(account: int, name: str, alias: str = "", group: str = "") -> int:
    """Put ``name`` on the account's list here and on the server, which asks the contact's permission."""
    buddy: int = c.purple.purple_buddy_new(account, name.encode(), alias.encode() or None)
    c.purple.purple_blist_add_buddy(buddy, None, _group(group) if group else None, None)
    c.purple.purple_account_add_buddy_with_invite(account, buddy, None)
    return buddy


def save(account: int, name: str, alias: str, groups: tuple[str, ...]) -> None:
    """Add the contact, or change its alias and groups; of the groups of a new one the first counts at once."""
    wanted = list(dict.fromkeys(groups)) or [DEFAULT_GROUP]
    if not find(account, name):
        add(account, name, alias, wanted[0])
    there = {_group_of(buddy): buddy for buddy in find_all(account, name)}
    missing = [group for group in wanted if group not in there]
    for group, buddy in there.items():
        if group not in wanted and missing:
            c.purple.purple_blist_add_buddy(buddy, None, _group(missing.pop(0)), None)  # which moves it
        elif group not in wanted:
            _take_off(account, buddy)
    for group in missing:
        buddy = c.purple.purple_buddy_new(account, name.encode(), alias.encode() or None)
        c.purple.purple_blist_add_buddy(buddy, None, _group(group), None)
        c.purple.purple_account_add_buddy(account, buddy)
    for buddy in find_all(account, name):
        _rename(buddy, alias)


def _rename(buddy: int, alias: str) -> None:
    if decode(c.purple_quick.purple_buddy_get_local_buddy_alias(buddy)) != alias:
        c.purple.purple_blist_alias_buddy(buddy, alias.encode() or None)
        c.purple.serv_alias_buddy(buddy)


def remove(account: int, name: str) -> None:
    """Off the list here and on the server."""
    for buddy in find_all(account, name):
        _take_off(account, buddy)


def _take_off(account: int, buddy: int) -> None:
    c.purple.purple_account_remove_buddy(account, buddy, c.purple_quick.purple_buddy_get_group(buddy))
    forget(buddy)


def forget(buddy: int) -> None:
    """Off the list here alone."""
    c.purple.purple_blist_remove_buddy(buddy)
