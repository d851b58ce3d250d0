"""GLib's default main loop: owns timers and file descriptor watches made from Python; knows nothing of libpurple."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from . import c
from .callbacks import guarded

READ = c.G_IO_IN | c.G_IO_HUP | c.G_IO_ERR
WRITE = c.G_IO_OUT | c.G_IO_HUP | c.G_IO_ERR | c.G_IO_NVAL

_functions: dict[int, Callable[..., Any]] = {}
_tags: dict[int, int] = {}
_keys = itertools.count(1)
_afterwards: list[Callable[[], None]] = []


def afterwards(function: Callable[[], None]) -> None:
    """In the loop's thread: call ``function`` when the descriptor or timer that is being handled has been.

    Once, however often it is asked for meanwhile.
    """
    if function not in _afterwards:
        _afterwards.append(function)


def _do_the_rest() -> None:
    while _afterwards:
        _afterwards.pop()()


def _timer_fired(key: int) -> int:
    function, again = _functions.get(key), False
    try:
        again = function is not None and bool(function())
    finally:
        if not again:
            _forget(key)
        if _afterwards:
            _do_the_rest()
    return int(again)


def _descriptor_ready(descriptor: int, condition: int, key: int) -> int:
    function = _functions.get(key)
    if function is None:
        return 0
    try:
        function(descriptor, condition)
    finally:
        if _afterwards:
            _do_the_rest()
    return key in _functions


def _forget(key: int) -> int | None:
    _functions.pop(key, None)
    return _tags.pop(key, None)


# one C callback for all of them: the key says which Python function is meant
_timer_callback = c.GSourceFunc(guarded(_timer_fired, 0))
_descriptor_callback = c.GUnixFDSourceFunc(guarded(_descriptor_ready, 1))


def add_timer(seconds: float, function: Callable[[], object]) -> int:
    """Call ``function`` after ``seconds``, again as long as it returns true. Returns a key for ``remove``."""
    key = next(_keys)
    _functions[key] = function
    _tags[key] = c.glib_quick.g_timeout_add(int(seconds * 1000), _timer_callback, key)
    return key


def call_soon(function: Callable[[], None]) -> None:
    """Call ``function`` once in the loop's thread; may be called from any thread (GLib wakes the loop)."""
    key = next(_keys)
    _functions[key] = function
    c.glib_quick.g_timeout_add(0, _timer_callback, key)


def watch(descriptor: int, condition: int, function: Callable[[int, int], object]) -> int:
    """Call ``function(descriptor, condition)`` whenever ``descriptor`` is ready. Returns a key for ``remove``."""
    key = next(_keys)
    _functions[key] = function
    tag = _tags[key] = c.glib_quick.g_unix_fd_add(descriptor, condition, _descriptor_callback, key)
    # or else GLib takes the descriptor out of its set for the time of each call, and wakes itself up twice for that; a
    # loop within the loop, in which such a source would be called again, does not exist here
    c.glib_quick.g_source_set_can_recurse(c.glib_quick.g_main_context_find_source_by_id(None, tag), 1)
    return key


def remove(key: int) -> bool:
    """Forget a timer or a watch; false when it had ended already."""
    tag = _forget(key)
    return tag is not None and bool(c.glib_quick.g_source_remove(tag))


class MainLoop:
    """The default context's loop; ``run`` blocks until ``quit`` (which any thread may call)."""

    def __init__(self) -> None:
        self._loop = c.glib.g_main_loop_new(None, 0)

    def run(self) -> None:
        c.glib.g_main_loop_run(self._loop)

    def quit(self) -> None:
        c.glib.g_main_loop_quit(self._loop)


def iterate_list(head: Any) -> Iterator[int]:
    """The data pointers of a GList*."""
    while head:
        yield head.contents.data
        head = head.contents.next


def take_string(pointer: int | None) -> str:
    """A ``char *`` that the caller has to free: its text, freed."""
    if not pointer:
        return ""
    try:
        return decode(ctypes.string_at(pointer))
    finally:
        c.glib_quick.g_free(pointer)


def decode(value: bytes | None) -> str:
    """C's ``const char *`` as text; networks send bad UTF-8 now and then: it is replaced, not refused."""
    return value.decode("utf-8", "replace") if value else ""
