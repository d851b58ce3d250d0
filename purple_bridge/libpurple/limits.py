"""What an IM server can make libpurple keep and do: owns the limits of what is not complete yet; knows no account.

libpurple keeps a stanza until its end and a line of IRC until its LF, however long they become; it frees elements by
recursion, so that a million levels overflow the stack; and it reads from TLS as long as anything comes.  Here it is
looked at between two reads, so that a server can take away its own connection and nothing else.
"""

from __future__ import annotations

import _ctypes
import ctypes
import errno
import fcntl
import logging
import socket
import termios
from collections.abc import Callable
from ctypes import CFUNCTYPE, c_size_t, c_ssize_t, c_void_p
from dataclasses import dataclass, field
from typing import Any

from . import c, glib, signals, xmlnode

logger = logging.getLogger(__name__)

XMPP, IRC = b"prpl-jabber", b"prpl-irc"

LARGEST = {XMPP: 1 << 20, IRC: 1 << 16}
"""Octets of a stanza (a contact list of some thousand is one), and of a line (RFC 2812 §2.3: 512, with tags 8191)."""

DEEPEST = 500
"""Levels of elements; what people write has ten. A read of 4096 octets adds 1400 at most before it is looked at."""

LARGEST_TAG = 1 << 14
"""Octets. libxml2 and libpurple compare each attribute with all others: 64 KB of them take a second."""

READS_AT_ONCE = 64
"""Of TLS, 4096 octets each, before others have their turn."""

# tcp(7), struct tcp_info of linux/tcp.h: tcpi_bytes_received
_BYTES_RECEIVED = 128
_INFO_OCTETS = _BYTES_RECEIVED + 8

_POINTER = ctypes.sizeof(c_void_p)
_STREAM_CONTEXT, _STREAM_CURRENT = 2 * _POINTER, 3 * _POINTER  # jabber.h: fd, srv_query_data, context, current
# libxml/parser.h xmlParserCtxt: sax, userData, myDoc, two ints, version, encoding, two ints, input
_CONTEXT_INPUT = 7 * _POINTER
_INPUT_CURRENT, _INPUT_END = 4 * _POINTER, 5 * _POINTER  # libxml/tree.h xmlParserInput
_SigningOff = CFUNCTYPE(None, c_void_p, c_void_p)
_NETWORK_ERROR = 0  # connection.h PURPLE_CONNECTION_ERROR_NETWORK_ERROR: the account tries again, later and later


class _Read(_ctypes.CFuncPtr):  # PYFUNCTYPE, which knows no errno
    """Called with Python's lock kept: nothing there waits, and a SIP worker may not give the lock back soon."""

    _restype_ = c_ssize_t
    _argtypes_ = (c_void_p, c_void_p, c_size_t)
    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_PYTHONAPI | _ctypes.FUNCFLAG_USE_ERRNO


@dataclass(slots=True)
class Limits:
    """Of one process, whose loop's thread alone calls it.

    ``complete``: stanzas and lines that have come, of all connections: one that has grown during a read says that what
    this read was about has come to its end.
    """

    complete: int = 0
    _kinds: dict[int, bytes] = field(default_factory=dict)  # by PurpleConnection*: the plugin
    _ended: set[int] = field(default_factory=set)  # went too far, and libpurple has not closed them yet
    _begun: dict[int, int] = field(default_factory=dict)  # the octet at which what is not complete began
    _mark: int = 0  # of ``complete``, at the last look
    _reads: int = 0  # of TLS, that are left in this turn
    _secure: int | None = None  # PurpleConnection* of the TLS that is read in this turn
    _again: tuple[Any, int | None, int, int] = (None, None, 0, 0)
    _read_plainly: Callable[[int, int, int], int] = field(default=lambda *_: -1)
    _kept_alive: list[object] = field(default_factory=list)

    def install(self) -> None:
        """Look before each read of TLS, too: its callers read until nothing is left."""
        handle = c.purple.purple_connections_get_handle()
        signals.connect(handle, b"signing-off", _SigningOff, lambda connection, _data: self._forget_stanza(connection))
        found = c.purple.purple_ssl_get_ops()
        if not found:  # no plugin for TLS
            return
        ops = found.contents
        self._read_plainly = _Read(ops.read)
        read = _Read(self._read)
        self._kept_alive.append(read)
        ops.read = ctypes.cast(read, c_void_p).value

    def connecting(self, connection: int, plugin: bytes) -> None:
        """From now on it is looked at, if there are limits for this plugin."""
        if plugin in LARGEST:
            self._kinds[connection] = plugin

    def disconnected(self, connection: int) -> None:
        """Its memory is about to be freed."""
        self._kinds.pop(connection, None)
        self._begun.pop(connection, None)
        self._ended.discard(connection)

    def input(self, function: Any, data: int | None, descriptor: int, happened: int) -> None:
        """``function``: what libpurple does when ``descriptor`` is ready; ``data``: its PurpleConnection*, or not."""
        if data in self._ended:
            return
        self._again = (function, data, descriptor, happened)
        self._reads, self._secure, self._mark = READS_AT_ONCE, None, self.complete
        function(data, descriptor, happened)
        connection = self._secure or data
        if connection in self._kinds:
            self._look(connection, descriptor)

    def _look(self, connection: int, descriptor: int) -> bool:
        """False: the server has gone too far, and the connection is about to end."""
        mark, self._mark = self._mark, self.complete
        if mark != self.complete:
            self._begun.pop(connection, None)
            return True
        taken = _octets_taken(descriptor)
        begun = self._begun.setdefault(connection, taken)
        plugin = self._kinds[connection]
        if taken - begun > LARGEST[plugin]:
            return self._end(connection, b"the server sent more than %d octets without an end" % LARGEST[plugin])
        if plugin == XMPP and _is_deep(connection):
            return self._end(connection, b"the server sent elements in more than %d levels" % DEEPEST)
        if plugin == XMPP and _octets_not_parsed(connection) > LARGEST_TAG:
            return self._end(connection, b"the server sent a tag of more than %d octets" % LARGEST_TAG)
        return True

    def _end(self, connection: int, reason: bytes) -> bool:
        """libpurple closes it in the next turn of the loop."""
        self._forget_stanza(connection)
        self._kinds.pop(connection, None)
        self._ended.add(connection)
        c.purple.purple_connection_error_reason(connection, _NETWORK_ERROR, reason)
        return False

    def _forget_stanza(self, connection: int) -> None:
        """libpurple forgets it, but does not free it, when a connection ends within one."""
        current = _current(connection) if self._kinds.get(connection) == XMPP else None
        if current is None or not current.value:
            return
        node, current.value = current.value, None
        while parent := c.XmlNode.from_address(node).parent:
            node = parent
        xmlnode.free(node)

    # ------------------------------------------------------------ TLS
    def _read(self, secure: int, buffer: int, length: int) -> int:
        """In place of the plugin's function; EAGAIN: nothing more for now."""
        try:
            held_back = self._holds_back(secure)
        except Exception:  # nothing may be raised into C, and a server must be heard
            logger.exception("what comes over TLS is not limited")
            held_back = False
        if held_back:
            ctypes.set_errno(errno.EAGAIN)
            return -1
        return self._read_plainly(secure, buffer, length)

    def _holds_back(self, secure: int) -> bool:
        fields = c.SslConnection.from_address(secure)
        connection = fields.recv_cb_data
        if connection not in self._kinds:
            return connection in self._ended
        self._reads, self._secure = self._reads - 1, connection
        if self._reads < 0:
            self._go_on_later(connection)
            return True
        # 32 KB in between, of which 11,000 levels can be made
        return self._reads % 8 == 0 and not self._look(connection, fields.fd)

    def _go_on_later(self, connection: int) -> None:
        """What TLS has decrypted already wakes nobody."""
        again = self._again
        glib.call_soon(lambda: self.input(*again) if connection in self._kinds else None)


def _octets_taken(descriptor: int) -> int:
    """That libpurple has read from this connection so far; 0 for what is no TCP."""
    info, size = ctypes.create_string_buffer(_INFO_OCTETS), ctypes.c_uint(_INFO_OCTETS)
    if c.libc.getsockopt(descriptor, socket.IPPROTO_TCP, socket.TCP_INFO, info, ctypes.byref(size)) != 0:
        return 0
    waiting = bytearray(4)
    try:
        fcntl.ioctl(descriptor, termios.FIONREAD, waiting)
    except OSError:
        return 0
    received = int.from_bytes(info.raw[_BYTES_RECEIVED:_INFO_OCTETS], "little")
    return received - int.from_bytes(waiting, "little")


def _octets_not_parsed(connection: int) -> int:
    """Of a tag or comment, which libxml2 reads when its end is there."""
    stream = c.purple_quick.purple_connection_get_protocol_data(connection)
    context = _pointer(stream, _STREAM_CONTEXT)
    source = _pointer(context, _CONTEXT_INPUT)
    return (_pointer(source, _INPUT_END) or 0) - (_pointer(source, _INPUT_CURRENT) or 0)


def _pointer(structure: int | None, offset: int) -> int | None:
    """What stands in a structure there, if there is one."""
    return c_void_p.from_address(structure + offset).value if structure else None


def _current(connection: int) -> c_void_p | None:
    """Where libpurple keeps the address of the element that is being read."""
    stream = c.purple_quick.purple_connection_get_protocol_data(connection)
    return c_void_p.from_address(stream + _STREAM_CURRENT) if stream else None


def _is_deep(connection: int) -> bool:
    """The element that is being read is within too many others."""
    current = _current(connection)
    node, levels = current.value if current else None, 0
    while node and levels <= DEEPEST:
        node = c.XmlNode.from_address(node).parent
        levels += 1
    return levels > DEEPEST


limits = Limits()
