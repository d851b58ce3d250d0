"""Owns one stream of numbered messages from a sending to a receiving end in one process; knows no protocol.

Sender and receiver share a clock and a loop, so what is measured is the way between them: the time from the call that
sends a message to the moment at which it was read at the other end.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

IDLE_SECONDS = 5.0  # nothing came for so long: what is missing is lost
WARM_UP = 200  # messages before the measurement: caches, connections, the interpreter's own warming
SETTLE_SECONDS = 4.0  # of traffic: memory is used for the first time, and little is sent ahead on a new connection


class Sender(Protocol):
    """``sockets``: what to read from, in any event; ``send`` must not block."""

    @property
    def sockets(self) -> list[int]: ...

    def send(self, number: int) -> None: ...

    def read(self) -> None:
        """What came for the sender: answers, acknowledgements."""


class Receiver(Protocol):
    @property
    def sockets(self) -> list[int]: ...

    def receive(self) -> list[int]:
        """The numbers of the messages that have come, in their order; answers them where that is due."""


@dataclass(frozen=True, slots=True)
class Result:
    """``rate``: messages a second from the first sent to the last received. ``p50``, ``p99``: milliseconds one way."""

    sent: int
    lost: int
    repeated: int
    rate: float
    p50: float
    p99: float


_numbers = count()


@dataclass
class Flow:
    """No number comes twice in a process, so a late message of an earlier run is not taken for one of a later."""

    sender: Sender
    receiver: Receiver
    _sent_at: dict[int, float] = field(default_factory=dict)

    def at_most(self, total: int, window: int) -> Result:
        """As fast as it goes with ``window`` messages on their way: nothing piles up, so this rate is sustained."""
        return self._run(total, lambda _now, begun: begun < total and len(self._sent_at) < window)

    def at_rate(self, rate: float, seconds: float) -> Result:
        """At a steady rate, whether the others have arrived or not."""
        total, started = int(rate * seconds), time.monotonic()
        return self._run(total, lambda now, begun: begun < total and now >= started + begun / rate, 1 / rate)

    def warm_up(self) -> None:
        self.at_most(WARM_UP, 16)

    def settle(self) -> None:
        """What the first seconds after the start are like is no rate that lasts."""
        end = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < end:
            self.warm_up()

    def _run(self, total: int, may_send: Callable[[float, int], bool], pause: float = 0.05) -> Result:
        delays: list[float] = []
        self._sent_at.clear()
        begun, repeated = 0, 0
        started = last = time.monotonic()
        with selectors.DefaultSelector() as selector:
            for descriptor in {*self.sender.sockets, *self.receiver.sockets}:
                selector.register(descriptor, selectors.EVENT_READ)
            while len(delays) < total and time.monotonic() - last < IDLE_SECONDS:
                while may_send(time.monotonic(), begun):
                    number, begun = next(_numbers), begun + 1
                    self._sent_at[number] = last = time.monotonic()
                    self.sender.send(number)
                selector.select(min(pause, 0.05))
                self.sender.read()
                for number in self.receiver.receive():
                    now = time.monotonic()
                    sent_at = self._sent_at.pop(number, None)
                    if sent_at is None:
                        repeated += 1
                        continue
                    delays.append(now - sent_at)
                    last = now
        return _result(begun, repeated, last - started, sorted(delays))


def _result(sent: int, repeated: int, seconds: float, delays: list[float]) -> Result:
    def at(share: float) -> float:
        return 1000 * delays[min(int(share * len(delays)), len(delays) - 1)] if delays else float("nan")

    return Result(sent, sent - len(delays), repeated, len(delays) / seconds if seconds else 0.0, at(0.5), at(0.99))
