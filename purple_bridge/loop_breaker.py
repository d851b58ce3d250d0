"""Programs that answer each other: owns what two parties have written lately; must not know SIP and IM networks.

Two gateways pointed at each other, or a phone and an IM client that both answer by themselves, never end, and nothing
in a MESSAGE or a stanza says that no person wrote it. What gives them away is that the same texts go to and fro: people
take turns, too, but not with the same words again and again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

WINDOW = 60.0  # seconds between a text and its next repetition, beyond which it is none
MOST_PAIRS = 4096
MOST_TEXTS = 8  # of a pair; the oldest goes


@dataclass(slots=True)
class _Text:
    """``turns``: how often it came right after something of the other party."""

    at: float
    turns: int = 0


@dataclass(slots=True)
class _Pair:
    """``last``: who wrote last; ``texts``: by who wrote it, and its hash."""

    last: bool | None = None
    texts: dict[tuple[bool, int], _Text] = field(default_factory=dict)


class LoopBreaker:
    """``limit``: so many times the same text may come in turn with others; 0: no limit."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit, self._clock = limit, clock
        self._pairs: dict[Hashable, _Pair] = {}
        self._one_way: dict[Hashable, tuple[bool, int]] = {}  # of whom only one has written so far: the last text

    def sent(self, pair: Hashable, text: str) -> None:
        """From our side to the other."""
        if self.limit:
            self._turns(pair, True, text)

    def came(self, pair: Hashable, text: str) -> bool:
        """From the other side; False: it is one turn too many, and must not reach whoever may answer it."""
        return not self.limit or self._turns(pair, False, text) <= self.limit

    def _turns(self, pair: Hashable, ours: bool, text: str) -> int:
        key, found = (ours, hash(text)), self._pairs.pop(pair, None)
        if found is None:
            before = self._one_way.get(pair)
            if before is None or before[0] is ours:
                return self._keep_one_way(pair, key)
            del self._one_way[pair]
            found = _Pair(before[0], {before: _Text(self._clock(), 1)})
        self._pairs[pair] = found
        if len(self._pairs) > MOST_PAIRS:
            del self._pairs[next(iter(self._pairs))]
        now = self._clock()
        known = found.texts.pop(key, None)
        if known is None or now - known.at > WINDOW:
            known = _Text(now)
        known.at = now
        known.turns += found.last is not ours
        found.texts[key] = known
        if ours or known.turns <= self.limit:  # what is refused has not reached anybody
            found.last = ours
        if len(found.texts) > MOST_TEXTS:
            del found.texts[next(iter(found.texts))]
        return known.turns

    def _keep_one_way(self, pair: Hashable, key: tuple[bool, int]) -> int:
        """Nobody has answered yet: most who write much are never answered, so this is all that it costs."""
        if len(self._one_way) >= MOST_PAIRS:
            self._one_way.clear()
        self._one_way[pair] = key
        return 1
