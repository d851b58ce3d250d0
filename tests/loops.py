"""Owns the running of GLib's default loop in a test, until something is seen; knows nothing of libpurple."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from purple_bridge.libpurple import c, glib

T = TypeVar("T")

TICK_SECONDS = 0.02


def run_until(probe: Callable[[], T], what: str, timeout: float = 30.0) -> T:
    """Run the loop until ``probe`` returns something true, and return that.

    Raises AssertionError naming ``what`` and the last value after ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    tick = glib.add_timer(TICK_SECONDS, lambda: True)
    try:
        while not (value := probe()):
            if time.monotonic() > deadline:
                raise AssertionError(f"not seen within {timeout:g} s: {what} (last value: {value!r})")
            c.glib.g_main_context_iteration(None, 1)
        return value
    finally:
        glib.remove(tick)


def run_for(seconds: float) -> None:
    """Run the loop for a while, to see that something does not happen."""
    end = time.monotonic() + seconds
    run_until(lambda: time.monotonic() >= end, "the end of the time", seconds + 5)
