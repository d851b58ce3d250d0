"""Owns running a scenario several times at the same time, where each would only wait; knows nothing of what it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def at_once(scenario: Callable[[T], None], cases: Mapping[str, T]) -> None:
    """``scenario`` with each of the cases, in a thread that ends with it: a server may be started there.

    Waits for all of them, then raises what the first one raised, with the name of its case as a note.
    """
    with ThreadPoolExecutor(len(cases)) as threads:
        running = {name: threads.submit(scenario, case) for name, case in cases.items()}
    for name, future in running.items():
        error = future.exception()
        if error is not None:
            error.add_note(f"case {name}")
            raise error
