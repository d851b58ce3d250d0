"""Messages accepted in the last minute: a table in shared memory by which every process knows a retransmission.

tm forgets a transaction after 5 s, while a phone that misses the answer sends its MESSAGE again for 32 s
(RFC 3261 §17.1.2.2, Timer F) and more: after 6, 20 or 31 s it is the same message, not another one.
A slot is 16 bytes: the message's fingerprint (8), when it was accepted (Unix seconds, 4), padding.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Iterator
from hashlib import blake2b

SECONDS = 70  # at least 64 s: 64 * T1 for the sender, and as long again as its datagrams may be under way
SLOTS = 1 << 20  # a page is only used once something is written to it
SLOT = 16
REACH = 8  # slots in which a fingerprint may stand


def fingerprint(call_id: str, cseq: str, from_tag: str) -> bytes:
    """Eight bytes for what makes a request the same one (RFC 3261 §8.1.1, §17.2.3), never all zero."""
    text = f"{call_id}\0{cseq}\0{from_tag}"
    return blake2b(text.encode(), digest_size=8).digest().replace(b"\0" * 8, b"\1" * 8)


class Accepted:
    """Made in the parent before the fork. Written without a lock: two processes that take one slot at the same
    moment forget one message, whose retransmission would then be a message of its own."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._memory = mmap.mmap(-1, SLOTS * SLOT)
        self._clock = clock

    def __contains__(self, mark: bytes) -> bool:
        oldest = int(self._clock()) - SECONDS
        return any(self._memory[slot : slot + 8] == mark and self._time(slot) > oldest for slot in _slots(mark))

    def add(self, mark: bytes) -> None:
        """In the place of the oldest of its neighbours."""
        slot = min(_slots(mark), key=self._time)
        self._memory[slot : slot + 12] = mark + int(self._clock()).to_bytes(4)

    def _time(self, slot: int) -> int:
        return int.from_bytes(self._memory[slot + 8 : slot + 12])


def _slots(mark: bytes) -> Iterator[int]:
    first = int.from_bytes(mark) % SLOTS
    return ((first + step) % SLOTS * SLOT for step in range(REACH))
