"""Accounts: a thin object over PurpleAccount that owns its pointer; account.h, connection.h, server.h."""

from __future__ import annotations

import ctypes

from . import buddies, c, protocol
from .buddies import BuddyStatus
from .protocol import OutgoingMessage
from .text import escape

UI = b"kamailio-purple"

# a status the protocol lacks is replaced by the nearest one it has
_NEAREST = {
    buddies.UNAVAILABLE: (buddies.UNAVAILABLE, buddies.AWAY, buddies.AVAILABLE),
    buddies.INVISIBLE: (buddies.INVISIBLE, buddies.AVAILABLE),
    buddies.EXTENDED_AWAY: (buddies.EXTENDED_AWAY, buddies.AWAY, buddies.AVAILABLE),
    buddies.AWAY: (buddies.AWAY, buddies.AVAILABLE),
}

NOT_CONNECTED = -107  # ENOTCONN, negative as libpurple's functions return it

_accounts: dict[int, Account] = {}


class UnknownProtocol(Exception):
    """No plugin of this id is installed."""


class Account:
    """One external account; ``plugin``: its id; ``username`` as libpurple wants it for that protocol."""

    def __init__(self, plugin: str, username: str) -> None:
        if not c.purple.purple_find_prpl(plugin.encode()):
            raise UnknownProtocol(f"no protocol plugin {plugin!r} is installed (purplectl protocols lists them)")
        self.protocol = plugin
        self.behaviour = protocol.behaviour_of(plugin)
        self.pointer: int = c.purple.purple_account_new(username.encode(), plugin.encode())
        c.purple.purple_account_set_remember_password(self.pointer, 0)
        c.purple.purple_accounts_add(self.pointer)
        _accounts[self.pointer] = self

    def delete(self) -> None:
        """Sign off and forget the account with all its contacts; the object is of no use afterwards."""
        _accounts.pop(self.pointer, None)
        c.purple.purple_accounts_delete(self.pointer)
        self.behaviour.disconnected(self)

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
        # purple_account_connect alone does nothing on a disabled account
        c.purple.purple_account_set_enabled(self.pointer, UI, 0)
        c.purple.purple_account_set_password(self.pointer, None if password is None else password.encode())
        c.purple.purple_account_set_enabled(self.pointer, UI, 1)

    def disconnect(self) -> None:
        c.purple.purple_account_set_enabled(self.pointer, UI, 0)

    def set_status(self, primitive: int, message: str) -> None:
        """``primitive``: PurpleStatusPrimitive (status.h), or the nearest the protocol has; ``message``: plain text."""
        for wanted in _NEAREST.get(primitive, (primitive,)):
            kind = c.purple_quick.purple_account_get_status_type_with_primitive(self.pointer, wanted)
            if kind:
                self._activate(kind, message)
                return

    def _activate(self, kind: int, message: str) -> None:
        attributes = None
        text = ctypes.create_string_buffer(escape(message).encode())
        name = ctypes.create_string_buffer(b"message")
        if message and c.purple_quick.purple_status_type_get_attr(kind, b"message"):
            attributes = c.glib_quick.g_list_append(None, ctypes.addressof(name))
            attributes = c.glib_quick.g_list_append(attributes, ctypes.addressof(text))
        identifier = c.purple_quick.purple_status_type_get_id(kind)
        c.purple.purple_account_set_status_list(self.pointer, identifier, 1, attributes)
        if attributes is not None:
            c.glib_quick.g_list_free(attributes)

    @property
    def confirms(self) -> bool:
        """Whether this connection will report ``Events.message_acknowledged``."""
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

    def send_error(self, who: str, ident: str, condition: str, text: str) -> bool:
        """Tell ``who`` that his message ``ident`` did not arrive; ``condition``: RFC 6120 §8.3.3.

        False: not connected, or the protocol has nothing to tell it with.
        """
        connection = self._connection()
        return bool(connection) and self.behaviour.send_error(self, connection, who, ident, condition, text)

    def _connection(self) -> int:
        """The PurpleConnection that can be written to, or 0."""
        if not self.connected:
            return 0
        return c.purple_quick.purple_account_get_connection(self.pointer) or 0

    def buddy_status(self, name: str) -> BuddyStatus | None:
        """None: not on the contact list."""
        buddy = buddies.find(self.pointer, name)
        return buddies.status_of(buddy) if buddy else None

    def add_buddy(self, name: str) -> None:
        """Ask to see ``name``'s presence; nothing happens for one that is on the list."""
        if not buddies.find(self.pointer, name):
            buddies.add(self.pointer, name)


def account_at(pointer: int | None) -> Account | None:
    """The object of a PurpleAccount*, or None for one that was deleted or is not ours."""
    return _accounts.get(pointer or 0)
