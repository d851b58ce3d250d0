"""Whom a SIP address means on which of a user's accounts; owns no rows, and must not know where they come from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from purple_bridge.addresses import (
    GatewayDomain,
    ImContact,
    SipAddress,
    jid_of,
    name_as_account,
    name_as_contact,
    normalize_im_name,
)
from purple_bridge.db.account import Account as Row
from purple_bridge.errors import BadRequest
from purple_bridge.ownership import plugin_of

RowsOf = Callable[[str], Iterable[Row]]
Route = tuple[Row, ImContact]


def contacts_of(address: SipAddress, gateway: GatewayDomain, rows_of: RowsOf) -> list[ImContact]:
    """A gateway address is one contact, a user with rows one for each network, anybody else none.

    ``rows_of``: the rows of a user (SipAddress.key). Raises BadRequest for a name its network cannot have.
    """
    contact = gateway.contact_of(address)
    if contact is not None:
        _check_name(contact)
        return [ImContact(contact.protocol, jid_of(contact.name))] if _is_xmpp(contact) else [contact]
    return [ImContact(row.protocol, row.ext_user) for row in rows_of(address.key)]


def client_of(contact: ImContact, address: SipAddress) -> ImContact:
    """Whom a message to the gateway address of ``contact`` is for: on XMPP the one client that it names, if any."""
    return ImContact(contact.protocol, jid_of(contact.name, address.resource)) if _is_xmpp(contact) else contact


def routes(accounts: Iterable[Row], contacts: Iterable[ImContact]) -> Iterator[Route]:
    """The accounts on each contact's network; the same ext_prot in front of a kindred one.

    ``accounts``: all of the user's, in the order of the rows.
    """
    rows = list(accounts)
    for contact in contacts:
        same = [row for row in rows if row.protocol == contact.protocol]
        kindred = [row for row in rows if row not in same and _kindred(row, contact)]
        full = _in_full(rows, contact)
        for row in same + kindred:
            name = name_as_contact(plugin_of(row.protocol), row.ext_user, full)
            if name is not None and not _is_self(row, name):
                yield row, ImContact(contact.protocol, name)


def _is_xmpp(contact: ImContact) -> bool:
    return plugin_of(contact.protocol) == "prpl-jabber"


def _kindred(row: Row, contact: ImContact) -> bool:
    return plugin_of(row.protocol) == plugin_of(contact.protocol)


def _in_full(rows: Iterable[Row], contact: ImContact) -> str:
    """With the server, where a name means nobody without: a nick alone is on that of the user's first IRC account."""
    first = next((row for row in rows if _kindred(row, contact)), None)
    return name_as_account(plugin_of(contact.protocol), first.ext_user, contact.name) if first else contact.name


def name_for(accounts: Iterable[Row], protocol: str, ext_user: str, contact: str) -> str:
    """The reverse: how the user with these ``accounts`` is told of a contact of one of them, so that ``routes`` finds
    the contact again.

    With its server where the nick alone would be somebody else.
    """
    plugin, known = plugin_of(protocol), ImContact(protocol, contact)
    full = name_as_account(plugin, ext_user, contact)
    same = normalize_im_name(plugin, full) == normalize_im_name(plugin, _in_full(accounts, known))
    return contact if same else full


def _is_self(row: Row, name: str) -> bool:
    plugin = plugin_of(row.protocol)
    account = name_as_account(plugin, row.ext_user, name)
    return normalize_im_name(plugin, row.ext_user) == normalize_im_name(plugin, account)


def _check_name(contact: ImContact) -> None:
    """An IRC target with a space or a comma would be several parameters or targets (RFC 2812 §2.3.1, §3.3.1)."""
    if plugin_of(contact.protocol) == "prpl-irc" and re.search(r"[\s,]|^:", contact.name):
        raise BadRequest("not the name of one IRC user or channel")
