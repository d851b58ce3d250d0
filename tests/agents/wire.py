"""Owns the sockets and the reading thread of a phone; knows of SIP only how a stream is cut in messages."""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from tests.agents.sip import split_stream

Address = tuple[str, int]
Reply = Callable[[bytes], None]
Deliver = Callable[[bytes, Reply], None]

SEND_SECONDS = 10.0
BUFFER = 65536


class Wire(ABC):
    """One transport; `deliver` is called in the reading thread, with a way to answer where it came from."""

    transport: ClassVar[str]
    reliable: ClassVar[bool]

    def __init__(self, deliver: Deliver, host: str) -> None:
        self._deliver = deliver
        self._selector = selectors.DefaultSelector()
        self._wake, self._waker = socket.socketpair()
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._socket = self._open(host)
        self.address: Address = self._socket.getsockname()
        self._thread = threading.Thread(target=self._run, name=f"sip-{self.address[1]}", daemon=True)
        self._thread.start()

    @abstractmethod
    def send(self, data: bytes, destination: Address) -> None:
        """Raises OSError when the destination cannot be reached."""

    def close(self) -> None:
        """End the thread, close every socket."""
        self._waker.send(b"x")
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            self._close_socket(key.fileobj)
        self._selector.close()
        self._waker.close()

    @abstractmethod
    def _open(self, host: str) -> socket.socket: ...

    def _watch(self, watched: socket.socket, on_readable: Callable[[], None]) -> None:
        self._selector.register(watched, selectors.EVENT_READ, on_readable)

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._wake:
                    return
                key.data()

    @staticmethod
    def _close_socket(closing: object) -> None:
        if isinstance(closing, socket.socket):
            closing.close()


class UdpWire(Wire):
    transport = "UDP"
    reliable = False

    def send(self, data: bytes, destination: Address) -> None:
        self._socket.sendto(data, destination)

    def _open(self, host: str) -> socket.socket:
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.bind((host, 0))
        self._watch(opened, self._receive)
        return opened

    def _receive(self) -> None:
        data, source = self._socket.recvfrom(BUFFER)
        self._deliver(data, lambda answer: self.send(answer, source))


class TcpWire(Wire):
    """Listens, and keeps one connection to each destination until the other side closes it."""

    transport = "TCP"
    reliable = True

    def __init__(self, deliver: Deliver, host: str) -> None:
        self._connections: dict[Address, socket.socket] = {}
        self._sending = threading.Lock()
        super().__init__(deliver, host)

    def send(self, data: bytes, destination: Address) -> None:
        """Over the open connection, else over a new one (RFC 3261 §18.1.1)."""
        with self._sending:
            connection = self._connections.get(destination)
            if connection is None:
                connection = self._connect(destination)
                self._connections[destination] = connection
                self._read_from(connection, destination)
            connection.sendall(data)

    def _connect(self, destination: Address) -> socket.socket:
        return socket.create_connection(destination, timeout=SEND_SECONDS)

    def _open(self, host: str) -> socket.socket:
        opened = socket.create_server((host, 0))
        self._watch(opened, self._accept)
        return opened

    def _accept(self) -> None:
        connection, source = self._socket.accept()
        connection.settimeout(SEND_SECONDS)
        with self._sending:
            self._connections[source] = connection
        self._read_from(connection, source)

    def _read_from(self, connection: socket.socket, peer: Address) -> None:
        buffer = bytearray()
        self._watch(connection, lambda: self._receive(connection, peer, buffer))

    def _receive(self, connection: socket.socket, peer: Address, buffer: bytearray) -> None:
        data: bytes | None = b""
        with contextlib.suppress(OSError):
            data = self._read(connection)
        if data is None:
            return
        if not data:
            self._forget(connection, peer)
            return
        buffer += data
        for message in split_stream(buffer):
            self._deliver(message, lambda answer: self.send(answer, peer))

    def _read(self, connection: socket.socket) -> bytes | None:
        """Empty at the end of the connection, None if there is nothing for us yet."""
        return connection.recv(BUFFER)

    def _forget(self, connection: socket.socket, peer: Address) -> None:
        with self._sending:
            if self._connections.get(peer) is connection:
                del self._connections[peer]
        self._selector.unregister(connection)
        connection.close()


class TlsWire(TcpWire):
    """Connects only, as phones do: they have no certificate. That of the server is not looked at."""

    transport = "TLS"

    def _connect(self, destination: Address) -> socket.socket:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(super()._connect(destination))

    def _read(self, connection: socket.socket) -> bytes | None:
        """One thread at a time uses OpenSSL's connection; what comes may be a ticket, which is not for us."""
        assert isinstance(connection, ssl.SSLSocket)
        with self._sending:
            connection.settimeout(0.0)
            try:
                data = connection.recv(BUFFER)
                return data + (connection.recv(connection.pending()) if connection.pending() else b"")
            except ssl.SSLWantReadError:
                return None
            finally:
                connection.settimeout(SEND_SECONDS)


def open_wire(transport: str, deliver: Deliver, host: str) -> Wire:
    """`transport` is "udp", "tcp" or "tls". Raises KeyError for another."""
    wires: dict[str, type[Wire]] = {"udp": UdpWire, "tcp": TcpWire, "tls": TlsWire}
    return wires[transport](deliver, host)
