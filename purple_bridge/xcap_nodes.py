"""Owns the parts of XML documents that XCAP names (RFC 4825 §6.3): finding, replacing, inserting, deleting them.

What is not touched stays as it was written, to the octet. Must not know HTTP, users or what the documents mean.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self
from xml.parsers import expat
from xml.sax.saxutils import unescape

_NAME = r"(?:[^\W\d][\w.-]*:)?[^\W\d][\w.-]*"
_STEP = re.compile(rf"(\*|{_NAME})(?:\[(\d{{1,6}})\])?(?:\[@({_NAME})=(\"[^\"]*\"|'[^']*')\])?")
# Neither tries white space again from each of its characters: strangers send much of it.
_BINDING = re.compile(r"xmlns\(\s*([^\s=()]+)\s*=([^()]*)\)")
_ATTRIBUTE = re.compile(r"(?<!\s)\s++([^\s=/>]+)\s*=\s*(\"[^\"]*\"|'[^']*')")
_TAG_END = re.compile(rb"""(?:[^>"']|"[^"]*"|'[^']*')*>""")
_BARE_AMPERSAND = re.compile(r"&(?!(?:lt|gt|amp|quot|apos|#\d+|#x[0-9A-Fa-f]+);)")
_ENTITIES = {"&quot;": '"', "&apos;": "'"}


class NotPossible(Exception):
    """A change that would not give what was asked for; ``condition`` is the element of RFC 4825 §11.2."""

    def __init__(self, condition: str) -> None:
        super().__init__(condition)
        self.condition = condition


@dataclass(frozen=True, slots=True)
class Step:
    """One level of the way down. ``name`` is expanded, ``uri name`` or ``name``, or "*" for any; ``position`` from 1,
    0 for any."""

    name: str
    position: int = 0
    attribute: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Selector:
    """An element, or with ``attribute`` an attribute of it."""

    steps: tuple[Step, ...]
    attribute: str = ""

    @classmethod
    def parse(cls, text: str, query: str, namespace: str) -> Self:
        """``text``: decoded, without a leading slash. ``query``: the xmlns() bindings (RFC 4825 §6.4).

        ``namespace``: what element names without prefix belong to. Raises ValueError.
        """
        bindings = _bindings(query)
        steps: list[Step] = []
        place = 0
        while match := _STEP.match(text, place):
            steps.append(_step(match, bindings, namespace))
            place = match.end()
            if place == len(text):
                return cls(tuple(steps))
            if text[place] != "/":
                break
            place += 1
        terminal = re.fullmatch(rf"@({_NAME})", text[place:])
        if terminal is None or not steps:
            raise ValueError("no node selector of RFC 4825")
        return cls(tuple(steps), _expanded(terminal[1], bindings, ""))


@dataclass(slots=True)
class Node:
    """An element by its place in the octets: ``start`` to ``end``, its content from ``inner`` to ``close``."""

    name: str
    attributes: Mapping[str, str]
    start: int
    inner: int
    close: int = 0
    end: int = 0
    children: list[Node] = field(default_factory=list)


def tree(document: bytes) -> Node:
    """The root element. The document has no DTD, which is the caller's to see. Raises ValueError for what is no XML."""
    top = Node("", {}, 0, 0)
    path = [top]
    parser = expat.ParserCreate("UTF-8", " ")

    def started(name: str, attributes: dict[str, str]) -> None:
        start = parser.CurrentByteIndex
        node = Node(name, attributes, start, _tag_end(document, start))
        path[-1].children.append(node)
        path.append(node)

    def ended(_name: str) -> None:
        node, place = path.pop(), parser.CurrentByteIndex
        empty = document[node.inner - 2 : node.inner] == b"/>"
        node.close, node.end = (node.inner, node.inner) if empty else (place, _tag_end(document, place))

    parser.StartElementHandler, parser.EndElementHandler = started, ended
    try:
        parser.Parse(document, True)
    except expat.ExpatError as error:
        raise ValueError(str(error)) from None
    return top.children[0]


def read(document: bytes, selector: Selector) -> bytes | None:
    """The element as it is written, or the attribute's value; None if there is none."""
    node = _select(document, selector.steps)
    if node is None:
        return None
    if not selector.attribute:
        return document[node.start : node.end]
    value = node.attributes.get(selector.attribute)
    return None if value is None else _escaped(value).encode()


def put(document: bytes, selector: Selector, content: bytes) -> tuple[bytes, bool]:
    """The document with the node put in or replaced, and whether it is new. Raises NotPossible."""
    if selector.attribute:
        return _put_attribute(document, selector, content)
    fragment = content.strip()
    node = _select(document, selector.steps)
    if node is not None:
        return _spliced(document, node.start, node.end, fragment, selector), False
    parent = _select(document, selector.steps[:-1]) if len(selector.steps) > 1 else None
    if parent is None:
        raise NotPossible("no-parent")
    return _inserted(document, parent, fragment, selector), True


def delete(document: bytes, selector: Selector) -> bytes | None:
    """The document without the node; None if there is no such node. Raises NotPossible."""
    node = _select(document, selector.steps)
    if node is None or (selector.attribute and selector.attribute not in node.attributes):
        return None
    if selector.attribute:
        start, end = _attribute_span(document, node, selector.attribute)
    elif len(selector.steps) == 1:
        raise NotPossible("cannot-delete")
    else:
        start, end = node.start, node.end
    result = document[:start] + document[end:]
    if read(result, selector) is not None:  # RFC 4825 §8.4: the same URI must be a 404 now
        raise NotPossible("cannot-delete")
    return result


# ---- selectors


def _bindings(query: str) -> dict[str, str]:
    """RFC 4825 §6.4: other xpointer expressions are ignored."""
    return {match[1]: match[2].strip() for match in _BINDING.finditer(query)}


def _step(match: re.Match[str], bindings: Mapping[str, str], namespace: str) -> Step:
    name, position, attribute, value = match.groups()
    if position == "0":
        raise ValueError("positions count from 1")
    return Step(
        name if name == "*" else _expanded(name, bindings, namespace),
        int(position or 0),
        (_expanded(attribute, bindings, ""), unescape(value[1:-1], _ENTITIES)) if attribute else None,
    )


def _expanded(name: str, bindings: Mapping[str, str], namespace: str) -> str:
    """As expat writes it, so that names can be compared."""
    prefix, _, local = name.rpartition(":")
    if prefix and prefix not in bindings:
        raise ValueError(f"the prefix {prefix} is not bound")
    uri = bindings[prefix] if prefix else namespace
    return f"{uri} {local}" if uri else local


def _select(document: bytes, steps: tuple[Step, ...]) -> Node | None:
    """The one element; RFC 4825 §6.3: a selector that matches several selects none."""
    found = [Node("", {}, 0, 0, children=[tree(document)])]
    for step in steps:
        found = [child for node in found for child in _matching(node, step)]
    return found[0] if len(found) == 1 else None


def _matching(node: Node, step: Step) -> list[Node]:
    found = [child for child in node.children if step.name in ("*", child.name)]
    if step.position:
        found = found[step.position - 1 : step.position]
    if step.attribute:
        name, value = step.attribute
        found = [child for child in found if child.attributes.get(name) == value]
    return found


# ---- changes


def _inserted(document: bytes, parent: Node, fragment: bytes, selector: Selector) -> bytes:
    """As the last child, or with a position as the one after its like (RFC 4825 §8.2.3)."""
    if document[parent.inner - 2 : parent.inner] == b"/>":
        opened = document[parent.start : parent.inner - 2].rstrip() + b">"
        name = re.split(rb"[\s>]", opened[1:], maxsplit=1)[0]
        changed = document[: parent.start] + opened + b"</" + name + b">" + document[parent.end :]
        place = parent.start + len(opened)
        return _spliced(changed, place, place, fragment, selector)
    last = selector.steps[-1]
    like = [child.end for child in parent.children if last.name in ("*", child.name)]
    place = like[-1] if last.position and like else parent.close
    return _spliced(document, place, place, fragment, selector)


def _spliced(document: bytes, start: int, end: int, fragment: bytes, selector: Selector) -> bytes:
    """RFC 4825 §8.2.3: what was put is one element, and the same selector finds it."""
    result = document[:start] + fragment + document[end:]
    try:
        node = _select(result, selector.steps)
    except ValueError:
        raise NotPossible("not-xml-frag") from None
    if node is None or node.start != start:
        raise NotPossible("cannot-insert")
    if node.end != start + len(fragment):
        raise NotPossible("not-xml-frag")
    return result


def _put_attribute(document: bytes, selector: Selector, content: bytes) -> tuple[bytes, bool]:
    try:
        value = content.decode()
    except UnicodeDecodeError:
        raise NotPossible("not-utf-8") from None
    if "<" in value or _BARE_AMPERSAND.search(value):
        raise NotPossible("not-xml-att-value")
    node = _select(document, selector.steps)
    if node is None:
        raise NotPossible("no-parent")
    if " " in selector.attribute:
        raise NotPossible("cannot-insert")
    written = f' {selector.attribute}="{value.replace(chr(34), "&quot;")}"'.encode()
    known = selector.attribute in node.attributes
    if known:
        start, end = _attribute_span(document, node, selector.attribute)
    else:
        start = end = node.inner - (2 if document[node.inner - 2 : node.inner] == b"/>" else 1)
    result = document[:start] + written + document[end:]
    try:
        found = read(result, selector)
    except ValueError:
        raise NotPossible("not-xml-att-value") from None
    if found is None:  # the way to the element named the attribute's old value
        raise NotPossible("cannot-insert")
    return result, not known


def _attribute_span(document: bytes, node: Node, name: str) -> tuple[int, int]:
    tag = document[node.start : node.inner].decode()
    for match in _ATTRIBUTE.finditer(tag):
        if match[1] == name:
            before = len(tag[: match.start()].encode())
            return node.start + before, node.start + before + len(match[0].encode())
    raise NotPossible("cannot-insert")  # written with a prefix


def _escaped(value: str) -> str:
    return value.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


def _tag_end(document: bytes, start: int) -> int:
    """Where the tag that starts there is over."""
    match = _TAG_END.match(document, start)
    return match.end() if match else len(document)
