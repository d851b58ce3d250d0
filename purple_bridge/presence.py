"""Owns what presence means here, and its tables for libpurple and RPID; must not know XML, SIP or ctypes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum

MAX_NOTE = 1_000
"""Characters of a note; a longer one is cut."""


class Show(StrEnum):
    """How available someone is. CHAT, DND, AWAY and XA are the values of XMPP's ``<show/>`` (RFC 6121 §4.7.2.1)."""

    CHAT = "chat"
    AVAILABLE = "available"
    DND = "dnd"
    AWAY = "away"
    XA = "xa"
    OFFLINE = "offline"


# Controls, surrogates and the two noncharacters: what XML 1.0 §2.2 cannot write, and DEL and C1 with them.
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def clean_note(text: str) -> str:
    """One line of at most ``MAX_NOTE`` characters: white space folded, controls removed.

    The cut never parts a letter from its combining marks.
    """
    clean = " ".join(_UNWRITABLE.sub("", " ".join(text.split())).split())
    end = min(len(clean), MAX_NOTE)
    while 0 < end < len(clean) and unicodedata.combining(clean[end]):
        end -= 1
    return clean[:end].rstrip()


# "xs:language" of XML Schema, which the xml:lang of a note is (RFC 3863 §4.4).
_LANGUAGE = re.compile("[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*")

# RFC 4480 §3.5 without "other", which is a text, and "unknown". XEP-0107 has all of them under the same names,
# so libpurple takes them as they are.
MOODS = frozenset({
    "afraid", "amazed", "angry", "annoyed", "anxious", "ashamed", "bored", "brave", "calm", "cold", "confused",
    "contented", "cranky", "curious", "depressed", "disappointed", "disgusted", "distracted", "embarrassed",
    "excited", "flirtatious", "frustrated", "grumpy", "guilty", "happy", "hot", "humbled", "humiliated", "hungry",
    "hurt", "impressed", "in_awe", "in_love", "indignant", "interested", "invincible", "jealous", "lonely", "mean",
    "moody", "nervous", "neutral", "offended", "playful", "proud", "relieved", "remorseful", "restless", "sad",
    "sarcastic", "serious", "shocked", "shy", "sick", "sleepy", "stressed", "surprised", "thirsty", "worried",
})  # fmt: skip

NO_MOODS = frozenset({"", "other", "undefined", "unknown"})
"""Words of RPID and of XEP-0107 that say no mood."""


# Most available first. Who does not want to be disturbed is at least there, so DND comes before AWAY,
# as in libpurple's own order.
_ORDER = (Show.CHAT, Show.AVAILABLE, Show.DND, Show.AWAY, Show.XA, Show.OFFLINE)
_RANK = {show: len(_ORDER) - place for place, show in enumerate(_ORDER)}


@dataclass(frozen=True, slots=True)
class Presence:
    """What one person, phone or IM contact shows of itself.

    ``open``: can be written to (RFC 3863 §4.1.4); exactly if ``activity`` is not OFFLINE, else ValueError.
    ``note``: cleaned by ``clean_note``. ``idle_since``: an aware datetime (else ValueError), None if active.
    ``mood``: one of ``MOODS``; anything else becomes "". ``priority``: 0..127 (RFC 8048 §6.2), None: not told; anything
    else becomes None. ``language``: of the note, an RFC 5646 tag; what is none becomes "".
    """

    open: bool
    activity: Show
    note: str = ""
    idle_since: datetime | None = None
    mood: str = ""
    priority: int | None = None
    language: str = ""

    def __post_init__(self) -> None:
        if self.open == (self.activity is Show.OFFLINE):
            raise ValueError(f"open={self.open} contradicts {self.activity}")
        _check_aware(self.idle_since)
        object.__setattr__(self, "note", clean_note(self.note))
        object.__setattr__(self, "mood", self.mood if self.mood in MOODS else "")
        object.__setattr__(self, "language", self.language if _LANGUAGE.fullmatch(self.language) else "")
        if self.priority is not None and not 0 <= self.priority <= 127:
            object.__setattr__(self, "priority", None)


def _check_aware(idle_since: datetime | None) -> None:
    if idle_since is not None and idle_since.tzinfo is None:
        raise ValueError("idle_since needs a time zone")


OFFLINE = Presence(open=False, activity=Show.OFFLINE)
AVAILABLE = Presence(open=True, activity=Show.AVAILABLE)


def most_available(presences: Iterable[Presence]) -> Presence:
    """Several phones of one user as one: the most available wins (RFC 8048 §6.2), OFFLINE for none.

    Among equals, who is not idle, or was active last, then who has a note, then the first.
    """
    return max(presences, key=_rank, default=OFFLINE)


def _rank(presence: Presence) -> tuple[int, bool, float, bool]:
    idle = presence.idle_since
    last_active = idle.timestamp() if idle else 0.0
    return _RANK[presence.activity], idle is None, last_active, presence.note != ""


# --- an IM contact and its clients ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Note:
    """A status text. ``text``: cleaned by ``clean_note``. ``language``: an RFC 5646 tag; what is none becomes ""."""

    text: str
    language: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", clean_note(self.text))
        object.__setattr__(self, "language", self.language if _LANGUAGE.fullmatch(self.language) else "")


@dataclass(frozen=True, slots=True)
class Resource:
    """One client of an IM contact, online.

    ``name``: the XMPP resource, "" where the network tells none. ``show``: not OFFLINE, else ValueError.
    ``notes``: in the network's order. ``priority``: -128..127 (RFC 6121 §4.7.2.3), else ValueError; None: not told.
    ``idle_since``: aware, else ValueError; None if active.
    """

    name: str
    show: Show
    notes: tuple[Note, ...] = ()
    priority: int | None = None
    idle_since: datetime | None = None

    def __post_init__(self) -> None:
        if self.show is Show.OFFLINE:
            raise ValueError("a resource that is offline is none")
        if self.priority is not None and not -128 <= self.priority <= 127:
            raise ValueError(f"priority {self.priority} is not within -128..127")
        _check_aware(self.idle_since)


@dataclass(frozen=True, slots=True)
class ContactPresence:
    """What an IM contact shows of itself, with all its clients.

    ``resources``: none of them: offline. ``notes``: what it said when it left. ``display_name``: cleaned by
    ``clean_note``. ``icon``: a URL or data: URI, "" if none; what is no URI (RFC 3986 §3) becomes "".
    ``mood``: the network's word, "" if none.
    """

    resources: tuple[Resource, ...] = ()
    notes: tuple[Note, ...] = ()
    display_name: str = ""
    icon: str = ""
    mood: str = ""

    def __post_init__(self) -> None:
        for name in ("display_name", "mood"):
            object.__setattr__(self, name, clean_note(getattr(self, name)))
        object.__setattr__(self, "icon", self.icon if _URI.fullmatch(self.icon) else "")

    @property
    def open(self) -> bool:
        """Whether it can be written to."""
        return bool(self.resources)


_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:([\w.~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+", re.ASCII)


def most_available_resource(resources: Iterable[Resource]) -> Resource | None:
    """The client that speaks for its contact, None for none: by show, as for phones, then by priority.

    Among equals, who is not idle, or was active last, then who has a note, then the first. A priority that is
    not told is 0 (RFC 6121 §4.7.2.3).
    """
    return max(resources, key=_resource_rank, default=None)


def _resource_rank(resource: Resource) -> tuple[int, int, bool, float, bool]:
    idle = resource.idle_since
    last_active = idle.timestamp() if idle else 0.0
    said = any(note.text for note in resource.notes)
    return _RANK[resource.show], resource.priority or 0, idle is None, last_active, said


# --- libpurple -------------------------------------------------------------------------------------------


class StatusPrimitive(IntEnum):
    """``PurpleStatusPrimitive`` of libpurple's status.h."""

    UNSET = 0
    OFFLINE = 1
    AVAILABLE = 2
    UNAVAILABLE = 3
    INVISIBLE = 4
    AWAY = 5
    EXTENDED_AWAY = 6
    MOBILE = 7
    TUNE = 8
    MOOD = 9


PRIMITIVE_OF_SHOW = {
    Show.CHAT: StatusPrimitive.AVAILABLE,
    Show.AVAILABLE: StatusPrimitive.AVAILABLE,
    Show.DND: StatusPrimitive.UNAVAILABLE,
    Show.AWAY: StatusPrimitive.AWAY,
    Show.XA: StatusPrimitive.EXTENDED_AWAY,
    Show.OFFLINE: StatusPrimitive.OFFLINE,
}


# --- RPID ------------------------------------------------------------------------------------------------

ACTIVITY_OF_SHOW = {
    Show.CHAT: None,
    Show.AVAILABLE: None,
    Show.DND: "busy",
    Show.AWAY: "away",
    Show.XA: "away",
    Show.OFFLINE: None,
}

# Every activity of RFC 4480 §3.2, by what it means to someone who wants to write: DND where a message
# would disturb, AWAY where nobody is at the device for a while, XA where for long.
SHOW_OF_ACTIVITY = {
    "appointment": Show.DND,
    "away": Show.AWAY,
    "breakfast": Show.AWAY,
    "busy": Show.DND,
    "dinner": Show.AWAY,
    "holiday": Show.XA,
    "in-transit": Show.AWAY,
    "looking-for-work": Show.AVAILABLE,
    "lunch": Show.AWAY,
    "meal": Show.AWAY,
    "meeting": Show.DND,
    "on-the-phone": Show.DND,
    "other": Show.AVAILABLE,
    "performance": Show.DND,
    "permanent-absence": Show.XA,
    "playing": Show.AWAY,
    "presentation": Show.DND,
    "shopping": Show.AWAY,
    "sleeping": Show.XA,
    "spectator": Show.AWAY,
    "steering": Show.DND,
    "travel": Show.XA,
    "tv": Show.AWAY,
    "unknown": Show.AVAILABLE,
    "vacation": Show.XA,
    "working": Show.AVAILABLE,
    "worship": Show.DND,
}

# Words that phones and servers use as activities, in namespaces of their own or of RPID's drafts.
SHOW_OF_FOREIGN_ACTIVITY = {
    "available": Show.AVAILABLE,  # Cisco
    "dnd": Show.DND,  # Cisco
    "idle": Show.AWAY,
}


def show_from_activities(activities: Iterable[str]) -> Show | None:
    """What RPID activities mean together: the least available. None where none of them says anything."""
    words = SHOW_OF_FOREIGN_ACTIVITY | SHOW_OF_ACTIVITY
    known = [words[name] for name in activities if name in words]
    return min(known, key=_RANK.__getitem__, default=None)
