"""Owns a plain IRC client for tests (RFC 2812); knows nothing of SIP."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from tests.agents.inbox import Inbox

CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class Line:
    """One message of the server (RFC 2812 §2.3.1); `prefix` is empty when it has none."""

    prefix: str
    command: str
    parameters: tuple[str, ...]

    @property
    def nick(self) -> str:
        """The nick, or the server's name, before "!"."""
        return self.prefix.partition("!")[0]


@dataclass(frozen=True)
class IrcMessage:
    """A PRIVMSG or NOTICE (`command`); `sender` is a nick, `target` a nick or a channel."""

    sender: str
    target: str
    text: str
    command: str


class IrcUser:
    """Connects and registers at once; answers PING. Raises AssertionError when the server does not welcome it."""

    def __init__(
        self, nick: str, address: tuple[str, int], password: str | None = None, encoding: str = "utf-8"
    ) -> None:
        self.nick = nick
        self._encoding = encoding
        self._lines: Inbox[Line] = Inbox(f"line for {nick}")
        self._messages: Inbox[IrcMessage] = Inbox(f"message for {nick}")
        self._sending = threading.Lock()
        self._socket = socket.create_connection(address, timeout=CONNECT_SECONDS)
        self._socket.settimeout(None)
        self._reader = threading.Thread(target=self._read, name=f"irc-{nick}", daemon=True)
        self._reader.start()
        self._register(password)

    @property
    def lines(self) -> list[Line]:
        """Everything the server sent, in order."""
        return self._lines.items

    @property
    def messages(self) -> list[IrcMessage]:
        """Every PRIVMSG and NOTICE that a user sent, in order."""
        return self._messages.items

    @property
    def connected(self) -> bool:
        """False once the connection has ended, whoever ended it."""
        return self._reader.is_alive()

    def wait_line(self, predicate: Callable[[Line], bool] | None = None, timeout: float = 30.0) -> Line:
        """The first matching line not given before; AssertionError after `timeout` seconds."""
        return self._lines.wait(predicate, timeout)

    def wait_message(self, predicate: Callable[[IrcMessage], bool] | None = None, timeout: float = 30.0) -> IrcMessage:
        """The first matching message not given before; AssertionError after `timeout` seconds."""
        return self._messages.wait(predicate, timeout)

    def raw(self, line: str) -> None:
        """Send one line; CR LF is added. Raises OSError when the connection is gone."""
        with self._sending:
            self._socket.sendall(line.encode(self._encoding) + b"\r\n")

    def privmsg(self, target: str, text: str) -> None:
        self.raw(f"PRIVMSG {target} :{text}")

    def join(self, channel: str) -> None:
        """Returns when the server has confirmed the JOIN."""
        self.raw(f"JOIN {channel}")
        self.wait_line(lambda line: line.command == "JOIN" and line.nick == self.nick)

    def away(self, text: str = "") -> None:
        """Away with `text`, or back without one (RFC 2812 §4.1)."""
        self.raw(f"AWAY :{text}" if text else "AWAY")

    def quit(self, text: str = "bye") -> None:
        """Leave, and close the socket; harmless when the connection is gone already."""
        with contextlib.suppress(OSError):
            self.raw(f"QUIT :{text}")
        self._reader.join(timeout=2)
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.quit()

    def _register(self, password: str | None) -> None:
        """RFC 2812 §3.1; 001 is the welcome."""
        try:
            if password is not None:
                self.raw(f"PASS {password}")
            self.raw(f"NICK {self.nick}")
            self.raw(f"USER {self.nick} 0 * :{self.nick}")
            self.wait_line(lambda line: line.command == "001", CONNECT_SECONDS)
        except BaseException:
            self.quit()
            raise

    def _read(self) -> None:
        buffer = b""
        with contextlib.suppress(OSError):
            while data := self._socket.recv(65536):
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    self._receive(parse_line(line.decode(self._encoding, "replace").rstrip("\r")))

    def _receive(self, line: Line) -> None:
        if line.command == "PING":
            self.raw(f"PONG :{line.parameters[-1]}")
        if line.command in ("PRIVMSG", "NOTICE") and "!" in line.prefix:
            target, text = line.parameters[0], line.parameters[-1]
            self._messages.put(IrcMessage(line.nick, target, text, line.command))
        self._lines.put(line)


def parse_line(text: str) -> Line:
    """Split a line into prefix, command and parameters."""
    prefix = ""
    if text.startswith(":"):
        prefix, _, text = text[1:].partition(" ")
    middle, colon, trailing = text.partition(" :")
    words = middle.split()
    command = words[0].upper() if words else ""
    return Line(prefix, command, (*words[1:], *([trailing] if colon else [])))
