"""What libpurple reports: the values and the Protocol that an application implements; called in the loop's thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .accounts import Account


@dataclass(frozen=True, slots=True)
class ConnectionError:
    """connection.h PurpleConnectionError: ``fatal`` means that trying again without a change is of no use."""

    code: int
    text: str
    fatal: bool


@dataclass(slots=True)
class ReceivedMessage:
    """Nobody changes it (frozen, it would take twice the time to make).

    ``html``: libpurple's markup; ``flags``: PurpleMessageFlags; ``sent_at``: Unix seconds if delayed, else 0.

    ``text``: the exact plain text where the network carries one, None: only ``html`` is known. ``ident``: the
    sender's own id of the message, "" if none. ``wants_receipt``: the sender asks for ``Account.send_receipt``
    (XEP-0184). ``wants_error``: False for copies, announcements and automatic replies, of which nobody is to be told
    (RFC 2812 §3.3.2: programs that answer each other never end). ``recipient``: not "" for a message that the
    account's user wrote in another client, to this contact (XEP-0280; ``flags`` have PURPLE_MESSAGE_REMOTE_SEND).
    ``language``: RFC 5646 tag, "" if not told.
    """

    sender: str
    html: str
    flags: int
    sent_at: int
    text: str | None = None
    ident: str = ""
    wants_receipt: bool = False
    wants_error: bool = True
    recipient: str = ""
    subject: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """Somebody asks to see this account's presence: call ``authorize`` or ``deny`` in the loop's thread.

    A second answer does nothing, nor one that comes when the connection has ended: the network then asks again.
    """

    who: str
    message: str
    on_list: bool
    authorize: Callable[[], None]
    deny: Callable[[], None]


@dataclass(frozen=True, slots=True)
class ResourcePresence:
    """One client of a contact: ``resource`` as XMPP calls it, "" where the network tells none.

    ``show``: "" (available), "chat", "away", "xa" or "dnd" (RFC 6121 §4.7.2.1); ``notes``: (RFC 5646 tag or "", plain
    text); ``priority``: -128..127, None: not told; ``idle_since``: Unix seconds, 0: active, or not told.
    """

    resource: str
    show: str
    notes: tuple[tuple[str, str], ...] = ()
    priority: int | None = None
    idle_since: int = 0


@dataclass(frozen=True, slots=True)
class ContactStatus:
    """What an account sees of a contact on its list: its clients in the order in which they came, none: offline.

    ``notes``: what the contact said when it left; ``alias``: the name on the contact list, else what the contact calls
    itself, "" if neither; ``mood``: a name of XEP-0107 §5, "" if none.
    """

    resources: tuple[ResourcePresence, ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    alias: str = ""
    mood: str = ""


@dataclass(frozen=True, slots=True)
class RosterEntry:
    """A contact on the network's list.

    ``subscription``: "none", "to", "from" or "both" (RFC 6121 §2.1.2.5), "to" on networks without such a thing;
    ``asked``: the contact has not answered yet.
    """

    name: str
    alias: str = ""
    groups: tuple[str, ...] = ()
    subscription: str = "to"
    asked: bool = False


class Events(Protocol):
    """Implemented by the application that starts ``core.Core``."""

    def connected(self, account: Account) -> None:
        """The account is signed on."""

    def connection_failed(self, account: Account, error: ConnectionError) -> None:
        """An error ends the connection; ``disconnected`` follows."""

    def disconnected(self, account: Account) -> None:
        """The connection is gone, whatever the reason."""

    def message_received(self, account: Account, message: ReceivedMessage) -> None:
        """Somebody wrote."""

    def messages_acknowledged(self, account: Account, idents: list[str]) -> None:
        """The IM server has the messages that were sent with ``idents``; in the order of sending."""

    def message_failed(self, account: Account, ident: str, who: str, condition: str, text: str) -> None:
        """A message did not arrive; ``ident`` is "" where the network does not tell which.

        ``who``: the contact; ``condition``: a name of RFC 6120 §8.3.3, on every network; ``text``: for people.
        """

    def receipt_received(self, account: Account, who: str, ident: str) -> None:
        """A client of the contact ``who`` has the message that was sent with ``ident`` (XEP-0184)."""

    def typing_changed(self, account: Account, who: str, typing: bool) -> None:
        """The contact ``who`` types, or does not; may be told again without a change."""

    def buddy_changed(self, account: Account, name: str) -> None:
        """What ``account.contact_status(name)`` or ``account.icon(name)`` tells has changed; coalesced."""

    def contact_granted(self, account: Account, name: str) -> None:
        """The contact lets the account see its presence (RFC 6121 §3.1.6)."""

    def contact_refused(self, account: Account, name: str) -> None:
        """The contact does not let the account see its presence, or not any more (RFC 6121 §3.2)."""

    def contact_left(self, account: Account, name: str) -> None:
        """The contact does not want to see the account's presence any more (RFC 6121 §3.3)."""

    def roster_changed(self, account: Account) -> None:
        """The contact list is there, or is another now: ``account.roster()`` tells; coalesced."""

    def authorization_requested(self, account: Account, request: AuthorizationRequest) -> None:
        """Somebody asks to see the account's presence."""

    def notified(self, account: Account | None, text: str) -> None:
        """libpurple would have shown a window with this text."""
