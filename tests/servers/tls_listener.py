"""Owns a TLS server of Python's ``ssl`` that keeps what it is sent, IRC or XMPP with STARTTLS; answers nothing."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path
from typing import Self

XMPP_HELLO = (
    b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
    b" from='%s' id='1' version='1.0'><stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
    b"</stream:features>"
)
PROCEED = b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"


class TlsListener:
    """One certificate for everybody. ``xmpp``: the domain, "" for TLS from the first octet on.

    ``handshakes``: how many were finished; ``ended``: connections that are over; ``names``: what clients asked for
    (SNI); ``before``: all that was sent in clear, ``received``: what was sent within TLS.
    """

    def __init__(self, pem: Path, xmpp: str = "") -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pem)
        self._context.sni_callback = self._asked
        self._xmpp = xmpp.encode()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.handshakes = self.ended = 0
        self.names: list[str | None] = []
        self.before, self.received = b"", b""
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._socket.close()

    def _asked(self, _object: object, name: str | None, _context: ssl.SSLContext) -> None:
        self.names.append(name)

    def _serve(self) -> None:
        """One client after the other, until the socket is closed."""
        while True:
            try:
                connection = self._socket.accept()[0]
            except OSError:
                return
            with connection:
                connection.settimeout(10)
                try:
                    self._talk(connection)
                except OSError:  # of which ssl.SSLError is one
                    continue
                finally:
                    self.ended += 1

    def _talk(self, connection: socket.socket) -> None:
        if self._xmpp:
            self._read_until(connection, b"version='1.0'")
            connection.sendall(XMPP_HELLO % self._xmpp)
            self._read_until(connection, b"starttls")
            connection.sendall(PROCEED)
        with self._context.wrap_socket(connection, server_side=True) as encrypted:
            self.handshakes += 1
            while chunk := encrypted.recv(4096):
                self.received += chunk

    def _read_until(self, connection: socket.socket, word: bytes) -> None:
        start = len(self.before)
        while word not in self.before[start:]:
            chunk = connection.recv(4096)
            if not chunk:
                raise ConnectionError("the client went away")
            self.before += chunk
