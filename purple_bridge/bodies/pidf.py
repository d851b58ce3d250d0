"""Owns the presence documents: PIDF (RFC 3863) with RPID (RFC 4480), read and written; must not know who
publishes or watches."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from xml.etree.ElementTree import Element, SubElement

from purple_bridge.bodies import xml
from purple_bridge.errors import BadRequest, BodyTooLarge
from purple_bridge.presence import (
    ACTIVITY_OF_SHOW,
    MOODS,
    NO_MOODS,
    ContactPresence,
    Note,
    Presence,
    Resource,
    Show,
    most_available,
    most_available_resource,
    show_from_activities,
)

CONTENT_TYPE = "application/pidf+xml"
MAX_DOCUMENT = 65_536
"""Octets of a document that is read."""

PIDF = "urn:ietf:params:xml:ns:pidf"
DATA_MODEL = "urn:ietf:params:xml:ns:pidf:data-model"
RPID = "urn:ietf:params:xml:ns:pidf:rpid"
CIPID = "urn:ietf:params:xml:ns:pidf:cipid"
JABBER = "jabber:client"

# What PIDF was called in its drafts, and in the text of RFC 3863 §4.1.1 by a slip.
_ROOTS = frozenset(f"{{{namespace}}}presence" for namespace in (PIDF, f"{PIDF}:", "urn:ietf:params:xml:ns:cpim-pidf"))

# Namespaces whose elements are read by their local names alone. No name means two things in them, and phones
# put a name into any of them: by an old draft of RPID, or because they forget a prefix.
_READ = frozenset(
    {
        *(root[1:].partition("}")[0] for root in _ROOTS),
        *(DATA_MODEL, RPID),
        f"{PIDF}:status:rpid",  # registered by RFC 4480 §7 beside RPID
        *(f"{PIDF}:status:rpid-status", f"{PIDF}:rpid:status:rpid-status"),  # drafts; the prefix is "es" mostly
        *(f"{PIDF}:rpid-person", f"{PIDF}:rpid:rpid-person"),  # "ep"
        *(f"{PIDF}:rpid-tuple", f"{PIDF}:rpid:rpid-tuple"),  # "et"
        f"{PIDF}:person",  # "pp", the draft of the data model
        f"{PIDF}:im",  # RFC 3863 §4.2.4 and its example
        "urn:cisco:params:xml:ns:pidf:rpid",
    }
)

_OTHER_NAMES = {f"{{{JABBER}}}show": "show"}

_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
NO_NOTE = Note("")

_SHOWS = {show.value: show for show in (Show.CHAT, Show.AWAY, Show.XA, Show.DND)}


# --- reading ---------------------------------------------------------------------------------------------


def parse(body: bytes, charset: str | None = None, *, now: datetime | None = None) -> Presence:
    """What a PIDF document says about its presentity, all tuples together.

    ``charset``: the Content-Type parameter, which RFC 7303 §3.1 puts before the XML declaration.
    ``now``: aware; the clock for ``user-input`` without a time (default: the current time).
    Raises BodyTooLarge (413) above ``MAX_DOCUMENT`` octets, BadRequest for what is no PIDF document.
    """
    root = _root(body, charset)
    tuples, persons = _named(root, "tuple"), _named(root, "person")
    live = _live(tuples or persons)
    common = _said(persons).completed_by(_Said(note=_first_note(_named(root, "note"))))
    said = [_said([tuple_]).completed_by(common) for tuple_ in live or tuples] if tuples else [common]
    clock = now or datetime.now(UTC)
    return most_available(one.as_presence(bool(live), clock) for one in dict.fromkeys(said))


def tuple_ids(body: bytes, charset: str | None = None) -> frozenset[str]:
    """Ids of the document's tuples, by which a phone knows its own publication. Raises as ``parse``."""
    return frozenset(tuple_.get("id", "") for tuple_ in _named(_root(body, charset), "tuple"))


@dataclass(frozen=True, slots=True)
class _Said:
    """What one part of a document says; None and "" where it says nothing."""

    show: Show | None = None
    note: Note = NO_NOTE
    user_input: Element | None = None
    mood: str = ""
    priority: int | None = None

    def completed_by(self, other: _Said) -> _Said:
        """What this part leaves out, the other says: the person for a tuple, the document for the person."""
        user_input = other.user_input if self.user_input is None else self.user_input
        note = self.note if self.note.text else other.note
        return _Said(self.show or other.show, note, user_input, self.mood or other.mood, self.priority)

    def as_presence(self, is_open: bool, now: datetime) -> Presence:
        activity = (self.show or Show.AVAILABLE) if is_open else Show.OFFLINE
        mood = self.mood if is_open else ""
        idle_since = _idle_since(self.user_input, now)
        return Presence(is_open, activity, self.note.text, idle_since, mood, self.priority, self.note.language)


def _said(parts: list[Element]) -> _Said:
    if not any(map(len, parts)):
        return _Said()
    found = _by_name(parts)
    note = _first_note(note for part in parts for note in _named(part, "note"))
    user_input = next(iter(found["user-input"]), None)
    return _Said(
        _show(found), note if note.text else _nested_note(found), user_input, _mood(found), _priority(found["contact"])
    )


def _root(body: bytes, charset: str | None) -> Element:
    if len(body) > MAX_DOCUMENT:
        raise BodyTooLarge(f"the presence document has {len(body)} octets; at most {MAX_DOCUMENT} are read")
    root = xml.parse(_trimmed(body), charset)
    if root.tag not in _ROOTS:
        raise BadRequest(f"not a PIDF document: its root is {root.tag[:60]!a}")
    return root


def _trimmed(body: bytes) -> bytes:
    """Without the line end before the XML declaration and the NUL after the document that some phones send.

    Left alone in encodings of several octets a character, where a NUL may be a half of something.
    """
    return body if b"\x00" in body[:4] else body.strip(b"\x00\t\r\n ")


def _name(element: Element) -> str:
    """The local name of an element that is read, and the full name of any other."""
    namespace, brace, name = element.tag.rpartition("}")
    return name if not brace or namespace[1:] in _READ else _OTHER_NAMES.get(element.tag, element.tag)


def _named(parent: Element, name: str) -> list[Element]:
    return [child for child in parent if _name(child) == name]


def _by_name(parts: list[Element]) -> defaultdict[str, list[Element]]:
    """All elements below, in the order of the document. Without recursion: strangers nest as deep as they like."""
    found: defaultdict[str, list[Element]] = defaultdict(list)
    waiting = [child for part in reversed(parts) for child in reversed(part)]
    while waiting:
        element = waiting.pop()
        found[_name(element)].append(element)
        waiting.extend(reversed(element))
    return found


def _live(parts: list[Element]) -> list[Element]:
    """The parts that can be reached: those that say open, else those that do not say closed.

    RFC 3863 §4.1.3 lets a status come without ``basic``: a phone that says nothing else is there.
    """
    said = [(part, _basic(part)) for part in parts]
    if any(basic for _, basic in said):
        return [part for part, basic in said if basic == "open"]
    return parts


def _basic(part: Element) -> str:
    """``open``, ``closed``, or ``""`` for none of them."""
    basics = [basic for status in _named(part, "status") for basic in _named(status, "basic")]
    text = (basics[0].text or "").strip().lower() if basics else ""
    return text if text in {"open", "closed"} else ""


def _show(found: Mapping[str, list[Element]]) -> Show | None:
    """XMPP's show (RFC 8048 §6.2), else what the RPID activities mean together, else the IM status of RFC 3863."""
    words = (_word(element) for element in found["show"])
    show = next((_SHOWS[word] for word in words if word in _SHOWS), None)
    return show or show_from_activities(_activities(found)) or show_from_activities(map(_word, found["im"]))


def _word(element: Element) -> str:
    return (element.text or "").strip().lower()


def _activities(found: Mapping[str, list[Element]]) -> Iterator[str]:
    """Local names of the RPID activities, and the texts by which drafts of RPID named them."""
    for child in (child for activities in found["activities"] for child in activities):
        name = child.tag.rpartition("}")[2].lower()
        yield _word(child) if name == "activity" else name


def _mood(found: Mapping[str, list[Element]]) -> str:
    """The first mood that has a name; RFC 4480 §3.5 allows several."""
    names = (child.tag.rpartition("}")[2].lower() for mood in found["mood"] for child in mood)
    return next((name for name in names if name in MOODS), "")


def _nested_note(found: Mapping[str, list[Element]]) -> Note:
    """The first note that is deeper in a part, else an activity in words. Notes on moods do not tell presence."""
    of_moods = {note for mood in found["mood"] for note in _named(mood, "note")}
    others = (other for activities in found["activities"] for other in _named(activities, "other"))
    note = _first_note(note for note in found["note"] if note not in of_moods)
    return note if note.text else _first_note(others)


def _first_note(elements: Iterable[Element]) -> Note:
    """The first one that says something, with its language (RFC 3863 §4.1.7)."""
    notes = (Note(_text(element), element.get(_XML_LANG, "")) for element in elements)
    return next((note for note in notes if note.text), NO_NOTE)


def _priority(contacts: list[Element]) -> int | None:
    """RFC 8048 §6.2: a decimal number from 0 to 1 (RFC 3863 §4.1.5) as 0 to 127."""
    texts = (contact.get("priority", "").strip() for contact in contacts)
    numbers = [float(text) for text in texts if re.fullmatch(r"0(\.[0-9]{1,9})?|1(\.0{1,9})?", text)]
    return round(numbers[0] * 127) if numbers else None


def _text(element: Element) -> str:
    """The text, also that within elements, as of XHTML, which a note must not have (RFC 3863 §4.4).

    One level of them: more would take quadratic time in notes within notes.
    """
    return (element.text or "") + "".join((child.text or "") + (child.tail or "") for child in element)


def _idle_since(user_input: Element | None, now: datetime) -> datetime | None:
    """RFC 4480 §3.14: idle since the last input; where that is not told, for at least the threshold."""
    if user_input is None or (user_input.text or "").strip().lower() != "idle":
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


def tuple_id(resource: str) -> str:
    """RFC 8048 §6.2: the resource with the prefix ``ID-``, an ``xs:ID``; no two resources share one."""
    return "ID-" + re.sub("[^A-Za-z0-9.-]", lambda found: f"_{ord(found[0]):x}_", resource)


def build(entity: str, contact: ContactPresence, identifier: str) -> bytes:
    """A PIDF document in UTF-8 of an IM contact, as RFC 8048 §6.2 maps it, with RPID and CIPID in the person.

    ``entity``: the contact's URI for SIP. ``identifier``: names what has no name of its own: the tuple of a
    resource without one or of nobody at all, and the person. The same arguments make the same octets.
    """
    names = {"xmlns": PIDF, "xmlns:dm": DATA_MODEL, "xmlns:rpid": RPID, "xmlns:cipid": CIPID}
    uri = xml.NOT_XML.sub("", entity)
    root = Element("presence", names | {"entity": uri})
    for name, resource in zip(_tuple_ids(contact.resources, identifier), contact.resources, strict=True):
        _add_resource(root, name, uri, resource)
    if not contact.open:
        _add_nobody(root, tuple_id(identifier), uri, contact.notes)
    _add_person(root, f"{tuple_id(identifier)}_person", contact)
    document: bytes = ET.tostring(root, encoding="UTF-8", xml_declaration=True)
    return document


def _tuple_ids(resources: Iterable[Resource], identifier: str) -> list[str]:
    """Names of tuples, all different; a resource without a name is named by the identifier."""
    names: list[str] = []
    for resource in resources:
        name = tuple_id(resource.name or identifier)
        while name in names:
            name += "_"  # what tuple_id makes has "_" in pairs only
        names.append(name)
    return names


def contact_priority(priority: int | None) -> str:
    """XMPP's priority as PIDF writes it, ``0`` to ``1``, each value another; "" where there is none to write.

    RFC 8048 §6.2 note 6: 0 is 0, 127 is 1, and a negative one MUST NOT be mapped.
    """
    if priority is None or priority < 0:
        return ""
    return str(priority // 127) if priority in {0, 127} else f"0.{priority * 1000 // 127:03}"


def _add_resource(root: Element, name: str, uri: str, resource: Resource) -> None:
    """A tuple in the order of the schema (RFC 3863 §4.4): status, what others define, contact, notes."""
    tuple_ = SubElement(root, "tuple", {"id": name})
    status = SubElement(tuple_, "status")
    SubElement(status, "basic").text = "open"
    if resource.show.value in _SHOWS:
        SubElement(status, "show", {"xmlns": JABBER}).text = resource.show.value
    _add_user_input(tuple_, resource.idle_since)
    priority = contact_priority(resource.priority)
    SubElement(tuple_, "contact", {"priority": priority} if priority else {}).text = uri
    _add_notes(tuple_, "note", resource.notes)


def _add_nobody(root: Element, name: str, uri: str, notes: Iterable[Note]) -> None:
    """The tuple of a contact that is offline."""
    tuple_ = SubElement(root, "tuple", {"id": name})
    SubElement(SubElement(tuple_, "status"), "basic").text = "closed"
    SubElement(tuple_, "contact").text = uri
    _add_notes(tuple_, "note", notes)


def _add_person(root: Element, name: str, contact: ContactPresence) -> None:
    """In the schema's order (RFC 4479 §5.1): what others define, then notes. The most available resource speaks."""
    person = SubElement(root, "dm:person", {"id": name})
    speaker = most_available_resource(contact.resources)
    if speaker and (activity := ACTIVITY_OF_SHOW[speaker.show]):
        SubElement(SubElement(person, "rpid:activities"), f"rpid:{activity}")
    _add_mood(person, contact.mood if speaker else "")
    _add_user_input(person, speaker.idle_since if speaker else None)
    for element, text in (("cipid:display-name", contact.display_name), ("cipid:icon", contact.icon)):
        if text:
            SubElement(person, element).text = text
    _add_notes(person, "dm:note", speaker.notes if speaker else contact.notes)


def _add_mood(person: Element, mood: str) -> None:
    """RFC 4480 §3.5: a mood that its list lacks, as many of XEP-0107, is written in words."""
    if mood in NO_MOODS:
        return
    element = SubElement(person, "rpid:mood")
    if mood in MOODS:
        SubElement(element, f"rpid:{mood}")
    else:
        SubElement(element, "rpid:other").text = mood


def _add_user_input(part: Element, idle_since: datetime | None) -> None:
    """In UTC and whole seconds, so that equal times make equal octets."""
    if idle_since:
        since = idle_since.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"
        SubElement(part, "rpid:user-input", {"last-input": since}).text = "idle"


def _add_notes(part: Element, tag: str, notes: Iterable[Note]) -> None:
    for note in notes:
        if note.text:
            SubElement(part, tag, {"xml:lang": note.language} if note.language else {}).text = note.text
