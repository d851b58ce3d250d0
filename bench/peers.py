"""Owns the ways between SIP and XMPP that are compared: each starts its servers and gives a flow each way."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar, Self

from bench.flow import Flow
from bench.irc_end import BitlbeeServer, IrcEnd
from bench.servers import COMPONENT, SECRET, BenchProsody, cpu_seconds, group
from bench.sip_end import SipEnd
from bench.xmpp_end import XmppEnd
from tests.gateway import DOMAIN, Gateway, sip, xmpp_contact
from tests.servers.base import HOST, Server
from tests.servers.prosody import Prosody
from tests.waiting import wait_until

NATIVE = Path(__file__).parent / "kamailio"
ALICE, BOB = "alice", "bob"


class Peer:
    """``to_im``, ``from_im``: None where the way does not exist. ``processes``: those whose CPU time is counted."""

    name: ClassVar[str]

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.to_im: Flow | None = None
        self.from_im: Flow | None = None
        self._stack = ExitStack()

    def start(self) -> None:
        raise NotImplementedError

    def processes(self) -> Sequence[int]:
        raise NotImplementedError

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.processes())

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _prosody(self, tls: bool = False) -> BenchProsody:
        return self._stack.enter_context(BenchProsody(self.directory / "prosody", (ALICE, BOB), tls))

    def _xmpp_end(self, prosody: Prosody, name: str = BOB) -> XmppEnd:
        end = XmppEnd(name, "secret", prosody.domain, (HOST, prosody.port), prosody.tls)
        self._stack.callback(end.close)
        return end

    def _sip_end(self, port: int, password: str = "") -> SipEnd:
        end = SipEnd(sip(ALICE), (HOST, port), password)
        self._stack.callback(end.close)
        end.register()
        return end


class ThisGateway(Peer):
    name = "this gateway"

    def __init__(
        self,
        directory: Path,
        db_url: str | None = None,
        auth: bool = False,
        tls: bool = False,
        settings: Iterable[tuple[str, str]] = (),
    ) -> None:
        super().__init__(directory)
        self._db_url, self._auth, self._tls, self._settings = db_url, auth, tls, dict(settings)

    def start(self) -> None:
        prosody = self._prosody(self._tls)
        options = {"db_url": self._db_url, "auth": self._auth, "settings": self._settings}
        self.gateway = self._stack.enter_context(Gateway(self.directory / "gateway", **options))
        security = {"connection_security": "require_tls"} if self._tls else {}
        self.gateway.add_xmpp_account(ALICE, prosody, **security)
        phone = self.gateway.online_phone(ALICE, f"{ALICE}@localhost")
        phone.register(expires=0)
        end = self._sip_end(self.gateway.kamailio.port, "secret" if self._auth else "")
        bob = self._xmpp_end(prosody)
        self.to_im = Flow(end.to(xmpp_contact(f"{BOB}@localhost")), bob)
        self.from_im = Flow(bob.to(f"{ALICE}@localhost"), end)

    def processes(self) -> list[int]:
        return group(self.gateway.kamailio.worker_pid(1))


class NativeKamailio(Server):
    """A Kamailio with one of the configurations of bench/kamailio/."""

    name = "kamailio"

    def __init__(self, directory: Path, config: str, defines: dict[str, str]) -> None:
        super().__init__(directory)
        self._config, self._defines = config, defines

    def command(self) -> list[str]:
        defines = {"SIP_PORT": str(self.port), **self._defines}
        words = [word for name, value in defines.items() for word in ("-A", f"{name}={value}")]
        run = ["kamailio", "-DD", "-E", "-m", "256", "-M", "16", "-Y", str(self.directory)]
        return [*run, "-f", str(NATIVE / self._config), *words]

    def probe(self) -> bool:
        end = SipEnd("sip:probe@example.org", (HOST, self.port))
        try:
            end.register()
        except OSError:
            return False
        finally:
            end.close()
        return True


class KamailioXmpp(Peer):
    """Kamailio's own module: a component of the XMPP server, with one address for each SIP user; no accounts."""

    name = "Kamailio's module xmpp"

    def start(self) -> None:
        prosody = self._prosody()
        defines = {"XMPP_PORT": str(prosody.component_port), "XMPP_DOMAIN": f'"{COMPONENT}"', "SECRET": f'"{SECRET}"'}
        self._kamailio = self._stack.enter_context(NativeKamailio(self.directory / "kamailio", "xmpp.cfg", defines))
        end, bob = self._sip_end(self._kamailio.port), self._xmpp_end(prosody)
        self.to_im = Flow(end.to("sip:bob*localhost@xmpp.example.org"), bob)
        self.from_im = Flow(bob.to(f"{ALICE}*{DOMAIN}@{COMPONENT}"), end)

    def processes(self) -> list[int]:
        return group(self._kamailio.pid)


class KamailioAlone(Peer):
    """The limit from the SIP side: a Kamailio that answers MESSAGE with 202, and does nothing else with it."""

    name = "Kamailio alone"

    def start(self) -> None:
        self._kamailio = self._stack.enter_context(NativeKamailio(self.directory / "kamailio", "alone.cfg", {}))
        end = self._sip_end(self._kamailio.port)
        self.to_im = Flow(end.to(f"sip:bob@{DOMAIN}"), Answers(end))

    def processes(self) -> list[int]:
        return group(self._kamailio.pid)


class Answers:
    """Takes the answers to a phone's MESSAGEs for the messages themselves."""

    def __init__(self, end: SipEnd) -> None:
        self._end = end
        end.keep_answers = True

    @property
    def sockets(self) -> list[int]:
        return self._end.sockets

    def receive(self) -> list[int]:
        self._end.receive()
        answered, self._end.answered = self._end.answered, []
        return answered


class LibpurpleAlone(Peer):
    """The limit from the IM side: libpurple with our bindings; a process that knows datagrams in the place of SIP."""

    name = "libpurple alone"

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
        self.to_im, self.from_im = Flow(pipe, bob), Flow(bob.to(f"{ALICE}@localhost"), pipe)

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

    name = "bitlbee-libpurple"

    def start(self) -> None:
        prosody = self._prosody()
        bob = self._xmpp_end(prosody)
        self._server = self._stack.enter_context(BitlbeeServer(self.directory / "bitlbee"))
        end = IrcEnd((HOST, self._server.port))
        self._stack.callback(end.close)
        end.sign_on(f"{ALICE}@localhost", "secret", prosody.port)
        wait_until(lambda: end.online, 30, "bitlbee's account is online")
        end.name(f"{BOB}@localhost", BOB)
        self.to_im, self.from_im = Flow(end.to(BOB), bob), Flow(bob.to(f"{ALICE}@localhost"), end)

    def processes(self) -> list[int]:
        return group(self._server.pid)
