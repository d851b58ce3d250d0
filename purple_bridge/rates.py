"""How fast somebody may go on: owns a table of token buckets; must not know who they are and what happens beyond.

A bucket holds some seconds of its rate, and fills at that rate. It is one number: when it is full again. A slot of the
table is 16 octets, the key's mark and that time. Processes that come of one fork share the buckets; there is no
lock, so two of them that take from one bucket at the same moment may count as one.
"""

from __future__ import annotations

import secrets
import struct
import time
from collections.abc import Callable
from hashlib import blake2b
from typing import Protocol

BURST_SECONDS = 10.0
SLOTS = 16_384
REACH = 4  # neighbouring slots in which a key may be
SLOT = 16

_NEIGHBOURS = struct.Struct("<" + "8sd" * REACH)
_SLOT = struct.Struct("<8sd")


class Memory(Protocol):
    """A bytearray or an mmap of ``size(slots)`` octets, zero at first."""

    def __len__(self) -> int: ...

    def __buffer__(self, flags: int, /) -> memoryview: ...


def size(slots: int = SLOTS) -> int:
    """Octets of a table."""
    return (slots + REACH) * SLOT


class Buckets:
    """``clock``: seconds, the same in all processes that share the memory."""

    def __init__(self, memory: Memory, clock: Callable[[], float] = time.monotonic) -> None:
        self._memory, self._clock = memory, clock
        self._secret = secrets.token_bytes(16)  # else somebody finds keys that share slots, and fills them
        self._slots = len(memory) // SLOT - REACH

    def take(self, key: str, rate: float, burst: float = BURST_SECONDS) -> float:
        """0.0: one more of ``key`` may pass; else the seconds until it may.

        ``rate``: a second, more than 0; ``burst``: the seconds of it that a bucket holds.
        """
        mark, place, full_at, wait = self._look(key, rate, burst)
        if not wait:
            _SLOT.pack_into(self._memory, place, mark, full_at)
        return wait

    def wait(self, key: str, rate: float, burst: float = BURST_SECONDS) -> float:
        """What ``take`` would say; takes nothing."""
        return self._look(key, rate, burst)[-1]

    def _look(self, key: str, rate: float, burst: float) -> tuple[bytes, int, float, float]:
        """The key's mark, its slot, when its bucket is full again after one more, and the seconds until that one."""
        now = self._clock()
        mark = blake2b(key.encode(), digest_size=8, key=self._secret).digest()
        first = int.from_bytes(mark, "little") % self._slots * SLOT
        fields = _NEIGHBOURS.unpack_from(self._memory, first)
        marks, times = fields[::2], fields[1::2]
        place = marks.index(mark) if mark in marks else times.index(min(times))
        full_at = max(times[place] if marks[place] == mark else 0.0, now) + 1 / rate
        wait = full_at - now - burst
        return mark, first + place * SLOT, full_at, float(wait) if wait > 1e-9 else 0.0
