"""libpurple's event loop on GLib's: owns the descriptors and the long timers of all connections, in any number.

GLib's loop looks at each of its sources whenever anything happens: with 2,500 connections, which have a descriptor and
two timers each, a wake-up costs 1.5 ms. So all descriptors wait behind one epoll descriptor, and all timers of many
seconds behind one timer; only short timers are GLib's own.
"""

from __future__ import annotations

import ctypes
import itertools
import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from ctypes import CFUNCTYPE, c_int, c_uint, c_void_p
from dataclasses import dataclass, field
from functools import lru_cache, partial

from . import c, glib
from .callbacks import callback, operations
from .limits import limits

EVENTS_AT_ONCE = 4
LONGEST_SECONDS = 0.005  # until the loop's other sources have their turn
LONG_SECONDS = 20  # a timer from here on may be a second late
TICK_SECONDS = 1.0
LONG_TIMERS = 1 << 31  # their handles, beyond those that GLib gives

_InputAdd = CFUNCTYPE(c_uint, c_int, c_uint, c_void_p, c_void_p)
_InputRemove = CFUNCTYPE(c_int, c_uint)
_TimeoutAdd = CFUNCTYPE(c_uint, c_uint, c_void_p, c_void_p)

_ON = ctypes.byref(c_int(1))


def _send_at_once(descriptor: int) -> None:
    """TCP_NODELAY: libpurple writes a stanza and the request to acknowledge it one after the other, and the second
    would wait 40 ms for the other side's delayed ACK. What is no TCP socket refuses it, and that is all."""
    c.libc.setsockopt(descriptor, socket.IPPROTO_TCP, socket.TCP_NODELAY, _ON, ctypes.sizeof(c_int))


def _acknowledge_at_once(descriptor: int) -> None:
    """TCP_QUICKACK (tcp(7)), said again for each read: a server with Nagle's algorithm, as Prosody is, keeps the next
    small stanza back until this side has acknowledged the last one."""
    c.libc.setsockopt(descriptor, socket.IPPROTO_TCP, socket.TCP_QUICKACK, _ON, ctypes.sizeof(c_int))


def epoll_events(condition: int) -> int:
    """libpurple's PurpleInputCondition as epoll(7) has it; an error or the end wakes both readers and writers."""
    events = 0
    if condition & c.PURPLE_INPUT_READ:
        events |= select.EPOLLIN
    if condition & c.PURPLE_INPUT_WRITE:
        events |= select.EPOLLOUT
    return events


_FAILED = select.EPOLLHUP | select.EPOLLERR

# of one descriptor: what is waited for, and whom to call with (descriptor, events), by handle
_Watchers = dict[int, tuple[int, Callable[[int, int], object]]]


@dataclass(slots=True)
class Inputs:
    """Descriptors behind one epoll descriptor, which is the only one that GLib's loop looks at."""

    _epoll: select.epoll = field(default_factory=select.epoll)
    _watchers: dict[int, _Watchers] = field(default_factory=dict)  # by descriptor
    _descriptors: dict[int, int] = field(default_factory=dict)  # by handle
    _elsewhere: dict[int, int] = field(default_factory=dict)  # by handle: the key of glib.watch
    _handles: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def install(self) -> None:
        """In the process and thread whose loop it is."""
        glib.watch(self._epoll.fileno(), glib.READ, lambda _descriptor, _condition: self._ready())

    def add(self, descriptor: int, condition: int, function: Callable[[int, int], object]) -> int:
        """Call ``function(descriptor, happened)`` whenever it is ready; both: PurpleInputCondition."""
        handle = next(self._handles)
        watchers = self._watchers.setdefault(descriptor, {})
        watchers[handle] = (condition, function)
        try:
            self._follow(descriptor, watchers)
        except PermissionError:  # epoll_ctl(2): no socket, but a file, which is always ready
            self._forget(descriptor, handle)
            self._elsewhere[handle] = _watch_with_glib(descriptor, condition, function)
        else:
            self._descriptors[handle] = descriptor
        return handle

    def remove(self, handle: int) -> bool:
        """False: it had ended already."""
        if (key := self._elsewhere.pop(handle, None)) is not None:
            return glib.remove(key)
        descriptor = self._descriptors.pop(handle, None)
        if descriptor is None:
            return False
        self._forget(descriptor, handle)
        return True

    def _forget(self, descriptor: int, handle: int) -> None:
        watchers = self._watchers[descriptor]
        del watchers[handle]
        if not watchers:
            del self._watchers[descriptor]
        with suppress(OSError):  # epoll forgets by itself what was closed
            self._follow(descriptor, watchers)

    def _follow(self, descriptor: int, watchers: _Watchers) -> None:
        """Make epoll wait for what the watchers want."""
        if not watchers:
            self._epoll.unregister(descriptor)
            return
        events = 0
        for condition, _ in watchers.values():
            events |= epoll_events(condition)
        try:
            self._epoll.modify(descriptor, events)
        except FileNotFoundError:  # new, or its number was another descriptor's before
            self._epoll.register(descriptor, events)

    def _ready(self) -> None:
        """A few at a time: epoll names those first that it has not named for longest."""
        end = time.monotonic() + LONGEST_SECONDS
        while True:
            ready = self._epoll.poll(0, EVENTS_AT_ONCE)
            for descriptor, events in ready:
                self._tell(descriptor, events)
            if len(ready) < EVENTS_AT_ONCE or time.monotonic() > end:
                return

    def _tell(self, descriptor: int, events: int) -> None:
        """A function may end others, or close the descriptor and get its number for another connection."""
        for handle, (condition, function) in tuple(self._watchers.get(descriptor, {}).items()):
            happened = condition if events & _FAILED else _condition(events) & condition
            if happened and handle in self._descriptors:
                function(descriptor, happened)


def _condition(events: int) -> int:
    happened = c.PURPLE_INPUT_READ if events & select.EPOLLIN else 0
    return happened | c.PURPLE_INPUT_WRITE if events & select.EPOLLOUT else happened


def _watch_with_glib(descriptor: int, condition: int, function: Callable[[int, int], object]) -> int:
    events = (glib.READ if condition & c.PURPLE_INPUT_READ else 0) | (
        glib.WRITE if condition & c.PURPLE_INPUT_WRITE else 0
    )
    return glib.watch(descriptor, events, lambda ready, _happened: function(ready, condition))


@dataclass(slots=True)
class LongTimers:
    """Timers of whole seconds behind one of GLib's, which runs while there are any."""

    clock: Callable[[], float] = time.monotonic
    _due: dict[int, dict[int, tuple[int, Callable[[], object]]]] = field(default_factory=dict)
    _seconds: dict[int, int] = field(default_factory=dict)  # by handle: at which second of the clock it is due
    _looked_at: int = 0  # all seconds up to this one have been
    _ticking: bool = False
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def add(self, seconds: int, function: Callable[[], object]) -> int:
        """Call ``function`` after ``seconds``, again as long as it returns true."""
        handle = self._new_handle()
        self._plan(handle, seconds, function)
        if not self._ticking:
            self._ticking, self._looked_at = True, int(self.clock())
            glib.add_timer(TICK_SECONDS, self._tick)
        return handle

    def remove(self, handle: int) -> bool:
        """False: it had ended already."""
        second = self._seconds.pop(handle, None)
        if second is not None:
            self._due[second].pop(handle, None)
        return second is not None

    def _new_handle(self) -> int:
        """Numbers come again after two thousand million timers."""
        while (handle := LONG_TIMERS | (next(self._numbers) & (LONG_TIMERS - 1))) in self._seconds:
            pass
        return handle

    def _plan(self, handle: int, seconds: int, function: Callable[[], object]) -> None:
        """Never early: the second that has begun does not count."""
        second = self._seconds[handle] = int(self.clock()) + seconds + 1
        self._due.setdefault(second, {})[handle] = (seconds, function)

    def _tick(self) -> bool:
        """A timer that is called may end others, or itself."""
        while self._looked_at < int(self.clock()):
            self._looked_at += 1
            timers = self._due.get(self._looked_at, {})
            while timers:
                handle, (seconds, function) = timers.popitem()
                if function() and handle in self._seconds:
                    self._plan(handle, seconds, function)
                else:
                    self._seconds.pop(handle, None)
            self._due.pop(self._looked_at, None)
        self._ticking = bool(self._due)
        return self._ticking


# libpurple gives the same few functions for all connections
_input_function = lru_cache(c.PurpleInputFunction)
_source_function = lru_cache(c.GSourceFunc)


def _input_add(inputs: Inputs, descriptor: int, condition: int, function_address: int, data: int | None) -> int:
    _send_at_once(descriptor)
    function = _input_function(function_address)

    def ready(ready_descriptor: int, happened: int) -> None:
        if happened & c.PURPLE_INPUT_READ:
            _acknowledge_at_once(ready_descriptor)
            limits.input(function, data, ready_descriptor, happened)
        else:
            function(data, ready_descriptor, happened)

    return inputs.add(descriptor, condition, ready)


def _timeout_add_seconds(timers: LongTimers, seconds: int, function_address: int, data: int | None) -> int:
    if seconds < LONG_SECONDS:
        short: int = c.glib_quick.g_timeout_add_seconds(seconds, _source_function(function_address), data)
        return short
    return timers.add(seconds, partial(_source_function(function_address), data))


def _timeout_remove(timers: LongTimers, handle: int) -> int:
    return timers.remove(handle) if handle & LONG_TIMERS else c.glib_quick.g_source_remove(handle)


def install() -> None:
    """purple_eventloop_set_ui_ops (eventloop.h); before purple_core_init."""
    inputs, timers = Inputs(), LongTimers()
    inputs.install()
    ops = operations(
        c.EventLoopUiOps,
        timeout_add=c.glib.g_timeout_add,
        timeout_remove=callback(_InputRemove, lambda handle: _timeout_remove(timers, handle), 0),
        timeout_add_seconds=callback(_TimeoutAdd, lambda *timer: _timeout_add_seconds(timers, *timer), 0),
        input_add=callback(_InputAdd, lambda *watch: _input_add(inputs, *watch), 0),
        input_remove=callback(_InputRemove, inputs.remove, 0),
    )
    c.purple.purple_eventloop_set_ui_ops(ops)
