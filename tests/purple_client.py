"""Owns a libpurple with its accounts in this process, and what it reported; for the scenarios of child processes."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from purple_bridge.libpurple import buddies
from purple_bridge.libpurple.accounts import Account
from purple_bridge.libpurple.core import Core
from purple_bridge.libpurple.events import AuthorizationRequest, ConnectionError, ReceivedMessage
from tests.loops import run_until
from tests.servers.prosody import Prosody

XMPP, IRC = "prpl-jabber", "prpl-irc"
PASSWORD = "secret"


def new_users(prosody: Prosody, count: int) -> list[str]:
    """Accounts nobody used before: a server keeps contact lists, and messages for who is away."""
    names = [f"purple-{uuid4().hex[:12]}" for _ in range(count)]
    for name in names:
        prosody.add_user(name, PASSWORD)
    return names


class Recorder:
    """Keeps every event, in order, as (account, what)."""

    def __init__(self) -> None:
        self.errors: list[tuple[Account, ConnectionError]] = []
        self.messages: list[tuple[Account, ReceivedMessage]] = []
        self.buddies: list[tuple[Account, str]] = []
        self.requests: list[tuple[Account, AuthorizationRequest]] = []
        self.notices: list[str] = []
        self.offline: list[Account] = []
        self.online: list[Account] = []
        self.acknowledged: list[str] = []
        self.failures: list[tuple[str, str, str, str]] = []
        self.receipts: list[tuple[str, str]] = []
        self.typing: list[tuple[str, bool]] = []
        self.permissions: list[tuple[str, str]] = []  # ("granted", "refused" or "left", who)
        self.rosters: list[Account] = []

    def connected(self, account: Account) -> None:
        self.online.append(account)

    def connection_failed(self, account: Account, error: ConnectionError) -> None:
        self.errors.append((account, error))

    def disconnected(self, account: Account) -> None:
        self.offline.append(account)

    def message_received(self, account: Account, message: ReceivedMessage) -> None:
        self.messages.append((account, message))

    def messages_acknowledged(self, account: Account, idents: list[str]) -> None:
        self.acknowledged += idents

    def message_failed(self, account: Account, ident: str, who: str, condition: str, text: str) -> None:
        self.failures.append((ident, who, condition, text))

    def receipt_received(self, account: Account, who: str, ident: str) -> None:
        self.receipts.append((who, ident))

    def typing_changed(self, account: Account, who: str, typing: bool) -> None:
        self.typing.append((who, typing))

    def buddy_changed(self, account: Account, name: str) -> None:
        self.buddies.append((account, name))

    def contact_granted(self, account: Account, name: str) -> None:
        self.permissions.append(("granted", name))

    def contact_refused(self, account: Account, name: str) -> None:
        self.permissions.append(("refused", name))

    def contact_left(self, account: Account, name: str) -> None:
        self.permissions.append(("left", name))

    def roster_changed(self, account: Account) -> None:
        self.rosters.append(account)

    def authorization_requested(self, account: Account, request: AuthorizationRequest) -> None:
        self.requests.append((account, request))

    def notified(self, account: Account | None, text: str) -> None:
        self.notices.append(text)


def started() -> Recorder:
    """libpurple, started in this process, and what it will report."""
    recorder = Recorder()
    Core(recorder).start()
    return recorder


def xmpp_account(name: str, port: int, password: str | None = PASSWORD, **options: Any) -> Account:
    """An account at ``localhost`` that tries to connect; more ``options`` as the plugin names them."""
    account = Account(XMPP, f"{name}@localhost/test")
    given = {"connect_server": "127.0.0.1", "port": port, "connection_security": "opportunistic_tls", **options}
    for option, value in given.items():
        account.set_option(option, value)
    account.connect(password)
    account.set_status(buddies.AVAILABLE, "")
    return account


def irc_account(nick: str, port: int) -> Account:
    account = Account(IRC, f"{nick}@127.0.0.1")
    account.set_option("port", port)
    account.connect(None)
    return account


def wait_online(*accounts: Account) -> None:
    run_until(lambda: all(account.connected for account in accounts), "all accounts online")


def signed_on(port: int, *names: str) -> tuple[Recorder, list[Account]]:
    """libpurple, started in this process, with an XMPP account of each name that is online."""
    recorder = started()
    accounts = [xmpp_account(name, port) for name in names]
    wait_online(*accounts)
    return recorder, accounts


def wait_error(recorder: Recorder) -> dict[str, Any]:
    """The first error of a connection, as JSON."""
    error = run_until(lambda: recorder.errors, "an error of the connection")[0][1]
    return {"code": error.code, "text": error.text, "fatal": error.fatal}
