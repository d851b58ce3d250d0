"""Owns the statements on Kamailio's ``silo``, messages for SIP users whose phone is not there.

The table and the form of its rows are those of Kamailio's module msilo, which is not needed; where it is loaded it can
send them. Its limits (msilo.c, msfuncs.c of 5.6 and 6.0) are therefore kept: headers are put together in 1024 octets,
of which ``Date`` is not counted, so that more than fits overwrites memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Engine, Row, delete, insert, select

from purple_bridge.addresses import SipAddress
from purple_bridge.db.tables import silo

LONGEST_HEADERS = 900  # octets of ``extra_hdrs``: 1024 without Date (37), Content-Type (48) and some reserve
LONGEST_BODY = 65_535  # octets in MySQL's BLOB
LAST_SECOND = (1 << 31) - 1  # of the column INT, and of Kamailio's
CHUNK = 500  # ids in one statement
# a row that expires while it is handed out stays for a while: SQLite gives the id of a deleted row to a new one
STAY_SECONDS = 3600

# characters of the columns
_LENGTHS = {"src_addr": 255, "dst_addr": 255, "username": 64, "domain": 64, "ctype": 32, "callid": 128}


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One message to be kept.

    ``src_addr``: the URI for From. ``dst_addr``: the URI for the request line and To. ``username``, ``domain``: see
    ``owner``. ``inc_time``, ``exp_time``: Unix time in seconds; the first becomes the Date. ``ctype``: the
    Content-Type. ``extra_hdrs``: further header lines, each with its CRLF. ``callid``: for msilo alone.

    Raises ValueError, in words, for what the table cannot hold or msilo could not send.
    """

    src_addr: str
    dst_addr: str
    username: str
    domain: str
    inc_time: int
    exp_time: int
    ctype: str
    body: bytes
    extra_hdrs: str = ""
    callid: str = ""

    def __post_init__(self) -> None:
        for name, longest in _LENGTHS.items():
            if len(getattr(self, name)) > longest:
                raise ValueError(f"{name} is longer than {longest} characters")
        if not all((self.src_addr, self.dst_addr, self.username, self.domain, self.ctype, self.body)):
            raise ValueError("an address, the Content-Type or the body is empty")
        if len(self.body) > LONGEST_BODY:
            raise ValueError(f"the body is longer than {LONGEST_BODY} octets")
        _check_headers(self.extra_hdrs)


@dataclass(frozen=True, slots=True)
class KeptRow:
    """One message as it is handed out; the fields are those of StoredMessage."""

    id: int
    src_addr: str
    inc_time: int
    ctype: str
    body: bytes
    extra_hdrs: str


def owner(user: str) -> tuple[str, str]:
    """``username`` and ``domain`` of the rows of a user (SipAddress.key)."""
    name, _, host = user.rpartition("@")
    return SipAddress(name, host).encoded_user.lower(), host


def store(engine: Engine, messages: Sequence[StoredMessage]) -> None:
    """Add the messages, in this order, in one transaction. Raises SQLAlchemyError."""
    if messages:
        with engine.begin() as connection:
            connection.execute(insert(silo), [_values(message) for message in messages])


def load(engine: Engine, user: str, after: int, limit: int, now: int) -> list[KeptRow]:
    """The first ``limit`` rows of the user (SipAddress.key) with an id above ``after``, by id; none that has expired.

    ``now``: Unix seconds. Raises SQLAlchemyError.
    """
    table, (username, domain) = silo.c, owner(user)
    statement = (
        select(table.id, table.src_addr, table.inc_time, table.ctype, table.body, table.extra_hdrs)
        .where(table.username == username, table.domain == domain, table.id > after)
        .where(table.exp_time > now, table.snd_time == 0)  # another snd_time: a reminder of msilo's
        .order_by(table.id)
        .limit(limit)
    )
    with engine.connect() as connection:
        rows = connection.execute(statement)
        return [_kept_row(row) for row in rows]


def _kept_row(row: Row[Any]) -> KeptRow:
    return KeptRow(row.id, row.src_addr, row.inc_time, row.ctype, bytes(row.body or b""), row.extra_hdrs or "")


def erase(engine: Engine, ids: Sequence[int]) -> None:
    """In one transaction. Raises SQLAlchemyError."""
    with engine.begin() as connection:
        for first in range(0, len(ids), CHUNK):
            connection.execute(delete(silo).where(silo.c.id.in_(ids[first : first + CHUNK])))


def erase_expired(engine: Engine, now: int) -> int:
    """What expired some time ago; ``now``: Unix seconds. Returns how many rows. Raises SQLAlchemyError."""
    with engine.begin() as connection:
        return connection.execute(delete(silo).where(silo.c.exp_time <= now - STAY_SECONDS)).rowcount


def owners(engine: Engine) -> list[tuple[str, str]]:
    """``username`` and ``domain`` of all who have rows. Raises SQLAlchemyError."""
    statement = select(silo.c.username, silo.c.domain).distinct()
    with engine.connect() as connection:
        return [(row.username, row.domain) for row in connection.execute(statement)]


def _check_headers(lines: str) -> None:
    """RFC 3261 §7.3.1; an empty line would end the headers."""
    if len(lines.encode()) > LONGEST_HEADERS:
        raise ValueError(f"the extra headers are longer than {LONGEST_HEADERS} octets")
    if lines and (not lines.endswith("\r\n") or "" in lines.removesuffix("\r\n").split("\r\n")):
        raise ValueError("the extra headers are no header lines, each with its CRLF")


def _values(message: StoredMessage) -> dict[str, object]:
    """``snd_time`` 0: no reminder, so ``m_dump`` takes it. ``status`` is for nobody."""
    times = {"inc_time": min(message.inc_time, LAST_SECOND), "exp_time": min(message.exp_time, LAST_SECOND)}
    return asdict(message) | times | {"snd_time": 0, "status": 0}
