"""The database for the loop: a thread of its own runs the queries, the answers come back in the loop's thread."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from purple_bridge import logs
from purple_bridge.acknowledged import Acknowledged
from purple_bridge.addresses import GatewayDomain, SipAddress
from purple_bridge.bodies import pidf
from purple_bridge.contact_lists import ContactLists, Edit, Written, listed_route
from purple_bridge.db import contacts as contact_rows
from purple_bridge.db import presence as presences
from purple_bridge.db import presence_server, queue, silo
from purple_bridge.db.contacts import ListedContact
from purple_bridge.db.engine import make_engine
from purple_bridge.db.figures import TableFigures, look
from purple_bridge.db.key_file import Signature
from purple_bridge.db.mapping import Account, Mapping, Pair
from purple_bridge.db.passwords import NO_KEYS, Passwords
from purple_bridge.db.presence import WantedPresence
from purple_bridge.db.presence_server import PRES_RULES, PublishedDocument, StoredSubscription
from purple_bridge.db.queue import Backlog, QueueRow
from purple_bridge.db.row_changes import BLOCK, Block, RowChanges
from purple_bridge.db.silo import KeptRow, StoredMessage
from purple_bridge.db.tables import purplemap_table, subscriber
from purple_bridge.db.words import in_words
from purple_bridge.destinations import Route
from purple_bridge.errors import GatewayError
from purple_bridge.libpurple import glib
from purple_bridge.meter import Meter
from purple_bridge.metrics import DATABASE_ERRORS
from purple_bridge.presence import Presence

logger = logging.getLogger(__name__)

SETTLE_SECONDS = 3.0
ERASE_SECONDS = 0.1  # a row of a marked message may stay so long,
ERASE_AT_ONCE = 200  # or until there are so many: more in one transaction would keep other writers waiting
PAGE = 500  # rows of the message queue read at once

T = TypeVar("T")
Owners = tuple[tuple[Account, ...], tuple[tuple[Account, ...], ...]]


class Store:
    """Owns the worker's engine and mapping; ``done`` gets None when the database failed."""

    def __init__(
        self,
        db_url: str,
        table: str,
        gateway: GatewayDomain,
        generation: Callable[[], int] = lambda: 0,
        passwords: Passwords = NO_KEYS,
    ) -> None:
        """``generation``, ``passwords``: of the mapping, see ``Mapping``."""
        self._passwords = passwords
        self.meter = Meter.detached()  # its worker's, who may give another
        self._table = table
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="purple-store")
        self._engine: Engine = make_engine(db_url)
        self._mapping = Mapping(self._engine, table, generation=generation, passwords=passwords)
        self._row_changes = RowChanges(self._engine, purplemap_table(table, self._engine.dialect.name))
        self._user_changes = RowChanges(self._engine, subscriber)
        self._lists = ContactLists(self._engine, self._mapping, gateway)
        self._to_write: deque[tuple[QueueRow, Callable[[bool], None]]] = deque()
        self._to_erase: deque[tuple[int, Callable[[], None]]] = deque()
        self.acknowledged: Acknowledged | None = None  # its worker's; without it rows go at once
        self._flushing = False
        self._flush_later = False
        self._kept_to_erase: deque[tuple[int, Callable[[bool], None]]] = deque()
        self._erasing_kept = False
        self._queue = queue.QueueConnection(self._engine)

    def cached_owners(self, protocol: str, name: str) -> tuple[Account, ...] | None:
        return self._mapping.cached_owners_of(protocol, name)

    def cached_accounts(self, sip_keys: tuple[str, ...]) -> tuple[tuple[Account, ...], ...] | None:
        """Of each of these users; None: it is not known of all of them."""
        found = [accounts for key in sip_keys if (accounts := self._mapping.cached_accounts_of(key)) is not None]
        return tuple(found) if len(found) == len(sip_keys) else None

    def owners(
        self, protocol: str, name: str, sip_keys: tuple[str, ...], done: Callable[[Owners | None], None]
    ) -> None:
        """The rows of a contact, and the accounts of each of these users."""

        def read() -> Owners:
            return self._mapping.owners_of(protocol, name), tuple(map(self._mapping.accounts_of, sip_keys))

        self._run(read, done)

    def keys_signature(self) -> Signature | None:
        """Of the file of the keys: another one says that rows may be readable which were not. No query."""
        return self._passwords.signature

    def rows(self, pairs: list[Pair], done: Callable[[dict[Pair, tuple[Account, ...]] | None], None]) -> None:
        self._run(lambda: self._mapping.accounts_for_pairs(pairs), done)

    def accounts_of(self, sip_keys: list[str], done: Callable[[dict[str, tuple[Account, ...]] | None], None]) -> None:
        self._run(lambda: self._mapping.refresh(sip_keys), done)

    def all_accounts(self, done: Callable[[list[Account] | None], None]) -> None:
        self._run(lambda: list(self._mapping.all_accounts()), done)

    def changed_blocks(self, done: Callable[[list[Block] | None], None]) -> None:
        """Where the mapping is not what it was the last time; of this worker's asking, so one worker asks."""
        self._run(self._row_changes.look, done)

    def changed_users(self, done: Callable[[bool | None], None]) -> None:
        """Whether SIP users were added, removed, or have another password, since the last time."""
        self._run(lambda: bool(self._user_changes.look()), done)

    def rows_of(self, blocks: list[Block], sip_keys: list[str], done: Callable[[list[Account] | None], None]) -> None:
        """The rows of these blocks, and those of these SIP users."""

        def read() -> list[Account]:
            found = [self._mapping.accounts_between(block * BLOCK, block * BLOCK + BLOCK - 1) for block in blocks]
            return [row for rows in (*found, *self._mapping.refresh(sip_keys).values()) for row in rows]

        self._run(read, done)

    def wishes(self, sip_keys: list[str], done: Callable[[dict[str, Wish] | None], None]) -> None:
        """What is known of these users' wishes, those without an account before included."""
        self._run(lambda: self._wishes(sip_keys), done)

    def _wishes(self, sip_keys: list[str]) -> dict[str, Wish]:
        now, wishes = int(time.time()), {key: Wish() for key in sip_keys}
        addresses = {address: key for key in sip_keys if (address := _address(key)) is not None}
        for some in (sip_keys[start : start + PAGE] for start in range(0, len(sip_keys), PAGE)):
            for kept in presences.presences_of(self._engine, some, now):
                wishes[kept.sip_user] = Wish(kept)
        every = list(addresses)
        for users in (every[start : start + PAGE] for start in range(0, len(every), PAGE)):
            for user, documents in presence_server.publications_of(self._engine, users, now).items():
                key = addresses[user]
                wishes[key] = Wish(wishes[key].kept, tuple(_read(documents)))
        return wishes

    def kept_accounts(self, done: Callable[[tuple[list[Account], dict[str, WantedPresence]] | None], None]) -> None:
        """The rows of the users whose presence is kept, and that presence by user (SipAddress.key)."""

        def read() -> tuple[list[Account], dict[str, WantedPresence]]:
            kept = {presence.sip_user: presence for presence in self._load_presences()}
            return [row for rows in self._mapping.refresh(kept).values() for row in rows], kept

        self._run(read, done)

    def _load_presences(self) -> list[WantedPresence]:
        """What SIP users wanted before the restart; what has expired meanwhile is forgotten."""
        now = int(time.time())
        presences.delete_expired_presences(self._engine, now)
        return presences.load_presences(self._engine, now)

    def save_presence(self, wanted: WantedPresence) -> None:
        self._run(lambda: presences.save_presence(self._engine, wanted), _nothing)

    def delete_presence(self, sip_user: str) -> None:
        self._run(lambda: presences.delete_presence(self._engine, sip_user), _nothing)

    # ------------------------------------------------------------ the presence server's tables
    def publications(self, user: SipAddress, done: Callable[[list[Published] | None], None]) -> None:
        """What the user's phones publish; documents are read in the store's thread."""
        self._run(lambda: _read(presence_server.publications(self._engine, user, int(time.time()))), done)

    def subscriptions(self, done: Callable[[list[StoredSubscription] | None], None]) -> None:
        self._run(lambda: presence_server.subscriptions(self._engine, int(time.time())), done)

    def list_watchers(self, done: Callable[[list[str] | None], None]) -> None:
        """SIP URIs of the users whose phones watch a contact list as a whole."""
        self._run(lambda: presence_server.list_watchers(self._engine, int(time.time())), done)

    def save_rules(self, presentity: SipAddress, document: bytes, done: Callable[[bool], None]) -> None:
        """``done`` learns whether the database has them."""
        doc_uri = presence_server.document_uri("pres-rules", presentity)

        def write() -> bool:
            presence_server.save_document(self._engine, presentity, PRES_RULES, doc_uri, document)
            return True

        self._run(write, lambda written: done(written is True))

    def rules(self, user: SipAddress, done: Callable[[list[bytes] | None], None]) -> None:
        self._run(lambda: presence_server.rules(self._engine, user), done)

    def forget_presentity(self, presentity: SipAddress) -> None:
        self._run(lambda: presence_server.forget_presentity(self._engine, presentity), _nothing)

    def forget_older_publications(
        self, presentity: SipAddress, identifier: str, done: Callable[[bool | None], None]
    ) -> None:
        """``done`` learns whether there were any."""
        self._run(partial(presence_server.forget_older_publications, self._engine, presentity, identifier), done)

    def forget_refusal(self, presentity: SipAddress) -> None:
        self._run(lambda: presence_server.forget_refusal(self._engine, presentity), _nothing)

    def forget_watcher(self, user: SipAddress, watcher: SipAddress, done: Callable[[], None]) -> None:
        """``done`` comes also when the database fails."""
        self._run(lambda: presence_server.forget_watcher(self._engine, user, watcher), lambda _result: done())

    # ------------------------------------------------------------ contact lists
    def save_contacts(self, account: str, contacts: list[ListedContact], done: Callable[[bool | None], None]) -> None:
        """``account``: hex of its digest; ``done`` learns whether that was a change."""
        self._run(lambda: contact_rows.save(self._engine, account, contacts), done)

    def listed_route(self, found: list[Route], done: Callable[[Route | None], None]) -> None:
        """Which of the accounts has the contact on its list."""
        self._run(lambda: listed_route(self._engine, found), done)

    def write_list(self, user: SipAddress, even_unread: bool, done: Callable[[Written | None], None]) -> None:
        """Make the user's documents what his accounts' lists say."""
        self._run(lambda: self._lists.write(user, even_unread), done)

    def edited_list(self, user: SipAddress, done: Callable[[list[Edit] | None], None]) -> None:
        """What a phone has changed in the user's list, compared with the accounts' lists."""
        self._run(lambda: self._lists.edits(user), done)

    # ------------------------------------------------------------ messages for phones that are not there
    def store_kept(self, messages: list[StoredMessage], done: Callable[[bool], None]) -> None:
        """For their users' next REGISTER, in this order; ``done`` learns whether the database has them."""

        def write() -> bool:
            silo.store(self._engine, messages)
            return True

        self._run(write, lambda written: done(written is True))

    def load_kept(self, user: str, after: int, limit: int, done: Callable[[list[KeptRow] | None], None]) -> None:
        self._run(lambda: silo.load(self._engine, user, after, limit, int(time.time())), done)

    def erase_kept(self, number: int, done: Callable[[bool], None]) -> None:
        """All that has come until the thread is free goes in one transaction."""
        self._kept_to_erase.append((number, done))
        if not self._erasing_kept:
            self._erasing_kept = True
            self._run(self._erase_kept, _nothing)

    def _erase_kept(self) -> None:
        """In the store's thread."""
        self._erasing_kept = False
        erasures, well = _taken(self._kept_to_erase), False
        try:
            silo.erase(self._engine, [number for number, _ in erasures])
            well = True
        finally:
            for _, done in erasures:
                glib.call_soon(partial(done, well))

    def erase_expired_kept(self) -> None:
        self._run(lambda: silo.erase_expired(self._engine, int(time.time())), _nothing)

    # ------------------------------------------------------------ the message queue
    def write_message(self, row: QueueRow, done: Callable[[bool], None]) -> None:
        self._to_write.append((row, done))
        self._flush_soon()

    def erase_message(self, number: int, done: Callable[[], None] = lambda: None) -> bool:
        """True: it is marked, so that it does not come again whoever dies now; else ``done`` when its row is gone."""
        marked = self.acknowledged is not None and self.acknowledged.add(number)
        self._to_erase.append((number, _no_one if marked else done))
        if not marked or len(self._to_erase) >= ERASE_AT_ONCE:
            self._flush_soon()
        elif not self._flush_later:
            self._flush_later = True
            glib.add_timer(ERASE_SECONDS, self._flush_now)
        return marked

    def _flush_now(self) -> bool:
        self._flush_later = False
        self.flush()
        return False

    def flush(self) -> None:
        """What waits, and what the database has refused."""
        if self._to_write or self._to_erase:
            self._flush_soon()

    def settle(self) -> None:
        """Wait until all that was asked of the database so far is done; only when the process is about to end."""
        self.flush()
        self._thread.submit(lambda: None).result(SETTLE_SECONDS)

    def load_messages(self, account: str, after: int, done: Callable[[list[QueueRow] | None], None]) -> None:
        self._read_queue(lambda: queue.load(self._engine, account, after, PAGE), done)

    def backlog(self, done: Callable[[list[Backlog] | None], None]) -> None:
        self._read_queue(lambda: queue.backlog(self._engine), done)

    def expired_messages(self, now: int, done: Callable[[list[QueueRow] | None], None]) -> None:
        self._read_queue(lambda: queue.expired(self._engine, now, PAGE), done)

    def _read_queue(self, query: Callable[[], T], done: Callable[[T | None], None]) -> None:
        """Rows of which nothing is wanted any more are erased before, or nothing is read: they would come again."""

        def read() -> T:
            tell = self._flush()
            glib.call_soon(lambda: self._flushed(tell))
            return query()

        self._run(read, done)

    def note_crash(self, row: QueueRow, done: Callable[[int | None], None]) -> None:
        self._run(lambda: queue.note_crash(self._engine, row), done)

    def figures(self, done: Callable[[TableFigures | None], None]) -> None:
        """How much lies in the tables."""
        self._run(lambda: look(self._engine, self._table, int(time.time())), done)

    def _flush_soon(self) -> None:
        """Many rows go into one statement: all that has come until the thread is free."""
        if not self._flushing:
            self._flushing = True
            self._run(self._flush, self._flushed)

    def _flush(self) -> list[Callable[[], None]]:
        """Returns whom to tell that it is done; in the store's thread."""
        self._flushing = False
        writes, erasures = _taken(self._to_write), _taken(self._to_erase)
        try:
            if writes:
                self._queue.insert([row for row, _ in writes])
            if erasures:
                self._queue.delete([number for number, _ in erasures])
        except SQLAlchemyError:
            self._to_erase.extend(erasures)
            for _, done in writes:
                glib.call_soon(partial(done, False))
            raise
        erased = [partial(self._erased, [number for number, _ in erasures])] if erasures else []
        return [*(partial(done, True) for _, done in writes), *erased, *(done for _, done in erasures)]

    def _erased(self, numbers: list[int]) -> None:
        if self.acknowledged is not None:
            self.acknowledged.remove(numbers)

    def _flushed(self, done: list[Callable[[], None]] | None) -> None:
        for tell in done or []:
            tell()

    def _run(self, query: Callable[[], T], done: Callable[[T | None], None]) -> None:
        def finished(future: Future[T]) -> None:
            error = future.exception()
            if error is not None:
                words = in_words(error) if isinstance(error, SQLAlchemyError) else logs.in_words(error)
                logger.error("database: %s", words)
                glib.call_soon(lambda: self.meter.count(DATABASE_ERRORS, self.meter.writer))
            glib.call_soon(lambda: done(None if error else future.result()))

        self._thread.submit(query).add_done_callback(finished)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a SIP user wants, as the database has it: what was kept for a restart, and what his phones publish."""

    kept: WantedPresence | None = None
    published: tuple[Published, ...] = ()


@dataclass(frozen=True, slots=True)
class Published:
    """One phone's presence; ``expires``: Unix seconds; ``sources``: the ids of the tuples."""

    presence: Presence
    expires: int
    etag: str
    sources: frozenset[str] = frozenset()


def _read(documents: list[PublishedDocument]) -> list[Published]:
    """What cannot be read was refused when it came; if it is there all the same, it says nothing."""
    found = []
    for document in documents:
        try:
            presence, sources = pidf.parse(document.body), pidf.tuple_ids(document.body)
            found.append(Published(presence, document.expires, document.etag, sources))
        except GatewayError as error:
            logger.info("a publication cannot be read: %s", error.reason)
    return found


def _address(sip_key: str) -> SipAddress | None:
    """None: the row has no SIP address."""
    user, _, host = sip_key.rpartition("@")
    try:
        return SipAddress(user, host)
    except GatewayError:
        return None


def _taken(items: deque[T]) -> list[T]:
    """All of them, one by one: the loop's thread may add more at any moment."""
    taken: list[T] = []
    while items:
        taken.append(items.popleft())
    return taken


def _no_one() -> None:
    """Nobody waits for this row to be gone."""


def _nothing(_result: object) -> None:
    """The answer to a write that nobody waits for."""
