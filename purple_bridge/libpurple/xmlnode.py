"""XML elements as libpurple keeps them (xmlnode.h): owns reading, building and changing them, knows nothing of XMPP.

An element is the address of its C structure; names and namespaces stay ``bytes``, text and values are ``str``.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

from . import c, glib
from .glib import decode

XML_NAMESPACE = b"http://www.w3.org/XML/1998/namespace"


def name_of(node: int) -> bytes | None:
    """Read from the structure, whose first field it is: this runs for every stanza."""
    name: bytes | None = ctypes.c_char_p.from_address(node).value
    return name


def namespace_of(node: int) -> bytes | None:
    namespace: bytes | None = c.XmlNode.from_address(node).xmlns
    return namespace


def children(node: int) -> Iterator[tuple[bytes, bytes, int]]:
    """(namespace, name, element) of each child element, in order."""
    child = c.XmlNode.from_address(node).child
    while child:
        fields = c.XmlNode.from_address(child)
        if fields.type == c.XMLNODE_TYPE_TAG:
            yield fields.xmlns or b"", fields.name, child
        child = fields.next


def child(node: int, namespace: bytes | None, name: bytes) -> int | None:
    """The first child element of this name, or None; ``namespace`` None: in any."""
    found: int | None = c.purple_quick.xmlnode_get_child_with_namespace(node, name, namespace)
    return found


def attribute(node: int, name: bytes) -> str:
    """ "" if it is not there."""
    return decode(c.purple_quick.xmlnode_get_attrib(node, name))


def language_of(node: int) -> str:
    """xml:lang as it stands at this element, "" if it is not there."""
    return decode(c.purple_quick.xmlnode_get_attrib_with_namespace(node, b"lang", XML_NAMESPACE))


def text_of(node: int) -> str:
    """The character data, exactly."""
    return glib.take_string(c.purple_quick.xmlnode_get_data(node))


def new(name: bytes, **attributes: str) -> int:
    """An element of its own; ``free`` it."""
    node: int = c.purple_quick.xmlnode_new(name)
    for key, value in attributes.items():
        set_attribute(node, key.encode(), value)
    return node


def add(parent: int, name: bytes, namespace: bytes = b"", text: str = "", **attributes: str) -> int:
    """A new last child; without ``namespace`` it has its parent's."""
    node: int = c.purple_quick.xmlnode_new_child(parent, name)
    if namespace:
        c.purple_quick.xmlnode_set_namespace(node, namespace)
    if text:
        c.purple_quick.xmlnode_insert_data(node, text.encode(), -1)
    for key, value in attributes.items():
        set_attribute(node, key.encode(), value)
    return node


def set_attribute(node: int, name: bytes, value: str) -> None:
    """In place of a value it has; ``name`` is written as it is, with a prefix if it has one."""
    c.purple_quick.xmlnode_set_attrib(node, name, value.encode())


def remove_attribute(node: int, name: bytes) -> None:
    """Nothing happens if it is not there."""
    c.purple_quick.xmlnode_remove_attrib(node, name)


def free(node: int) -> None:
    """Take the element out of its parent, if any, and forget it with everything in it."""
    c.purple_quick.xmlnode_free(node)
