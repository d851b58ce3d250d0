"""A SIP user's IM contacts as one list: owns the documents of the XCAP server in which phones read and change it.

The accounts' lists (table ``purple_contact``) are what the IM networks say. The resource-lists document (RFC 4826)
shows them beside whatever else the user keeps in it; the rls-services document makes it one address to subscribe to
(RFC 4662). Must not know libpurple, or which worker owns an account. For one thread: it uses a mapping.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from sqlalchemy import Engine

from purple_bridge.addresses import GatewayDomain, ImContact, SipAddress, name_as_account, normalize_im_name
from purple_bridge.bodies import resource_lists
from purple_bridge.bodies.resource_lists import Entry
from purple_bridge.db import contacts, presence_server
from purple_bridge.db.account import Account as Row
from purple_bridge.db.contacts import ListedContact
from purple_bridge.db.mapping import Mapping
from purple_bridge.db.presence_server import RESOURCE_LISTS, RLS_SERVICES, Replacement, StoredDocument
from purple_bridge.destinations import Route, contacts_of, name_for, routes
from purple_bridge.errors import BadRequest, GatewayError
from purple_bridge.ownership import account_digest, plugin_of

LISTS, SERVICES = "resource-lists", "rls-services"
SUFFIX = "-contacts"  # sip:USER-contacts@DOMAIN
TRIES = 3  # a phone may write the document at the same moment


@dataclass(frozen=True, slots=True)
class ContactOfUser:
    """A contact on the list of one of the user's accounts; ``address``: by which a phone knows it."""

    account: Row
    listed: ListedContact
    address: SipAddress


@dataclass(frozen=True, slots=True)
class Edit:
    """What a phone wants of an account's list: ``removed``, or there with this alias and these groups."""

    account: Row
    contact: str
    alias: str = ""
    groups: tuple[str, ...] = ()
    removed: bool = False


class Written(Enum):
    """What came of writing the documents; ``UNREAD``: a phone has changed the list, which has to be read first."""

    UNCHANGED = "unchanged"
    CHANGED = "changed"
    UNREAD = "unread"


def listed_route(engine: Engine, found: Sequence[Route]) -> Route:
    """Of several accounts on a contact's network the one that has the contact on its list, else the first.

    Else a contact would be asked by accounts of the user which it does not know. Raises SQLAlchemyError.
    """
    if len(found) > 1:
        keys = [(account_digest(*_names(row)).hex(), _key(row, contact)) for row, contact in found]
        listed = contacts.on_list(engine, keys)
        return next((route for route, key in zip(found, keys, strict=True) if key in listed), found[0])
    return found[0]


def _names(row: Row) -> tuple[str, str]:
    return row.protocol, row.ext_user


def _key(row: Row, contact: ImContact) -> str:
    return normalize_im_name(plugin_of(row.protocol), contact.name)


def service_of(user: SipAddress) -> SipAddress:
    """The address that stands for all contacts of the user."""
    return SipAddress(f"{user.user}{SUFFIX}", user.host)


class ContactLists:
    """``mapping``: used by this thread alone."""

    def __init__(self, engine: Engine, mapping: Mapping, gateway: GatewayDomain) -> None:
        self._engine, self._mapping, self._gateway = engine, mapping, gateway
        self._seen: dict[str, str] = {}  # ETag of the list when it was last read or written, by SipAddress.key

    def contacts_of(self, user: SipAddress) -> list[ContactOfUser]:
        """All IM contacts of the user, by account. Raises SQLAlchemyError, DatabaseUnavailable."""
        return self._contacts_of(self._rows(user))

    def _contacts_of(self, accounts: Sequence[Row]) -> list[ContactOfUser]:
        rows = {account_digest(row.protocol, row.ext_user).hex(): row for row in accounts}
        listed = contacts.load(self._engine, list(rows))
        pairs = [(rows[account], contact) for account, found in listed.items() for contact in found]
        owners = self._mapping.accounts_for_pairs({_pair(row, contact) for row, contact in pairs})
        found = (self._contact(accounts, row, contact, owners[_pair(row, contact)]) for row, contact in pairs)
        return [contact for contact in found if contact is not None]

    def _rows(self, user: SipAddress) -> tuple[Row, ...]:
        return self._mapping.refresh([user.key])[user.key]

    def _contact(
        self, accounts: Sequence[Row], row: Row, listed: ListedContact, owners: tuple[Row, ...]
    ) -> ContactOfUser | None:
        """A contact with a row is known by its SIP user, any other by its address at the gateway."""
        try:
            address = (
                SipAddress.parse(f"sip:{owners[0].sip_user}")
                if owners
                else self._gateway.contact_uri(row.protocol, name_for(accounts, *_names(row), listed.contact))
            )
        except BadRequest:  # a name that cannot be written as an address cannot be reached from a phone either
            return None
        return ContactOfUser(row, listed, address)

    # ------------------------------------------------------------ towards the phones
    def prepare(self, user: SipAddress) -> None:
        """Somebody is about to read the documents: as ``write``, but never over a list that a phone has written."""
        list_uri, service_uri = _document_uris(user)
        stored = presence_server.load_documents(self._engine, [list_uri, service_uri])
        listed = stored.get(list_uri)
        if listed is None or listed.is_ours:
            self.write(user)
            return
        service = Replacement(RLS_SERVICES, service_uri, _service(user, listed.body), stored.get(service_uri))
        if _is_due(service):
            presence_server.replace_documents(self._engine, user, [service])

    def write(self, user: SipAddress, even_unread: bool = False) -> Written:
        """Make the documents what the accounts' lists say. Raises as ``contacts_of``.

        A list that a phone has written since this object read it last is left alone, unless ``even_unread``: what the
        phone has changed would be gone before ``edits`` saw it.
        """
        rows = self._rows(user)
        if not rows:
            return Written.UNCHANGED
        entries = _entries(self._contacts_of(rows))
        list_uri, service_uri = _document_uris(user)
        for _ in range(TRIES):
            stored = presence_server.load_documents(self._engine, [list_uri, service_uri])
            listed = stored.get(list_uri)
            if listed and not even_unread and self._is_unread(user, listed):
                return Written.UNREAD
            self._seen[user.key] = listed.etag if listed else ""
            merged = self._merged(entries, listed)
            new_list = Replacement(RESOURCE_LISTS, list_uri, merged, listed)
            service = Replacement(RLS_SERVICES, service_uri, _service(user, merged), stored.get(service_uri))
            changes = [change for change in (new_list, service) if _is_due(change)]
            if not changes:
                return Written.UNCHANGED
            if presence_server.replace_documents(self._engine, user, changes):
                return Written.CHANGED
        return Written.UNCHANGED

    def _merged(self, entries: list[Entry], listed: StoredDocument | None) -> bytes:
        ours = {entry.uri for entry in entries}
        before = listed.body if listed else None
        return resource_lists.merge(before, entries, lambda uri: uri in ours or self._is_contact(uri))

    def _is_unread(self, user: SipAddress, document: StoredDocument) -> bool:
        """Where nothing was seen before, after a start, the accounts' lists count: they may have changed meanwhile."""
        return not document.is_ours and self._seen.get(user.key, document.etag) != document.etag

    def _is_contact(self, uri: str) -> bool:
        try:
            return self._gateway.contact_of(uri) is not None
        except GatewayError:
            return False

    # ------------------------------------------------------------ from the phones
    def edits(self, user: SipAddress) -> list[Edit]:
        """What the resource-lists document says otherwise than the accounts' lists. Raises as ``contacts_of``.

        A document that was deleted says nothing: nobody means to lose all contacts by that, and it is written again.
        """
        document = presence_server.load_document(self._engine, presence_server.document_uri(LISTS, user))
        if document is None:
            return []
        self._seen[user.key] = document.etag
        known = {contact.address.uri: contact for contact in self.contacts_of(user)}
        written = resource_lists.read(document.body)
        added, changed, removed = resource_lists.diff(_entries(known.values()), written)
        rows = self._rows(user)
        new = [edit for entry in added for edit in self._added(rows, entry)]
        other = [_edit(known[entry.uri], entry) for entry in changed]
        gone = [_edit(known[entry.uri], None) for entry in removed]
        return [*new, *other, *gone]

    def _added(self, rows: tuple[Row, ...], entry: Entry) -> list[Edit]:
        """Only an address of the gateway means an IM contact; any other is the user's own affair."""
        if not self._is_contact(entry.uri):
            return []
        try:
            found = contacts_of(SipAddress.parse(entry.uri), self._gateway, lambda _key: ())
        except BadRequest:
            return []
        for row, contact in routes(rows, found):
            return [Edit(row, contact.name, entry.display_name, entry.groups)]
        return []


def _document_uris(user: SipAddress) -> tuple[str, str]:
    """Of the list, and of the address that stands for it."""
    return presence_server.document_uri(LISTS, user), presence_server.document_uri(SERVICES, user)


def _service(user: SipAddress, listed: bytes) -> bytes:
    return resource_lists.services(resource_lists.read(listed), service_of(user).uri)


def _is_due(change: Replacement) -> bool:
    """Another document than before, and no service document that a phone has written."""
    before = change.before
    foreign = before is not None and not before.is_ours
    return not (before and before.body == change.body) and not (foreign and change.doc_type == RLS_SERVICES)


def _pair(row: Row, listed: ListedContact) -> tuple[str, str]:
    return row.protocol, name_as_account(plugin_of(row.protocol), row.ext_user, listed.contact)


def _entries(found: Iterable[ContactOfUser]) -> list[Entry]:
    """One for each address, though it may be on the lists of several accounts."""
    entries = {one.address.uri: Entry(one.address.uri, one.listed.alias, one.listed.groups) for one in found}
    return list(entries.values())


def _edit(known: ContactOfUser, entry: Entry | None) -> Edit:
    if entry is None:
        return Edit(known.account, known.listed.contact, removed=True)
    return Edit(known.account, known.listed.contact, entry.display_name, entry.groups)
