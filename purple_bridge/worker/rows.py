"""Keeps this worker's accounts equal to the mapping: owns when its rows are looked at; knows no libpurple and no SIP.

One worker looks where the table has changed, and tells the others. Each then reads the rows of those places and of the
accounts that it has, and nothing else.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from purple_bridge.board import AccountBoard
from purple_bridge.commands import AccountSpec, RowsChanged, spec_of
from purple_bridge.db.mapping import Account as Row
from purple_bridge.db.mapping import Pair
from purple_bridge.db.presence import WantedPresence
from purple_bridge.db.row_changes import BLOCK, Block
from purple_bridge.libpurple import glib
from purple_bridge.ownership import account_digest, owner_of, protocols_of
from purple_bridge.settings import Settings
from purple_bridge.worker.account import OwnedAccount
from purple_bridge.worker.store import Store, Wish
from purple_bridge.worker.wanted import Publication, Wanted

logger = logging.getLogger(__name__)

LOOKER = 1  # the worker that looks for changes
LOOK_SECONDS = 2.0
LOOK_SHARE = 5  # a very large table is looked at less often: looking takes about a fifth of the time
LOOK_FREE = 0.2  # seconds of a look that do not count for that
BLOCKS_AT_ONCE = 10  # the store's thread has other work, too
AGAIN_SECONDS = 1.0  # after the database failed
BASELINE_SECONDS = (
    5.0  # what changes while the gateway starts is found if the first look comes before the first reading
)

Found = dict[Pair, tuple[Row, ...]]


class Accounts(Protocol):
    """What the rows need of their worker."""

    def account(self, spec: AccountSpec) -> OwnedAccount:
        """The account of the row, made if there is none."""

    def find(self, digest: bytes) -> OwnedAccount | None: ...

    def all(self) -> list[OwnedAccount]: ...

    def kept(self, presence: WantedPresence) -> Wanted:
        """What was wanted before a restart."""

    def nothing_wanted(self) -> Wanted:
        """Of a user of whom nothing is known."""

    def sign_on(self, account: OwnedAccount, sip_user: str, wanted: Wanted, keep: bool) -> None:
        """The user wanted it before the account was his; ``keep``: the next start must know."""

    def ask_registered(self, sip_user: str, done: Callable[[float], None]) -> None:
        """``done`` learns until when a phone of the user is registered: Unix seconds, 0: none is."""

    def restore_watches(self, sip_users: frozenset[str]) -> None:
        """What these users' phones are subscribed to concerns their new accounts, too."""

    def users_gone(self, account: OwnedAccount, sip_users: frozenset[str]) -> None: ...

    def forget(self, account: OwnedAccount) -> None:
        """No row is left."""

    def tell(self, worker: int, command: RowsChanged) -> bool:
        """False: it cannot be told now."""


class Rows:
    """``start`` begins it; what changes comes from ``_look``, the other worker's ``changed``, or ``told``."""

    def __init__(self, settings: Settings, number: int, board: AccountBoard, store: Store, accounts: Accounts) -> None:
        self._settings, self._number, self._board = settings, number, board
        self._store, self._accounts = store, accounts
        self._blocks: set[Block] = set()
        self._users: set[str] = set()  # whose rows somebody has changed (SipAddress.key)
        self._unsure: set[OwnedAccount] = set()  # a command named them, which may be older than the rows
        self._untold: dict[int, set[Block]] = {}  # by worker
        self._keys = store.keys_signature()
        self._reading = False
        self._users_seen = not settings.auth  # the SIP users have been looked at
        self._ended = False

    def owns(self, protocol: str, ext_user: str) -> bool:
        return owner_of(protocol, ext_user, self._settings.workers) == self._number

    def end(self) -> None:
        """The gateway is about to end: no account signs on any more."""
        self._ended = True

    # ------------------------------------------------------------ the start
    def start(self, restored: Callable[[], None]) -> None:
        """Sign on what was online, or should be; then call ``restored``, once."""
        if self._number == LOOKER:
            self._look()
        self._await_baseline(time.monotonic() + BASELINE_SECONDS, restored)

    def _await_baseline(self, deadline: float, restored: Callable[[], None]) -> None:
        if self._board.rows_generation() or time.monotonic() > deadline:
            self._restore(restored)
        else:
            glib.add_timer(0.05, lambda: self._await_baseline(deadline, restored))

    def _restore(self, restored: Callable[[], None]) -> None:
        def again() -> None:
            glib.add_timer(AGAIN_SECONDS, lambda: self._restore(restored))

        def read(rows: list[Row] | None, kept: dict[str, WantedPresence]) -> None:
            if rows is None:
                return again()
            self._sign_on(self._new(rows), {user: Wish(presence) for user, presence in kept.items()})
            return restored()

        if self._ended:
            return
        if self._settings.connect_on == "start":
            self._store.all_accounts(lambda rows: read(rows, {}))
        else:
            self._store.kept_accounts(lambda found: read(*(found or (None, {}))))

    # ------------------------------------------------------------ what has changed
    def _look(self) -> None:
        """Only the LOOKER. The next look waits in proportion to how long this one took."""
        started = time.monotonic()

        def found(blocks: list[Block] | None) -> None:
            if blocks is not None and not self._board.rows_generation():
                self._board.rows_changed(self._number)  # the others wait for it
            self._tell_all(blocks or [])
            if self._settings.auth:
                self._store.changed_users(users_found)
            else:
                users_found(changed=False)

        def users_found(changed: bool | None) -> None:
            took = time.monotonic() - started
            glib.add_timer(max(LOOK_SECONDS, LOOK_SHARE * (took - LOOK_FREE)), self._look)
            # the routes remember who has proved himself: what they know from before the first look counts no more
            if changed or (changed is not None and not self._users_seen):
                self._board.rows_changed(self._number)
                self._users_seen = True

        if not self._ended:
            self._store.changed_blocks(found)

    def _tell_all(self, blocks: list[Block]) -> None:
        """Who cannot be told now is told with the next look."""
        if blocks:
            logger.info("the mapping has changed: %s", _ids(blocks))
            self._board.rows_changed(self._number)  # whatever is remembered of rows is old
            self.changed(RowsChanged(tuple(blocks)))
        for worker in range(1, self._settings.workers + 1):
            if worker != self._number:
                self._tell(worker, self._untold.pop(worker, set()).union(blocks))

    def _tell(self, worker: int, blocks: set[Block]) -> None:
        if blocks and not self._accounts.tell(worker, RowsChanged(tuple(sorted(blocks)))):
            self._untold[worker] = blocks

    def changed(self, command: RowsChanged) -> None:
        self._blocks.update(command.blocks)
        self.work()

    def told(self, request: dict[str, Any]) -> dict[str, Any]:
        """Whoever has changed rows says whose (``users``: SipAddress.key), so that nobody waits for the next look."""
        self._board.rows_changed(self._number)
        self._users.update(user for user in request.get("users", []) if isinstance(user, str))
        self.work()
        return {}

    def check(self, account: OwnedAccount) -> None:
        """A SIP worker may have named it by a row that it remembered, and which is gone meanwhile."""
        self._unsure.add(account)
        glib.call_soon(self.work)

    # ------------------------------------------------------------ reading
    def work(self) -> None:
        """Read what may have changed; also once a second, for what a failing database has left."""
        self._follow_keys()
        if self._reading or self._ended or not (self._blocks or self._users or self._unsure):
            return
        self._reading = True
        blocks, users, unsure = set(sorted(self._blocks)[:BLOCKS_AT_ONCE]), self._users, self._unsure
        self._blocks, self._users, self._unsure = self._blocks - blocks, set(), set()
        accounts = self._accounts.all() if blocks or users else list(unsure)

        def finished(well: bool) -> None:
            self._reading = False
            if not well:
                self._blocks |= blocks
                self._users |= users
                self._unsure |= unsure
            elif self._blocks or self._users or self._unsure:
                glib.call_soon(self.work)

        self._read_known(accounts, lambda well: self._read_new(blocks, users, finished) if well else finished(False))

    def _follow_keys(self) -> None:
        """A key that was missing may be there now: the rows say the same as before, and mean something else."""
        now = self._store.keys_signature()
        if now != self._keys:
            self._keys = now
            self._unsure.update(account for account in self._accounts.all() if account.has_wrong_row)
            self._board.rows_changed(self._number)  # whatever is remembered of rows is old

    def _read_known(self, accounts: list[OwnedAccount], done: Callable[[bool], None]) -> None:
        """The rows of accounts that are there: changed, or gone."""
        pairs = {account: _pairs(account) for account in accounts}

        def read(found: Found | None) -> None:
            for account, names in pairs.items() if found is not None else ():
                if self._accounts.find(_digest(account)) is account:
                    with _one_at_a_time(account.ext_user):
                        self._follow(account, [row for name in names for row in (found or {})[name]])
            done(found is not None)

        self._store.rows([name for names in pairs.values() for name in names], read)

    def _follow(self, account: OwnedAccount, rows: list[Row]) -> None:
        if not rows:
            logger.info("account %s %s: its row is gone", account.protocol, account.ext_user)
            self._board.rows_changed(self._number)  # a SIP worker may still remember it
            self._accounts.forget(account)
            return
        gone = account.renew([spec_of(row) for row in sorted(rows, key=lambda row: row.id)])
        if gone:
            self._board.rows_changed(self._number)
            self._accounts.users_gone(account, gone)

    def _read_new(self, blocks: set[Block], users: set[str], done: Callable[[bool], None]) -> None:
        """Rows whose account is not there, or not for this user: whether he is waiting for it."""

        def wanted(new: list[AccountSpec], wishes: dict[str, Wish] | None) -> None:
            if wishes is not None:
                self._sign_on(new, wishes)
                self._accounts.restore_watches(frozenset(spec.sip_user for spec in new))
            done(wishes is not None)

        def read(rows: list[Row] | None) -> None:
            new = self._new(rows or [])
            if new:
                self._store.wishes(sorted({spec.sip_user for spec in new}), lambda wishes: wanted(new, wishes))
            else:
                done(rows is not None)

        if blocks or users:
            self._store.rows_of(sorted(blocks), sorted(users), read)
        else:
            done(True)

    def _new(self, rows: Iterable[Row]) -> list[AccountSpec]:
        """Those of this worker that nobody has told what their user wants."""
        return [spec_of(row) for row in rows if self.owns(row.protocol, row.ext_user) and not self._is_told(row)]

    def _is_told(self, row: Row) -> bool:
        account = self._accounts.find(account_digest(row.protocol, row.ext_user))
        return account is not None and row.sip_user in account.told

    # ------------------------------------------------------------ signing on
    def _sign_on(self, specs: list[AccountSpec], wishes: dict[str, Wish]) -> None:
        """What the users want already, when their row comes."""
        for spec in specs:
            with _one_at_a_time(spec.ext_user):
                self._sign_on_one(spec, wishes.get(spec.sip_user, Wish()))

    def _sign_on_one(self, spec: AccountSpec, wish: Wish) -> None:
        wanted = self._wanted(wish)
        if wanted is not None:
            keep = wish.kept is None and self._settings.connect_on != "start"
            self._accounts.sign_on(self._accounts.account(spec), spec.sip_user, wanted, keep)
        elif self._settings.connect_on == "register":
            self._sign_on_if_registered(spec)

    def _wanted(self, wish: Wish) -> Wanted | None:
        """None: nothing that can be read says so."""
        published = tuple(Publication(one.presence, one.expires) for one in wish.published)
        if self._settings.connect_on == "start":
            return Wanted(published, self._accounts.nothing_wanted().here_until)
        if wish.kept is None:
            return Wanted(published) if published and self._settings.connect_on == "publish" else None
        kept = self._accounts.kept(wish.kept)
        return Wanted(published or kept.publications, kept.here_until)

    def _sign_on_if_registered(self, spec: AccountSpec) -> None:
        """purple.connect_on = register, and the user had no account when his phone registered."""

        def answered(until: float) -> None:
            if until:
                self._accounts.sign_on(self._accounts.account(spec), spec.sip_user, Wanted((), until), keep=True)

        self._accounts.ask_registered(spec.sip_user, answered)


@contextmanager
def _one_at_a_time(ext_user: str) -> Iterator[None]:
    """What goes wrong with one account must not keep the others from what their rows say."""
    try:
        yield
    except Exception:
        logger.exception("account %s cannot follow its row", ext_user)


def _pairs(account: OwnedAccount) -> list[Pair]:
    """The names under which rows may have the account."""
    return [(protocol, account.ext_user) for protocol in protocols_of(account.plugin)]


def _ids(blocks: list[Block]) -> str:
    ranges = [f"{block * BLOCK}-{block * BLOCK + BLOCK - 1}" for block in blocks[:5]]
    return f"ids {', '.join(ranges)}{', …' if len(blocks) > len(ranges) else ''}"


def _digest(account: OwnedAccount) -> bytes:
    return account_digest(account.protocol, account.ext_user)
