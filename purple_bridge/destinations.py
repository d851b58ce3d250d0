"""Whom a SIP address means on which of a user's accounts; owns no rows, and must not know where they come from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from purple_bridge.addresses import (
    GatewayDomain,
    ImContact,
    SipAddress,
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
        return [contact]
    return [ImContact(row.protocol, row.ext_user) for row in rows_of(address.key)]


def routes(accounts: Iterable[Row], contacts: Iterable[ImContact]) -> Iterator[Route]:
    """The accounts on each contact's network; the same ext_prot in front of a kindred one."""
    rows = list(accounts)
    for contact in contacts:
        same = [row for row in rows if row.protocol == contact.protocol]
        kindred = [row for row in rows if row not in same and _kindred(row, contact)]
        for row in same + kindred:
            name = name_as_contact(plugin_of(row.protocol), row.ext_user, contact.name)
            if name is not None and not _is_self(row, name):
                yield row, ImContact(contact.protocol, name)


def _kindred(row: Row, contact: ImContact) -> bool:
    return plugin_of(row.protocol) == plugin_of(contact.protocol)


def _is_self(row: Row, name: str) -> bool:
    plugin = plugin_of(row.protocol)
    account = name_as_account(plugin, row.ext_user, name)
    return normalize_im_name(plugin, row.ext_user) == normalize_im_name(plugin, account)


def _check_name(contact: ImContact) -> None:
    """An IRC target with a space or a comma would be several parameters or targets (RFC 2812 §2.3.1, §3.3.1)."""
    if plugin_of(contact.protocol) == "prpl-irc" and re.search(r"[\s,]|^:", contact.name):
        raise BadRequest("not the name of one IRC user or channel")
