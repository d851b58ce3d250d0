"""Whose IM accounts the mapping has, whom an address stands for, and which accounts reach a destination."""

from __future__ import annotations

from collections.abc import Iterable

from purple_bridge.addresses import ImContact, SipAddress
from purple_bridge.db.account import Account as Row
from purple_bridge.destinations import Route, contacts_of, routes
from purple_bridge.encryption import Promise, promise_of
from purple_bridge.errors import NoAccount, Overloaded
from purple_bridge.functions.process import Process
from purple_bridge.live import LiveSettings


class Accounts:
    """Of all SIP users, as this process's mapping has them."""

    def __init__(self, live: LiveSettings, process: Process) -> None:
        self._live, self._process = live, process

    def rows(self, user: SipAddress) -> tuple[Row, ...]:
        """The user's accounts, the very same tuple as long as the mapping knows no other. Raises Overloaded."""
        mapping = self._process.mapping
        if mapping is None:
            raise Overloaded("The gateway has not started in this process")
        return mapping.accounts_of(user.key)

    def contacts(self, address: SipAddress) -> list[ImContact]:
        """Whom an address stands for: a gateway address one contact, a user with rows one per network."""
        return contacts_of(address, self._live.now.gateway, lambda _key: self.rows(address))

    def routes(self, sender: SipAddress, target: SipAddress, contacts: list[ImContact]) -> list[Route]:
        """The sender's own accounts on each network of the target's ``contacts``. Raises NoAccount for a sips: URI."""
        return protected_routes(self.rows(sender), target, contacts)


def protected_routes(rows: Iterable[Row], target: SipAddress, contacts: list[ImContact]) -> list[Route]:
    """RFC 7247 §8: what is for a sips: URI leaves by accounts that are encrypted in any case. Raises NoAccount."""
    found = list(routes(rows, contacts))
    if not target.secure or not found:
        return found
    protected = [route for route in found if promise_of(route[0].protocol, dict(route[0].options)) is Promise.ALWAYS]
    if not protected:
        raise NoAccount(f"{target.uri} needs an account that is encrypted in any case")
    return protected
