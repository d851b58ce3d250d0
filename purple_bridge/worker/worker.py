"""Joins the parts of one worker: commands in, libpurple's events out; the only module that knows all the parts."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from purple_bridge import history, metrics
from purple_bridge.acknowledged import Acknowledged, file_of
from purple_bridge.addresses import SipAddress, name_as_account
from purple_bridge.board import BoardFull, State, Way
from purple_bridge.commands import (
    AccountSpec,
    Command,
    ContactsChanged,
    Delivered,
    DeliverKept,
    EditContact,
    ListChanged,
    Published,
    Registered,
    RowsChanged,
    RulesChanged,
    SendMessage,
    Typing,
    Watch,
    decode,
    encode,
)
from purple_bridge.database_state import DatabaseState
from purple_bridge.db.account import is_enabled
from purple_bridge.db.mapping import Account as Row
from purple_bridge.db.passwords import Passwords
from purple_bridge.db.presence import WantedPresence
from purple_bridge.destinations import name_for
from purple_bridge.errors import BadRequest, Overloaded
from purple_bridge.kept_users import keeper_of
from purple_bridge.libpurple import glib
from purple_bridge.libpurple.accounts import Account
from purple_bridge.libpurple.core import Core
from purple_bridge.libpurple.events import AuthorizationRequest, ConnectionError, ReceivedMessage
from purple_bridge.libpurple.plugins import installed_protocols
from purple_bridge.live import Follower, LiveSettings
from purple_bridge.logs import follow, of
from purple_bridge.meter import Family, Meter
from purple_bridge.metrics import SIP_TO_IM, Outcome
from purple_bridge.ownership import account_digest, owner_of
from purple_bridge.presence import AVAILABLE, Presence, Show
from purple_bridge.settings import Settings
from purple_bridge.shared import Shared
from purple_bridge.worker.account import OwnedAccount
from purple_bridge.worker.avatars import Avatars
from purple_bridge.worker.backlog import Backlog
from purple_bridge.worker.clock import Clock
from purple_bridge.worker.control import ControlServer, socket_path
from purple_bridge.worker.database_watch import PAUSE as DATABASE_SECONDS
from purple_bridge.worker.database_watch import DatabaseWatch
from purple_bridge.worker.kept import Shelf
from purple_bridge.worker.kept_watches import KeptWatches
from purple_bridge.worker.logins import LoginQueue
from purple_bridge.worker.measure import Measurements
from purple_bridge.worker.memory import Memory
from purple_bridge.worker.messages import Messages, address_of
from purple_bridge.worker.parameters import LOOK_SECONDS, ParameterWatch
from purple_bridge.worker.permissions import Permissions, may_not_see
from purple_bridge.worker.postman import Letter, Postman
from purple_bridge.worker.rosters import Rosters
from purple_bridge.worker.rows import Rows
from purple_bridge.worker.rpc import RpcClient
from purple_bridge.worker.sending import Sending
from purple_bridge.worker.sip_out import SipSender
from purple_bridge.worker.store import Owners, Store
from purple_bridge.worker.store import Published as Document
from purple_bridge.worker.uac import UserAgentClient
from purple_bridge.worker.wanted import ALWAYS, Publication, Wanted
from purple_bridge.worker.watches import Watches

logger = logging.getLogger(__name__)

SLICES = 20  # of the accounts, which are looked at one slice after the other: nothing waits for all of them
FRAMES_AT_ONCE = 64  # commands handled before other events get their turn
SWEEP_SECONDS = 1.0
EXPIRY_SECONDS = 5.0
KEPT_EXPIRY_SECONDS = 600.0


class Worker:
    """Owns this process's accounts; implements libpurple's ``Events`` and the accounts' ``Host``."""

    def __init__(
        self,
        settings: Settings,
        number: int,
        shared: Shared,
        resource: str,
        to_kamailio: socket.socket,
    ) -> None:
        self.resource = resource
        self._to_kamailio = to_kamailio
        self._settings, self._number = settings, number
        self._live = LiveSettings(settings, shared.live, self._settings_changed)
        self._follower = Follower(settings, shared.live)
        self._channels, self._board, self._kept_users = shared.channels, shared.board, shared.kept_users
        self._database, self._heard = shared.database, shared.heard
        self._clock = Clock()
        self._accounts: dict[bytes, OwnedAccount] = {}
        self._of_purple: dict[int, OwnedAccount] = {}
        self._waiting: dict[tuple[str, str, tuple[str, ...]], list[Callable[[SipAddress], None]]] = {}
        self._to_pump: set[OwnedAccount] = set()  # with messages or room, by what is being handled
        self._draining = False
        self._to_sweep: list[bytes] = []  # accounts whose turn comes within this second
        self._slice = 1
        self._memory = Memory()

    def start(self) -> None:
        """In the loop's thread, before the loop runs. Raises RuntimeError or OSError."""
        settings = self._settings
        self._core = Core(self, protocols=settings.protocols)
        self._core.start()
        if settings.http_proxy_host:
            self._core.use_http_proxy(settings.http_proxy_host, settings.http_proxy_port)
        if settings.ca_dir:
            self._core.trust_authorities(settings.ca_dir)
        self._logins = LoginQueue(settings.workers)
        passwords, generation = Passwords(settings.key_path), self._board.rows_generation
        self._store = Store(settings.db_url, settings.db_table, settings.gateway, generation, passwords)
        self._rows = Rows(settings, self._number, self._board, self._store, self)
        run = Path(settings.state_dir) / "run"
        self._meter = self._store.meter = Meter.open(metrics.directory(settings.state_dir), f"worker-{self._number}")
        self._store.acknowledged = Acknowledged(file_of(Path(settings.state_dir), self._number))
        rpc = RpcClient(settings.rpc_socket, run / f"rpc-{self._number}.sock")
        sip = self._sip = SipSender(rpc, self._meter)
        avatars = self._avatars = Avatars(settings.avatars, Path(settings.state_dir) / "avatars")
        self._watches = Watches(sip, self._store, avatars)
        self._kept_watches = KeptWatches(self._store, settings.gateway, self._rows.owns, self._restore_watch)
        self._rosters = Rosters(self._store, sip, self._pass_on)
        client = UserAgentClient(self._to_kamailio, settings.workers)
        shelf = Shelf(self._store, self._kept_users)
        self._postman = Postman(client, shelf, self._undeliverable, self._deliver_kept, self._no_cpim, self._meter)
        self._messages = Messages(settings, self._postman, self._with_address, self._meter, self._heard)
        self._permissions = Permissions(settings.authorize, client, self._store, self._messages, self._with_address)
        self._backlog = Backlog(self._store, settings.queue == "always", self._rows.owns, self.all, self._expired)
        commands = {
            "ping": self._ping,
            "status": self._status,
            "queue": self._backlog.changed,
            "drain": self._drain,
            "rows": self._rows.told,
            "reconnect": self._reconnect,
            "protocols": _protocols,
        }
        self._control = ControlServer(socket_path(settings.state_dir, self._number), commands)
        glib.watch(self._channels.descriptor(self._number), glib.READ, self._receive)
        _every(SWEEP_SECONDS, self._sweep)
        _every(SWEEP_SECONDS / SLICES, self._sweep_some)
        if self._number == 1:
            asking = RpcClient(settings.rpc_socket, run / "parameters.sock")  # not behind what is to be published
            _every(LOOK_SECONDS, ParameterWatch(asking, self._follower.follow).look)
        _every(EXPIRY_SECONDS, self._backlog.expire)
        if self._number == 1:
            self._store.erase_expired_kept()
            _every(KEPT_EXPIRY_SECONDS, self._store.erase_expired_kept)
            _every(history.STEP_SECONDS, history.Recorder(settings.state_dir).record)
        measurements = Measurements(
            self._meter, self._store, self._accounts.values, lambda: (self._postman.waiting, rpc.waiting)
        )
        measurements.start(_every, tables=self._number == 1)
        watch = DatabaseWatch(settings.db_url, self._database_changed)
        watch.start()
        _every(DATABASE_SECONDS, watch.look)
        self._sending = Sending(run / f"sending-{self._number}")
        # ready first: a row that was written because this worker was not is then seen by the first look at the rows
        self._board.set_ready(self._number, True)
        self._backlog.start(self._sending.left_behind())
        self._rows.start(self._restored)

    def _database_changed(self, state: DatabaseState) -> None:
        self._database.set(self._number, state)
        self._watches.database_changed(state is DatabaseState.WELL, self._accounts.values)

    def _settings_changed(self, settings: Settings) -> None:
        """Kamailio's cfg.set: all parts of this worker follow."""
        self._settings = settings
        follow(settings.log_level, settings.log_bodies)
        self._messages.follow(settings)
        self._permissions.policy = settings.authorize
        self._avatars.mode = settings.avatars
        self._backlog.follow(settings.queue == "always")

    # ------------------------------------------------------------ commands from the SIP workers
    def _receive(self, _descriptor: int, _condition: int) -> None:
        self._live.look()
        for _ in range(FRAMES_AT_ONCE):
            frame = self._channels.receive(self._number)
            if not frame:
                break
            command: Command | None = None
            try:
                command = decode(frame)
                self._handle(command)
            except Exception:  # one bad command must not stop the others
                logger.exception("[%s] a command failed", getattr(command, "call_id", ""))
        self._pump()

    def _handle(self, command: Command) -> None:
        match command:
            case SendMessage():
                self._send(command)
            case Typing() | Delivered():
                self._tell(command)
            case Published():
                self._published(command)
            case Registered():
                self._registered(command)
            case Watch():
                self._watches.watch(self.account(command.account), command)
            case RulesChanged():
                self._rules_changed(self.account(command.account), SipAddress.parse(command.user))
            case ListChanged():
                self._rosters.list_changed(command)
            case ContactsChanged():
                self._rosters.contacts_changed(command)
            case EditContact():
                self.account(command.account).edit(command)
            case DeliverKept():
                deliver = self._postman.registered if command.registered else self._postman.added
                deliver(command.sip_user)
            case RowsChanged():
                self._rows.changed(command)

    def _pass_on(self, command: ContactsChanged | EditContact) -> None:
        """To the worker it is for, which may be this one."""
        workers = self._settings.workers
        if isinstance(command, EditContact):
            target = owner_of(*command.account.key, workers)
        else:
            target = keeper_of(command.user, workers)
        if target == self._number:
            self._handle(command)
            return
        try:
            self._channels.send(target, encode(command))
        except Overloaded as error:
            logger.error("a contact list is not up to date: %s", error.reason)

    def _send(self, message: SendMessage) -> None:
        account = self._accounts.get(account_digest(message.protocol, message.ext_user))
        if account is not None and self._permissions.answers(account, message):
            self._messages.count(message, Outcome.ANSWER)
            if message.stored:
                self._store.erase_message(message.id)
        elif account is not None:
            self._messages.send(account, message)
            self._to_pump.add(account)
        elif message.stored:
            self._backlog.passed_by(message)
        else:
            self._messages.count(message, Outcome.FAILED)
            self._messages.tell_failure(message, "item-not-found", "the account is no longer there")

    def _pump(self) -> None:
        """Once for all messages, or acknowledgements, that came together."""
        accounts, self._to_pump = self._to_pump, set()
        for account in accounts:
            account.pump()

    def _tell(self, command: Typing | Delivered) -> None:
        account = self._accounts.get(account_digest(command.protocol, command.ext_user))
        if account is not None and isinstance(command, Typing):
            self._messages.typing(account, command)
        elif account is not None and isinstance(command, Delivered):
            self._messages.delivered(account, command)

    # ------------------------------------------------------------ what SIP users want
    def _published(self, command: Published) -> None:
        """The presence server has accepted a PUBLISH; all that the user's phones publish now counts together."""
        account, user = self.account(command.account), SipAddress.parse(command.user)
        self._meter.count(metrics.PRESENCE, SIP_TO_IM)

        def read(documents: list[Document] | None) -> None:
            if self._accounts.get(account_digest(*command.account.key)) is account:
                publications = _publications(command, documents or [], account.wanted.get(command.account.sip_user))
                self._want(account, command.account.sip_user, publications, command.keep)

        self._store.publications(user, read)

    def _want(self, account: OwnedAccount, sip_user: str, publications: tuple[Publication, ...], keep: bool) -> None:
        """Where publications do not decide whether the account is online, they say how it is shown."""
        before = account.wanted.get(sip_user, self.nothing_wanted())
        account.want(sip_user, Wanted(publications, before.here_until))
        if keep:
            self._keep(sip_user, account.wanted[sip_user])

    def nothing_wanted(self) -> Wanted:
        return Wanted((), {"start": ALWAYS, "register": 0.0}.get(self._settings.connect_on))

    def _registered(self, command: Registered) -> None:
        """purple.connect_on = register: the user is there as long as a phone is registered."""
        account, user = self.account(command.account), command.account.sip_user
        before = account.wanted.get(user, self.nothing_wanted())
        account.want(user, Wanted(before.publications, command.expires_at))
        if command.keep:
            self._keep(user, account.wanted[user])

    def _keep(self, sip_user: str, wanted: Wanted) -> None:
        presence = wanted.presence
        if not presence.open or wanted.expires_at == ALWAYS:
            self._store.delete_presence(sip_user)
            return
        status = {"show": presence.activity, "note": presence.note, "mood": presence.mood}
        self._store.save_presence(WantedPresence(sip_user, int(wanted.expires_at), json.dumps(status)))

    def _rules_changed(self, account: OwnedAccount, user: SipAddress) -> None:
        """Contacts that the user blocks now do not see him any more (RFC 8048 §5.2: the authorization is cancelled)."""

        def read(documents: list[bytes] | None) -> None:
            for document in documents or []:
                self._withdraw(account, document)

        self._store.rules(user, read)

    def _withdraw(self, account: OwnedAccount, document: bytes) -> None:
        for key, entry in (account.roster or {}).items():
            if account.is_seen_by(key):
                self._with_address(account, entry.name, partial(_cancel, account, entry.name, document))

    # ------------------------------------------------------------ accounts
    def account(self, spec: AccountSpec) -> OwnedAccount:
        digest = account_digest(*spec.key)
        account = self._accounts.get(digest)
        if account is None:
            outbox = self._backlog.outbox(*spec.key)
            account = self._accounts[digest] = OwnedAccount(spec, self, outbox)
            self._rows.check(account)
        elif account.share(spec.sip_user, is_enabled(spec.options)):
            self._rows.check(account)
            if account.roster is not None:
                self._pass_on(ContactsChanged(spec.sip_user))
        return account

    def kept(self, presence: WantedPresence) -> Wanted:
        publication = Publication(_kept_presence(presence.status), presence.expires)
        here_until = self.nothing_wanted().here_until
        return Wanted((publication,), here_until if here_until is None else float(presence.expires))

    def _restored(self) -> None:
        """Behind the accounts: one that signs on again is not told to be offline meanwhile."""
        self._kept_watches.read()
        self._rosters.restore(lambda user: keeper_of(user, self._settings.workers) == self._number)

    def restore_watches(self, sip_users: frozenset[str]) -> None:
        self._kept_watches.read(sip_users)

    def _restore_watch(self, watch: Watch, allowed: bool) -> None:
        self._watches.restore(self.account(watch.account), watch, allowed)

    def _sweep(self) -> None:
        """Once a second: what no single account has."""
        self._live.look()
        self._sending.end()
        self._store.flush()
        self._rows.work()
        if self._board.reload_requested(self._number):
            self._backlog.reload()
        self._memory.look()

    def _sweep_some(self) -> None:
        """Each account once a second."""
        if jump := self._clock.jump(time.time(), time.monotonic()):
            self._clock_was_set(jump)
        if not self._to_sweep:
            self._to_sweep = list(self._accounts)
            self._slice = -(-len(self._to_sweep) // SLICES)
        turn, now = self._to_sweep[-self._slice :], time.time()
        del self._to_sweep[-self._slice :]
        for digest in turn:
            if account := self._accounts.get(digest):
                account.expire(now)
                if not account.outbox.at_rest:
                    account.sweep()
                self._watches.sweep(account, now)

    def _clock_was_set(self, seconds: float) -> None:
        logger.warning("the clock was set %s by %.0f s", "forward" if seconds > 0 else "back", abs(seconds))
        for account in self._accounts.values():
            account.clock_was_set(seconds)
            for user, wanted in account.wanted.items():
                self._keep(user, wanted)

    # ------------------------------------------------------------ what the rows need
    def find(self, digest: bytes) -> OwnedAccount | None:
        return self._accounts.get(digest)

    def all(self) -> list[OwnedAccount]:
        return list(self._accounts.values())

    def sign_on(self, account: OwnedAccount, sip_user: str, wanted: Wanted, keep: bool) -> None:
        """The user wanted it before the account was his; what a command has told since is newer."""
        if sip_user not in account.told:
            account.want(sip_user, wanted)
            if keep:
                self._keep(sip_user, wanted)

    def ask_registered(self, sip_user: str, done: Callable[[float], None]) -> None:
        self._sip.registered_until(sip_user, done)

    def tell(self, worker: int, command: RowsChanged) -> bool:
        try:
            self._channels.send(worker, encode(command))
        except Overloaded:
            return False
        return True

    def users_gone(self, account: OwnedAccount, sip_users: frozenset[str]) -> None:
        """Their phones see its contacts no more, and their lists do not have them."""
        self._watches.end(account, sip_users)
        self._rosters.forget(account)  # with the next sign-on its list is its users' list again, whoever they are
        for user in sip_users:
            self._pass_on(ContactsChanged(user))

    def forget(self, account: OwnedAccount) -> None:
        """No row is left. What waits for the IM network goes on waiting, as rows, until it expires."""
        users = account.users
        self._watches.end(account)
        self._rosters.forget(account)
        self._permissions.disconnected(account)
        account.remove()
        self._backlog.forget(account)
        del self._accounts[account_digest(account.protocol, account.ext_user)]
        for user in users:
            self._pass_on(ContactsChanged(user))

    # ------------------------------------------------------------ what accounts report
    def submit_login(self, server: str, login: Callable[[], bool]) -> None:
        self._logins.submit(server, login)

    def login_ended(self, server: str) -> None:
        self._logins.ended(server)

    def account_made(self, account: OwnedAccount, purple: Account) -> None:
        """From now on ``purple``'s events are the account's."""
        self._of_purple[purple.pointer] = account

    def account_changed(self, account: OwnedAccount) -> None:
        """Tell the SIP workers, and the watchers of the account's contacts."""
        self.way_changed(account)
        if account.state is not State.CONNECTING:
            self._watches.account_changed(account)

    def way_changed(self, account: OwnedAccount) -> None:
        try:
            way = Way.QUEUE if self._draining else account.way
            self._board.set_state(account.protocol, account.ext_user, account.state, way)
        except BoardFull as error:
            logger.error("%s", error)

    def sending(self, message: SendMessage) -> None:
        self._sending.start(message)
        self._messages.handed_over(message)

    def count(self, family: Family, *labels: str) -> None:
        self._meter.count(family, *labels)

    def message_refused(self, _account: OwnedAccount, message: SendMessage, condition: str, text: str) -> None:
        self._sending.settled((message.ident,))
        self._messages.count(message, Outcome.FAILED)
        self._messages.tell_failure(message, condition, text)

    def _deliver_kept(self, user: str, registered: bool) -> None:
        """One worker hands out all that is kept for a user, so that nothing comes twice."""
        keeper, command = keeper_of(user, self._settings.workers), DeliverKept(user, registered)
        if keeper == self._number:
            self._handle(command)
            return
        try:
            self._channels.send(keeper, encode(command))
        except Overloaded as error:
            logger.error("what is kept for %s waits for the next REGISTER: %s", user, error.reason)

    def _undeliverable(self, letter: Letter, status: int, reason: str) -> None:
        self._messages.undeliverable(letter, status, reason)

    def _no_cpim(self, user: str) -> None:
        self._messages.reads_no_cpim(user)

    def _expired(self, message: SendMessage) -> None:
        self._messages.expired(message)

    # ------------------------------------------------------------ libpurple's events
    def _owner(self, purple: Account) -> OwnedAccount | None:
        """In front of each event, which is then handled by the settings as they are now."""
        self._live.look()
        account = self._of_purple.get(purple.pointer)
        return account if account is not None and account.purple is purple else None

    def connected(self, purple: Account) -> None:
        if account := self._owner(purple):
            self._memory.signed_on()
            account.connected()

    def connection_failed(self, purple: Account, error: ConnectionError) -> None:
        if account := self._owner(purple):
            account.failed(error)

    def disconnected(self, purple: Account) -> None:
        if account := self._owner(purple):
            self._permissions.disconnected(account)
            account.disconnected()

    def notified(self, purple: Account | None, text: str) -> None:
        account = self._owner(purple) if purple else None
        if account is not None:
            account.questioned(text)
        logger.info("%slibpurple says: %s", f"account {account.label}: " if account else "", text)

    def message_received(self, purple: Account, message: ReceivedMessage) -> None:
        if account := self._owner(purple):
            self._messages.received(account, message)

    def messages_acknowledged(self, purple: Account, idents: list[str]) -> None:
        account = self._owner(purple)
        if account is None:
            return
        self._to_pump.add(account)
        glib.afterwards(self._pump)  # a server often acknowledges one after the other in what is read at once
        self._sending.settled(idents)
        for message in account.acknowledged(idents):
            if logger.isEnabledFor(logging.DEBUG):
                logger.debug("%s acknowledged by the network", of(message))
            self._messages.count(message, Outcome.ACKNOWLEDGED)
            seconds = max(0.0, time.time() - message.accepted_at)
            self._meter.observe(metrics.LATENCY, seconds, SIP_TO_IM, message.protocol)

    def message_failed(self, purple: Account, ident: str, who: str, condition: str, text: str) -> None:
        if account := self._owner(purple):
            self._sending.settled((ident,))
            self._messages.failed(account, ident, who, condition, text)

    def receipt_received(self, purple: Account, who: str, ident: str) -> None:
        if account := self._owner(purple):
            self._messages.receipt(account, who, ident)

    def typing_changed(self, purple: Account, who: str, typing: bool) -> None:
        if account := self._owner(purple):
            self._messages.typing_changed(account, who, typing)

    # ------------------------------------------------------------ contacts: who sees whom
    def authorization_requested(self, purple: Account, request: AuthorizationRequest) -> None:
        if account := self._owner(purple):
            self._permissions.asked(account, request)

    def buddy_changed(self, purple: Account, name: str) -> None:
        if account := self._owner(purple):
            self._watches.contact_changed(account, account.contact_key(name))

    def contact_granted(self, purple: Account, name: str) -> None:
        if account := self._owner(purple):
            key = account.contact_key(name)
            account.granted(key)
            self._watches.contact_changed(account, key)

    def contact_refused(self, purple: Account, name: str) -> None:
        if account := self._owner(purple):
            key = account.contact_key(name)
            account.refused(key)
            self._watches.contact_changed(account, key)

    def contact_left(self, purple: Account, name: str) -> None:
        if account := self._owner(purple):
            self._permissions.left(account, account.contact_key(name))

    def roster_changed(self, purple: Account) -> None:
        if account := self._owner(purple):
            if account.roster_changed():
                for user in account.sip_users:  # who may have changed his rules in the meantime
                    self._rules_changed(account, address_of(user))
            self._rosters.changed(account)
            self._watches.account_changed(account)

    # ------------------------------------------------------------ contacts
    def _with_address(self, account: OwnedAccount, name: str, done: Callable[[SipAddress], None]) -> None:
        """Call ``done`` with the contact's SIP address: in the order of the calls, also when the database is asked."""
        key = account.contact_key(name)
        owner = name_as_account(account.plugin, account.ext_user, key)
        # what means nobody without the server may have to name it, by what other accounts the users have
        users = () if owner == key else account.sip_users
        asked = (account.protocol, owner, users)
        if asked in self._waiting:
            self._waiting[asked].append(done)
            return
        rows, accounts = self._store.cached_owners(account.protocol, owner), self._store.cached_accounts(users)
        if rows is not None and accounts is not None:
            self._tell_address(account, key, (rows, accounts), [done])
            return
        self._waiting[asked] = [done]
        self._store.owners(*asked, lambda found: self._tell_address(account, key, found, self._waiting.pop(asked)))

    def _tell_address(
        self, account: OwnedAccount, key: str, owners: Owners | None, waiting: list[Callable[[SipAddress], None]]
    ) -> None:
        """A server may name a contact as no address can be: then nobody hears of him."""
        try:
            address = self._address(account, key, *(owners or ((), ())))
        except BadRequest as error:
            logger.debug("a contact on %s is left out: %s", account.protocol, error)
            return
        for done in waiting:
            done(address)

    def _address(
        self, account: OwnedAccount, key: str, rows: tuple[Row, ...], accounts: tuple[tuple[Row, ...], ...]
    ) -> SipAddress:
        """A contact with a row is known by its SIP user, any other by its address at the gateway.

        One address for all users of the account: if one of them has to be told the server, all of them are.
        """
        if rows:
            return address_of(rows[0].sip_user)
        names = (name_for(of_user, account.protocol, account.ext_user, key) for of_user in accounts)
        name = next((name for name in names if name != key), key)
        return self._settings.gateway.contact_uri(account.protocol, name)

    # ------------------------------------------------------------ purplectl
    def _reconnect(self, request: dict[str, Any]) -> dict[str, Any]:
        """Accounts (``accounts``: pairs of protocol and name; without it all that are wanted) sign off and on again.

        The answer names each that is here, whether it is wanted online, and its rows' word if not.
        """
        named = request.get("accounts")
        if named is None:
            chosen = [account for account in self.all() if account.is_wanted]
        else:
            found = [self.find(account_digest(str(protocol), str(ext_user))) for protocol, ext_user in named]
            chosen = [account for account in found if account is not None]
        for account in chosen:
            account.reconnect()
        answers = [_status_of(account, self._number) | {"wanted": account.is_wanted} for account in chosen]
        return {"accounts": answers, "connect_on": self._settings.connect_on}

    def _ping(self, _request: dict[str, Any]) -> dict[str, Any]:
        return {"ready": True, "error": None}

    def _drain(self, _request: dict[str, Any]) -> dict[str, Any]:
        """Kamailio is about to be stopped: what is only in memory is written down, and so is what still comes.

        A stream that is closed in good order acknowledges what it received, and contacts see the user go.
        """
        self._draining = True
        self._rows.end()
        for account in self._accounts.values():
            account.outbox.write_down()
            account.close()
        self._postman.close()
        self._store.settle()
        return {}

    def _status(self, _request: dict[str, Any]) -> dict[str, Any]:
        states = [_status_of(account, self._number) for account in self._accounts.values()]
        return {"worker": self._number, "accounts": states}


def _protocols(_request: dict[str, Any]) -> dict[str, Any]:
    """What this worker's libpurple can, for who has none."""
    return {"protocols": [asdict(protocol) for protocol in installed_protocols()]}


def _every(seconds: float, function: Callable[[], None]) -> None:
    """Again and again, also after an error, which is logged."""

    def tick() -> bool:
        try:
            function()
        except Exception:
            logger.exception("%s failed", function.__qualname__)
        return True

    glib.add_timer(seconds, tick)


def _status_of(account: OwnedAccount, worker: int) -> dict[str, Any]:
    return {
        "sip_users": list(account.sip_users),
        "protocol": account.protocol,
        "ext_user": account.ext_user,
        "state": account.state.word,
        "error": account.error,
        "since": int(account.since),
        "worker": worker,
        "retries": account.retries,
        "queued": len(account.outbox),
        "encryption": account.encryption,
    }


def _kept_presence(status: str) -> Presence:
    try:
        kept = json.loads(status)
        return Presence(open=True, activity=Show(kept["show"]), note=kept["note"], mood=kept.get("mood", ""))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return AVAILABLE


def _publications(command: Published, documents: list[Document], before: Wanted | None) -> tuple[Publication, ...]:
    """All that the user's phones publish, by the presence server; what the command says itself where that has nothing.

    The server gives a publication another ETag with each change (RFC 3903 §4.1), so one that still has the ETag of the
    request is one which the server has not changed yet.
    """
    if not documents:
        return _said(command, before)
    documents = [one for one in documents if not one.sources & command.removes]
    said = _presence_of(command) if command.show else None
    return tuple(
        Publication(said if said is not None and document.etag == command.etag else document.presence, document.expires)
        for document in documents
    )


def _said(command: Published, before: Wanted | None) -> tuple[Publication, ...]:
    """Without a look into the presence server's tables: the last PUBLISH counts."""
    if command.show == Show.OFFLINE:
        return ()
    if command.show:
        return (Publication(_presence_of(command), command.expires_at),)
    kept = before.publications[-1:] if before else ()
    # the publication is there, so the user is: our own memory of it is what was lost
    return (Publication(kept[0].presence if kept else AVAILABLE, command.expires_at),)


def _presence_of(command: Published) -> Presence:
    show = Show(command.show)
    idle_since = datetime.fromtimestamp(command.idle_since, UTC) if command.idle_since else None
    is_open = show is not Show.OFFLINE
    return Presence(is_open, show, command.note, idle_since, command.mood, command.priority, command.language)


def _cancel(account: OwnedAccount, name: str, document: bytes, address: SipAddress) -> None:
    """RFC 8048 §5.2: the authorization is cancelled, if the user's rules say so."""
    if account.purple is not None and may_not_see(document, address):
        logger.info("account %s: %s may not see it any more", account.label, name)
        account.purple.cancel_authorization(name)
