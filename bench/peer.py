"""Owns what every way between SIP and XMPP has in common: its servers, and a flow of messages for each direction."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from bench.flow import Flow
from bench.servers import BenchProsody, cpu_seconds, group
from bench.xmpp_end import XmppEnd
from tests.servers.base import HOST, Server
from tests.servers.prosody import Prosody

ALICE, BOB, PASSWORD = "alice", "bob", "secret"
TO_IM, FROM_IM = "SIP→XMPP", "XMPP→SIP"
SEVERAL = 8  # SIP users, where there is more than one
TO_IM_SEVERAL, FROM_IM_SEVERAL = f"{TO_IM}, {SEVERAL} users", f"{FROM_IM}, {SEVERAL} users"
_SIGNAL = re.compile(r"exited by a signal (\d+)")


class PeerDied(Exception):
    """A server of the peer has ended by itself; the text says how."""


class Peer:
    """``flows``: by direction, those that exist here. ``processes``: whose CPU time and memory are counted."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.flows: dict[str, Flow] = {}
        self._stack = ExitStack()
        self._xmpp_server: BenchProsody | None = None

    def start(self) -> None:
        raise NotImplementedError

    def processes(self) -> Sequence[int]:
        raise NotImplementedError

    def check(self) -> None:
        """Raises PeerDied."""

    def cpu_seconds(self) -> dict[str, float]:
        """Of the peer itself, of the XMPP server, and of the two ends, which are this process."""
        server = cpu_seconds(group(self._xmpp_server.pid)) if self._xmpp_server else 0.0
        return {"cpu": cpu_seconds(self.processes()), "server cpu": server, "ends cpu": time.process_time()}

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _prosody(self, users: Sequence[str] = (ALICE, BOB), tls: bool = False, nagle: bool = True) -> BenchProsody:
        self._xmpp_server = BenchProsody(self.directory / "prosody", users, tls, nagle)
        return self._stack.enter_context(self._xmpp_server)

    def _xmpp_end(self, prosody: Prosody, name: str = BOB) -> XmppEnd:
        end = XmppEnd(name, PASSWORD, prosody.domain, (HOST, prosody.port), prosody.tls)
        self._stack.callback(end.close)
        return end


def check_server(server: Server) -> None:
    """Raises PeerDied, with the signal if the log of a Kamailio names one."""
    found = _SIGNAL.search(server.log_path.read_text(errors="replace"))
    if found and found[1] != "15":
        raise PeerDied(f"{server.name} crashed: {signal.Signals(int(found[1])).name}")
    if not server.running:
        raise PeerDied(f"{server.name} ended")
