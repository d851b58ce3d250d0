"""Owns the rows of the mapping that the comparison puts there, many at once."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice

from sqlalchemy import insert

from purple_bridge.db.engine import make_engine
from purple_bridge.db.tables import purplemap_table
from tests.gateway import sip
from tests.servers.prosody import Prosody

AT_ONCE = 5000  # rows in one transaction

Row = dict[str, str]


def rows_of(users: Iterable[str], prosody: Prosody) -> Iterable[Row]:
    """Each user has the account of the same name."""
    server = (
        prosody.domain if prosody.tls else prosody.host
    )  # libpurple compares the certificate with what it connects to
    security = "require_tls" if prosody.tls else "opportunistic_tls"
    options = json.dumps({"connect_server": server, "port": prosody.port, "connection_security": security})
    for user in users:
        yield _row(user, f"{user}@{prosody.domain}", options)


def rows_of_strangers(count: int) -> Iterable[Row]:
    """Rows of users who never come."""
    for number in range(count):
        yield _row(f"stranger{number}", f"stranger{number}@xmpp.example.net", "{}")


def add(db_url: str, rows: Iterable[Row]) -> None:
    engine = make_engine(db_url, timeout=60)
    table, left = purplemap_table("purplemap", engine.dialect.name), iter(rows)
    while batch := list(islice(left, AT_ONCE)):
        with engine.begin() as connection:
            connection.execute(insert(table), batch)
    engine.dispose()


def _row(user: str, account: str, options: str) -> Row:
    names = {"sip_user": sip(user), "ext_user": account, "ext_prot": "prpl-jabber"}
    return {**names, "ext_pass": "secret", "ext_options": options}
