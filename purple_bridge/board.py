"""What every process knows of every account: a table in shared memory, written by the owner, read without a lock.

Each worker has a region of its own, so no two processes write the same bytes.  A slot is 16 bytes: the account's
digest (8), its state (1), the way for its messages (1), padding.  The digest is written last, so a reader never sees a
half-made slot.
"""

from __future__ import annotations

import mmap
from enum import IntEnum

from purple_bridge.ownership import account_digest, owner_of

SLOTS = 1 << 16  # accounts a worker can show; a page is only used once something is written to it
SLOT = 16
HEADER = 64
EMPTY = b"\0" * 8


class State(IntEnum):
    """An account's state, as ``purplectl status`` shows it."""

    OFFLINE = 0
    CONNECTING = 1
    ONLINE = 2
    ERROR = 3

    @property
    def word(self) -> str:
        return self.name.lower()


class Way(IntEnum):
    """What a SIP worker does with a message for the account."""

    QUEUE = 0  # it cannot leave at once: a row in the database first
    DIRECT = 1  # it leaves at once
    CLOSED = 2  # it would never leave: an error that trying again does not cure


_WAYS = tuple(Way)  # cheaper than Way(number): asked for each message


class BoardFull(Exception):
    """More accounts than SLOTS on one worker."""


class AccountBoard:
    """Made in the parent before the fork; ``set_*`` only by the owning worker."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._memory = mmap.mmap(-1, workers * (HEADER + SLOTS * SLOT))
        self._numbers = memoryview(self._memory).cast("I")
        self._generations = [(self._region(worker) + 4) // 4 for worker in range(1, workers + 1)]

    def set_ready(self, worker: int, ready: bool) -> None:
        self._memory[self._region(worker)] = int(ready)

    def ready(self, worker: int) -> bool:
        """Whether the worker's libpurple runs."""
        return self._memory[self._region(worker)] == 1

    def request_reload(self, worker: int) -> None:
        """From any process: the worker's queue has rows that it was not told of."""
        self._memory[self._region(worker) + 1] = 1

    def reload_requested(self, worker: int) -> bool:
        """Once for each request; only for the worker itself."""
        requested = self._memory[self._region(worker) + 1] == 1
        self._memory[self._region(worker) + 1] = 0
        return requested

    def rows_changed(self, worker: int) -> None:
        """From worker ``worker`` itself: the mapping is not what it was."""
        place = self._generations[worker - 1]
        self._numbers[place] = (self._numbers[place] + 1) % (1 << 32)

    def rows_generation(self) -> int:
        """Another number after each ``rows_changed``; 0: the mapping has not been looked at yet."""
        return sum([self._numbers[place] for place in self._generations])  # no generator: asked for each message

    def set_state(self, protocol: str, ext_user: str, state: State, way: Way = Way.QUEUE) -> None:
        """Raises BoardFull."""
        digest = account_digest(protocol, ext_user)
        slot, found = self._find(protocol, ext_user, digest)
        self._memory[slot + 8] = state
        self._memory[slot + 9] = way
        if not found:
            self._memory[slot : slot + 8] = digest

    def state(self, protocol: str, ext_user: str) -> State:
        """OFFLINE for an account that was never signed on."""
        try:
            slot, found = self._find(protocol, ext_user, account_digest(protocol, ext_user))
        except BoardFull:
            return State.OFFLINE
        return State(self._memory[slot + 8]) if found else State.OFFLINE

    def way(self, protocol: str, ext_user: str) -> Way:
        """QUEUE for an account that was never signed on."""
        try:
            slot, found = self._find(protocol, ext_user, account_digest(protocol, ext_user))
        except BoardFull:
            return Way.QUEUE
        return _WAYS[self._memory[slot + 9]] if found else Way.QUEUE

    def _region(self, worker: int) -> int:
        return (worker - 1) * (HEADER + SLOTS * SLOT)

    def _find(self, protocol: str, ext_user: str, digest: bytes) -> tuple[int, bool]:
        """(offset of the slot, whether it is this account's or the free one where it goes)."""
        first = self._region(owner_of(protocol, ext_user, self._workers)) + HEADER
        start = int.from_bytes(digest) % SLOTS
        for step in range(SLOTS):
            slot = first + (start + step) % SLOTS * SLOT
            content = self._memory[slot : slot + 8]
            if content == digest:
                return slot, True
            if content == EMPTY:
                return slot, False
        raise BoardFull(f"a worker shows at most {SLOTS} accounts: raise purple.workers")
