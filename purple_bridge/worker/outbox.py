"""One account's messages on their way: owns their order and what is known of each; knows no libpurple and no SIP.

A message waits, is handed over to the IM network, and is gone when the network has acknowledged it. A connection that
dies puts what was handed over back in front, in order. Only ``WINDOW`` waiting messages are kept in memory: of more,
the rows in the database are read when their turn comes.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from purple_bridge.board import Way
from purple_bridge.commands import SendMessage

WINDOW = 1000
MOST_IN_FLIGHT = 3  # what a server that dies has delivered without having said so arrives twice
MOST_WHEN_STEADY = 8  # as many cost a third less of the time here and at the server,
STEADY_SECONDS = 3.0  # once this process and the connection have lived for so long: who dies often repeats little
MOST_WHEN_SWIFT = 12  # as many and server and process seldom wait for each other,
SWIFT_SECONDS = 0.005  # while it acknowledges within so long: one that slows down may be about to die
WRITE_DOWN_SECONDS = 1.0  # what takes longer has a row from then on
STALL_SECONDS = 3.0  # when the first one takes longer, what comes has a row before it is answered
SETTLED_SECONDS = 5.0  # a network without acknowledgements has a message when its connection lived on for so long
STUCK_SECONDS = 60.0  # a connection on which nothing is acknowledged for so long is dead
# A row may be read before the command that brings it. A SIP worker sends that as soon as the row is there, and the last
# one of a full queue is read within seconds: later than this none comes. Sweeps, one a second, are counted and not
# seconds: a process that stands still reads no commands either.
COMMAND_SWEEPS = 30


class Rows(Protocol):
    """The rows of ``purple_queue``, written and read elsewhere; the answers come later, in this thread."""

    def write(self, message: SendMessage, done: Callable[[bool], None]) -> None:
        """``done(False)``: the database failed."""

    def erase(self, number: int, done: Callable[[], None]) -> bool:
        """The message has arrived or failed for good.

        True: it cannot come again, even if this process dies now. False: so it is when ``done`` is called.
        """

    def load(self, after: int, done: Callable[[list[SendMessage] | None], None]) -> None:
        """The next rows of the account with a higher id, in order; None: the database failed."""


@dataclass(slots=True, eq=False)
class Item:
    """``stored``: a row is there, or on its way into the database. ``confirmed``: the network will acknowledge it."""

    message: SendMessage
    stored: bool
    since: float
    handed_at: float = 0.0
    confirmed: bool = True
    written: bool = False  # a row was asked for: what the database has not confirmed in time may still become one


class Page(NamedTuple):
    """Ids of the rows that were read at once; ``until``: the sweep that forgets them."""

    numbers: frozenset[int]
    until: int


# of most accounts: an empty deque takes 760 octets
_NONE_WAITS: deque[Item] = deque()


class Outbox:
    """``backlog``: rows that the database had for the account when the worker started, or learned of since.

    ``always``: every message has a row (purple.queue).
    """

    def __init__(
        self, rows: Rows, backlog: int = 0, always: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rows, self._clock, self.always = rows, clock, always
        self._waiting = _NONE_WAITS
        self._in_flight: OrderedDict[str, Item] = OrderedDict()
        self._awaited = 0  # of those in flight, how many the network will acknowledge
        self._in_doubt: dict[str, Item] = {}  # of the waiting: in flight when the connection was lost
        self._beyond = backlog  # rows that are not in memory, about
        self._loading = False
        self._generation = 0
        self._passed_by: list[int] = []  # messages left to the database while a page is being read
        self._ended: list[int] = []  # acknowledged, failed or removed meanwhile: the page may have their rows still
        self._read_to = 0  # rows up to this id are, or were, in memory
        self._erasing = 0
        self._steady_from = clock() + STEADY_SECONDS
        self.room_made: Callable[[], None] = lambda: None  # called when there may be something to hand over
        self._pages: tuple[Page, ...] = ()  # of late: the command that brings one of their rows is no second message
        self._sweeps = 0

    def __len__(self) -> int:
        return len(self._waiting) + len(self._in_flight) + self._beyond

    @property
    def _more(self) -> bool:
        return self._beyond > 0

    # ------------------------------------------------------------ in
    def add(self, message: SendMessage) -> None:
        """A message from a SIP worker, behind all others."""
        if self._pages and any(message.id in page.numbers for page in self._pages):
            return
        if message.stored and not self._more and len(self._waiting) >= WINDOW:
            self._read_to = message.id - 1
            self._pass_by(message)
        elif message.stored and self._more and message.id > self._read_to:
            self._pass_by(message)
        else:
            if self._waiting is _NONE_WAITS:
                self._waiting = deque()
            self._waiting.append(Item(message, message.stored, self._clock()))

    def _pass_by(self, message: SendMessage) -> None:
        """Its row is enough: it is read when its turn comes."""
        self._beyond += 1
        if self._loading:
            self._passed_by.append(message.id)

    def learn_of_rows(self, count: int) -> None:
        """The database has rows that came past this process, or are to be tried again."""
        self._beyond = max(self._beyond, count)
        self._read_to = 0
        self._generation += 1

    # ------------------------------------------------------------ out
    def next(self) -> SendMessage | None:
        """The message to hand over now; None: there is none, or no room in flight, or it must be read first."""
        unread = self._more and (not self._waiting or self._waiting[0].message.id > self._read_to)
        if self._more and not self._loading and (unread or len(self._waiting) < WINDOW // 2):
            self._load()
        if unread or not self._waiting or not self._has_room():
            return None
        return self._waiting[0].message

    def _has_room(self) -> bool:
        # where every message has a row, it counts as long as it would arrive twice if this process died
        if self.always:
            return self._awaited + self._erasing < MOST_IN_FLIGHT
        if self._awaited < MOST_IN_FLIGHT:
            return True
        if self._clock() < self._steady_from:
            return False
        return self._awaited < MOST_WHEN_STEADY or (
            self._awaited < MOST_WHEN_SWIFT and self._unacknowledged_for() < SWIFT_SECONDS
        )

    def take(self) -> None:
        """``next()`` is about to be handed over."""
        self._in_doubt.clear()  # it goes out on a new connection
        item = self._waiting.popleft()
        item.handed_at, item.confirmed = self._clock(), True
        before = self._in_flight.get(item.message.ident)
        self._in_flight[item.message.ident] = item
        if before is None or not before.confirmed:  # one acknowledgement is all that comes for both
            self._awaited += 1

    def unconfirmed(self, ident: str) -> None:
        """It was handed over on a connection that will not tell when the network has it."""
        item = self._in_flight.get(ident)
        if item is not None and item.confirmed:
            item.confirmed = False
            self._awaited -= 1

    def acknowledged(self, ident: str) -> SendMessage | None:
        """The network has it, or it failed for good; None: it is not one of those in flight.

        What a server said before it died may be read only after a write to it has failed.
        """
        item = self._in_flight.pop(ident, None)
        if item is not None and item.confirmed:
            self._awaited -= 1
        if item is None and (item := self._in_doubt.pop(ident, None)) is not None:
            self._waiting.remove(item)
        return self._gone(item) if item else None

    def remove(self, number: int) -> bool:
        """Its wait has ended, or somebody dropped it. False: it is in flight, so nobody can say."""
        if any(item.message.id == number for item in self._in_flight.values()):
            return False
        if self._loading:
            self._ended.append(number)
        kept = [item for item in self._waiting if item.message.id != number]
        if len(kept) < len(self._waiting):
            self._waiting = deque(kept)
            self._in_doubt = {ident: item for ident, item in self._in_doubt.items() if item.message.id != number}
        return True

    def connection_lost(self) -> list[SendMessage]:
        """What was not acknowledged is sent again, in order, and first written down. Returns that."""
        lost = [item.message for item in self._in_flight.values()]
        for item in reversed(self._in_flight.values()):
            item.handed_at = 0.0
            self._waiting.appendleft(item)
        self._in_doubt |= self._in_flight
        self._in_flight.clear()
        self._awaited = 0
        self._steady_from = self._clock() + STEADY_SECONDS
        self.write_down()
        return lost

    def sweep(self) -> list[str]:
        """Once a second: what stays longer than a moment is written down. Returns those in flight that count as
        handed over on a network without acknowledgements."""
        now = self._clock()
        self.write_down(now)
        self._sweeps += 1
        if self._pages:
            self._pages = tuple(page for page in self._pages if page.until > self._sweeps)
        return [
            ident
            for ident, item in self._in_flight.items()
            if not item.confirmed and now - item.handed_at > SETTLED_SECONDS
        ]

    @property
    def at_rest(self) -> bool:
        """There is nothing to sweep."""
        return not (self._waiting or self._in_flight or self._beyond or self._pages)

    @property
    def way(self) -> Way:
        """Of a message that comes now, while the account is online."""
        stalled = self._unacknowledged_for() > STALL_SECONDS
        return Way.QUEUE if stalled or self._waits_for() > STALL_SECONDS or self._more else Way.DIRECT

    def _waits_for(self) -> float:
        """Seconds since the first of the waiting messages came."""
        return self._clock() - self._waiting[0].since if self._waiting else 0.0

    @property
    def stuck(self) -> bool:
        """The network acknowledges nothing, although the connection seems to live."""
        return self._unacknowledged_for() > STUCK_SECONDS

    def _unacknowledged_for(self) -> float:
        """Seconds since the oldest message in flight was handed over."""
        oldest = next(iter(self._in_flight.values()), None)
        return self._clock() - oldest.handed_at if oldest is not None and oldest.confirmed else 0.0

    def write_down(self, now: float | None = None) -> None:
        """Rows for what has none: all of it, or (``now`` given) what has not arrived for a while."""
        for item in (*self._in_flight.values(), *self._waiting):
            if not item.stored and (now is None or now - item.since > WRITE_DOWN_SECONDS):
                self._write(item)

    # ------------------------------------------------------------ rows
    def _write(self, item: Item) -> None:
        item.stored = item.written = True

        def written(well: bool) -> None:
            item.stored = item.stored and well  # else the next sweep tries again

        self._rows.write(item.message, written)

    def _gone(self, item: Item) -> SendMessage:
        if self._loading:
            self._ended.append(item.message.id)
        if (item.stored or item.written) and not self._rows.erase(item.message.id, self._erased):
            self._erasing += 1
        return item.message

    def _erased(self) -> None:
        self._erasing -= 1
        self.room_made()

    def _load(self) -> None:
        self._loading, self._passed_by, self._ended = True, [], []
        generation = self._generation
        self._rows.load(self._read_to, lambda messages: self._loaded(messages, generation))

    def _loaded(self, messages: list[SendMessage] | None, generation: int) -> None:
        self._loading = False
        if messages is None or generation != self._generation:
            return  # the database failed, or the reading began anew: the next sweep asks again
        known = {item.message.id for item in (*self._waiting, *self._in_flight.values())}.union(self._ended)
        new = [Item(message, True, self._clock()) for message in messages if message.id not in known]
        if messages:
            self._pages += (Page(frozenset(message.id for message in messages), self._sweeps + COMMAND_SWEEPS),)
            # a row that passed by meanwhile may have come too late for this page, with a lower id than its last one
            self._read_to = max(self._read_to, min([messages[-1].id, *(number - 1 for number in self._passed_by)]))
            self._beyond = max(self._beyond - len(messages), 1)  # until a page is empty, there may be more
        else:
            self._beyond = len(self._passed_by)
        self._waiting = deque(sorted([*self._waiting, *new], key=lambda item: item.message.id))
        self.room_made()
