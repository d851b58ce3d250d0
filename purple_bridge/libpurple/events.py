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


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """``html``: libpurple's markup; ``flags``: PurpleMessageFlags; ``sent_at``: Unix seconds if delayed, else 0."""

    sender: str
    html: str
    flags: int
    sent_at: int


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

    def buddy_changed(self, account: Account, name: str) -> None:
        """A contact's presence may have changed: ``account.buddy_status(name)`` tells."""

    def authorization_requested(self, account: Account, request: AuthorizationRequest) -> None:
        """Somebody asks to see the account's presence."""

    def notified(self, account: Account | None, text: str) -> None:
        """libpurple would have shown a window with this text."""
