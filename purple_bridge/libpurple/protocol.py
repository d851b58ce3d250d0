"""What one protocol plugin does in its own way: owns the generic behaviour, knows none of the networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from . import buddies, c
from .text import escape

if TYPE_CHECKING:
    from .accounts import Account
    from .events import ContactStatus, ReceivedMessage, RosterEntry


class OutgoingMessage(msgspec.Struct, frozen=True):  # made for each message: a dataclass takes ten times as long
    """``html``: libpurple's markup, "" for plain text; ``text``: that, exactly, "" where only the markup is known.

    ``ident``: given back by ``Events.messages_acknowledged``, ``message_failed`` and ``receipt_received``;
    ``language``: RFC 5646 tag, "" if not known. ``automatic``: no person wrote it, and no program is to answer it.
    """

    who: str
    html: str
    text: str = ""
    ident: str = ""
    wants_receipt: bool = False
    subject: str = ""
    language: str = ""
    automatic: bool = False

    @property
    def markup(self) -> bytes:
        """For libpurple's functions, which take nothing else."""
        return (self.html or escape(self.text)).encode()


class Protocol:
    """The behaviour of a plugin of which nothing more is known than libpurple's common functions (server.h)."""

    keeps_list = False  # True: it reports changes of the contact list by itself, better than libpurple's signals do

    def install(self) -> None:
        """Connect to the plugin's signals; once, when libpurple has started."""

    def connected(self, account: Account) -> None:
        """The account is signed on; before the application hears of it."""

    def disconnected(self, account: Account) -> None:
        """The connection is gone; before the application hears of it."""

    def confirms(self, account: Account) -> bool:
        """Whether this connection reports ``Events.messages_acknowledged``."""
        return False

    def send_im(self, account: Account, connection: int, message: OutgoingMessage) -> int:
        """At least 0 when the plugin took the message, else a negative errno value."""
        flags = c.PURPLE_MESSAGE_SEND | (c.PURPLE_MESSAGE_AUTO_RESP if message.automatic else 0)
        result: int = c.purple.serv_send_im(connection, message.who.encode(), message.markup, flags)
        return result

    def flush(self, account: Account, connection: int) -> None:
        """Write what ``send_im`` has put aside, so that many messages cost one system call."""

    def send_typing(self, account: Account, connection: int, who: str, typing: bool) -> None:
        """Tell ``who`` that the user types, or does not type any more; plugins without it do nothing."""
        state = c.PURPLE_TYPING if typing else c.PURPLE_NOT_TYPING
        c.purple.serv_send_typing(connection, who.encode(), state)

    def send_receipt(self, account: Account, connection: int, who: str, ident: str) -> None:
        """Tell ``who`` that his message ``ident`` arrived, where the network has such a thing."""

    def send_error(
        self, account: Account, connection: int, who: str, ident: str, condition: str, text: str, address: str = ""
    ) -> bool:
        """Tell ``who`` that his message ``ident`` did not arrive; False: the network has no such thing.

        ``condition``: a name of RFC 6120 §8.3.3; ``address``: the user's new one, where that says he has moved.
        """
        return False

    def complete(self, account: Account, message: ReceivedMessage) -> ReceivedMessage:
        """``message`` as libpurple gave it, with what else the network's own form of it says."""
        return message

    # ------------------------------------------------------------ contacts
    def contact_status(self, account: Account, name: str) -> ContactStatus | None:
        """None: not on the list."""
        buddy = buddies.find(account.pointer, name)
        return buddies.contact_status(buddy) if buddy else None

    def roster(self, account: Account) -> list[RosterEntry]:
        """The contacts on the network's list."""
        return buddies.roster(account.pointer)

    def ask_contact(self, account: Account, connection: int, name: str) -> None:
        """Ask to see the contact's presence; plugins ask again when one that is there is added once more."""
        buddy = buddies.find(account.pointer, name)
        if buddy:
            c.purple.purple_account_add_buddy_with_invite(account.pointer, buddy, None)
        else:
            buddies.add(account.pointer, name)

    def save_contact(self, account: Account, connection: int, name: str, alias: str, groups: tuple[str, ...]) -> None:
        """Put the contact on the network's list, or change it there."""
        buddies.save(account.pointer, name, alias, groups)

    def remove_contact(self, account: Account, connection: int, name: str) -> None:
        """Off the network's list."""
        buddies.remove(account.pointer, name)

    def cancel_authorization(self, account: Account, connection: int, name: str) -> None:
        """The contact is not to see the account's presence any more; libpurple has no common function for it."""

    def set_mood(self, account: Account, connection: int, mood: str) -> None:
        """Show this mood, "": none; nothing happens where the plugin has no such status (status.h)."""
        if c.purple_quick.purple_account_get_status(account.pointer, b"mood"):
            account.set_status_attributes(b"mood", bool(mood), {b"mood": mood.encode()} if mood else {})


_generic = Protocol()
_protocols: dict[str, Protocol] = {}


def register(plugin: str, protocol: Protocol) -> None:
    """``protocol`` is how the plugin of this id behaves."""
    _protocols[plugin] = protocol


def behaviour_of(plugin: str) -> Protocol:
    """What was registered for the plugin of this id, or the generic behaviour."""
    return _protocols.get(plugin, _generic)
