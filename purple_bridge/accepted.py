"""Messages accepted in the last minute: a table in shared memory by which every process knows a retransmission.

tm forgets a transaction after 5 s, while a phone that misses the answer sends its MESSAGE again for 32 s
(RFC 3261 §17.1.2.2, Timer F) and more: after 6, 20 or 31 s it is the same message, not another one.
A slot is 16 bytes: the message's fingerprint (8), when it was accepted (seconds of the monotonic clock, 4), padding.
"""

from __future__ import annotations

import mmap
import struct
import time
from collections.abc import Callable
from hashlib import blake2b
from multiprocessing.synchronize import Lock

from purple_bridge.turns import Turns

SECONDS = 70  # at least 64 s: 64 * T1 for the sender, and as long again as its datagrams may be under way
SLOTS = 1 << 20  # a page is only used once something is written to it
SLOT = 16
REACH = 8  # slots in which a fingerprint may stand: its own and those behind it
_NEIGHBOURS = struct.Struct(">" + "8sI4x" * REACH)  # fingerprint and time by turns
_MARK_AND_TIME = struct.Struct(">8sI")


def fingerprint(call_id: str, cseq: str, from_tag: str) -> bytes:
    """Eight bytes for what makes a request the same one (RFC 3261 §8.1.1, §17.2.3), never all zero."""
    text = f"{call_id}\0{cseq}\0{from_tag}"
    return blake2b(text.encode(), digest_size=8).digest().replace(b"\0" * 8, b"\1" * 8)


class Accepted:
    """Made in the parent before the fork. Written without a lock: two processes that take one slot at the same
    moment forget one message, whose retransmission would then be a message of its own."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._memory = mmap.mmap(-1, (SLOTS + REACH) * SLOT)
        self._clock = clock
        self._turns = Turns()

    def turn(self, mark: bytes) -> Lock:
        """Held by the process that handles the request: its copy, in another process, waits for what becomes of it."""
        return self._turns.of(mark[0])

    def __contains__(self, mark: bytes) -> bool:
        fields = _NEIGHBOURS.unpack_from(self._memory, _first(mark))
        if mark not in fields:
            return False
        oldest = int(self._clock()) - SECONDS
        return any(fields[at] == mark and fields[at + 1] > oldest for at in range(0, 2 * REACH, 2))

    def add(self, mark: bytes) -> None:
        """In the place of the oldest of its neighbours."""
        first = _first(mark)
        times = _NEIGHBOURS.unpack_from(self._memory, first)[1::2]
        slot = first + times.index(min(times)) * SLOT
        _MARK_AND_TIME.pack_into(self._memory, slot, mark, int(self._clock()))


def _first(mark: bytes) -> int:
    """Where the fingerprint's own slot begins."""
    return int.from_bytes(mark) % SLOTS * SLOT
