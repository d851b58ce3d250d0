"""Faults of the network: a connection of which one end is gone, datagrams that are lost or come twice, idle clients."""

from __future__ import annotations

import socket
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from tests.agents.phone import Phone
from tests.faults.namespaces import Network
from tests.faults.scenario import Context, scenario
from tests.faults.site import RECIPIENTS, Site
from tests.gateway import PASSWORD, sip
from tests.servers.link import UdpLink
from tests.servers.prosody import Prosody
from tests.waiting import free_port, wait_until

IDLE, STALLED = 1000, 20
STRANGER, OTHER_STRANGER = "127.0.0.2", "127.0.0.3"  # Kamailio takes 1024 connections of one address, from 5.8 on


@scenario(
    "im-half-open",
    "The way to an XMPP server swallows all packets (blackhole on a veth pair), without a reset",
    "Its messages are written down after 3 s and arrive when the way is open again; nobody else waits",
)
def half_open(context: Context) -> None:
    names = dict.fromkeys(["alice", "writer", *RECIPIENTS], PASSWORD)
    with Network("sick") as network:
        sick = Prosody(context.directory / "sick", names, "sick.test")
        sick.host, sick.prefix = network.address, network.prefix
        with Site(context.directory, sick=sick) as site:
            site.begin(context.quick, compared=True)
            network.silence()
            site.wait_for(5 if context.quick else 120)
            network.restore()
            with context.report.timed("s until all has arrived"):
                site.settle(90)
            site.finish(context.report, most_twice=8)


class _BehindLinks(Phone):
    """What is for this phone goes through a link as well."""

    outer = ""

    @property
    def contact(self) -> str:
        return self.outer


@scenario(
    "sip-loss",
    "5 % of SIP's datagrams are lost and 5 % come twice, both ways, between phones and gateway",
    "Every message arrives exactly once, both ways",
)
def loss(context: Context) -> None:
    with Site(context.directory) as site, ExitStack() as stack:
        proxy = ("127.0.0.1", site.gateway.kamailio.port)
        to_gateway = stack.enter_context(UdpLink(proxy))
        phone = stack.enter_context(_BehindLinks(sip("bob"), PASSWORD, to_gateway.address))
        to_phone = stack.enter_context(UdpLink(phone.address, seed=2))
        phone.outer = f"sip:bob@{to_phone.address[0]}:{to_phone.address[1]}"
        site.phones["bob"].unregister()
        assert phone.register().status == 200
        site.begin(context.quick)
        site.alice.proxy = site.bob.proxy = to_gateway.address
        for link in (to_gateway, to_phone):
            link.loss = link.duplication = 0.05
        texts = _to_bob(site, 100 if context.quick else 2000)
        site.wait_for(4 if context.quick else 40)
        wait_until(lambda: len(phone.messages) >= len(texts), 120, "all that was written to bob is there")
        for link in (to_gateway, to_phone):
            link.loss = link.duplication = 0.0
        found = Counter(message.text for message in phone.messages)
        context.report.figures["to the phone: sent, arrived, lost, twice"] = (
            f"{len(texts)}, {len(found)}, {len(texts - found.keys())}, {sum(found.values()) - len(found)}"
        )
        context.report.check(
            found.keys() == texts and set(found.values()) == {1}, f"to the phone: {_wrong(found, texts)}"
        )
        lost = to_gateway.lost + to_phone.lost
        context.report.figures["datagrams lost, doubled"] = f"{lost}, {to_gateway.doubled + to_phone.doubled}"
        site.finish(context.report)


def _to_bob(site: Site, count: int) -> set[str]:
    writer = site.gateway.xmpp_user(site.well, "writer")
    texts = [f"to bob {number}" for number in range(count)]
    for text in texts:
        writer.send("bob@well.test", text)
    return set(texts)


def _wrong(found: Counter[str], texts: set[str]) -> str:
    twice = [text for text, count in found.items() if count > 1]
    return f"missing {sorted(texts - found.keys())[:3]}, twice {twice[:3]}"


@scenario(
    "clients-stalled",
    f"{IDLE} idle TCP connections, {STALLED} that ask and never read, {STALLED} with half a request; to HTTP as well",
    "Phones over UDP and TCP and the web page are served as before",
)
def stalled(context: Context) -> None:
    web = free_port("tcp")
    with Site(context.directory, options=["--web", f"127.0.0.1:{web}"]) as site, ExitStack() as stack:
        site.begin(context.quick)
        sip_port = site.gateway.kamailio.port
        for port in [sip_port] * IDLE + [web] * STALLED:
            stack.enter_context(_connection(port, STRANGER))
        question, times = _options(sip_port), 200 if context.quick else 3000
        for _ in range(STALLED):
            _ask_without_reading(stack.enter_context(_connection(sip_port, OTHER_STRANGER)), question, times)
            stack.enter_context(_connection(sip_port, OTHER_STRANGER)).sendall(question[:60])
            slow = stack.enter_context(_connection(web, OTHER_STRANGER))
            slow.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        with context.report.timed("s for a new phone over TCP to register"):
            phone = site.gateway.phone("alice", transport="tcp")
        with context.report.timed("s for a page of the web server"):
            context.report.check(_page(web).startswith(b"HTTP/1.1 200"), "the web page does not answer")
        context.report.check(phone.options(f"sip:{phone.aor.rpartition('@')[2]}").status == 200, "OPTIONS over TCP")
        site.wait_for(3 if context.quick else 30)
        stack.close()
        wait_until(lambda: _tcp_connections(sip_port) < 20, 30, "the connections are closed")
        site.finish(context.report)


def _connection(port: int, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 5, source_address=(source, 0))


def _options(port: int) -> bytes:
    lines = [
        "OPTIONS sip:example.org SIP/2.0",
        f"Via: SIP/2.0/TCP 127.0.0.1:{port};branch=z9hG4bKstalled",
        "From: <sip:alice@example.org>;tag=1",
        "To: <sip:example.org>",
        "Call-ID: stalled",
        "CSeq: 1 OPTIONS",
        "Max-Forwards: 70",
        "Content-Length: 0",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _ask_without_reading(connection: socket.socket, question: bytes, times: int) -> None:
    """So many times, or until the server takes no more."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(0.5)
    try:
        connection.sendall(question * times)
    except OSError:
        return


def _page(port: int) -> bytes:
    with _connection(port) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        return connection.recv(65536)


def _tcp_connections(port: int) -> int:
    """Established, by /proc/net/tcp, on the server's side."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(line[1].endswith(f":{port:04X}") and line[3] == "01" for line in lines)
