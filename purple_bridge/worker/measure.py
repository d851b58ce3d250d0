"""What one worker measures by itself: owns its timers, and what was the longest delay of the loop lately.

How late the loop is, how many accounts and messages the worker has, how much lies in the tables; must not know who
reads the figures.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable

from purple_bridge import metrics
from purple_bridge.board import State
from purple_bridge.db.figures import Lying, TableFigures
from purple_bridge.libpurple import glib
from purple_bridge.meter import Family, Meter
from purple_bridge.worker.account import OwnedAccount
from purple_bridge.worker.store import Store

BEAT_SECONDS = 0.25
LOOK_SECONDS = 2.0
TABLES_SECONDS = 5.0
LOOK_SHARE = 20  # looking into the tables takes at most a twentieth of the time
WINDOW_SECONDS = 10.0

Every = Callable[[float, Callable[[], None]], None]


class LoopLag:
    """How late a timer of BEAT_SECONDS comes: GLib counts them from the last time it ran."""

    def __init__(self, meter: Meter, clock: Callable[[], float] = time.monotonic) -> None:
        self._meter, self._clock = meter, clock
        self._beat_at = self._window_at = clock()
        self._most = self._most_before = 0.0

    def beat(self) -> None:
        now = self._clock()
        late = max(0.0, now - self._beat_at - BEAT_SECONDS)
        self._beat_at, self._most = now, max(self._most, late)
        self._meter.observe(metrics.LAG, late, self._meter.writer)
        self._meter.set(metrics.SILENCE, time.time(), self._meter.writer)
        self._meter.set(metrics.LAG_MAX, max(self._most, self._most_before), self._meter.writer)
        if now - self._window_at > WINDOW_SECONDS:
            self._window_at, self._most_before, self._most = now, self._most, 0.0


class Measurements:
    """``accounts``: the worker's; ``waiting``: how many messages wait for phones, how many RPC calls for Kamailio."""

    def __init__(
        self,
        meter: Meter,
        store: Store,
        accounts: Callable[[], Iterable[OwnedAccount]],
        waiting: Callable[[], tuple[int, int]],
    ) -> None:
        self._meter, self._store, self._accounts, self._waiting = meter, store, accounts, waiting
        self._lag = LoopLag(meter)
        self._networks: set[str] = set()  # that have their counters
        self._shown: set[tuple[Family, tuple[str, ...]]] = set()  # what becomes 0 when there is no more of it

    def start(self, every: Every, tables: bool) -> None:
        """``every(seconds, function)`` makes a timer; ``tables``: in one worker only."""
        self._meter.begin(metrics.DATABASE_ERRORS, self._meter.writer)
        every(BEAT_SECONDS, self._lag.beat)
        every(LOOK_SECONDS, self._look)
        if tables:
            self._look_into_tables()

    def _look(self) -> None:
        """Accounts by state, and messages in hand."""
        accounts = list(self._accounts())
        protocols = {account.protocol for account in accounts}
        for protocol in protocols - self._networks:
            metrics.begin_network(self._meter, protocol)
        self._networks |= protocols
        found = Counter((account.state, account.protocol) for account in accounts)
        self._show(
            metrics.ACCOUNTS,
            {(state.word, protocol): found[state, protocol] for state in State for protocol in protocols},
        )
        for_phones, calls = self._waiting()
        writer, outboxes = self._meter.writer, sum(len(account.outbox) for account in accounts)
        self._meter.set(metrics.WAITING, outboxes, metrics.SIP_TO_IM, writer)
        self._meter.set(metrics.WAITING, for_phones, metrics.IM_TO_SIP, writer)
        self._meter.set(metrics.RPC_WAITING, calls, writer)

    def _look_into_tables(self) -> None:
        """The next look waits in proportion to how long this one took: a large table costs no more than a small one."""
        started = time.monotonic()

        def read(found: TableFigures | None) -> None:
            if found is not None:
                self._show_tables(found)
            pause = max(TABLES_SECONDS, LOOK_SHARE * (time.monotonic() - started))
            glib.add_timer(pause, self._look_into_tables)

        self._store.figures(read)

    def _show_tables(self, found: TableFigures) -> None:
        rows: dict[tuple[str, ...], Lying] = {}
        for state, lying in (("waiting", found.waiting), ("set_aside", found.set_aside)):
            rows |= {(protocol, state): one for protocol, one in lying.items()}
        self._show_lying(metrics.QUEUE, metrics.QUEUE_AGE, rows)
        self._show_lying(metrics.SILO, metrics.SILO_AGE, {(): found.kept})
        self._show(metrics.MAPPED, {(protocol,): count for protocol, count in found.mapped.items()})

    def _show_lying(self, counts: Family, ages: Family, rows: dict[tuple[str, ...], Lying]) -> None:
        self._show(counts, {labels: lying.count for labels, lying in rows.items()})
        self._show(ages, {labels: lying.oldest for labels, lying in rows.items()})

    def _show(self, family: Family, found: dict[tuple[str, ...], int]) -> None:
        """All series of the family."""
        for labels, value in found.items():
            self._meter.set(family, value, *labels)
        gone = {(kind, labels) for kind, labels in self._shown if kind is family and labels not in found}
        for _, labels in gone:
            self._meter.set(family, 0, *labels)
        self._shown |= {(family, labels) for labels in found}
