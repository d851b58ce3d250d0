"""Owns a phone that goes on asking while something breaks: what each request got, and after what time. No fault."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from tests.agents.dialog import new_token
from tests.agents.sip import Digest, Response, challenge, parse, user_host

T1, T2 = 0.5, 4.0  # seconds, RFC 3261 table 4
GIVE_UP = 64 * T1
EACH = 10  # rounds with a REGISTER
CREDENTIALS = {401: ("WWW-Authenticate", "Authorization"), 407: ("Proxy-Authenticate", "Proxy-Authorization")}


@dataclass(slots=True)
class Asked:
    """One request: when it was sent first, and what became of it. ``status`` 0: no final answer within 32 s."""

    kind: str
    text: str
    recipient: str
    sent_at: float
    phase: str
    status: int = 0
    seconds: float = GIVE_UP
    repeats: int = 0
    interval: float = T1
    due: float = 0.0
    tries: int = 0
    datagram: bytes = b""


@dataclass(frozen=True)
class Delays:
    """Milliseconds from a request to its final answer."""

    count: int
    p50: float
    p99: float
    worst: float

    @classmethod
    def of(cls, asked: Iterable[Asked]) -> Delays:
        every = sorted(one.seconds * 1000 for one in asked)
        if not every:
            return cls(0, 0.0, 0.0, 0.0)
        return cls(len(every), every[len(every) // 2], every[min(len(every) - 1, int(len(every) * 0.99))], every[-1])


@dataclass
class Load:
    """OPTIONS and MESSAGEs at a steady rate, from one socket, whether the ones before were answered or not.

    ``recipients``: SIP URIs that get MESSAGEs in turn, each text only once; ``rate``: of each kind, a second.
    ``registers``: with each tenth of them goes a REGISTER, which needs the database. A request is sent again as RFC
    3261 §17.1.2 says. ``phase`` is what requests are counted under.
    """

    proxy: tuple[str, int]
    sender: str
    password: str
    recipients: list[str]
    rate: float = 40.0
    name: str = "load"
    registers: bool = False
    asked: list[Asked] = field(default_factory=list)
    phase: str = "before"

    def __post_init__(self) -> None:
        self._outstanding: dict[str, Asked] = {}
        self._digests: dict[str, tuple[str, Digest]] = {}
        self._ending = threading.Event()
        self._silent = threading.Event()
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._number = 0

    # ------------------------------------------------------------ for the scenario
    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Send nothing new, wait until each request has its answer or is given up."""
        self._silent.set()
        self._thread.join(GIVE_UP + 5)
        self._ending.set()
        self._thread.join(5)
        self._socket.close()

    def of(self, kind: str, phase: str | None = None) -> list[Asked]:
        """What has been asked and is settled; ``kind``: OPTIONS, MESSAGE or REGISTER."""
        settled = [one for one in list(self.asked) if one.kind == kind]
        return settled if phase is None else [one for one in settled if one.phase == phase]

    def delays(self, kind: str, phase: str) -> Delays:
        return Delays.of(self.of(kind, phase))

    def statuses(self, phase: str | None = None, kind: str = "MESSAGE") -> Counter[int]:
        return Counter(one.status for one in self.of(kind, phase))

    def accepted(self) -> dict[str, set[str]]:
        """Recipient -> the texts that were answered with 2xx."""
        found: dict[str, set[str]] = {recipient: set() for recipient in self.recipients}
        for one in self.of("MESSAGE"):
            if 200 <= one.status < 300:
                found[one.recipient].add(one.text)
        return found

    def unanswered(self) -> int:
        return sum(one.status == 0 for one in self.asked)

    # ------------------------------------------------------------ in the thread
    def _run(self) -> None:
        begin, rounds = time.monotonic(), 0
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            while not self._ending.is_set() and not (self._silent.is_set() and not self._outstanding):
                now = time.monotonic()
                while not self._silent.is_set() and begin + rounds / self.rate <= now:
                    rounds += 1
                    self._ask("OPTIONS")
                    if self.recipients:
                        self._ask("MESSAGE")
                    if self.registers and rounds % EACH == 0:
                        self._ask("REGISTER")
                self._repeat(now)
                if selector.select(min(1 / self.rate, 0.01)):
                    self._read()

    def _ask(self, kind: str) -> None:
        self._number += 1
        recipient = self.recipients[self._number // 2 % len(self.recipients)] if kind == "MESSAGE" else ""
        text = f"{self.name}:{self._number}" if kind == "MESSAGE" else ""
        self._send(Asked(kind, text, recipient, time.monotonic(), self.phase), new_token())

    def _send(self, asked: Asked, call_id: str) -> None:
        branch = f"z9hG4bK{new_token()}"
        asked.datagram = self._build(asked, branch, call_id)
        asked.due, asked.interval = time.monotonic() + T1, T1
        self._outstanding[branch] = asked
        self._transmit(asked.datagram)

    def _transmit(self, datagram: bytes) -> None:
        try:
            self._socket.sendto(datagram, self.proxy)
        except OSError:  # the refusal of a port where nobody listens at the moment
            return

    def _build(self, asked: Asked, branch: str, call_id: str) -> bytes:
        host, port = self._socket.getsockname()
        user, domain = user_host(self.sender)
        uri = asked.recipient or f"sip:{domain}"
        more = [f"Contact: <sip:{user}@{host}:{port}>"] if asked.kind == "REGISTER" else []
        if asked.kind in self._digests:
            header, digest = self._digests[asked.kind]
            more.append(f"{header}: {digest.answer(user, self.password, asked.kind, uri)}")
        lines = [
            f"{asked.kind} {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {host}:{port};rport;branch={branch}",
            "Max-Forwards: 70",
            f"From: <{self.sender}>;tag={call_id}",
            f"To: <{self.sender if asked.kind == 'REGISTER' else uri}>",
            f"Call-ID: {call_id}",
            f"CSeq: {asked.tries + 1} {asked.kind}",
            *more,
            "Content-Type: text/plain",
            f"Content-Length: {len(asked.text)}",
        ]
        return ("\r\n".join(lines) + "\r\n\r\n" + asked.text).encode()

    def _repeat(self, now: float) -> None:
        """RFC 3261 §17.1.2.2, timers E and F."""
        for branch, asked in list(self._outstanding.items()):
            if now >= asked.sent_at + GIVE_UP:
                self._outstanding.pop(branch)
                self.asked.append(asked)
            elif now >= asked.due:
                self._transmit(asked.datagram)
                asked.repeats += 1
                asked.interval = min(2 * asked.interval, T2)
                asked.due = now + asked.interval

    def _read(self) -> None:
        while True:
            try:
                response = parse(self._socket.recv(65536))
            except OSError:
                return
            except ValueError:
                continue
            if isinstance(response, Response) and response.status >= 200:
                self._answered(response)

    def _answered(self, response: Response) -> None:
        branch = response.headers.values("Via")[0].partition("branch=")[2].partition(";")[0]
        asked = self._outstanding.pop(branch, None)
        if asked is None:
            return
        if response.status in CREDENTIALS and asked.tries < 3:
            challenged, answered = CREDENTIALS[response.status]
            found = challenge(response.headers.get_all(challenged))
            if found is not None:
                self._digests[asked.kind] = (answered, found)
                asked.tries += 1
                return self._send(asked, response.headers["Call-ID"])
        asked.status, asked.seconds = response.status, time.monotonic() - asked.sent_at
        self.asked.append(asked)
