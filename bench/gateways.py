"""Owns this gateway as one of the compared ways, in its variants: database, TLS, authentication, queue, rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import table
from bench.flow import Flow
from bench.many import RoundRobin, Together
from bench.peer import (
    ALICE,
    BOB,
    FROM_IM,
    FROM_IM_SEVERAL,
    PASSWORD,
    SEVERAL,
    TO_IM,
    TO_IM_SEVERAL,
    Peer,
    check_server,
)
from bench.servers import group
from bench.sip_end import SipEnd
from purple_bridge import metrics
from purple_bridge.board import State
from tests.gateway import Gateway, sip, xmpp_contact
from tests.servers.base import HOST
from tests.servers.mariadb import MariaDB

OTHERS = [f"user{number}" for number in range(2, SEVERAL + 1)]
SYSTEM_AUTHORITIES = "/etc/ssl/certs"
TRUSTING = """\
import ctypes, os
if "libpurple" in os.environ.get("LD_PRELOAD", ""):
    for path in {paths}:
        ctypes.CDLL("libpurple.so.0").purple_certificate_add_ca_search_path(path.encode())
"""


@dataclass(frozen=True, slots=True)
class Variant:
    """``tls``: to the IM server. ``nagle``: of the IM server. ``digest``: every SIP request is authenticated.

    ``rows``: further rows, of nobody.
    """

    mysql: bool = False
    tls: bool = False
    nagle: bool = True
    digest: bool = False
    settings: tuple[tuple[str, str], ...] = ()
    rows: int = 0


DEFAULT = Variant()


class ThisGateway(Peer):
    """Two workers; alice and seven more SIP users with an account each, and bob on XMPP."""

    def __init__(self, directory: Path, variant: Variant = DEFAULT, further: Sequence[str] = ()) -> None:
        """``further``: names on the XMPP server, without accounts in the gateway."""
        super().__init__(directory)
        self.variant, self._further = variant, further

    def start(self) -> None:
        users = [ALICE, *OTHERS]
        self.prosody = self._prosody([BOB, *users, *self._further], self.variant.tls, self.variant.nagle)
        self.gateway = self._stack.enter_context(self._gateway())
        self._processes = group(self.gateway.kamailio.worker_pid(1))
        self.bob = self._xmpp_end(self.prosody)
        ends = [self._online_end(user) for user in users]
        senders = [end.to(xmpp_contact(self.bob.jid)) for end in ends]
        contacts = [self.bob.to(f"{user}@{self.prosody.domain}") for user in users]
        self.flows = {
            TO_IM: Flow(senders[0], self.bob),
            FROM_IM: Flow(contacts[0], ends[0]),
            TO_IM_SEVERAL: Flow(RoundRobin(senders), self.bob),
            FROM_IM_SEVERAL: Flow(RoundRobin(contacts), Together(ends)),
        }

    def processes(self) -> list[int]:
        return self._processes

    def check(self) -> None:
        check_server(self.gateway.kamailio)

    def online(self) -> int:
        """Accounts, by the metrics, at most 2 s old: asking the workers for all of them would cost them something."""
        counts = metrics.gather(metrics.directory(self.gateway.kamailio.state_dir)).values(metrics.ACCOUNTS)
        return int(sum(count for (state, _protocol), count in counts.items() if state == State.ONLINE.word))

    def _gateway(self) -> Gateway:
        """Its rows are there before it starts."""
        url = None
        if self.variant.mysql:
            url = self._stack.enter_context(MariaDB(self.directory / "mariadb")).create_database("bench")
        users = dict.fromkeys([ALICE, *OTHERS], PASSWORD)
        options = {"db_url": url, "auth": self.variant.digest, "settings": dict(self.variant.settings)}
        gateway = Gateway(self.directory / "gateway", users=users, **options)
        if self.prosody.ca_file:
            gateway.kamailio.python_path.append(self._trusting(self.prosody.ca_file))
        gateway.kamailio.prepare()
        table.add(gateway.kamailio.db_url, table.rows_of(users, self.prosody))
        table.add(gateway.kamailio.db_url, table.rows_of_strangers(self.variant.rows))
        return gateway

    def _trusting(self, authority: Path) -> Path:
        """A directory for Kamailio's Python that makes libpurple trust a further authority, before it starts."""
        place, authorities = self.directory / "python", self.directory / "authorities"
        place.mkdir()
        authorities.mkdir()
        (authorities / "bench.pem").write_bytes(authority.read_bytes())
        (place / "sitecustomize.py").write_text(TRUSTING.format(paths=[SYSTEM_AUTHORITIES, str(authorities)]))
        return place

    def _online_end(self, user: str) -> SipEnd:
        """Whoever published stays online; the phone that did it gives its registration to a cheaper one."""
        phone = self.gateway.online_phone(user, f"{user}@{self.prosody.domain}")
        phone.register(expires=0)
        end = SipEnd(sip(user), (HOST, self.gateway.kamailio.port), PASSWORD if self.variant.digest else "")
        self._stack.callback(end.close)
        end.register()
        return end
