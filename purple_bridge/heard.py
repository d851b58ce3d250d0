"""To which of a SIP user's accounts an IM contact wrote last: a table in shared memory; knows no rows and no message.

The worker of the account writes it, the processes that take SIP requests read it: where the user has several accounts
on the contact's network, his answer leaves by that one. A slot is 24 bytes: the mark of user and contact (8), the
account's digest (8), when that was (seconds of the monotonic clock, 8).
"""

from __future__ import annotations

import mmap
import struct
import time
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b

from purple_bridge.addresses import name_as_account, normalize_im_name
from purple_bridge.ownership import account_digest, plugin_of

SLOTS = 1 << 17  # a page is only used once something is written to it
SLOT = 24
REACH = 4  # slots in which a mark may stand: its own and those behind it

_NEIGHBOURS = struct.Struct("<" + "8s8sd" * REACH)
_SLOT = struct.Struct("<8s8sd")


class Heard:
    """Made in the parent before the fork. Written without a lock: two processes that take one slot at the same moment
    forget one contact, and an answer to it leaves as if it had not written.

    ``user``: SipAddress.key; ``protocol``, ``ext_user``: of the account; ``contact``: its name there.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._memory = mmap.mmap(-1, (SLOTS + REACH) * SLOT)
        self._clock = clock

    def note(self, user: str, protocol: str, ext_user: str, contact: str) -> None:
        """The contact has written to this account now; in the place of the oldest of its neighbours."""
        mark, first = _mark(user, protocol, ext_user, contact)
        fields = _NEIGHBOURS.unpack_from(self._memory, first)
        marks, times = fields[::3], fields[2::3]
        slot = first + (marks.index(mark) if mark in marks else times.index(min(times))) * SLOT
        _SLOT.pack_into(self._memory, slot, mark, account_digest(protocol, ext_user), self._clock())

    def when(self, user: str, protocol: str, ext_user: str, contact: str) -> float:
        """When the contact wrote to this account; 0.0: never, or it has written to another one of the user's since."""
        mark, first = _mark(user, protocol, ext_user, contact)
        fields = _NEIGHBOURS.unpack_from(self._memory, first)
        marks, digests, times = fields[::3], fields[1::3], fields[2::3]
        if mark not in marks or digests[marks.index(mark)] != account_digest(protocol, ext_user):
            return 0.0
        return float(times[marks.index(mark)])


@lru_cache(maxsize=16384)
def _mark(user: str, protocol: str, ext_user: str, contact: str) -> tuple[bytes, int]:
    """The same for each account of the user's to which the contact may write, and where its slot begins."""
    plugin = plugin_of(protocol)
    name = normalize_im_name(plugin, name_as_account(plugin, ext_user, contact))
    mark = blake2b(f"{user}\0{plugin}\0{name}".encode(), digest_size=8).digest()
    return mark, int.from_bytes(mark) % SLOTS * SLOT
