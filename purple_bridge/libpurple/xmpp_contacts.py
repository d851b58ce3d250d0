"""XMPP's contacts: owns each account's contact list and who of it is there, as the stanzas say; knows nothing of SIP.

libpurple keeps the same in structures of its own, but tells of one client of a contact alone, in one language, and
nothing of permissions.  Its own list is left to it: it reads the same stanzas right after this.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from ctypes import CFUNCTYPE, c_char_p, c_int, c_void_p
from dataclasses import dataclass, field
from typing import Any

from . import buddies, c, signals, xmlnode, xmpp_names, xmpp_presence, xmpp_roster
from .accounts import Account, account_at
from .changes import Changes
from .events import ContactStatus, Events, RosterEntry
from .glib import decode
from .xmpp_presence import Seen

logger = logging.getLogger(__name__)

MOOD = "http://jabber.org/protocol/mood"
NICK = b"http://jabber.org/protocol/nick"
PUBSUB = b"http://jabber.org/protocol/pubsub"
IDENT = "roster-"

_P, _S = c_void_p, c_char_p
_Presence = CFUNCTYPE(c_int, _P, _S, _S, _P, _P)
_Iq = CFUNCTYPE(c_int, _P, _S, _S, _S, _P, _P)


@dataclass(slots=True)
class _Contact:
    entry: RosterEntry
    seen: Seen = field(default_factory=Seen)


class Contacts:
    """By PurpleAccount* and normalized JID; only of who is on the list, so that strangers take no memory."""

    def __init__(self, events: Events, changes: Changes, send: Callable[[int, int], None]) -> None:
        """``send(connection, node)`` writes a stanza and frees it."""
        self._events, self._changes, self._send = events, changes, send
        self._lists: dict[int, dict[str, _Contact]] = {}
        self._idents = itertools.count(1)
        self._subscriptions = {
            b"subscribed": events.contact_granted,
            b"unsubscribed": events.contact_refused,
            b"unsubscribe": events.contact_left,
        }

    def install(self, plugin: Any) -> None:
        signals.connect(plugin, b"jabber-receiving-presence", _Presence, self._presence_received, 0)
        signals.connect(plugin, b"jabber-receiving-iq", _Iq, self._iq_received, 0)

    def disconnected(self, account: Account) -> None:
        self._lists.pop(account.pointer, None)

    # ------------------------------------------------------------ what an account asks
    def status(self, account: Account, name: str) -> ContactStatus | None:
        contact = self._find(account.pointer, name)
        if contact is None:
            return None
        buddy = buddies.find(account.pointer, name)
        alias = contact.entry.alias or (buddies.server_alias_of(buddy) if buddy else "")
        return contact.seen.status(alias, buddies.mood_of(buddy) if buddy else "")

    def roster(self, account: Account) -> list[RosterEntry]:
        return [contact.entry for contact in self._lists.get(account.pointer, {}).values()]

    def _find(self, account: int, name: str) -> _Contact | None:
        contacts = self._lists.get(account)
        return contacts.get(buddies.key_of(account, name)) if contacts else None

    # ------------------------------------------------------------ what an account does
    def ask(self, connection: int, name: str, kind: str) -> None:
        """RFC 6121 §3: ``kind`` is the type of the <presence/>."""
        self._send(connection, xmpp_roster.subscription(name, kind))

    def save(self, connection: int, name: str, alias: str, groups: tuple[str, ...]) -> None:
        self._send(connection, xmpp_roster.save(self._ident(), name, alias, groups))

    def remove(self, connection: int, name: str) -> None:
        self._send(connection, xmpp_roster.remove(self._ident(), name))

    def set_mood(self, connection: int, mood: str) -> None:
        """XEP-0107; a server without personal eventing (XEP-0163) answers with an error, which does no harm."""
        node = xmlnode.new(b"iq", type="set", id=f"mood-{next(self._idents)}")
        publish = xmlnode.add(xmlnode.add(node, b"pubsub", PUBSUB), b"publish", PUBSUB, node=MOOD)
        item = xmlnode.add(publish, b"item", PUBSUB, id="current")
        element = xmlnode.add(item, b"mood", MOOD.encode())
        if mood:
            xmlnode.add(element, mood.encode(), MOOD.encode())
        self._send(connection, node)

    def _ident(self) -> str:
        return f"{IDENT}{next(self._idents)}"

    # ------------------------------------------------------------ the list
    def _iq_received(
        self, connection: int, kind: bytes, ident: bytes, sender: bytes | None, node: int, _data: int
    ) -> int:
        """0: libpurple reads it, too."""
        if kind == b"error" and decode(ident).startswith(IDENT):
            logger.warning("the server refuses a change of the contact list: %s", decode(ident))
        for _namespace, _name, child in xmlnode.children(node):
            xmpp_names.forget_long(child)
        query = xmpp_roster.query_of(node)
        if query:
            self._list_received(connection, kind, sender, query)
            xmpp_roster.leave_jids(query)
        return 0

    def _list_received(self, connection: int, kind: bytes, sender: bytes | None, query: int) -> None:
        account = account_at(c.purple_quick.purple_connection_get_account(connection))
        if account is None or kind not in (b"set", b"result"):
            return
        # RFC 6121 §2.1.6: from the account itself, or else it is somebody's attack
        if xmlnode.namespace_of(query) == xmpp_roster.ROSTER and (not sender or self._is_own(connection, sender)):
            self._read_list(account, query, whole=kind == b"result")

    def _is_own(self, connection: int, sender: bytes) -> bool:
        me: bytes = c.purple_quick.purple_connection_get_display_name(connection) or b""
        return sender.partition(b"/")[0] == me.partition(b"/")[0]

    def _read_list(self, account: Account, query: int, whole: bool) -> None:
        """RFC 6121 §2.1.4: the whole list; §2.1.6: a change of one contact."""
        before = self._lists.get(account.pointer, {})
        contacts = self._lists[account.pointer] = {} if whole else before
        for entry, removed in xmpp_roster.items(query):
            key = buddies.key_of(account.pointer, entry.name)
            if removed:
                contacts.pop(key, None)
            else:
                contacts[key] = _kept(before.get(key), entry)
            self._changes.contact(account, entry.name)
        if whole:
            self._forget_others(account, contacts)
        self._changes.roster(account)

    def _forget_others(self, account: Account, contacts: dict[str, _Contact]) -> None:
        """libpurple keeps whom another client removed while this one was away (roster.c)."""
        for buddy in buddies.find_all(account.pointer):
            if buddies.key_of(account.pointer, buddies.name_of(buddy)) not in contacts:
                buddies.forget(buddy)

    # ------------------------------------------------------------ presence
    def _presence_received(
        self, connection: int, kind: bytes | None, sender: bytes | None, node: int, _data: int
    ) -> int:
        """0: libpurple reads it, too; it asks for permission by itself (presence.c)."""
        if xmlnode.child(node, NICK, b"nick"):
            xmpp_names.forget_long(node)
        account = account_at(c.purple_quick.purple_connection_get_account(connection))
        if account is None or not sender:
            return 0
        who, _, resource = decode(sender).partition("/")
        if kind in self._subscriptions:
            self._subscriptions[kind](account, who)
        contact = self._find(account.pointer, who)
        if contact is None or xmpp_presence.is_of_room(node):
            return 0
        if kind is None:
            contact.seen.available(xmpp_presence.read(node, resource))
        elif kind == b"unavailable":
            contact.seen.unavailable(resource, xmpp_presence.notes(node))
        self._changes.contact(account, contact.entry.name)
        return 0


def _kept(before: _Contact | None, entry: RosterEntry) -> _Contact:
    """RFC 6121 §3.2.4: whose presence is not to be seen any more is not there."""
    if before is None or (before.entry.subscription in xmpp_roster.SEEING) != (
        entry.subscription in xmpp_roster.SEEING
    ):
        return _Contact(entry)
    return _Contact(entry, before.seen)
