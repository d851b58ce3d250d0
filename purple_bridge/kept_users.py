"""Which SIP users may have messages in the table ``silo``: stamps in shared memory; reads and writes no row.

Whoever stores rows for a user sets a new stamp after the commit. A look at the rows that found none is true for as long
as the stamp stays the one that was read before it. Users share slots: a stamp too new costs a look that finds nothing.
A slot is 8 bytes: nanoseconds since 1970, 0: no rows since the start.
"""

from __future__ import annotations

import mmap
import time
from functools import lru_cache
from hashlib import blake2b

from purple_bridge.ownership import owner_of

SLOTS = 1 << 18  # a page is only used once something is written to it
SLOT = 8


def keeper_of(sip_user: str, workers: int) -> int:
    """The worker, 1 to ``workers``, that hands out what is kept for the user (SipAddress.key)."""
    return owner_of("silo", sip_user, workers)


class KeptUsers:
    """Made in the parent before the fork. ``username``, ``domain``: as in the table."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SLOTS * SLOT)

    def mark(self, username: str, domain: str) -> None:
        """There are new rows of this user."""
        slot = _slot(username, domain)
        self._memory[slot : slot + SLOT] = time.time_ns().to_bytes(SLOT)

    def stamp(self, username: str, domain: str) -> int:
        """0: the user has no rows."""
        slot = _slot(username, domain)
        return int.from_bytes(self._memory[slot : slot + SLOT])


@lru_cache(maxsize=65536)
def _slot(username: str, domain: str) -> int:
    digest = blake2b(f"{username}@{domain}".lower().encode(), digest_size=8).digest()
    return int.from_bytes(digest) % SLOTS * SLOT
