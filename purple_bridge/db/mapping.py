"""Owns the look-ups in the mapping table and their cache; does not know who asks, and writes nothing."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, and_, select
from sqlalchemy.exc import SQLAlchemyError

from purple_bridge.addresses import SipAddress, normalize_im_name
from purple_bridge.db.account import Account, account_of
from purple_bridge.db.cache import TtlCache
from purple_bridge.db.passwords import NO_KEYS, Passwords
from purple_bridge.db.tables import PURPLEMAP, folded, has_options, purplemap_table
from purple_bridge.db.words import in_words
from purple_bridge.errors import GatewayError

__all__ = ["Account", "DatabaseUnavailable", "Mapping", "Pair"]

T = TypeVar("T")
Pair = tuple[str, str]  # protocol, ext_user

CACHE_SIZE = 50_000  # entries, for each direction of look-up
CHUNK = 500  # names in one IN list; SQLite takes at most 32,766 values
PAGE = 1000  # rows that all_accounts holds at a time
PAUSE = 2.0  # seconds without a query after one failed, so that a dead database is not waited for every time

logger = logging.getLogger(__name__)


class DatabaseUnavailable(GatewayError):
    """The mapping cannot be read now, and nothing is known from before."""

    status = 503
    retry_after = 5


class Mapping:
    """Look-ups in ``purplemap``, each remembered, found or not: for ``ttl`` seconds, or until ``generation`` changes.

    Belongs to one thread of one process; only the ``cached_…`` methods may be called from another thread.
    While the database fails, what was known before is the answer, however old; without that,
    DatabaseUnavailable. After ``purplectl db upgrade`` has added ``ext_options``, it is seen by the next start.
    """

    def __init__(
        self,
        engine: Engine,
        table: str = PURPLEMAP,
        ttl: float = 3.0,
        *,
        size: int = CACHE_SIZE,
        clock: Callable[[], float] = time.monotonic,
        generation: Callable[[], int] = lambda: 0,
        may_ask: Callable[[], bool] = lambda: True,
        passwords: Passwords = NO_KEYS,
    ) -> None:
        """``engine``: made in this process (``make_engine``). Raises ConfigurationError for a bad table name.

        ``may_ask``: False while somebody knows that the database does not answer: it is not waited for then.
        ``generation``: a number that is another one as soon as somebody knows that rows have changed; 0: nobody
        watches them. ``passwords``:
        who decrypts them; without keys an account with an encrypted one has an error.
        """
        self._passwords = passwords
        self._engine, self._clock, self._generation = engine, clock, generation
        self._may_ask = may_ask
        self._table = purplemap_table(table, engine.dialect.name)
        self._sip_user = folded(self._table.c.sip_user, engine.dialect.name)
        self._ext_user = folded(self._table.c.ext_user, engine.dialect.name)
        self._of_sip: TtlCache[str, tuple[Account, ...]] = TtlCache(ttl, size, clock, generation)
        self._of_im: TtlCache[Pair, tuple[Account, ...]] = TtlCache(ttl, size, clock, generation)
        self._select: Select[Any] | None = None
        self._failing = False
        self._no_query_before = 0.0

    def accounts_of(self, sip_key: str) -> tuple[Account, ...]:
        """The accounts of a SIP user (``SipAddress.key``), by row id."""
        return self._look_up(self._of_sip, sip_key, lambda: self.refresh([sip_key])[sip_key])

    def owners_of(self, protocol: str, ext_user: str) -> tuple[Account, ...]:
        """The rows of an IM account or contact; names are compared as ``normalize_im_name`` does."""
        pair = (protocol, ext_user)
        return self._look_up(self._of_im, _normal(pair), lambda: self.accounts_for_pairs([pair])[pair])

    def cached_accounts_of(self, sip_key: str) -> tuple[Account, ...] | None:
        """``accounts_of`` without a query, for a thread that must not wait: None when it is not known."""
        return self._of_sip.peek(sip_key)

    def cached_owners_of(self, protocol: str, ext_user: str) -> tuple[Account, ...] | None:
        """``owners_of`` without a query: None when it is not known."""
        return self._of_im.peek(_normal((protocol, ext_user)))

    def refresh(self, sip_keys: Iterable[str]) -> dict[str, tuple[Account, ...]]:
        """Read the accounts of many SIP users, past the cache and into it; raises DatabaseUnavailable."""
        found: dict[str, tuple[Account, ...]] = {}
        generation = self._generation()
        for keys in _chunks(dict.fromkeys(sip_keys)):
            spellings = {spelling for key in keys for spelling in _spellings(key)}
            accounts = self._accounts(self._sip_user.in_(sorted(spellings)))
            found |= _grouped(keys, accounts, lambda account: account.sip_user)
        for key, value in found.items():
            self._of_sip.put(key, value, generation)
        return found

    def accounts_for_pairs(self, pairs: Iterable[Pair]) -> dict[Pair, tuple[Account, ...]]:
        """Read the rows of many (protocol, ext_user), past the cache and into it; raises DatabaseUnavailable.

        Every pair is a key of the result; one whose rows are gone has an empty tuple.
        """
        wanted = {pair: _normal(pair) for pair in pairs}
        generation = self._generation()
        by_protocol: dict[str, list[Pair]] = defaultdict(list)
        for pair in wanted:
            by_protocol[pair[0]].append(pair)
        found: dict[Pair, tuple[Account, ...]] = {}
        for protocol, same in by_protocol.items():
            for chunk in _chunks(same):
                found |= self._read_pairs(protocol, chunk)
        for key, value in found.items():
            self._of_im.put(key, value, generation)
        return {pair: found[key] for pair, key in wanted.items()}

    def all_accounts(self) -> Iterator[Account]:
        """Every row, in the order of the ids, read in pages past the cache; raises DatabaseUnavailable."""
        last = -1
        while page := self._accounts(self._table.c.id > last, limit=PAGE):
            yield from page
            last = page[-1].id

    def accounts_between(self, first: int, last: int) -> list[Account]:
        """The rows with these ids, both ends included, read past the cache; raises DatabaseUnavailable."""
        return self._accounts(self._table.c.id.between(first, last))

    def _look_up(
        self, cache: TtlCache[T, tuple[Account, ...]], key: T, read: Callable[[], tuple[Account, ...]]
    ) -> tuple[Account, ...]:
        fresh = cache.use(key)
        if fresh is not None:
            return fresh
        try:
            return read()
        except DatabaseUnavailable:
            aged = cache.aged(key)
            if aged is None:
                raise
            return aged

    def _read_pairs(self, protocol: str, pairs: list[Pair]) -> dict[Pair, tuple[Account, ...]]:
        names = {name.lower() for pair in pairs for name in (pair[1].strip(), _normal(pair)[1])}
        condition = and_(self._table.c.ext_prot == protocol, self._ext_user.in_(sorted(names)))
        return _grouped(
            [_normal(pair) for pair in pairs],
            self._accounts(condition),
            lambda account: _normal((account.protocol, account.ext_user)),
        )

    def _accounts(self, condition: ColumnElement[bool], limit: int | None = None) -> list[Account]:
        if self._clock() < self._no_query_before or not self._may_ask():
            raise DatabaseUnavailable("The account database does not answer")
        try:
            rows = self._rows(condition, limit)
        except SQLAlchemyError as error:
            self._failed(error)
            raise DatabaseUnavailable("The account database does not answer") from error
        self._succeeded()
        return [account_of(row, self._passwords) for row in rows]

    def _rows(self, condition: ColumnElement[bool], limit: int | None) -> list[Row[Any]]:
        with self._engine.connect() as connection:
            columns = self._select if self._select is not None else self._columns(connection)
            statement = columns.where(condition).order_by(self._table.c.id).limit(limit)
            rows = list(connection.execute(statement))
        self._select = columns  # kept once it has worked: there may have been no table yet
        return rows

    def _columns(self, connection: Connection) -> Select[Any]:
        """All columns that are there: tables of the old module have no ``ext_options``."""
        if has_options(connection, self._table):
            return select(self._table)
        return select(*(column for column in self._table.c if column.name != "ext_options"))

    def _failed(self, error: SQLAlchemyError) -> None:
        self._no_query_before = self._clock() + PAUSE
        if not self._failing:
            logger.error("mapping: the database fails, going on with what is known: %s", in_words(error))
        self._failing = True

    def _succeeded(self) -> None:
        if self._failing:
            logger.info("mapping: the database answers again")
        self._failing = False


def _normal(pair: Pair) -> Pair:
    return pair[0], normalize_im_name(*pair)


def _spellings(sip_key: str) -> set[str]:
    """How rows may write the SIP user: with or without the scheme, percent-encoded or not."""
    user, _, host = sip_key.rpartition("@")
    uri = SipAddress(user, host).uri.lower()
    return {uri, uri.removeprefix("sip:"), f"sip:{sip_key}", sip_key}


def _grouped(
    keys: Iterable[T], accounts: Iterable[Account], key_of: Callable[[Account], T]
) -> dict[T, tuple[Account, ...]]:
    """The accounts under each key; the database compares more loosely than we do, and what is too much goes."""
    groups: dict[T, list[Account]] = {key: [] for key in keys}
    for account in accounts:
        groups.get(key_of(account), []).append(account)
    return {key: tuple(group) for key, group in groups.items()}


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk
