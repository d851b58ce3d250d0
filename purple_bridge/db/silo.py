"""Owns the rows of Kamailio's ``silo``, messages for SIP users whose phone is not there: msilo's ``m_dump`` sends them.

Its limits come from the table and from msilo 5.6 and 6.0 (msilo.c, msfuncs.c): headers are put together in 1024
octets, of which ``Date`` is not counted, so that more than fits overwrites memory; and a row whose headers do not fit
ends the delivery of all rows behind it. Such a row is refused here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Engine, insert

from purple_bridge.db.tables import silo

LONGEST_HEADERS = 900  # octets of ``extra_hdrs``: 1024 without Date (37), Content-Type (48) and some reserve
LONGEST_BODY = 65_535  # octets in MySQL's BLOB
LAST_SECOND = (1 << 31) - 1  # of the column INT, and of Kamailio's

# characters of the columns
_LENGTHS = {"src_addr": 255, "dst_addr": 255, "username": 64, "domain": 64, "ctype": 32, "callid": 128}


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """One message as ``m_dump`` sends it.

    ``src_addr``: the URI for From. ``dst_addr``: the URI for the request line and To. ``username``, ``domain``: the
    owner, exactly as in the URI that ``m_dump`` is called with, or else the To of the phone's REGISTER.
    ``inc_time``, ``exp_time``: Unix time in seconds; the first becomes the Date. ``ctype``: the Content-Type.
    ``extra_hdrs``: further header lines, each with its CRLF. ``callid``: sent by msilo 6.0 with
    ``use_mode=1``.

    Raises ValueError, in words, for what msilo could not send.
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


def store(engine: Engine, messages: Sequence[StoredMessage]) -> None:
    """Add the messages, in this order, in one transaction. Raises SQLAlchemyError."""
    if messages:
        with engine.begin() as connection:
            connection.execute(insert(silo), [_values(message) for message in messages])


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
