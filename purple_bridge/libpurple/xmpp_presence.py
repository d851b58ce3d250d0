"""XMPP's <presence/>: owns what is read from one, and which clients of a contact are there; knows no connections.

RFC 6121 §4, XEP-0256 (last activity in presence), XEP-0319 (idle since), XEP-0045 (rooms).  What a contact makes
others remember is limited.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from . import xmlnode
from .events import ContactStatus, ResourcePresence
from .messages import CLIENT, DELAY, unix_time
from .xmlnode import attribute

IDLE = b"urn:xmpp:idle:1"
LAST_ACTIVITY = b"jabber:iq:last"
ROOM_USER = b"http://jabber.org/protocol/muc#user"

MOST_RESOURCES = 32  # of one contact
MOST_LANGUAGES = 20  # of one status
MOST_OCTETS = 4096  # of the text in one language

SHOWS = frozenset(("chat", "away", "xa", "dnd"))  # RFC 6121 §4.7.2.1

Notes = tuple[tuple[str, str], ...]


def read(node: int, resource: str) -> ResourcePresence:
    """A <presence/> without a type, from the client ``resource``; what cannot be read is left out."""
    show, priority, since, delay, seconds = "", None, 0, 0, ""
    for namespace, name, child in xmlnode.children(node):
        if namespace == CLIENT and name == b"show":
            show = xmlnode.text_of(child).strip()
        elif namespace == CLIENT and name == b"priority":
            priority = _priority(xmlnode.text_of(child))
        elif namespace == IDLE and name == b"idle":
            since = unix_time(attribute(child, b"since"))
        elif namespace == LAST_ACTIVITY and name == b"query":
            seconds = attribute(child, b"seconds")
        elif namespace == DELAY and name == b"delay":
            delay = unix_time(attribute(child, b"stamp"))
    return ResourcePresence(
        resource=resource,
        show=show if show in SHOWS else "",
        notes=notes(node),
        priority=priority,
        idle_since=_past(since) or _ago(seconds, delay),
    )


def notes(node: int) -> Notes:
    """RFC 6121 §4.7.2.2: a <status/> for each language; of two in one language the first counts."""
    default, found = xmlnode.language_of(node), dict[str, str]()
    for namespace, name, child in xmlnode.children(node):
        if name == b"status" and namespace == CLIENT and len(found) < MOST_LANGUAGES:
            text = xmlnode.text_of(child).encode()[:MOST_OCTETS].decode("utf-8", "ignore")
            if text:
                found.setdefault(xmlnode.language_of(child) or default, text)
    return tuple(found.items())


def is_of_room(node: int) -> bool:
    """XEP-0045 §7.2.2: somebody in a room, not a contact."""
    return xmlnode.child(node, ROOM_USER, b"x") is not None


def add_idle(node: int, since: int) -> None:
    """XEP-0319 §2: say in an own <presence/> since when its user is idle."""
    stamp = datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    xmlnode.add(node, b"idle", IDLE, since=stamp)


def _priority(text: str) -> int | None:
    """RFC 6121 §4.7.2.3: an integer between -128 and +127."""
    text = text.strip()
    number = int(text) if text.removeprefix("-").removeprefix("+").isdecimal() and len(text) < 5 else None
    return number if number is not None and -128 <= number <= 127 else None


def _past(moment: int) -> int:
    return max(0, min(moment, int(time.time())))


def _ago(seconds: str, stamp: int) -> int:
    """XEP-0256: idle for ``seconds`` when the presence was sent."""
    if not seconds.isdecimal() or len(seconds) > 10 or int(seconds) == 0:
        return 0
    return _past((stamp or int(time.time())) - int(seconds))


class Seen:
    """The clients of one contact that are there."""

    def __init__(self) -> None:
        self._resources: dict[str, ResourcePresence] = {}
        self._notes: Notes = ()

    def available(self, presence: ResourcePresence) -> None:
        """A client came, or changed."""
        self._notes = ()
        self._resources[presence.resource] = presence
        if len(self._resources) > MOST_RESOURCES:
            del self._resources[next(iter(self._resources))]

    def unavailable(self, resource: str, said: Notes) -> None:
        """A client left; without ``resource`` all of them (RFC 6121 §4.5.2)."""
        if resource:
            self._resources.pop(resource, None)
        else:
            self._resources.clear()
        if not self._resources:
            self._notes = said

    def status(self, alias: str, mood: str) -> ContactStatus:
        return ContactStatus(tuple(self._resources.values()), self._notes, alias, mood)
