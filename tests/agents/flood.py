"""Owns many SIP conversations at once at a steady rate: each waits for its answer before it writes on (RFC 3428 §8)."""

from __future__ import annotations

import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.agents.dialog import new_token
from tests.agents.sip import Response, parse

T1, T2 = 0.5, 4.0  # seconds, RFC 3261 table 4
GIVE_UP = 64 * T1

OnSent = Callable[[int], None]


@dataclass
class _Outstanding:
    """One MESSAGE that has no final answer: when it goes out again, and when it is given up."""

    conversation: int
    text: str
    datagram: bytes
    interval: float
    due: float
    give_up: float


@dataclass
class Flood:
    """`recipients`: one conversation each. `answers`: text -> final status, 0 for none within 32 s."""

    proxy: tuple[str, int]
    sender: str
    recipients: list[str]
    answers: dict[str, int] = field(default_factory=dict)

    def run(self, count: int, rate: float, sent: OnSent = lambda _number: None) -> dict[str, int]:
        """`count` messages, in turn to each recipient, started at `rate` a second. `sent(n)`: n are under way.

        The texts are "RECIPIENT'S PLACE:NUMBER", numbered for each recipient from 0.
        """
        self._outstanding: dict[str, _Outstanding] = {}
        self._busy: set[int] = set()
        self._waiting = {place: deque[str]() for place in range(len(self.recipients))}
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as self._socket, selectors.DefaultSelector() as selector:
            self._socket.bind(("127.0.0.1", 0))
            self._socket.setblocking(False)
            selector.register(self._socket, selectors.EVENT_READ)
            self._run(selector, count, rate, sent)
        return self.answers

    def _run(self, selector: selectors.BaseSelector, count: int, rate: float, sent: OnSent) -> None:
        begin, started = time.monotonic(), 0
        while len(self.answers) < count:
            now = time.monotonic()
            while started < count and begin + started / rate <= now:
                place, number = started % len(self.recipients), started // len(self.recipients)
                self._waiting[place].append(f"{place}:{number}")
                started += 1
                sent(started)
                self._start(place)
            self._repeat(now)
            if selector.select(min(1 / rate, 0.01)):
                self._read()

    def _start(self, place: int) -> None:
        """The next message of the conversation, unless it waits for an answer."""
        if place in self._busy or not self._waiting[place]:
            return
        self._busy.add(place)
        text, now = self._waiting[place].popleft(), time.monotonic()
        branch = f"z9hG4bK{new_token()}"
        datagram = self._build(branch, self.recipients[place], text)
        self._outstanding[branch] = _Outstanding(place, text, datagram, T1, now + T1, now + GIVE_UP)
        self._socket.sendto(datagram, self.proxy)

    def _build(self, branch: str, recipient: str, text: str) -> bytes:
        host, port = self._socket.getsockname()
        lines = [
            f"MESSAGE {recipient} SIP/2.0",
            f"Via: SIP/2.0/UDP {host}:{port};rport;branch={branch}",
            "Max-Forwards: 70",
            f"From: <{self.sender}>;tag={new_token()}",
            f"To: <{recipient}>",
            f"Call-ID: {new_token()}",
            "CSeq: 1 MESSAGE",
            "Content-Type: text/plain",
            f"Content-Length: {len(text)}",
        ]
        return ("\r\n".join(lines) + "\r\n\r\n" + text).encode()

    def _repeat(self, now: float) -> None:
        """RFC 3261 §17.1.2.2, timers E and F."""
        for branch, message in list(self._outstanding.items()):
            if now >= message.give_up:
                self._end(branch, 0)
            elif now >= message.due:
                self._socket.sendto(message.datagram, self.proxy)
                message.interval = min(2 * message.interval, T2)
                message.due = now + message.interval

    def _read(self) -> None:
        while True:
            try:
                response = parse(self._socket.recv(65536))
            except OSError:  # nothing more, or the refusal of a port where nobody listens at the moment
                return
            if isinstance(response, Response) and response.status >= 200:
                branch = response.headers.values("Via")[0].partition("branch=")[2].partition(";")[0]
                self._end(branch, response.status)

    def _end(self, branch: str, status: int) -> None:
        message = self._outstanding.pop(branch, None)
        if message is not None:
            self.answers[message.text] = status
            self._busy.discard(message.conversation)
            self._start(message.conversation)
