"""Owns what an agent has received and the waiting for it; knows no protocol."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Inbox(Generic[T]):
    """Received items, in order, from a reading thread to waiting callers.

    `wait` gives each item once. Items of the same `source` are states of one thing: when one is given,
    the older ones of that source count as given too, so a later wait cannot see an outdated state.
    """

    def __init__(self, what: str, source: Callable[[T], Hashable] | None = None) -> None:
        self._what = what
        self._source = source
        self._items: list[T] = []
        self._given: list[bool] = []
        self._changed = threading.Condition()

    @property
    def items(self) -> list[T]:
        """Everything received so far, whether waited for or not."""
        with self._changed:
            return list(self._items)

    def put(self, item: T) -> None:
        with self._changed:
            self._items.append(item)
            self._given.append(False)
            self._changed.notify_all()

    def wait(self, predicate: Callable[[T], bool] | None, timeout: float) -> T:
        """The first item not given before for which `predicate` holds; `timeout` is in seconds.

        Raises AssertionError that lists what came instead.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._find(predicate) is not None, timeout)
            index = self._find(predicate)
            if index is None:
                raise AssertionError(f"no {self._what} within {timeout:g} s; received: {self._items!r}")
            self._mark_given(index)
            return self._items[index]

    def forget(self) -> None:
        """Count everything received so far as given: a later wait sees new items only."""
        with self._changed:
            self._given = [True] * len(self._items)

    def _find(self, predicate: Callable[[T], bool] | None) -> int | None:
        for index, item in enumerate(self._items):
            if not self._given[index] and (predicate is None or predicate(item)):
                return index
        return None

    def _mark_given(self, index: int) -> None:
        self._given[index] = True
        if self._source is None:
            return
        source = self._source(self._items[index])
        for earlier in range(index):
            self._given[earlier] = self._given[earlier] or self._source(self._items[earlier]) == source
