"""Owns a worker's place beside an account that never signs on: what it must not be told fails the test."""

from __future__ import annotations

from collections.abc import Callable

from purple_bridge.commands import SendMessage
from purple_bridge.libpurple.accounts import Account
from purple_bridge.meter import Family
from purple_bridge.worker.account import OwnedAccount


class NoHost:
    """What an account needs of its worker; only the metrics may be told something."""

    resource = "test"

    def submit_login(self, server: str, login: Callable[[], bool]) -> None:
        raise AssertionError("no account signs on")

    def login_ended(self, server: str) -> None:
        raise AssertionError("no account signs on")

    def account_made(self, account: OwnedAccount, purple: Account) -> None:
        raise AssertionError("no account signs on")

    def account_changed(self, account: OwnedAccount) -> None:
        raise AssertionError(account)

    def way_changed(self, account: OwnedAccount) -> None:
        raise AssertionError(account)

    def sending(self, message: SendMessage) -> None:
        raise AssertionError(message)

    def message_refused(self, account: OwnedAccount, message: SendMessage, condition: str, text: str) -> None:
        raise AssertionError(text)

    def count(self, family: Family, *labels: str) -> None:
        """The metrics."""
