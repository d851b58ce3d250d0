"""Names that come over XMPP: owns how long they may be, and takes longer ones out; knows no signals and connections.

libpurple and GLib compare names in normal form, and making that takes the square of the time for a row of combining
marks: 16 KB of them take 50 ms, 1 MB some minutes, in which no other account of the process is served.
"""

from __future__ import annotations

from . import xmlnode
from .xmlnode import attribute

LONGEST = 1023  # octets; RFC 7622 §3.1: of each part of a JID. Other names are not longer either
NICKNAMES = frozenset((b"FN", b"NICKNAME", b"nick"))  # XEP-0054, XEP-0172


def is_jid(jid: str) -> bool:
    """Whether it is short enough to be one; also for ""."""
    if len(jid) <= LONGEST and jid.isascii():
        return True
    bare, _, resource = jid.partition("/")
    local, _, domain = bare.partition("@")
    return all(is_short(part) for part in (local, domain, resource))


def is_short(name: str) -> bool:
    return len(name.encode()) <= LONGEST


def forget_long(parent: int) -> None:
    """Take out of an element the children that name somebody by too much: an <item/>, a nickname."""
    for _namespace, name, child in list(xmlnode.children(parent)):
        if _is_too_long(name, child):
            xmlnode.free(child)


def _is_too_long(name: bytes, child: int) -> bool:
    if name == b"item":
        return not is_jid(attribute(child, b"jid"))
    return name in NICKNAMES and not is_short(xmlnode.text_of(child))


def forget_long_in_event(event: int) -> None:
    """``event``: the element of XEP-0060 in a <message/>."""
    for _namespace, _name, items in xmlnode.children(event):
        for _namespace, _name, item in xmlnode.children(items):
            forget_long(item)
