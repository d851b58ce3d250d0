"""Owns a libpurple without SIP: `python -m bench.libpurple_process XMPP_PORT PORT`, until its standard input ends.

Each datagram with a number becomes a message from alice to bob, each message for alice a datagram to PORT.
"""

from __future__ import annotations

import socket
import sys

from purple_bridge.libpurple import glib
from purple_bridge.libpurple.accounts import Account
from purple_bridge.libpurple.core import Core
from purple_bridge.libpurple.events import ReceivedMessage
from purple_bridge.libpurple.protocol import OutgoingMessage
from tests.purple_client import Recorder, wait_online, xmpp_account

BOB = "bob@localhost"


class Pipe(Recorder):
    """Hands received messages on instead of keeping them."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.account: Account | None = None

    def message_received(self, account: Account, message: ReceivedMessage) -> None:
        self.socket.send((message.text or message.html).lstrip("#").encode())

    def messages_acknowledged(self, account: Account, idents: list[str]) -> None:
        """Not kept: there are many."""

    def readable(self, _descriptor: int, _condition: int) -> None:
        assert self.account is not None
        for _ in range(64):
            try:
                number = self.socket.recv(100).decode()
            except (BlockingIOError, ConnectionRefusedError):
                break
            text = f"#{number}"
            self.account.put(OutgoingMessage(who=BOB, html=text, text=text, ident=f"b{number}"))
        self.account.flush()


def main() -> None:
    xmpp_port, port = map(int, sys.argv[1:])
    pipe = Pipe(port)
    Core(pipe).start()
    pipe.account = xmpp_account("alice", xmpp_port)
    wait_online(pipe.account)
    glib.watch(pipe.socket.fileno(), glib.READ, pipe.readable)
    loop = glib.MainLoop()
    glib.watch(sys.stdin.fileno(), glib.READ, lambda _descriptor, _condition: loop.quit())
    pipe.socket.send(b"ready")
    loop.run()


if __name__ == "__main__":
    main()
