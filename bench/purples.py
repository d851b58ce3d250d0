"""Owns libpurple without this gateway: alone, as the limit from the IM side, and in bitlbee."""

from __future__ import annotations

import socket
import subprocess
import sys

from bench.flow import Flow
from bench.irc_end import BitlbeeServer, IrcEnd
from bench.peer import ALICE, BOB, FROM_IM, PASSWORD, TO_IM, Peer, check_server
from bench.servers import group
from tests.servers.base import HOST
from tests.waiting import wait_until


class LibpurpleAlone(Peer):
    """The limit from the IM side: libpurple with our bindings; a process that knows datagrams in the place of SIP."""

    def start(self) -> None:
        prosody = self._prosody()
        ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._stack.callback(ours.close)
        ours.bind((HOST, 0))
        command = [sys.executable, "-m", "bench.libpurple_process", str(prosody.port), str(ours.getsockname()[1])]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
        self._stack.callback(self._end)
        ours.settimeout(30)
        hello, address = ours.recvfrom(100)
        assert hello == b"ready", hello
        ours.connect(address)
        ours.setblocking(False)
        pipe, bob = Datagrams(ours), self._xmpp_end(prosody)
        self.flows = {TO_IM: Flow(pipe, bob), FROM_IM: Flow(bob.to(f"{ALICE}@localhost"), pipe)}

    def _end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)

    def processes(self) -> list[int]:
        return [self._process.pid]


class Datagrams:
    """Numbers as datagrams; a sender and a receiver."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    @property
    def sockets(self) -> list[int]:
        return [self._socket.fileno()]

    def send(self, number: int) -> None:
        self._socket.send(b"%d" % number)

    def read(self) -> None:
        """Nothing comes back for what was sent."""

    def receive(self) -> list[int]:
        numbers = []
        while True:
            try:
                numbers.append(int(self._socket.recv(100)))
            except BlockingIOError:
                return numbers


class Bitlbee(Peer):
    """bitlbee with libpurple: IRC in the place of SIP, and one process for the user."""

    def start(self) -> None:
        prosody = self._prosody()
        bob = self._xmpp_end(prosody)
        self._server = self._stack.enter_context(BitlbeeServer(self.directory / "bitlbee"))
        end = IrcEnd((HOST, self._server.port))
        self._stack.callback(end.close)
        end.sign_on(f"{ALICE}@localhost", PASSWORD, prosody.port)
        wait_until(lambda: end.online, 30, "bitlbee's account is online")
        end.name(f"{BOB}@localhost", BOB)
        self.flows = {TO_IM: Flow(end.to(BOB), bob), FROM_IM: Flow(bob.to(f"{ALICE}@localhost"), end)}

    def processes(self) -> list[int]:
        return group(self._server.pid)

    def check(self) -> None:
        check_server(self._server)
