"""Owns a bounded cache whose entries age; knows nothing of what it keeps."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class TtlCache(Generic[K, V]):
    """The last used ``size`` values, each fresh for ``ttl`` seconds and kept for longer, for when the source fails.

    Where somebody watches the source, ``generation`` is not 0: then a value is fresh until it is another number than
    when the value was read, however long that takes.
    ``put`` and ``use`` belong to one thread; ``peek`` changes nothing and may be called from any other.
    """

    def __init__(
        self,
        ttl: float,
        size: int,
        clock: Callable[[], float] = time.monotonic,
        generation: Callable[[], int] = lambda: 0,
    ) -> None:
        self._ttl, self._size, self._clock, self._generation = ttl, size, clock, generation
        self._entries: OrderedDict[K, tuple[V, float, int]] = OrderedDict()

    def put(self, key: K, value: V, generation: int = 0) -> None:
        """``generation``: as it was before the value was read."""
        self._entries[key] = (value, self._clock() + self._ttl, generation)
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def peek(self, key: K) -> V | None:
        """The value if it is fresh."""
        entry = self._entries.get(key)
        if entry is None or entry[2] != self._generation():
            return None
        return entry[0] if entry[2] or self._clock() < entry[1] else None

    def use(self, key: K) -> V | None:
        """The value if it is fresh, which now counts as the last used."""
        value = self.peek(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def aged(self, key: K) -> V | None:
        """The value however old it is."""
        entry = self._entries.get(key)
        return entry[0] if entry else None

    def __len__(self) -> int:
        return len(self._entries)
