"""Broken SIP and HTTP requests against a running gateway, which must answer on, with the same processes.

The command starts a gateway and an XMPP server of its own, in a network namespace where only they and loopback are: a
broken request may name any address as the next hop. Every request comes from the seed: `--first` takes up at a later
batch. Exit code 1: something was found, 2: it could not be tried.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from purple_bridge.launcher import rpc
from tests.agents.phone import Phone
from tests.agents.sip import Response, challenge, parse
from tests.agents.xmpp import XmppUser
from tests.faults.processes import anonymous_kilobytes
from tests.fuzz.sip_requests import METHODS, Header, Requests, World
from tests.gateway import DOMAIN, PASSWORD, Gateway, sip, xmpp_contact
from tests.servers.prosody import Prosody
from tests.waiting import free_port

BATCH = 500
WINDOW = 25  # requests between two questions whether the server still answers
ANSWER_SECONDS = 1.0
T1 = 0.5  # seconds, RFC 3261 table 4
LOST_SECONDS = 20.0  # for an answer that is late, before it is called missing
CREDENTIALS_SECONDS = 120.0  # a nonce is good for 300
MOST_GROWTH = 400_000  # KB of all processes together, over what they had after the first batch
FOUND = re.compile(
    r"Traceback|failed in the routes|CRITICAL|\bBUG\b|segfault|Unhandled|exited with|python_exec", re.IGNORECASE
)
NAMESPACE = "TESTS_FUZZ_NAMESPACE"


@dataclass(slots=True)
class Findings:
    """What must not have happened, in words; ``statuses``: how often which answer came."""

    requests: int = 0
    slowest: float = 0.0
    repeated: int = 0  # OPTIONS that were sent again
    statuses: Counter[int] = field(default_factory=Counter)
    texts: list[str] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)

    def add(self, text: str) -> None:
        if text not in self.texts and len(self.texts) < 50:
            self.texts.append(text)


class Ear:
    """A UDP socket that counts what comes and answers requests with 200, so that nobody repeats them."""

    def __init__(self, server: tuple[str, int], statuses: Counter[int]) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self._server, self._statuses = server, statuses
        self.contact = b"127.0.0.1:%d" % self._socket.getsockname()[1]

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes, server: tuple[str, int] | None = None) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            self._socket.sendto(data, server or self._server)

    def listen(self) -> None:
        """Take what has come."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._take(*self._socket.recvfrom(65536))

    def _take(self, data: bytes, source: tuple[str, int]) -> None:
        if data.startswith(b"SIP/2.0 "):
            self._statuses[int(data[8:11]) if data[8:11].isdigit() else 0] += 1
            return
        kept = re.findall(
            rb"^(?:via|from|to|call-id|cseq|[vfti])[ \t]*:[^\r\n]*\r\n", data, re.IGNORECASE | re.MULTILINE
        )
        with contextlib.suppress(OSError):
            self._socket.sendto(b"SIP/2.0 200 OK\r\n" + b"".join(kept) + b"Content-Length: 0\r\n\r\n", source)


class Attack:
    """One gateway that is written to."""

    def __init__(self, gateway: Gateway, web: int, seed: int, say: Callable[[str], None], patience: float) -> None:
        """``web``: port of the page."""
        self._gateway, self._web, self._seed, self._say = gateway, web, seed, say
        self._patience = patience
        self.findings = Findings()
        self._server = ("127.0.0.1", gateway.kamailio.port)
        self._ear = Ear(self._server, self.findings.statuses)
        self._probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._probe.bind(("127.0.0.1", 0))
        self._probes = 0
        self._credentials: dict[tuple[bytes, bytes], Header] = {}
        self._credentials_at = -CREDENTIALS_SECONDS
        self._pids = self._processes()
        self._log = (gateway.kamailio.directory / "kamailio.log").open(errors="replace")
        self._log.seek(0, os.SEEK_END)

    def close(self) -> None:
        self._ear.close()
        self._probe.close()
        self._log.close()

    def run(self, requests: int, first: int = 0) -> Findings:
        """``requests``: how many; ``first``: number of the batch to begin with. Ends early when the gateway is gone."""
        begin = time.monotonic()
        for number in range(first, first + -(-requests // BATCH)):
            if not self._batch(number):
                self.findings.add(f"batch {number}: the gateway is gone")
                break
            if number % 20 == 19:
                rate = self.findings.requests / (time.monotonic() - begin)
                found = len(self.findings.texts)
                self._say(
                    f"{self.findings.requests} requests, {rate:.0f}/s, {found} findings, {self.findings.memory[-1]} KB"
                )
        return self.findings

    def _batch(self, number: int) -> bool:
        self._renew_credentials()
        world = World(self._ear.contact, DOMAIN.encode(), credentials=self._credentials)
        requests = Requests(f"{self._seed}/{number}", world)
        for _ in range(BATCH // WINDOW):
            self._write(requests)
            if not self._is_answered(number):
                return False
        return self._look(number)

    def _write(self, requests: Requests) -> None:
        """Most over UDP; some over TCP, to the internal listener, and as HTTP."""
        internal = ("127.0.0.1", self._gateway.kamailio.internal_port)
        for place in range(WINDOW):
            if place % 25 == 5:
                self._over_tcp(self._server[1], [requests.http()])
            elif place % 25 == 6:
                self._over_tcp(self._web, [requests.http()])
            elif place % 25 == 7:
                self._over_tcp(self._server[1], [requests.sip() for _ in range(3)])
            else:
                self._ear.send(requests.sip(), internal if place % 25 == 9 else None)
            self.findings.requests += 1
            self._ear.listen()

    def _over_tcp(self, port: int, requests: list[bytes]) -> None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.5) as connection:
            connection.sendall(b"".join(requests))
            connection.settimeout(0.01)
            connection.recv(65536)

    # ------------------------------------------------------------ what must hold
    def _is_answered(self, number: int) -> bool:
        """OPTIONS, within a second; the answer also says that what was sent before has been read.

        Sent again as a phone does: 25 long requests at once may be more than a socket holds, and the last one is lost.
        """
        self._probes += 1
        branch = b"z9hG4bKprobe%d" % self._probes
        host, port = self._probe.getsockname()
        question = (
            b"OPTIONS sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP %s:%d;rport;branch=%s\r\nMax-Forwards: 70\r\n"
            b"From: <sip:a@b>;tag=1\r\nTo: <sip:127.0.0.1>\r\nCall-ID: %s\r\n"
            b"CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        ) % (host.encode(), port, branch, branch)
        begin = time.monotonic()
        while time.monotonic() < begin + LOST_SECONDS:
            self._probe.sendto(question, self._server)
            if self._hears(branch, time.monotonic() + T1):
                took = time.monotonic() - begin
                self.findings.repeated += took > T1
                self.findings.slowest = max(self.findings.slowest, took)
                if took > self._patience:
                    self.findings.add(f"batch {number}: OPTIONS was answered after {took:.1f} s")
                return True
        return False

    def _hears(self, branch: bytes, until: float) -> bool:
        while (left := until - time.monotonic()) > 0:
            self._ear.listen()
            self._probe.settimeout(min(left, 0.05))
            with contextlib.suppress(TimeoutError, ConnectionError):
                if branch in self._probe.recv(65536):
                    return True
        return False

    def _look(self, number: int) -> bool:
        """At processes, log and memory."""
        pids = self._processes()
        if pids != self._pids:
            self.findings.add(f"batch {number}: other processes: {sorted(set(self._pids) ^ set(pids))}")
            self._pids = pids
        for line in self._log.read().splitlines():
            if FOUND.search(line):
                self.findings.add(f"batch {number}: {line[-400:]}")
        self.findings.memory.append(sum(map(anonymous_kilobytes, pids)))
        growth = self.findings.memory[-1] - self.findings.memory[0]
        if growth > MOST_GROWTH:
            self.findings.add(f"the processes have grown by {growth} KB")
        return bool(pids)

    def _processes(self) -> list[int]:
        with contextlib.suppress(Exception):
            table: list[dict[str, Any]] = rpc.call(self._gateway.kamailio.rpc_socket, "core.psa", timeout=20)
            return [int(process["PID"] if "PID" in process else process["pid"]) for process in table]
        return []

    # ------------------------------------------------------------ what it takes to be heard
    def _renew_credentials(self) -> None:
        if time.monotonic() - self._credentials_at < CREDENTIALS_SECONDS:
            return
        self._credentials_at = time.monotonic()
        for user in ("alice", "bob"):
            for method in sorted({method.decode() for method in METHODS} - {"CANCEL", "ACK"}):
                asked = self._challenge(user, method)
                if asked:
                    name = "Authorization" if method == "REGISTER" else "Proxy-Authorization"
                    value = asked.answer(user, PASSWORD, method, f"sip:{DOMAIN}")
                    self._credentials[user.encode(), method.encode()] = (name.encode(), value.encode())

    def _challenge(self, user: str, method: str) -> Any:
        host, port = self._probe.getsockname()
        self._probes += 1
        data = (
            f"{method} {sip(user)} SIP/2.0\r\nVia: SIP/2.0/UDP {host}:{port};rport;branch=z9hG4bKask{self._probes}\r\n"
            f"Max-Forwards: 70\r\nFrom: <{sip(user)}>;tag=1\r\nTo: <{sip(user)}>\r\nCall-ID: ask{self._probes}\r\n"
            f"CSeq: 1 {method}\r\nEvent: presence\r\nContact: <{sip(user)}>\r\nContent-Length: 0\r\n\r\n"
        )
        self._probe.settimeout(ANSWER_SECONDS)
        self._probe.sendto(data.encode(), self._server)
        with contextlib.suppress(TimeoutError, ValueError):
            answer = parse(self._probe.recv(65536))
            if isinstance(answer, Response) and answer.status in (401, 407):
                return challenge(
                    answer.headers.get_all("WWW-Authenticate" if answer.status == 401 else "Proxy-Authenticate")
                )
        return None


@dataclass(slots=True)
class Chat:
    """A phone and an XMPP contact, who still understand each other."""

    phone: Phone
    contact: XmppUser
    said: int = 0

    def check(self) -> None:
        """A message each way; AssertionError if one is missing."""
        self.said += 1
        there, back = f"are you there {self.said}", f"still here {self.said}"
        answer = self.phone.message(xmpp_contact(self.contact.jid), there)
        assert answer.status == 202, f"the phone's message got {answer.status}"
        self.contact.wait_message(lambda message: message.body == there, timeout=30)
        self.contact.send(f"alice@{self.contact.jid.partition('@')[2]}", back)
        self.phone.wait_message(lambda message: message.text == back, timeout=30)


@contextmanager
def attacked(directory: Path, web: int) -> Iterator[tuple[Gateway, Chat]]:
    """A gateway with a page, an XMPP server, and two people."""
    with ExitStack() as stack:
        prosody = stack.enter_context(
            Prosody(directory / "prosody", {"alice": PASSWORD, "dave": PASSWORD, "carol": PASSWORD})
        )
        users = dict.fromkeys(("alice", "bob", "carol"), PASSWORD)
        gateway = stack.enter_context(
            Gateway(directory / "gateway", users=users, options=["--web", f"127.0.0.1:{web}"])
        )
        # carol chats: what alice and bob have registered and published is what the attack leaves
        gateway.add_xmpp_account("carol", prosody, "alice")
        gateway.add_xmpp_account("alice", prosody, "carol")
        phone = gateway.online_phone("carol", "alice@localhost")
        yield gateway, Chat(phone, gateway.xmpp_user(prosody, "dave"))


def attack(
    directory: Path,
    requests: int,
    seed: int,
    first: int = 0,
    say: Callable[[str], None] = print,
    patience: float = ANSWER_SECONDS,
) -> Findings:
    """All of it. Raises AssertionError when people do not understand each other before it begins."""
    web = free_port("tcp")
    with attacked(directory, web) as (gateway, chat):
        chat.check()
        running = Attack(gateway, web, seed, say, patience)
        try:
            findings = running.run(requests, first)
        finally:
            running.close()
        try:
            chat.check()
        except (AssertionError, TimeoutError, OSError) as error:
            findings.add(f"afterwards: {error}")
        return findings


def in_namespace(arguments: list[str]) -> None:
    """Go on in a network namespace of its own; returns where it is one already."""
    if os.environ.get(NAMESPACE):
        return
    unshare = shutil.which("unshare") or "/usr/bin/unshare"
    script = 'ip link set lo up && exec "$@"'
    command = [unshare, "-rn", "sh", "-c", script, "sh", sys.executable, "-m", "tests.fuzz.sip", *arguments]
    os.execve(unshare, command, {**os.environ, NAMESPACE: "1"})


@click.command(help=__doc__)
@click.option("--requests", default=1_000_000, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=1, show_default=True)
@click.option("--first", default=0, show_default=True, help=f"The batch to begin with, of {BATCH} requests each.")
@click.option("--patience", default=ANSWER_SECONDS, show_default=True, help="Seconds for the answer to an OPTIONS.")
@click.option("--keep", is_flag=True, help="Keep the directory with the log.")
def main(requests: int, seed: int, first: int, patience: float, keep: bool) -> None:
    in_namespace(sys.argv[1:])
    directory = Path(tempfile.mkdtemp(prefix="fuzz-sip-"))
    click.echo(f"seed {seed}, {requests} requests from batch {first} on, in {directory}")
    begin = time.monotonic()
    findings = attack(directory, requests, seed, first, click.echo, patience)
    seconds = time.monotonic() - begin
    slowest = f"slowest OPTIONS {findings.slowest * 1000:.0f} ms, {findings.repeated} of them sent again"
    click.echo(f"{findings.requests} requests in {seconds:.0f} s, seed {seed}; {slowest}")
    click.echo("answers: " + ", ".join(f"{status}: {count}" for status, count in sorted(findings.statuses.items())))
    if memory := findings.memory:
        click.echo(f"memory: {memory[0]} KB after the first batch, {max(memory)} at most, {memory[-1]} at the end")
    for text in findings.texts:
        click.echo(f"FOUND {text}")
    if not keep and not findings.texts:
        shutil.rmtree(directory)
    sys.exit(1 if findings.texts else 0)


if __name__ == "__main__":
    main()
