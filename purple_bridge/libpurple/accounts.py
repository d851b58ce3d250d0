"""Accounts: a thin object over PurpleAccount that owns its pointer; account.h, connection.h, server.h."""

from __future__ import annotations

import ctypes
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from . import allowed, buddies, c, protocol
from .buddies import BuddyStatus
from .events import ContactStatus, RosterEntry
from .protocol import OutgoingMessage
from .text import escape, without_controls

if TYPE_CHECKING:
    from .certificates import Encryption

UI = b"kamailio-purple"

# a status the protocol lacks is replaced by the nearest one it has
_NEAREST = {
    buddies.UNAVAILABLE: (buddies.UNAVAILABLE, buddies.AWAY, buddies.AVAILABLE),
    buddies.INVISIBLE: (buddies.INVISIBLE, buddies.AVAILABLE),
    buddies.EXTENDED_AWAY: (buddies.EXTENDED_AWAY, buddies.AWAY, buddies.AVAILABLE),
    buddies.AWAY: (buddies.AWAY, buddies.AVAILABLE),
}

# XMPP has a status that says more than AVAILABLE, of the same primitive
_FREE_FOR_CHAT = b"freeforchat"

_MOOD = re.compile("[a-z_]+")  # XEP-0107 §5, and RFC 4480 §3.8

NOT_CONNECTED = -107  # ENOTCONN, negative as libpurple's functions return it

_accounts: dict[int, Account] = {}


class UnknownProtocol(Exception):
    """No plugin of this id is installed, or allowed."""


class Account:
    """One external account; ``plugin``: its id; ``username`` as libpurple wants it for that protocol."""

    def __init__(self, plugin: str, username: str) -> None:
        if not c.purple.purple_find_prpl(plugin.encode()):
            raise UnknownProtocol(allowed.why_missing(plugin))
        self.protocol, self.name = plugin, username
        self.behaviour = protocol.behaviour_of(plugin)
        self.pointer: int = c.purple.purple_account_new(username.encode(), plugin.encode())
        c.purple.purple_account_set_remember_password(self.pointer, 0)
        # not in libpurple's list of accounts, through which it would look for each new one
        self.idle_since = 0
        self.language = ""
        self.public_only = False  # connects to public addresses alone (public_servers.py)
        self.unseen = False  # signed on without a word to contacts, where the protocol can do that
        self.pins: frozenset[str] = frozenset()  # of the only keys that its server may have; none: authorities decide
        self.server_name = ""  # the name that its server's certificate has to have, if not the usual one
        self.encryption: Encryption | None = None  # of the connection that is there, or failed last
        self._mood = self._mood_told = ""
        self._told: dict[str, tuple[ContactStatus | None, bytes]] = {}
        _accounts[self.pointer] = self

    def delete(self) -> None:
        """Sign off and forget the account with all its contacts; the object is of no use afterwards."""
        _accounts.pop(self.pointer, None)
        self.behaviour.disconnected(self)  # before the pointer is of no use
        c.purple.purple_accounts_delete(self.pointer)

    @property
    def needs_password(self) -> bool:
        """prpl.h PurpleProtocolOptions"""
        plugin = c.purple.purple_find_prpl(self.protocol.encode())
        info = ctypes.cast(plugin.contents.info.contents.extra_info, ctypes.POINTER(c.ProtocolInfo))
        return not info.contents.options & (c.OPT_PROTO_NO_PASSWORD | c.OPT_PROTO_PASSWORD_OPTIONAL)

    @property
    def connected(self) -> bool:
        return bool(c.purple_quick.purple_account_is_connected(self.pointer))

    @property
    def disconnected(self) -> bool:
        """False while connecting, too."""
        return bool(c.purple_quick.purple_account_is_disconnected(self.pointer))

    def clear_options(self) -> None:
        c.purple.purple_account_clear_settings(self.pointer)

    def set_option(self, name: str, value: bool | int | str) -> None:
        """One of the options the protocol plugin declares, in the declared type."""
        key = name.encode()
        if isinstance(value, bool):
            c.purple.purple_account_set_bool(self.pointer, key, value)
        elif isinstance(value, int):
            c.purple.purple_account_set_int(self.pointer, key, value)
        else:
            c.purple.purple_account_set_string(self.pointer, key, value.encode())

    def connect(self, password: str | None) -> None:
        """Sign on; libpurple forgets the password at every disconnection, so it is given each time."""
        self.encryption = None
        # purple_account_connect alone does nothing on a disabled account
        c.purple.purple_account_set_enabled(self.pointer, UI, 0)
        c.purple.purple_account_set_password(self.pointer, None if password is None else password.encode())
        c.purple.purple_account_set_enabled(self.pointer, UI, 1)

    def disconnect(self) -> None:
        c.purple.purple_account_set_enabled(self.pointer, UI, 0)

    # ------------------------------------------------------------ what contacts see
    def set_status(
        self,
        primitive: int,
        message: str,
        *,
        idle_since: int = 0,
        mood: str = "",
        chat: bool = False,
        priority: int | None = None,
        language: str = "",
    ) -> None:
        """Show this now, or as soon as connected.

        ``primitive``: PurpleStatusPrimitive (status.h), or the nearest the protocol has; ``message``: plain text;
        ``idle_since``: Unix seconds, 0: active; ``mood``: a name of XEP-0107 §5, "": none; ``chat``: available, and
        glad to be written to; ``priority``: XMPP's, -128..127, None: libpurple's own; ``language``: RFC 5646 tag of the
        message. What the protocol lacks is left out.
        """
        kind = self._status_type(primitive, chat)
        self.idle_since = min(idle_since, int(time.time()))
        self._mood = mood if _MOOD.fullmatch(mood) else ""
        self.language = language
        if kind:
            self._activate(kind, without_controls(message), priority)
        if self.connected:
            self._show_idle()
            self._show_mood()

    def _status_type(self, primitive: int, chat: bool) -> int | None:
        """The PurpleStatusType to show."""
        if chat and primitive == buddies.AVAILABLE:
            status = c.purple_quick.purple_account_get_status(self.pointer, _FREE_FOR_CHAT)
            if status:
                free: int = c.purple_quick.purple_status_get_type(status)
                return free
        for wanted in _NEAREST.get(primitive, (primitive,)):
            kind: int | None = c.purple_quick.purple_account_get_status_type_with_primitive(self.pointer, wanted)
            if kind:
                return kind
        return None

    def _activate(self, kind: int, message: str, priority: int | None) -> None:
        attributes: dict[bytes, bytes | int] = {}
        if message and c.purple_quick.purple_status_type_get_attr(kind, b"message"):
            attributes[b"message"] = escape(message).encode()
        if priority is not None and c.purple_quick.purple_status_type_get_attr(kind, b"priority"):
            attributes[b"priority"] = priority
        self.set_status_attributes(c.purple_quick.purple_status_type_get_id(kind), True, attributes)

    def set_status_attributes(self, identifier: bytes, active: bool, attributes: Mapping[bytes, bytes | int]) -> None:
        """purple_account_set_status_list (account.h): a number takes the place of its pointer there.

        Attributes not named have their defaults.
        """
        kept: list[ctypes.Array[ctypes.c_char]] = []
        listed = None
        for part in (part for pair in attributes.items() for part in pair):
            if isinstance(part, bytes):
                kept.append(ctypes.create_string_buffer(part))
            listed = c.glib_quick.g_list_append(listed, part if isinstance(part, int) else ctypes.addressof(kept[-1]))
        c.purple.purple_account_set_status_list(self.pointer, identifier, active, listed)
        c.glib_quick.g_list_free(listed)

    def signed_on(self) -> None:
        """libpurple shows the status by itself at every sign-on, but neither idleness nor mood."""
        c.purple.purple_presence_set_idle(c.purple_quick.purple_account_get_presence(self.pointer), 0, 0)
        self._show_idle()
        if self._mood:
            self._mood_told = ""
        self._show_mood()

    def signed_off(self) -> None:
        """What was told of contacts holds no longer."""
        self._told.clear()

    def _show_idle(self) -> None:
        """Nothing is sent where nothing changes."""
        presence = c.purple_quick.purple_account_get_presence(self.pointer)
        c.purple.purple_presence_set_idle(presence, bool(self.idle_since), self.idle_since)

    def _show_mood(self) -> None:
        """Told again only when it changes: the user's other clients may have set one meanwhile."""
        if self._mood != self._mood_told:
            self._mood_told = self._mood
            self.behaviour.set_mood(self, self._connection(), self._mood)

    # ------------------------------------------------------------ messages
    @property
    def confirms(self) -> bool:
        """Whether this connection will report ``Events.messages_acknowledged``."""
        return self.behaviour.confirms(self)

    def send_im(
        self,
        who: str,
        html: str,
        *,
        text: str = "",
        ident: str = "",
        wants_receipt: bool = False,
        subject: str = "",
        language: str = "",
        automatic: bool = False,
    ) -> int:
        """At least 0 when the protocol took the message, else a negative errno value (see ``OutgoingMessage``)."""
        message = OutgoingMessage(who, html, text, ident, wants_receipt, subject, language, automatic)
        result = self.put(message)
        self.flush()
        return result

    def put(self, message: OutgoingMessage) -> int:
        """As ``send_im``, but others follow at once, and then ``flush``: many messages in one write."""
        connection = self._connection()
        return self.behaviour.send_im(self, connection, message) if connection else NOT_CONNECTED

    def flush(self) -> None:
        """Write what was ``put``."""
        connection = self._connection()
        if connection:
            self.behaviour.flush(self, connection)

    def send_typing(self, who: str, typing: bool) -> None:
        """Tell ``who`` that the account's user types, or does not; nothing happens while not connected."""
        connection = self._connection()
        if connection:
            self.behaviour.send_typing(self, connection, who, typing)

    def send_receipt(self, who: str, ident: str) -> None:
        """XEP-0184: tell ``who`` that his message ``ident`` arrived; does nothing on other protocols."""
        connection = self._connection()
        if connection:
            self.behaviour.send_receipt(self, connection, who, ident)

    def send_error(self, who: str, ident: str, condition: str, text: str, address: str = "") -> bool:
        """Tell ``who`` that his message ``ident`` did not arrive; ``condition``: RFC 6120 §8.3.3; ``address``: the URI
        of a user who has moved.

        False: not connected, or the protocol has nothing to tell it with. While the account signs on, whoever could
        write to it can be answered.
        """
        connection = 0 if self.disconnected else c.purple_quick.purple_account_get_connection(self.pointer)
        return bool(connection) and self.behaviour.send_error(self, connection, who, ident, condition, text, address)

    def _connection(self) -> int:
        """The PurpleConnection that can be written to, or 0."""
        if not self.connected:
            return 0
        return c.purple_quick.purple_account_get_connection(self.pointer) or 0

    # ------------------------------------------------------------ contacts
    def buddy_status(self, name: str) -> BuddyStatus | None:
        """What libpurple's own contact list says of the contact; None: it is not on that."""
        buddy = buddies.find(self.pointer, name)
        return buddies.status_of(buddy) if buddy else None

    def contact_status(self, name: str) -> ContactStatus | None:
        """None: nothing is known, because the contact is not on the list, or the account not connected."""
        return self.behaviour.contact_status(self, name) if self.connected else None

    def icon(self, name: str) -> bytes:
        """The octets of the contact's avatar as they came, b"" if none."""
        buddy = buddies.find(self.pointer, name)
        return buddies.icon_of(buddy) if buddy else b""

    def is_news(self, name: str) -> bool:
        """Whether the contact is another than at the last call; before the first since the sign-on it is unknown."""
        buddy = buddies.find(self.pointer, name)
        seen = self.contact_status(name), buddies.icon_checksum(buddy) if buddy else b""
        key = buddies.key_of(self.pointer, name)
        before = self._told.pop(key, (None, b""))
        if seen[0] is not None:
            self._told[key] = seen
        return before != seen

    def roster(self) -> list[RosterEntry]:
        """The contacts on the network's list; none while not connected."""
        return self.behaviour.roster(self) if self.connected else []

    def add_buddy(self, name: str) -> None:
        """Ask to see ``name``'s presence; nothing happens for one that is on the list."""
        if not buddies.find(self.pointer, name):
            buddies.add(self.pointer, name)

    def ask_contact(self, name: str) -> None:
        """Ask, or ask again, to see the contact's presence, be it on the list or not; nothing while not connected."""
        if connection := self._connection():
            self.behaviour.ask_contact(self, connection, name)

    def save_contact(self, name: str, alias: str, groups: tuple[str, ...]) -> None:
        """Put the contact on the network's list, or change its alias and groups there; nothing while not connected."""
        if connection := self._connection():
            clean = tuple(filter(None, (without_controls(group) for group in groups)))
            self.behaviour.save_contact(self, connection, name, without_controls(alias), clean)

    def remove_contact(self, name: str) -> None:
        """Off the network's list, which ends what both may see of each other; nothing while not connected."""
        if connection := self._connection():
            self.behaviour.remove_contact(self, connection, name)

    def cancel_authorization(self, name: str) -> None:
        """The contact is not to see the account's presence any more, where the network can tell it that."""
        if connection := self._connection():
            self.behaviour.cancel_authorization(self, connection, name)


def account_at(pointer: int | None) -> Account | None:
    """The object of a PurpleAccount*, or None for one that was deleted or is not ours."""
    return _accounts.get(pointer or 0)
