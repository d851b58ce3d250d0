"""Owns how several ends become one sender or one receiver; knows no protocol."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

from bench.flow import Receiver, Sender


class RoundRobin:
    """Each message goes by the next sender; a ``flow.Sender``."""

    def __init__(self, senders: Sequence[Sender]) -> None:
        self._senders, self._turn = senders, cycle(senders)

    @property
    def sockets(self) -> list[int]:
        return [descriptor for sender in self._senders for descriptor in sender.sockets]

    def send(self, number: int) -> None:
        next(self._turn).send(number)

    def read(self) -> None:
        for sender in self._senders:
            sender.read()


class Together:
    """What any of the receivers gets; a ``flow.Receiver``."""

    def __init__(self, receivers: Sequence[Receiver]) -> None:
        self._receivers = receivers

    @property
    def sockets(self) -> list[int]:
        return [descriptor for receiver in self._receivers for descriptor in receiver.sockets]

    def receive(self) -> list[int]:
        return [number for receiver in self._receivers for number in receiver.receive()]
