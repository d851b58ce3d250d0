"""Owns presence documents as a phone writes and reads them (RFC 3863, 4479, 4480)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

PIDF = "urn:ietf:params:xml:ns:pidf"
DATA_MODEL = "urn:ietf:params:xml:ns:pidf:data-model"
RPID = "urn:ietf:params:xml:ns:pidf:rpid"
CIPID = "urn:ietf:params:xml:ns:pidf:cipid"
JABBER = "jabber:client"
XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
PREFIXES = {"": PIDF, "dm": DATA_MODEL, "rpid": RPID, "cipid": CIPID, "jabber": JABBER}
NOTES = (f"{{{PIDF}}}note", f"{{{DATA_MODEL}}}note", f"{{{RPID}}}note")

DOCUMENT = f"""\
<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="{PIDF}" xmlns:dm="{DATA_MODEL}" xmlns:rpid="{RPID}" entity={{entity}}>
  <tuple id="phone">
    <status><basic>{{basic}}</basic></status>
    <contact>{{contact}}</contact>
  </tuple>{{person}}
</presence>
"""
PERSON = """
  <dm:person id="person">{content}</dm:person>"""


@dataclass(frozen=True)
class Tuple:
    """One way to reach the presentity (RFC 3863 §4.1.2)."""

    id: str
    basic: str | None
    contact: str | None
    priority: str | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Presence:
    """What a watcher reads in a NOTIFY; `basic` is "open" when any tuple is open."""

    entity: str
    basic: str | None
    notes: tuple[str, ...]
    activities: tuple[str, ...]
    tuples: tuple[Tuple, ...]

    @property
    def note(self) -> str | None:
        """The first note, wherever it stands."""
        return self.notes[0] if self.notes else None


def pidf(entity: str, basic: str = "open", note: str | None = None, activity: str | None = None) -> bytes:
    """A document as phones publish it: one tuple, and a person with `activity` (RPID name) and `note`."""
    person = PERSON.format(content=_person(note, activity)) if note is not None or activity else ""
    return DOCUMENT.format(entity=quoteattr(entity), contact=escape(entity), basic=basic, person=person).encode()


def parse_notify(body: bytes) -> Presence:
    """Raises xml.etree.ElementTree.ParseError when `body` is no XML, ValueError when it is no PIDF."""
    root = ET.fromstring(body)
    if root.tag != f"{{{PIDF}}}presence":
        raise ValueError(f"not a PIDF document: {root.tag}")
    tuples = tuple(_read_tuple(element) for element in root.findall(f"{{{PIDF}}}tuple"))
    states = [found.basic for found in tuples if found.basic is not None]
    return Presence(
        entity=root.get("entity", ""),
        basic="open" if "open" in states else (states[0] if states else None),
        notes=_notes(root.iter()),
        activities=tuple(_activities(root)),
        tuples=tuples,
    )


def elements(body: bytes, path: str) -> list[ET.Element]:
    """What ElementTree finds at `path`, with the names of PREFIXES; PIDF's own names have no prefix."""
    return ET.fromstring(body).findall(path, PREFIXES)


def texts(body: bytes, path: str) -> list[str]:
    """The stripped text of each of `elements`."""
    return [(element.text or "").strip() for element in elements(body, path)]


def notes_by_language(body: bytes, path: str) -> dict[str, str]:
    """The notes at `path` by their own xml:lang, "" where they have none."""
    return {element.get(XML_LANG, ""): element.text or "" for element in elements(body, path)}


def _person(note: str | None, activity: str | None) -> str:
    """RFC 4480 §3: activities first, then the note."""
    activities = f"<rpid:activities><rpid:{activity}/></rpid:activities>" if activity else ""
    return activities + ("" if note is None else f"<dm:note>{escape(note)}</dm:note>")


def _read_tuple(element: ET.Element) -> Tuple:
    contact = element.find(f"{{{PIDF}}}contact")
    return Tuple(
        id=element.get("id", ""),
        basic=_stripped(element.findtext(f"{{{PIDF}}}status/{{{PIDF}}}basic")),
        contact=None if contact is None else _stripped(contact.text),
        priority=None if contact is None else contact.get("priority"),
        notes=_notes(element.iter()),
    )


def _notes(elements: Iterator[ET.Element]) -> tuple[str, ...]:
    return tuple(element.text or "" for element in elements if element.tag in NOTES)


def _activities(root: ET.Element) -> Iterator[str]:
    for activities in root.iter(f"{{{RPID}}}activities"):
        for child in activities:
            if child.tag not in NOTES:
                yield child.tag.rpartition("}")[2]


def _stripped(text: str | None) -> str | None:
    return None if text is None else text.strip()
