"""Owns the statements on ``purple_contact``: each account's contact list, as the IM network told it last."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, Engine, delete, insert, select

from purple_bridge.db.tables import purple_contact

CHUNK = 500  # names in one statement
LONGEST_NAME = 255  # characters of the columns


@dataclass(frozen=True, slots=True)
class ListedContact:
    """``contact``: the name on the network. ``subscription``: RFC 6121 §2.1.2.5; ``asked``: it has not answered yet."""

    contact: str
    alias: str = ""
    groups: tuple[str, ...] = ()
    subscription: str = "none"
    asked: bool = False


def load(engine: Engine, accounts: Sequence[str]) -> dict[str, list[ListedContact]]:
    """The lists of accounts (hex of ownership.account_digest), by name. Raises SQLAlchemyError."""
    with engine.connect() as connection:
        return {account: _load(connection, account) for account in accounts}


def _load(connection: Connection, account: str) -> list[ListedContact]:
    table = purple_contact.c
    statement = select(purple_contact).where(table.account == account).order_by(table.contact)
    return [
        ListedContact(row.contact, row.alias, _groups(row.contact_groups), row.subscription, bool(row.asked))
        for row in connection.execute(statement)
    ]


def on_list(engine: Engine, keys: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of (account, contact) that are on the account's list. Raises SQLAlchemyError."""
    table, found = purple_contact.c, set()
    with engine.connect() as connection:
        for account, contact in keys:
            statement = select(table.account).where(table.account == account, table.contact == contact)
            if connection.execute(statement).first() is not None:
                found.add((account, contact))
    return found


def save(engine: Engine, account: str, contacts: Iterable[ListedContact]) -> bool:
    """The account's list is this one now; whether that was a change. Raises SQLAlchemyError."""
    now = {contact.contact: contact for contact in map(_fitting, contacts) if len(contact.contact) <= LONGEST_NAME}
    with engine.begin() as connection:
        before = {contact.contact: contact for contact in _load(connection, account)}
        gone = [name for name, contact in before.items() if now.get(name) != contact]
        new = [contact for name, contact in now.items() if before.get(name) != contact]
        _delete(connection, account, gone)
        if new:
            connection.execute(insert(purple_contact), [_row(account, contact) for contact in new])
    return bool(gone or new)


def _delete(connection: Connection, account: str, names: list[str]) -> None:
    table = purple_contact.c
    for first in range(0, len(names), CHUNK):
        chosen = table.contact.in_(names[first : first + CHUNK])
        connection.execute(delete(purple_contact).where(table.account == account, chosen))


def _fitting(contact: ListedContact) -> ListedContact:
    return replace(contact, alias=contact.alias[:LONGEST_NAME], groups=tuple(dict.fromkeys(contact.groups)))


def _row(account: str, contact: ListedContact) -> dict[str, object]:
    return {
        "account": account,
        "contact": contact.contact,
        "alias": contact.alias,
        "contact_groups": json.dumps(contact.groups),
        "subscription": contact.subscription,
        "asked": int(contact.asked),
    }


def _groups(text: str) -> tuple[str, ...]:
    try:
        return tuple(str(group) for group in json.loads(text))
    except (ValueError, TypeError, RecursionError):
        return ()
