"""Subscriptions of phones that the presence server has kept: owns how they come back to accounts; publishes nothing.

Kamailio keeps them over a restart of the gateway, and so do phones; a row may come, or come back, while they last.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from purple_bridge.addresses import GatewayDomain, SipAddress
from purple_bridge.commands import Watch, spec_of
from purple_bridge.db.mapping import Account as Row
from purple_bridge.db.presence_server import StoredSubscription
from purple_bridge.destinations import Route, contacts_of, routes
from purple_bridge.errors import GatewayError
from purple_bridge.libpurple import glib
from purple_bridge.worker.store import Store

DATABASE_AGAIN = 3.0  # seconds

Rows = dict[str, tuple[Row, ...]]
Restore = Callable[[Watch, bool], None]


@dataclass(frozen=True, slots=True)
class Dialog:
    """A subscription, with whom it is about and who watches."""

    stored: StoredSubscription
    target: SipAddress
    watcher: SipAddress


class KeptWatches:
    """``owns(protocol, ext_user)``: whether the account is this worker's.

    ``restore(watch, allowed)``: hands one back to its account; ``allowed``: the presence server lets the watcher see.
    """

    def __init__(
        self, store: Store, gateway: GatewayDomain, owns: Callable[[str, str], bool], restore: Restore
    ) -> None:
        self._store, self._gateway, self._owns, self._restore = store, gateway, owns, restore

    def read(self, sip_users: frozenset[str] | None = None) -> None:
        """All, at the start, or those of these users (SipAddress.key), whose rows are new; later if the database fails.

        An account that comes back while the gateway runs may have been told of before: who may see what is asked anew.
        """

        def again() -> None:
            glib.add_timer(DATABASE_AGAIN, lambda: self.read(sip_users))

        def found(stored: list[StoredSubscription] | None) -> None:
            if stored is None:
                return again()
            dialogs = [dialog for one in stored if (dialog := _dialog(one)) is not None]
            if sip_users is not None:
                stale = [dialog for dialog in dialogs if dialog.watcher.key in sip_users]
                dialogs = [replace(dialog, stored=replace(dialog.stored, active=False)) for dialog in stale]
            return self._look_up(dialogs, again)

        self._store.subscriptions(found)

    def _look_up(self, dialogs: list[Dialog], again: Callable[[], None]) -> None:
        keys = {address.key for dialog in dialogs for address in (dialog.target, dialog.watcher)}

        def found(rows: Rows | None) -> None:
            if rows is None:
                return again()
            for dialog in dialogs:
                with suppress(GatewayError):  # a name that its network cannot have
                    self._choose(dialog, rows)
            return None

        if keys:
            self._store.accounts_of(sorted(keys), found)

    def _choose(self, dialog: Dialog, rows: Rows) -> None:
        """By the accounts on the contact's network: all of them, or the one whose list has the contact."""
        contacts = contacts_of(dialog.target, self._gateway, lambda key: rows.get(key, ()))
        found = list(routes(rows.get(dialog.watcher.key, ()), contacts))
        if dialog.stored.presentity == dialog.target.uri or len(found) < 2:
            self._hand_back(dialog, found)
        else:
            self._store.listed_route(found, lambda route: self._hand_back(dialog, [route] if route else []))

    def _hand_back(self, dialog: Dialog, found: list[Route]) -> None:
        for row, contact in found:
            if self._owns(row.protocol, row.ext_user):
                self._restore(_watch(dialog, row, contact.name), dialog.stored.active)


def _watch(dialog: Dialog, row: Row, contact: str) -> Watch:
    return Watch(
        account=spec_of(row),
        contact=contact,
        contact_uri=dialog.target.uri,
        presentity=dialog.stored.presentity,
        watcher=dialog.watcher.key,
        dialog=dialog.stored.dialog,
        expires_at=float(dialog.stored.expires),
    )


def _dialog(stored: StoredSubscription) -> Dialog | None:
    """None: not about an address."""
    try:
        return Dialog(stored, SipAddress.parse(stored.target), SipAddress.parse(stored.watcher))
    except GatewayError:
        return None
