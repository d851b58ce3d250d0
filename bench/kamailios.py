"""Owns Kamailio without libpurple: its own module xmpp, and Kamailio alone as the limit from the SIP side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from bench.flow import Flow
from bench.peer import ALICE, FROM_IM, TO_IM, Peer, check_server
from bench.servers import COMPONENT, SECRET, group
from bench.sip_end import SipEnd
from purple_bridge.db.schema import create_all
from purple_bridge.launcher.environment import MEMORY_MANAGER, default_config, environment, program
from purple_bridge.launcher.listeners import Listener
from purple_bridge.launcher.state import StateDirectory
from purple_bridge.launcher.versions import find_kamailio
from purple_bridge.launcher.wrapper import Run, write_wrapper
from tests.gateway import DOMAIN, sip, xmpp_contact
from tests.servers.base import HOST, Server
from tests.waiting import free_port

HERE = Path(__file__).parent / "kamailio"


class KamailioServer(Server):
    """Up when it takes a REGISTER; shared memory for all transactions of a run, and the launcher's memory manager."""

    name: ClassVar[str] = "kamailio"
    managers = ("-x", MEMORY_MANAGER, "-X", MEMORY_MANAGER)
    flags: ClassVar[tuple[str, ...]] = ("-DD", "-E", "-m", "1024", "-M", "16", *managers)

    def probe(self) -> bool:
        end = SipEnd("sip:probe@example.org", (HOST, self.port))
        try:
            end.register()
        except OSError:
            return False
        finally:
            end.close()
        return True


class NativeKamailio(KamailioServer):
    """With one of the configurations of bench/kamailio/."""

    def __init__(self, directory: Path, config: str, defines: dict[str, str]) -> None:
        super().__init__(directory)
        self._config, self._defines = config, defines

    def command(self) -> list[str]:
        defines = {"SIP_PORT": str(self.port), **self._defines}
        words = [word for name, value in defines.items() for word in ("-A", f"{name}={value}")]
        place = ["-Y", str(self.directory), "-f", str(HERE / self._config)]
        return [find_kamailio().program, *self.flags, *place, *words]


class KemiKamailio(KamailioServer):
    """The shipped kamailio.cfg and routes, as the launcher sets them up, with bench/kamailio/without_purple.py."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._state = StateDirectory(directory / "state")

    def prepare(self) -> None:
        self._state.create()
        db_url = f"sqlite:///{self._state.path}/purple.db"
        create_all(db_url, "purplemap")
        write_wrapper(self._run(db_url))

    def environment(self) -> dict[str, str]:
        return environment(self._state, os.environ)

    def command(self) -> list[str]:
        return [*program(find_kamailio(), self._state), *self.flags]

    def _run(self, db_url: str) -> Run:
        config = default_config()
        assert config is not None
        parameters = {
            "db_url": db_url,
            "workers": "1",
            "internal": f"{HOST}:{free_port('udp')}",
            "state_dir": str(self._state.path),
            "rpc_socket": str(self._state.rpc_socket),
            "gateway_domain": f"im.{DOMAIN}",
        }
        return Run(
            config=config,
            script=HERE / "without_purple.py",
            state=self._state,
            listeners=(Listener("udp", HOST, self.port),),
            domains=(DOMAIN,),
            parameters=parameters,
            auth=False,
            threads_mode=find_kamailio().threads_mode,
        )


class KamailioPeer(Peer):
    """``_kamailio`` is made by ``start``."""

    _kamailio: KamailioServer

    def processes(self) -> Sequence[int]:
        return group(self._kamailio.pid)

    def check(self) -> None:
        check_server(self._kamailio)

    def _phone(self) -> SipEnd:
        end = SipEnd(sip(ALICE), (HOST, self._kamailio.port))
        self._stack.callback(end.close)
        end.register()
        return end


class KamailioXmpp(KamailioPeer):
    """Kamailio's own module: a component of the XMPP server, with one address for each SIP user; no accounts."""

    def start(self) -> None:
        prosody = self._prosody()
        defines = {"XMPP_PORT": str(prosody.component_port), "XMPP_DOMAIN": f'"{COMPONENT}"', "SECRET": f'"{SECRET}"'}
        self._kamailio = self._stack.enter_context(NativeKamailio(self.directory / "kamailio", "xmpp.cfg", defines))
        end, bob = self._phone(), self._xmpp_end(prosody)
        self.flows = {
            TO_IM: Flow(end.to("sip:bob*localhost@xmpp.example.org"), bob),
            FROM_IM: Flow(bob.to(f"{ALICE}*{DOMAIN}@{COMPONENT}"), end),
        }


class KamailioAlone(KamailioPeer):
    """A Kamailio that answers MESSAGE with 202 and does nothing else with it."""

    def start(self) -> None:
        self._kamailio = self._stack.enter_context(self._server())
        end = self._phone()
        self.flows = {TO_IM: Flow(end.to(xmpp_contact("bob@localhost")), Answers(end))}

    def _server(self) -> KamailioServer:
        raise NotImplementedError


class KamailioKemi(KamailioAlone):
    """With the shipped routes in Python."""

    def _server(self) -> KamailioServer:
        return KemiKamailio(self.directory / "kamailio")


class KamailioNative(KamailioAlone):
    """With a few lines of Kamailio's own language."""

    def _server(self) -> KamailioServer:
        return NativeKamailio(self.directory / "kamailio", "alone.cfg", {})


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
