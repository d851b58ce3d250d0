"""Contact lists both ways: owns what of them waits; knows neither documents nor stanzas.

Each worker stores the lists of its own accounts. The documents of one user are written by one worker, his keeper, and
what a phone changes in them goes from there to the workers that own the accounts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from purple_bridge.addresses import SipAddress
from purple_bridge.commands import ContactsChanged, EditContact, ListChanged, spec_of
from purple_bridge.contact_lists import Edit, Written
from purple_bridge.db.contacts import ListedContact
from purple_bridge.libpurple import glib
from purple_bridge.ownership import account_digest
from purple_bridge.sip_headers import clean_display
from purple_bridge.worker.account import OwnedAccount
from purple_bridge.worker.messages import address_of
from purple_bridge.worker.sip_out import SipSender
from purple_bridge.worker.store import Store

logger = logging.getLogger(__name__)

SETTLE_SECONDS = 0.5  # a contact list that changes comes in several steps
UNREAD_SECONDS = 2.0  # in which a worker hears from Kamailio's process that a phone has written a list

Tell = Callable[[ContactsChanged | EditContact], None]


class Rosters:
    """``tell(command)``: hands a command to the worker it is for."""

    def __init__(self, store: Store, sip: SipSender, tell: Tell) -> None:
        self._store, self._sip, self._tell = store, sip, tell
        self._changed: set[OwnedAccount] = set()
        self._written: set[OwnedAccount] = set()  # since the start
        self._readers: set[str] = set()  # users whose phone knows the list (SipAddress.key)

    # ------------------------------------------------------------ from the IM networks
    def changed(self, account: OwnedAccount) -> None:
        """The account's list is there, or another now."""
        if account not in self._changed:
            self._changed.add(account)
            glib.add_timer(SETTLE_SECONDS, lambda: self._save(account))

    def _save(self, account: OwnedAccount) -> None:
        self._changed.discard(account)
        if account.roster is None:  # the connection has ended meanwhile
            return
        first = account not in self._written
        listed = [
            ListedContact(key, clean_display(entry.alias), entry.groups, entry.subscription, entry.asked)
            for key, entry in account.roster.items()
        ]

        def saved(changed: bool | None) -> None:
            if changed is not None:
                self._written.add(account)
            for user in account.sip_users if changed or (first and changed is not None) else ():
                self._tell(ContactsChanged(user))

        self._store.save_contacts(account_digest(account.protocol, account.ext_user).hex(), listed, saved)

    def forget(self, account: OwnedAccount) -> None:
        """The account is no more."""
        self._changed.discard(account)
        self._written.discard(account)

    def restore(self, is_keeper: Callable[[str], bool]) -> None:
        """After a restart Kamailio still has the subscriptions to lists, but not those to each contact behind them."""

        def read(watchers: list[str] | None) -> None:
            for uri in watchers or []:
                user = SipAddress.parse(uri)
                if is_keeper(user.key):
                    self._sip.refresh_list(user)

        self._store.list_watchers(read)

    # ------------------------------------------------------------ documents, in the user's keeper
    def contacts_changed(self, command: ContactsChanged) -> None:
        self._write(address_of(command.user))

    def _write(self, user: SipAddress, even_unread: bool = False) -> None:
        def written(outcome: Written | None) -> None:
            if outcome is Written.CHANGED:
                self._sip.refresh_list(user)
            elif outcome is Written.UNREAD:
                glib.add_timer(UNREAD_SECONDS, lambda: self._write(user, even_unread=True))

        self._store.write_list(user, even_unread, written)

    def list_changed(self, command: ListChanged) -> None:
        """A phone has read or written the list.

        One that writes a list which it has never read does not mean to empty the one that is there: what it leaves out
        is put back.
        """
        user = SipAddress.parse(command.user)
        if not command.changed:
            self._readers.add(user.key)
            return
        known = command.known or user.key in self._readers
        self._readers.add(user.key)
        self._store.edited_list(user, lambda edits: self._edited(user, edits or [], known))

    def _edited(self, user: SipAddress, edits: list[Edit], known: bool) -> None:
        for edit in edits:
            if known or not edit.removed:
                logger.info("%s: a phone %s %s", user.uri, "removes" if edit.removed else "keeps", edit.contact)
                self._tell(EditContact(spec_of(edit.account), edit.contact, edit.alias, edit.groups, edit.removed))
        if not known or not edits:  # the list in the service, too, or what was left out
            self._write(address_of(user.key))
