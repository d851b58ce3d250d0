"""Owns the presence documents: PIDF (RFC 3863) with RPID (RFC 4480), read and written; must not know who
publishes or watches."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from xml.etree.ElementTree import Element, SubElement

from purple_bridge.bodies import xml
from purple_bridge.errors import BadRequest, BodyTooLarge
from purple_bridge.presence import (
    ACTIVITY_OF_SHOW,
    Presence,
    Show,
    clean_note,
    most_available,
    show_from_activities,
)

CONTENT_TYPE = "application/pidf+xml"
MAX_DOCUMENT = 65_536
"""Octets of a document that is read."""

PIDF = "urn:ietf:params:xml:ns:pidf"
DATA_MODEL = "urn:ietf:params:xml:ns:pidf:data-model"
RPID = "urn:ietf:params:xml:ns:pidf:rpid"
# RFC 4480 §7 registers both; phones older than the RFC use the second, inside the tuple's status.
_RPID_NAMESPACES = (RPID, "urn:ietf:params:xml:ns:pidf:status:rpid")
JABBER = "jabber:client"

_NOTES = frozenset(f"{{{namespace}}}note" for namespace in (PIDF, DATA_MODEL, *_RPID_NAMESPACES))
_SHOWS = {show.value: show for show in (Show.CHAT, Show.AWAY, Show.XA, Show.DND)}


# --- reading ---------------------------------------------------------------------------------------------


def parse(body: bytes, charset: str | None = None, *, now: datetime | None = None) -> Presence:
    """What a PIDF document says about its presentity, all tuples together.

    ``charset``: the Content-Type parameter, which RFC 7303 §3.1 puts before the XML declaration.
    ``now``: aware; the clock for ``user-input`` without a time (default: the current time).
    Raises BodyTooLarge (413) above ``MAX_DOCUMENT`` octets, BadRequest for what is no PIDF document.
    """
    root = _root(body, charset)
    tuples, persons = root.findall(f"{{{PIDF}}}tuple"), root.findall(f"{{{DATA_MODEL}}}person")
    live = _live_tuples(tuples)
    is_open = bool(live) or (bool(persons) and not tuples)
    common = _said(persons).completed_by(_Said(note=_direct_note([root])))
    said = [_said([tuple_]).completed_by(common) for tuple_ in live or tuples] or [common]
    clock = now or datetime.now(UTC)
    return most_available(one.as_presence(is_open, clock) for one in said)


@dataclass(frozen=True, slots=True)
class _Said:
    """What one part of a document says; None and "" where it says nothing."""

    show: Show | None = None
    note: str = ""
    user_input: Element | None = None

    def completed_by(self, other: _Said) -> _Said:
        """What this part leaves out, the other says: the person for a tuple, the document for the person."""
        user_input = other.user_input if self.user_input is None else self.user_input
        return _Said(self.show or other.show, self.note or other.note, user_input)

    def as_presence(self, is_open: bool, now: datetime) -> Presence:
        activity = (self.show or Show.AVAILABLE) if is_open else Show.OFFLINE
        return Presence(is_open, activity, self.note, _idle_since(self.user_input, now))


def _said(parts: list[Element]) -> _Said:
    inputs = (found for part in parts for found in part.iter(f"{{{RPID}}}user-input"))
    return _Said(_show(parts), _note(parts), next(inputs, None))


def _root(body: bytes, charset: str | None) -> Element:
    if len(body) > MAX_DOCUMENT:
        raise BodyTooLarge(f"the presence document has {len(body)} octets; at most {MAX_DOCUMENT} are read")
    root = xml.parse(body, charset)
    if root.tag != f"{{{PIDF}}}presence":
        raise BadRequest(f"not a PIDF document: its root is {root.tag[:60]!a}")
    return root


def _live_tuples(tuples: list[Element]) -> list[Element]:
    """The tuples that can be reached: those that say open, else those that do not say closed.

    RFC 3863 §4.1.3 lets a status come without ``basic``: a phone that says nothing else is there.
    """
    said = [(tuple_, _basic(tuple_)) for tuple_ in tuples]
    if any(basic for _, basic in said):
        return [tuple_ for tuple_, basic in said if basic == "open"]
    return tuples


def _basic(tuple_: Element) -> str:
    """``open``, ``closed``, or ``""`` for none of them."""
    text = (tuple_.findtext(f"{{{PIDF}}}status/{{{PIDF}}}basic") or "").strip().lower()
    return text if text in {"open", "closed"} else ""


def _show(parts: list[Element]) -> Show | None:
    """XMPP's show (RFC 8048 §6.2), else what the RPID activities mean together."""
    texts = ((found.text or "").strip() for part in parts for found in part.iter(f"{{{JABBER}}}show"))
    show = next((_SHOWS[text] for text in texts if text in _SHOWS), None)
    return show or show_from_activities(_activities(parts))


def _activities(parts: list[Element]) -> Iterator[str]:
    """Local names of the RPID activities, and the texts by which drafts of RPID named them."""
    tags = [f"{{{namespace}}}activities" for namespace in _RPID_NAMESPACES]
    for child in (child for part in parts for tag in tags for found in part.iter(tag) for child in found):
        _, _, name = child.tag.rpartition("}")
        yield (child.text or "").strip() if name == "activity" else name


def _note(parts: list[Element]) -> str:
    """The first note that says something: directly in a part, deeper in it, then an activity in words."""
    nested = (found for part in parts for found in part.iter() if found.tag in _NOTES)
    other = f".//{{{RPID}}}activities/{{{RPID}}}other"  # RFC 4480 §3.2: "describes the activity in plain text"
    others = (found for part in parts for found in part.findall(other))
    return _direct_note(parts) or _first_text(nested) or _first_text(others)


def _direct_note(parts: list[Element]) -> str:
    return _first_text(child for part in parts for child in part if child.tag in _NOTES)


def _first_text(elements: Iterable[Element]) -> str:
    return next(filter(None, (clean_note(element.text or "") for element in elements)), "")


def _idle_since(user_input: Element | None, now: datetime) -> datetime | None:
    """RFC 4480 §3.14: idle since the last input; where that is not told, for at least the threshold."""
    if user_input is None or (user_input.text or "").strip() != "idle":
        return None
    threshold = timedelta(seconds=_seconds(user_input.get("idle-threshold", "")))
    since = _time(user_input.get("last-input", "")) or now - threshold
    return min(since, now)  # the phone's clock may be ahead


def _time(text: str) -> datetime | None:
    """An ``xs:dateTime``; without a zone it is UTC. None for what is no time."""
    try:
        time = datetime.fromisoformat(text.strip())
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _seconds(text: str) -> int:
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else 0


# --- writing ---------------------------------------------------------------------------------------------

# XML 1.0 §2.2 "Char": everything else cannot be written, not even as a reference.
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def build(entity: str, presence: Presence, resource: str = "") -> bytes:
    """A PIDF document in UTF-8, shaped as RFC 8048 §6.2 shows it, with RPID for phones that read that.

    ``entity``: the presentity's URI. ``resource``: what tells this source from others of the same
    presentity. The same arguments make the same octets.
    """
    names = {"xmlns": PIDF, "xmlns:dm": DATA_MODEL, "xmlns:rpid": RPID}
    root = Element("presence", names | {"entity": _NOT_XML.sub("", entity)})
    name = tuple_id(resource or entity)
    _add_tuple(root, name, presence)
    _add_person(root, f"{name}-person", presence)
    document: bytes = ET.tostring(root, encoding="UTF-8", xml_declaration=True)
    return document


def tuple_id(resource: str) -> str:
    """RFC 8048 §6.2: the resource with the prefix ``ID-``, an ``xs:ID``; no two resources share one."""
    return "ID-" + re.sub("[^A-Za-z0-9.-]", lambda found: f"_{ord(found[0]):x}_", resource)


def _add_tuple(root: Element, name: str, presence: Presence) -> None:
    tuple_ = SubElement(root, "tuple", {"id": name})
    status = SubElement(tuple_, "status")
    SubElement(status, "basic").text = "open" if presence.open else "closed"
    if presence.activity.value in _SHOWS:
        SubElement(status, "show", {"xmlns": JABBER}).text = presence.activity.value
    if presence.note:
        SubElement(tuple_, "note").text = presence.note


def _add_person(root: Element, name: str, presence: Presence) -> None:
    """RFC 4479 §3.2: activities, input and a note belong to the person. Most phones show this note."""
    person = SubElement(root, "dm:person", {"id": name})
    if activity := ACTIVITY_OF_SHOW[presence.activity]:
        SubElement(SubElement(person, "rpid:activities"), f"rpid:{activity}")
    if presence.idle_since:
        since = presence.idle_since.isoformat()
        SubElement(person, "rpid:user-input", {"last-input": since}).text = "idle"
    if presence.note:
        SubElement(person, "dm:note").text = presence.note
