"""libpurple's event loop on GLib's: timers are GLib's own functions, descriptor watches need a change of signature."""

from __future__ import annotations

import ctypes
import socket
from ctypes import CFUNCTYPE, c_int, c_uint, c_void_p

from . import c, glib
from .callbacks import callback, operations

_InputAdd = CFUNCTYPE(c_uint, c_int, c_uint, c_void_p, c_void_p)
_InputRemove = CFUNCTYPE(c_int, c_uint)


_ON = ctypes.byref(c_int(1))


def _send_at_once(descriptor: int) -> None:
    """TCP_NODELAY: libpurple writes a stanza and the request to acknowledge it one after the other, and the second
    would wait 40 ms for the other side's delayed ACK. What is no TCP socket refuses it, and that is all."""
    c.libc.setsockopt(descriptor, socket.IPPROTO_TCP, socket.TCP_NODELAY, _ON, ctypes.sizeof(c_int))


def _acknowledge_at_once(descriptor: int) -> None:
    """TCP_QUICKACK (tcp(7)), said again for each read: a server with Nagle's algorithm, as Prosody is, keeps the next
    small stanza back until this side has acknowledged the last one."""
    c.libc.setsockopt(descriptor, socket.IPPROTO_TCP, socket.TCP_QUICKACK, _ON, ctypes.sizeof(c_int))


def _input_add(descriptor: int, condition: int, function_address: int, data: int | None) -> int:
    _send_at_once(descriptor)
    function = c.PurpleInputFunction(function_address)
    events = 0
    if condition & c.PURPLE_INPUT_READ:
        events |= glib.READ
    if condition & c.PURPLE_INPUT_WRITE:
        events |= glib.WRITE

    def ready(ready_descriptor: int, revents: int) -> None:
        happened = 0
        if revents & glib.READ:
            happened |= c.PURPLE_INPUT_READ
            _acknowledge_at_once(ready_descriptor)
        if revents & glib.WRITE:
            happened |= c.PURPLE_INPUT_WRITE
        function(data, ready_descriptor, happened & condition)

    return glib.watch(descriptor, events, ready)


def _input_remove(key: int) -> int:
    return glib.remove(key)


def install() -> None:
    """purple_eventloop_set_ui_ops (eventloop.h); before purple_core_init."""
    ops = operations(
        c.EventLoopUiOps,
        timeout_add=c.glib.g_timeout_add,
        timeout_remove=c.glib.g_source_remove,
        timeout_add_seconds=c.glib.g_timeout_add_seconds,
        input_add=callback(_InputAdd, _input_add, 0),
        input_remove=callback(_InputRemove, _input_remove, 0),
    )
    c.purple.purple_eventloop_set_ui_ops(ops)
