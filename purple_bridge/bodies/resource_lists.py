"""Owns contact lists as XML (RFC 4826: resource-lists, rls-services); must not know networks or where lists are kept.

A document is changed where it must be, and every other octet of it stays: what phones have written for themselves,
prefixes, comments and white space are not ours.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, SubElement
from xml.parsers import expat

from purple_bridge.addresses import SipAddress
from purple_bridge.bodies import xml
from purple_bridge.errors import BadRequest, BodyTooLarge

MAX_DOCUMENT = 1 << 20
"""Octets: some thousand contacts."""

TITLE = "Contacts"
"""The list for contacts without a group; no group itself."""

_LISTS = "urn:ietf:params:xml:ns:resource-lists"
_SERVICES = "urn:ietf:params:xml:ns:rls-services"
_NEW = f'<?xml version="1.0" encoding="UTF-8"?>\n<resource-lists xmlns="{_LISTS}">\n</resource-lists>\n'.encode()

# What RFC 4826 §3.1 knows, and where; all else is an extension, with everything within it.
_WITHIN = {
    "resource-lists": ("",),
    "list": ("resource-lists", "list"),
    "entry": ("list",),
    "entry-ref": ("list",),
    "external": ("list",),
    "display-name": ("list", "entry"),
}

_NO_URI = re.compile(rf"\s|{xml.NOT_XML.pattern}")
_ENCODING = re.compile(rb"""(?:\xef\xbb\xbf)?<\?xml[^>]*?\sencoding\s*=\s*["']([^"']*)""")
_START_TAG = re.compile(rb"""<([^\s/>]+)(?:[^>"']|"[^"]*"|'[^']*')*>""")

# Kamailio's rls copies a URI, with a time and a number, into 512 octets, and keeps it in a column of 255 characters.
_MAX_WATCHED = 255


@dataclass(frozen=True, slots=True)
class Entry:
    """A contact. ``groups``: names of the lists that hold it, none for the list of those without a group."""

    uri: str
    display_name: str = ""
    groups: tuple[str, ...] = ()


def read(document: bytes, title: str = TITLE) -> list[Entry]:
    """All contacts of a resource-lists document in order of appearance, each URI once.

    Its groups are the names of the lists directly around it, without ``title``. References to other documents
    (entry-ref, external) are not followed.
    Raises BodyTooLarge above ``MAX_DOCUMENT`` octets, BadRequest for what is no such document.
    """
    names: dict[str, str] = {}
    groups: dict[str, dict[str, None]] = {}
    for list_ in _scan(document).lists:
        for entry in list_.entries:
            names[entry.uri] = names.get(entry.uri) or entry.display_name
            groups.setdefault(entry.uri, {})[list_.name] = None
    return [Entry(uri, name, tuple(g for g in groups[uri] if g not in ("", title))) for uri, name in names.items()]


def diff(
    before: Sequence[Entry], after: Sequence[Entry], title: str = TITLE
) -> tuple[list[Entry], list[Entry], list[Entry]]:
    """(added, changed, removed) by URI; changed: another display name, or other groups, as they are afterwards.

    The order of groups means nothing, and ``title`` is none.
    """
    old, new = {e.uri: e for e in before}, {e.uri: e for e in after}
    added = [e for uri, e in new.items() if uri not in old]
    removed = [e for uri, e in old.items() if uri not in new]
    changed = [e for uri, e in new.items() if uri in old and _said(e, title) != _said(old[uri], title)]
    return added, changed, removed


def _said(entry: Entry, title: str) -> tuple[str, set[str]]:
    return clean(entry.display_name), {clean(group) for group in entry.groups} - {"", title}


def clean(name: str) -> str:
    """A name as one line, without characters that XML cannot carry: as ``read`` gives it back."""
    return " ".join(xml.NOT_XML.sub(" ", name).split())


def services(entries: Sequence[Entry], service_uri: str) -> bytes:
    """An rls-services document (RFC 4826 §4): who subscribes to ``service_uri`` sees all of ``entries``.

    Kamailio's rls (5.6 and 6.0) finds service, list and entry by name, whatever the prefix, ignores display-name and
    packages, and stops at the first URI that it cannot read, so those are left out: no sip: URI, or too long.
    It percent-decodes a URI once, and fails at an octet outside ASCII: with "%" written as "%25" it then subscribes
    to the URI that was meant, and names that one with its state (the first NOTIFY alone, which has no state yet, names
    it as written here). Raises BadRequest for a service URI that XML cannot carry.
    """
    if _NO_URI.search(service_uri):
        raise BadRequest(f"not a URI for a list: {service_uri[:60]!a}")
    root = Element("rls-services", {"xmlns": _SERVICES, "xmlns:rl": _LISTS})
    service = SubElement(root, "service", {"uri": service_uri})
    around = SubElement(service, "list")
    for uri, name in _watched(entries).items():
        entry = SubElement(around, "rl:entry", {"uri": uri.replace("%", "%25")})
        if name:
            SubElement(entry, "rl:display-name").text = name
    SubElement(SubElement(service, "packages"), "package").text = "presence"
    return xml.document(root)


def _watched(entries: Sequence[Entry]) -> dict[str, str]:
    """Display names by URI."""
    names: dict[str, str] = {}
    for entry in entries:
        if _can_be_watched(entry.uri):
            names[entry.uri] = names.get(entry.uri) or clean(entry.display_name)
    return names


def _can_be_watched(uri: str) -> bool:
    if not re.fullmatch(r'(?i:sip):[^\s<>"?@]+@[^\s<>"?@]+', uri) or not uri.isascii() or len(uri) > _MAX_WATCHED:
        return False
    try:
        return bool(SipAddress.parse(uri))
    except BadRequest:
        return False


# --- bringing a document up to date ----------------------------------------------------------------------


def merge(
    document: bytes | None, entries: Sequence[Entry], is_ours: Callable[[str], bool], title: str = TITLE
) -> bytes:
    """The document in which exactly ``entries`` are the contacts whose URI ``is_ours``, in the lists of their groups.

    ``document``: None makes a new one. ``is_ours`` is asked about any URI and must not raise. Lists are made where
    needed, ``title`` for contacts without a group; one from which ours have gone goes too, if nothing is left in it.
    A list without a name holds contacts without a group as well, but nothing is added to it.
    A URI with white space, or one that is not ours, never gets in. Where there is nothing to do, the same octets come
    back. Raises BodyTooLarge above ``MAX_DOCUMENT`` octets, BadRequest for what is no such document.
    """
    raw = _NEW if document is None else document
    return _Merge(raw, _wanted(entries, is_ours, title), is_ours, title).result()


def _wanted(entries: Sequence[Entry], is_ours: Callable[[str], bool], title: str) -> dict[str, dict[str, str]]:
    """Display names by URI, by group."""
    names: dict[str, str] = {}
    groups: dict[str, list[str]] = {}
    for entry in entries:
        if not _NO_URI.search(entry.uri) and is_ours(entry.uri):
            names[entry.uri] = names.get(entry.uri) or clean(entry.display_name)
            groups.setdefault(entry.uri, []).extend(filter(None, map(clean, entry.groups)))
    wanted: dict[str, dict[str, str]] = {}
    for uri, name in names.items():
        for group in groups[uri] or [title]:
            wanted.setdefault(group, {})[uri] = name
    return wanted


@dataclass(slots=True, eq=False)
class _Element:
    """``kind``: the local name, "" for an extension. ``start``, ``inner``, ``close``, ``end``: octets of the document:
    where the start tag begins and ends, where the end tag begins and ends; all but the first equal in ``<x/>``."""

    kind: str
    attributes: dict[str, str]
    parent: _Element | None
    tag: bytes
    start: int
    inner: int
    close: int = 0
    end: int = 0
    depth: int = 0
    text: str = ""
    children: list[_Element] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return self.inner == self.end

    @property
    def uri(self) -> str:
        return self.attributes.get("uri", "")

    @property
    def name(self) -> str:
        return clean(self.attributes.get("name", ""))

    @property
    def label(self) -> _Element | None:
        """The display-name."""
        return next((child for child in self.children if child.kind == "display-name"), None)

    @property
    def display_name(self) -> str:
        return clean(self.label.text) if self.label else ""

    @property
    def entries(self) -> Iterator[_Element]:
        return (child for child in self.children if child.kind == "entry" and child.uri)

    def tag_of(self, kind: str) -> bytes:
        """How a child of this kind is called, with this element's prefix, which is known there."""
        return self.tag[: self.tag.rfind(b":") + 1] + kind.encode()


class _Scan:
    """Finds the elements of a document and where they are. The octets have been read safely once before."""

    def __init__(self, document: bytes) -> None:
        self.document = document
        self.root = _Element("", {}, None, b"", 0, 0)
        self.lists: list[_Element] = []
        self._open: list[_Element] = []
        self._parser = expat.ParserCreate(namespace_separator="}")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._data
        self._parser.Parse(document, True)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        start = self._parser.CurrentByteIndex
        tag = _START_TAG.match(self.document, start)
        if not tag:
            raise BadRequest("a resource list must be encoded in UTF-8")
        parent = self._open[-1] if self._open else None
        kind = _kind(name, parent)
        element = _Element(kind, attributes, parent, tag[1], start, tag.end(), depth=len(self._open))
        if parent:
            parent.children.append(element)
        else:
            self.root = element
        if kind == "list":
            self.lists.append(element)
        self._open.append(element)

    def _end(self, _name: str) -> None:
        element = self._open.pop()
        if self.document[element.inner - 2 : element.inner] == b"/>":
            element.close = element.end = element.inner
        else:
            element.close = self._parser.CurrentByteIndex
            element.end = self.document.index(b">", element.close) + 1

    def _data(self, text: str) -> None:
        if self._open[-1].kind == "display-name":
            self._open[-1].text += text


def _kind(name: str, parent: _Element | None) -> str:
    namespace, _, local = name.rpartition("}")
    known = namespace == _LISTS and (parent.kind if parent else "") in _WITHIN.get(local, ())
    # The root alone has no parent, and an extension within the root must not be taken for one.
    return local if known and (local == "resource-lists") == (parent is None) else ""


def _scan(document: bytes) -> _Scan:
    if len(document) > MAX_DOCUMENT:
        raise BodyTooLarge(f"the contact list has {len(document)} octets; at most {MAX_DOCUMENT} are read")
    xml.parse(document)
    _check_encoding(document)
    scan = _Scan(document)
    if not scan.root.kind:
        raise BadRequest("a contact list is a resource-lists document")
    return scan


def _check_encoding(document: bytes) -> None:
    """RFC 4826 §3.1: "MUST be encoded using UTF-8". New text could not be put between octets of another encoding."""
    declared = _ENCODING.match(document)
    try:
        document.decode()
    except UnicodeDecodeError:
        raise BadRequest("a resource list must be encoded in UTF-8") from None
    if b"\0" in document or (declared and declared[1].lower() != b"utf-8"):
        raise BadRequest("a resource list must be encoded in UTF-8")


class _Merge:
    """One merge: which octets go, and what comes in their place."""

    def __init__(
        self, raw: bytes, wanted: dict[str, dict[str, str]], is_ours: Callable[[str], bool], title: str
    ) -> None:
        self._raw, self._scan = raw, _scan(raw)
        self._wanted, self._is_ours, self._title = wanted, is_ours, title
        self._missing = {group: dict(names) for group, names in wanted.items()}
        self._edits: list[tuple[int, int, bytes]] = []

    def result(self) -> bytes:
        found = [(list_, *self._ours(list_)) for list_ in self._scan.lists]
        for list_, stay, go in found:
            more = self._missing.pop(list_.name, {}) if list_.name else {}
            self._update(list_, stay, go, more)
        root = self._scan.root
        self._append(root, [_list_xml(root, name, entries) for name, entries in self._missing.items() if entries])
        return self._edited()

    def _ours(self, list_: _Element) -> tuple[dict[_Element, str], set[_Element]]:
        """Our entries that stay, with the display names they should have, and those that go."""
        group = list_.name or self._title
        left = dict(self._wanted.get(group, {}))
        stay: dict[_Element, str] = {}
        go: set[_Element] = set()
        for entry in filter(lambda e: self._is_ours(e.uri), list_.entries):
            # RFC 4826 §3.1: a URI is unique within its list; what comes a second time goes.
            if entry.uri in left:
                stay[entry] = left.pop(entry.uri)
                self._missing[group].pop(entry.uri, None)
            else:
                go.add(entry)
        return stay, go

    def _update(self, list_: _Element, stay: dict[_Element, str], go: set[_Element], more: dict[str, str]) -> None:
        rest = [child for child in list_.children if child not in go and child.kind != "display-name"]
        if go and not rest and not more:
            self._take_out(list_)
            return
        for entry in go:
            self._take_out(entry)
        for entry, name in stay.items():
            if entry.display_name != name:
                self._rename(entry, name)
        self._append(list_, [_entry_xml(list_, uri, name) for uri, name in more.items()])

    def _rename(self, entry: _Element, name: str) -> None:
        label = entry.label
        if not name and label:
            self._take_out(label)
        elif label:
            self._put(label, label.inner, label.close, html.escape(name).encode())
        else:
            self._put(entry, entry.inner, entry.inner, _label_xml(entry.tag_of("display-name"), name))

    def _append(self, parent: _Element, blocks: list[bytes]) -> None:
        """Behind what RFC 4826 §3.2 knows: extensions come last."""
        if blocks:
            line = b"\n" + b"  " * parent.depth
            at = next((child.end for child in reversed(parent.children) if child.kind), parent.inner)
            last = line if parent.is_empty else b""
            self._put(parent, at, at, b"".join(line + b"  " + block for block in blocks) + last)

    def _put(self, element: _Element, start: int, end: int, content: bytes) -> None:
        """Content into an element, which gets an end tag if it has none."""
        if element.is_empty:
            start, end, content = element.inner - 2, element.inner, b">" + content + b"</" + element.tag + b">"
        self._edits.append((start, end, content))

    def _take_out(self, element: _Element) -> None:
        """With the white space in front of it."""
        start = element.start
        while self._raw[start - 1 : start].isspace():
            start -= 1
        in_text = self._raw[start - 1 : start] != b">"
        self._edits.append((element.start if in_text else start, element.end, b""))

    def _edited(self) -> bytes:
        parts, at = [], 0
        for start, end, content in sorted(self._edits):
            parts += [self._raw[at:start], content]
            at = end
        return b"".join([*parts, self._raw[at:]])


def _list_xml(root: _Element, name: str, entries: dict[str, str]) -> bytes:
    tag = root.tag_of("list")
    lines = b"".join(b"\n    " + _entry_xml(root, uri, label) for uri, label in entries.items())
    return b'<%s name="%s">%s\n  </%s>' % (tag, html.escape(name).encode(), lines, tag)


def _entry_xml(parent: _Element, uri: str, name: str) -> bytes:
    start = b'<%s uri="%s"' % (parent.tag_of("entry"), html.escape(uri).encode())
    if not name:
        return start + b"/>"
    return b"%s>%s</%s>" % (start, _label_xml(parent.tag_of("display-name"), name), parent.tag_of("entry"))


def _label_xml(tag: bytes, name: str) -> bytes:
    return b"<%s>%s</%s>" % (tag, html.escape(name).encode(), tag)
