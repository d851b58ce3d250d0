"""XMPP's requests for what the gateway has no use for: owns which they are, and their refusal; opens nothing.

libpurple would ask somebody whether to take a file or a call; until that is denied it has opened a stream or a file, or
looked up a host that a stranger has named.
"""

from __future__ import annotations

from collections.abc import Callable
from ctypes import CFUNCTYPE, c_char_p, c_int, c_void_p
from typing import Any

from . import signals, xmlnode
from .glib import decode
from .messages import STANZAS

NAMESPACES = frozenset(
    (
        b"http://jabber.org/protocol/bytestreams",  # XEP-0065
        b"http://jabber.org/protocol/ibb",  # XEP-0047
        b"http://jabber.org/protocol/si",  # XEP-0095
        b"http://www.google.com/session",
        b"jabber:iq:oob",  # XEP-0066
        b"urn:xmpp:jingle:1",  # XEP-0166
    )
)

_P, _S = c_void_p, c_char_p
_Iq = CFUNCTYPE(c_int, _P, _S, _S, _S, _P, _P)


class Refused:
    """``send(connection, node)`` writes a stanza and frees it."""

    def __init__(self, send: Callable[[int, int], None]) -> None:
        self._send = send

    def install(self, plugin: Any) -> None:
        signals.connect(plugin, b"jabber-receiving-iq", _Iq, self._received, 0)

    def _received(
        self, connection: int, kind: bytes | None, ident: bytes | None, sender: bytes | None, node: int, _data: int
    ) -> int:
        """1: libpurple leaves it alone; RFC 6120 §8.2.3: each request is answered."""
        if kind != b"set" or not any(namespace in NAMESPACES for namespace, _, _ in xmlnode.children(node)):
            return 0
        self._send(connection, _refusal(decode(sender), decode(ident)))
        return 1


def _refusal(who: str, ident: str) -> int:
    node = xmlnode.new(b"iq", type="error", id=ident)
    if who:
        xmlnode.set_attribute(node, b"to", who)
    xmlnode.add(xmlnode.add(node, b"error", type="cancel"), b"service-unavailable", STANZAS)
    return node
