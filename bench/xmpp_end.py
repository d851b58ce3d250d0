"""Owns a chat client that sends and takes messages as cheaply as Python can; knows no more of XMPP than that needs."""

from __future__ import annotations

import base64
import re
import socket
import ssl

_NUMBER = re.compile(rb"<body>#(\d+)</body>")
_REQUEST = re.compile(rb"<r xmlns='urn:xmpp:sm:3'/>")
_KEPT = 200  # octets at the end of what was read, in which a stanza may have begun


class XmppEnd:
    """Logged in with PLAIN, available. ``tls``: STARTTLS, the certificate is not verified. Raises OSError."""

    def __init__(self, name: str, password: str, domain: str, address: tuple[str, int], tls: bool = False) -> None:
        self.jid, self._domain = f"{name}@{domain}", domain
        self._socket: socket.socket = socket.create_connection(address, 10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream()
        if tls:
            self._ask(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", b"<proceed")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self._socket = context.wrap_socket(self._socket, server_hostname=domain)
            self._stream()
        secret = base64.b64encode(f"\0{name}\0{password}".encode())
        sasl = b"xmlns='urn:ietf:params:xml:ns:xmpp-sasl'"
        self._ask(b"<auth " + sasl + b" mechanism='PLAIN'>" + secret + b"</auth>", b"<success")
        self._stream()
        bind = b"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>bench</resource></bind>"
        self._ask(b"<iq type='set' id='b'>" + bind + b"</iq>", b"</iq>")
        self._socket.sendall(b"<presence><priority>1</priority></presence>")
        self._socket.setblocking(False)
        self._unread = b""

    @property
    def sockets(self) -> list[int]:
        return [self._socket.fileno()]

    def to(self, jid: str) -> Outgoing:
        return Outgoing(self._socket, jid)

    def approve(self, jid: str) -> None:
        self._socket.sendall(f"<presence to='{jid}' type='subscribed'/>".encode())

    def show(self, text: str) -> None:
        """Available, with this text."""
        self._socket.sendall(f"<presence><priority>1</priority><status>{text}</status></presence>".encode())

    def receive(self) -> list[int]:
        """Acknowledged at once (tcp(7)): a server with Nagle's algorithm would wait up to 40 ms for this end."""
        data = self._unread
        while True:
            try:
                piece = self._socket.recv(262144)
            except (BlockingIOError, ssl.SSLWantReadError):
                break
            if not piece:
                raise ConnectionError(f"{self.jid}: the server closed the connection")
            data += piece
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        numbers, end = [], 0
        for found in _NUMBER.finditer(data):
            numbers.append(int(found[1]))
            end = found.end()
        self._unread = data[max(end, len(data) - _KEPT) :]
        return numbers

    def close(self) -> None:
        self._socket.close()

    def _stream(self) -> None:
        header = f"<stream:stream to='{self._domain}' version='1.0' xmlns='jabber:client' "
        self._ask(header.encode() + b"xmlns:stream='http://etherx.jabber.org/streams'>", b"</stream:features>")

    def _ask(self, question: bytes, expected: bytes) -> None:
        self._socket.sendall(question)
        answer = b""
        while expected not in answer:
            piece = self._socket.recv(65536)
            if not piece or b"<failure" in answer:
                raise ConnectionError(f"{self.jid}: {answer[-300:].decode(errors='replace')}")
            answer += piece


class Outgoing:
    """Messages to one contact; a ``flow.Sender``."""

    def __init__(self, connection: socket.socket, jid: str) -> None:
        self._socket, self._to = connection, jid.encode()

    @property
    def sockets(self) -> list[int]:
        return []

    def send(self, number: int) -> None:
        stanza = b"<message to='%s' type='chat' id='m%d'><body>#%d</body></message>" % (self._to, number, number)
        self._socket.setblocking(True)
        self._socket.sendall(stanza)
        self._socket.setblocking(False)

    def read(self) -> None:
        """The server says nothing that matters here; the receiving client reads its own connection."""
