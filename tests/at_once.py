"""Owns running scenarios at the same time where each would only wait; knows nothing of what they do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")
Running = dict[str, "Future[None]"]


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


class Together(Generic[T]):
    """A decorator for tests of a module that run at the same time, each in a thread, and are tests of their own still.

    All of them begin with the first one that is asked for; each takes one argument. The module needs a fixture
    ``running`` that yields ``started(make)``.
    """

    def __init__(self) -> None:
        self._scenes: list[Callable[[T], None]] = []

    def __call__(self, scene: Callable[[T], None]) -> Callable[[Running], None]:
        self._scenes.append(scene)

        def test(running: Running) -> None:
            running[scene.__name__].result()

        test.__name__, test.__qualname__, test.__doc__ = scene.__name__, scene.__qualname__, scene.__doc__
        return test

    @contextmanager
    def started(self, make: Callable[[], T]) -> Iterator[Running]:
        """``make``: called in the thread of each test for its argument. At the end all of them have ended."""

        def play(scene: Callable[[T], None]) -> None:
            scene(make())

        with ThreadPoolExecutor(len(self._scenes)) as threads:
            yield {scene.__name__: threads.submit(play, scene) for scene in self._scenes}
