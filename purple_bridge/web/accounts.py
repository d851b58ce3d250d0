"""Owns what is shown of the accounts: rows of the mapping, and what the workers say of them; changes nothing."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from purple_bridge.control_client import ask
from purple_bridge.db.account import Account
from purple_bridge.db.mapping import Mapping
from purple_bridge.encryption import in_words
from purple_bridge.ownership import account_digest

DISABLED = "disabled"  # the row says so, whatever its account does for other users
STATES = ("online", "connecting", "offline", "error", DISABLED)
PAGE_SIZE = 50
FRESH_SECONDS = 1.0  # for which one look serves all browsers
ROWS_SECONDS = 5.0  # for which the rows of the table are remembered: reading many takes longer than asking the workers
ASK_SECONDS = 1.0
PAUSE_SECONDS = 5.0  # without a question to a worker that did not answer

Live = dict[bytes, dict[str, Any]]  # by account_digest


@dataclass(frozen=True, slots=True)
class Entry:
    """One account as it is shown. ``since``: Unix seconds, None where no worker knows it."""

    id: int
    sip_user: str
    protocol: str
    ext_user: str
    state: str
    error: str
    since: int | None
    worker: int | None
    retries: int
    queued: int
    security: str = "-"  # how its connection is encrypted, as `purplectl status` says it

    @property
    def words(self) -> str:
        """What a search looks at."""
        return f"{self.sip_user}\n{self.protocol}\n{self.ext_user}\n{self.error}".lower()

    @property
    def sip_uri(self) -> str:
        return f"sip:{self.sip_user}"


@dataclass(frozen=True, slots=True)
class Filter:
    """What the reader wants to see: ``text`` is in a name, the protocol or the error."""

    text: str = ""
    state: str = ""
    page: int = 1


@dataclass(frozen=True, slots=True)
class Page:
    """``entries`` of one page; ``counts``: of all that fit the text, by state, with ``""`` for all states."""

    entries: Sequence[Entry]
    counts: dict[str, int]
    number: int
    pages: int
    total: int


def page_of(entries: Sequence[Entry], wanted: Filter) -> Page:
    """The entries that the filter shows, cut into pages; a page that is not there is the last one."""
    text = wanted.text.lower()
    fitting = [entry for entry in entries if text in entry.words] if text else entries
    counts = Counter(entry.state for entry in fitting)
    shown = [entry for entry in fitting if wanted.state in ("", entry.state)]
    pages = max(1, -(-len(shown) // PAGE_SIZE))
    number = min(max(1, wanted.page), pages)
    cut = shown[(number - 1) * PAGE_SIZE : number * PAGE_SIZE]
    return Page(cut, {"": len(fitting), **{state: counts[state] for state in STATES}}, number, pages, len(shown))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """``entries`` in the order of the SIP users. ``answering``, ``workers``: how many of the workers answered."""

    entries: Sequence[Entry]
    answering: int
    workers: int


class Accounts:
    """Looks at the table and asks the workers, not more often than ``FRESH_SECONDS``."""

    def __init__(
        self, mapping: Mapping, state_dir: Path, workers: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._mapping, self._run, self._workers, self._clock = mapping, state_dir / "run", workers, clock
        self._last: Snapshot | None = None
        self._rows: list[tuple[Account, bytes]] = []  # with what the workers know each by
        self._read = -math.inf
        self._looked = 0.0
        self._silent_until: dict[int, float] = {}

    def look(self) -> Snapshot:
        """Raises DatabaseUnavailable."""
        if self._last is None or self._clock() - self._looked >= FRESH_SECONDS:
            live, answering = self._ask_workers()
            entries = [_entry(row, live.get(key, {})) for row, key in self._read_rows()]
            self._last = Snapshot(entries, answering, self._workers)
            self._looked = self._clock()
        return self._last

    def forget(self) -> None:
        """Something was changed: the next look is a new one."""
        self._last = None
        self._read = -math.inf

    def _read_rows(self) -> list[tuple[Account, bytes]]:
        if self._clock() - self._read >= ROWS_SECONDS:
            rows = sorted(self._mapping.all_accounts(), key=_order)
            self._rows, self._read = [(row, account_digest(row.protocol, row.ext_user)) for row in rows], self._clock()
        return self._rows

    def ask(self, command: str, **arguments: Any) -> list[dict[str, Any]]:
        """The answers of the workers that take the command."""
        answers = [self._ask(number, command, **arguments) for number in range(1, self._workers + 1)]
        return [answer for answer in answers if answer is not None and answer.get("ok")]

    def _ask_workers(self) -> tuple[Live, int]:
        live: Live = {}
        answers = self.ask("status")
        for answer in answers:
            live |= {account_digest(one["protocol"], one["ext_user"]): one for one in answer["accounts"]}
        return live, len(answers)

    def _ask(self, number: int, command: str, **arguments: Any) -> dict[str, Any] | None:
        if self._clock() < self._silent_until.get(number, 0.0):
            return None
        try:
            return ask(self._run / f"worker-{number}.sock", command, ASK_SECONDS, **arguments)
        except (OSError, ValueError):
            self._silent_until[number] = self._clock() + PAUSE_SECONDS
            return None


def _order(row: Account) -> tuple[str, str, str]:
    return row.sip_user, row.protocol, row.ext_user


def _entry(row: Account, known: dict[str, Any]) -> Entry:
    """``known``: what a worker says of it; without that, the account is offline."""
    enabled = row.enabled
    return Entry(
        id=row.id,
        sip_user=row.sip_user,
        protocol=row.protocol,
        ext_user=row.ext_user,
        state=known.get("state", "offline") if enabled else DISABLED,
        error=(known.get("error") or row.error or "") if enabled else "",
        since=known.get("since"),
        worker=known.get("worker"),
        retries=known.get("retries", 0),
        queued=known.get("queued", 0),
        security=in_words(row.protocol, dict(row.options), row.has_password, known.get("encryption", "")),
    )
