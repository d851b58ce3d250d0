"""XMPP's contact list: owns what is read from and written into jabber:iq:roster; knows neither signals nor connections.

RFC 6121 §2.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from . import xmlnode
from .events import RosterEntry
from .messages import NOT_XML
from .xmlnode import attribute
from .xmpp_names import is_short

ROSTER = b"jabber:iq:roster"
SUBSCRIPTIONS = ("none", "to", "from", "both")
SEEING = ("to", "both")
REMOVED = "remove"
MOST_GROUPS = 100  # of one contact


def query_of(node: int) -> int | None:
    """The <query/> of an <iq/> that libpurple may take for its contact list, of whatever namespace, or None."""
    return xmlnode.child(node, None, b"query")


def items(query: int) -> Iterator[tuple[RosterEntry, bool]]:
    """(what the list has, whether it was removed) of each <item/>; one without jid is none (RFC 6121 §2.1.2.3)."""
    for namespace, name, item in xmlnode.children(query):
        if namespace == ROSTER and name == b"item" and attribute(item, b"jid"):
            yield _entry(item), attribute(item, b"subscription") == REMOVED


def leave_jids(query: int) -> None:
    """Take names and groups out, after ``items``: libpurple needs none of them here.

    It would compare each group of a contact with all others, and look for the end of the list of groups with each new
    one, which it never forgets.
    """
    for _namespace, name, item in xmlnode.children(query):
        if name == b"item":
            xmlnode.remove_attribute(item, b"name")
            for _namespace, kind, group in list(xmlnode.children(item)):
                if kind == b"group":
                    xmlnode.free(group)


def _entry(item: int) -> RosterEntry:
    """RFC 6121 §2.1.2; a missing subscription is "none" (§2.1.2.5). Names that are too long are left out."""
    subscription, alias = attribute(item, b"subscription"), attribute(item, b"name")
    groups = (xmlnode.text_of(group) for namespace, name, group in xmlnode.children(item) if name == b"group")
    named = dict.fromkeys(group for group in groups if group and is_short(group))
    return RosterEntry(
        name=attribute(item, b"jid"),
        alias=alias if is_short(alias) else "",
        groups=tuple(itertools.islice(named, MOST_GROUPS)),
        subscription=subscription if subscription in SUBSCRIPTIONS else "none",
        asked=attribute(item, b"ask") == "subscribe",
    )


def save(ident: str, name: str, alias: str, groups: tuple[str, ...]) -> int:
    """RFC 6121 §2.3, §2.4: a new <iq/> that adds or changes a contact."""
    node, item = _set(ident, name)
    if alias:
        xmlnode.set_attribute(item, b"name", _clean(alias))
    for group in dict.fromkeys(groups):
        xmlnode.add(item, b"group", text=_clean(group))
    return node


def remove(ident: str, name: str) -> int:
    """RFC 6121 §2.5: a new <iq/> that removes a contact; the server ends the subscriptions, too."""
    node, item = _set(ident, name)
    xmlnode.set_attribute(item, b"subscription", REMOVED)
    return node


def _set(ident: str, name: str) -> tuple[int, int]:
    node = xmlnode.new(b"iq", type="set", id=ident)
    query = xmlnode.add(node, b"query", ROSTER)
    return node, xmlnode.add(query, b"item", ROSTER, jid=_clean(name))


def subscription(name: str, kind: str) -> int:
    """RFC 6121 §3: a new <presence/> that asks for, gives or takes back permission to see presence."""
    return xmlnode.new(b"presence", to=_clean(name), type=kind)


def _clean(text: str) -> str:
    return NOT_XML.sub("\ufffd", text)
