"""Owns a bitlbee and its IRC client: what it takes to sign one XMPP account on, and to pass messages through."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import ClassVar

from tests.servers.base import Server

_NUMBER = re.compile(rb"PRIVMSG \S+ :#(\d+)\r\n")


class BitlbeeServer(Server):
    name: ClassVar[str] = "bitlbee"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        (directory / "users").mkdir(exist_ok=True)

    def command(self) -> list[str]:
        place = ["-i", self.host, "-p", str(self.port), "-d", str(self.directory / "users")]
        return ["bitlbee", "-n", "-v", "-F", *place, "-c", "/dev/null"]


class IrcEnd:
    """The one user of a bitlbee."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, 10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(b"NICK bench\r\nUSER bench 0 * :bench\r\n")
        self._socket.setblocking(False)
        self._unread, self._seen = b"", b""

    @property
    def sockets(self) -> list[int]:
        return [self._socket.fileno()]

    def sign_on(self, jid: str, password: str, port: int) -> None:
        """An account of libpurple's XMPP, at a server on loopback."""
        for line in (
            "set handle_unknown add_private",
            f"account add jabber {jid} {password}",
            "account 0 set connect_server 127.0.0.1",
            f"account 0 set port {port}",
            "account 0 set connection_security opportunistic_tls",
            "account 0 on",
        ):
            self._say(line)

    @property
    def online(self) -> bool:
        """Whether the account has signed on."""
        self._pull()
        return b"Logged in" in self._seen

    def name(self, jid: str, nick: str) -> None:
        """Give the contact a nick for this session."""
        self._say(f"add -tmp 0 {jid} {nick}")

    def to(self, nick: str) -> Outgoing:
        return Outgoing(self._socket, nick)

    def receive(self) -> list[int]:
        data = self._unread + self._pull()
        head, end, self._unread = data.rpartition(b"\n")
        return [int(found[1]) for found in _NUMBER.finditer(head + end)]

    def close(self) -> None:
        self._socket.close()

    def _say(self, line: str) -> None:
        self._socket.sendall(f"PRIVMSG &bitlbee :{line}\r\n".encode())

    def _pull(self) -> bytes:
        data = b""
        while True:
            try:
                piece = self._socket.recv(262144)
            except BlockingIOError:
                break
            if not piece:
                raise ConnectionError("bitlbee closed the connection")
            data += piece
        self._seen = (self._seen + data)[-20000:]
        return data


class Outgoing:
    """Messages to one nick; a ``flow.Sender``.

    A line ends with LF alone: bitlbee 3.6 reads 512 octets at a time, and where such a piece ends between CR and LF it
    drops all complete lines of the next.
    """

    def __init__(self, connection: socket.socket, nick: str) -> None:
        self._socket, self._nick = connection, nick.encode()

    @property
    def sockets(self) -> list[int]:
        return []

    def send(self, number: int) -> None:
        self._socket.setblocking(True)
        self._socket.sendall(b"PRIVMSG %s :#%d\n" % (self._nick, number))
        self._socket.setblocking(False)

    def read(self) -> None:
        """The receiving side reads the connection."""
