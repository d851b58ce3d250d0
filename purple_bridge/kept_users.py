"""Which SIP users may have messages in the table ``silo``: stamps in shared memory; reads and writes no row.

Whoever stores rows for a user sets a new stamp after the commit. A look at the rows that found none is true for as long
as the stamp stays the one that was read before it. Users share slots: a stamp too new costs a look that finds nothing.
A slot is three numbers of 8 bytes, nanoseconds since 1970, 0: never since the start. The first is that stamp. The
others say whether rows are being handed out: when that was last asked for, and for which asking it is over. Only the
order of messages depends on them, so no message is lost where users share them.
"""

from __future__ import annotations

import mmap
import time
from functools import lru_cache
from hashlib import blake2b

from purple_bridge.ownership import owner_of

SLOTS = 1 << 18  # a page is only used once something is written to it
SLOT = 24


def keeper_of(sip_user: str, workers: int) -> int:
    """The worker, 1 to ``workers``, that hands out what is kept for the user (SipAddress.key)."""
    return owner_of("silo", sip_user, workers)


class KeptUsers:
    """Made in the parent before the fork. ``username``, ``domain``: as in the table."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SLOTS * SLOT)

    def mark(self, username: str, domain: str) -> None:
        """There are new rows of this user."""
        self._write(_slot(username, domain), time.time_ns())

    def stamp(self, username: str, domain: str) -> int:
        """0: the user has no rows."""
        return self._read(_slot(username, domain))

    def ask(self, username: str, domain: str) -> int:
        """Rows are about to be handed out: nothing may overtake them until ``done`` is told what this returns."""
        asked = time.time_ns()
        self._write(_slot(username, domain) + 8, asked)
        return asked

    def asked(self, username: str, domain: str) -> int:
        return self._read(_slot(username, domain) + 8)

    def done(self, username: str, domain: str, asked: int) -> None:
        """All has been handed out that was stored before ``asked``, or no phone takes it."""
        self._write(_slot(username, domain) + 16, asked)

    def is_handing_out(self, username: str, domain: str) -> bool:
        slot = _slot(username, domain)
        return self._memory[slot + 8 : slot + 16] != self._memory[slot + 16 : slot + 24]

    def _write(self, place: int, number: int) -> None:
        self._memory[place : place + 8] = number.to_bytes(8)

    def _read(self, place: int) -> int:
        return int.from_bytes(self._memory[place : place + 8])


@lru_cache(maxsize=65536)
def _slot(username: str, domain: str) -> int:
    digest = blake2b(f"{username}@{domain}".lower().encode(), digest_size=8).digest()
    return int.from_bytes(digest) % SLOTS * SLOT
