"""Joins the parts of one worker: commands in, libpurple's events out; the only module that knows all the parts."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Callable, Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Any

from purple_bridge.addresses import SipAddress, name_as_account
from purple_bridge.board import BoardFull, State, Way
from purple_bridge.bodies import pidf
from purple_bridge.commands import (
    AccountSpec,
    Command,
    Delivered,
    DeliverKept,
    ExtendPresence,
    SendMessage,
    SetPresence,
    Typing,
    Watch,
    decode,
    encode,
    spec_of,
)
from purple_bridge.db.mapping import Account as Row
from purple_bridge.db.presence import WantedPresence
from purple_bridge.errors import Overloaded
from purple_bridge.kept_users import keeper_of
from purple_bridge.libpurple import glib
from purple_bridge.libpurple.accounts import Account
from purple_bridge.libpurple.core import Core
from purple_bridge.libpurple.events import AuthorizationRequest, ConnectionError, ReceivedMessage
from purple_bridge.ownership import account_digest, owner_of
from purple_bridge.presence import AVAILABLE, Presence, Show
from purple_bridge.settings import Settings
from purple_bridge.shared import Shared
from purple_bridge.worker.account import OwnedAccount, Wanted
from purple_bridge.worker.backlog import Backlog
from purple_bridge.worker.contacts import WatchedContact
from purple_bridge.worker.control import ControlServer, socket_path
from purple_bridge.worker.kept import Shelf
from purple_bridge.worker.logins import LoginQueue
from purple_bridge.worker.messages import Messages, address_of
from purple_bridge.worker.postman import Letter, Postman
from purple_bridge.worker.rpc import RpcClient
from purple_bridge.worker.sending import Sending
from purple_bridge.worker.sip_out import PUBLISH_SECONDS, SipSender
from purple_bridge.worker.store import Store
from purple_bridge.worker.uac import UserAgentClient

logger = logging.getLogger(__name__)

FRAMES_AT_ONCE = 64  # commands handled before other events get their turn
SWEEP_SECONDS = 1.0
POLL_SECONDS = 3.0
EXPIRY_SECONDS = 5.0
KEPT_EXPIRY_SECONDS = 600.0
LOOK_SHARE = 20  # looking for new rows takes at most a twentieth of the time
PUBLISH_INTERVAL = 1.0  # pua needs the answer to one PUBLISH before it can send the next with its ETag
PUBLISH_AGAIN = PUBLISH_SECONDS / 2


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
        self._channels, self._board, self._kept_users = shared.channels, shared.board, shared.kept_users
        self._always_on = settings.connect_on == "start"
        self._accounts: dict[bytes, OwnedAccount] = {}
        self._of_purple: dict[int, OwnedAccount] = {}
        self._waiting: dict[tuple[str, str], list[Callable[[SipAddress], None]]] = {}
        self._dirty: set[tuple[bytes, str]] = set()
        self._to_pump: set[OwnedAccount] = set()  # with messages of the commands that are being handled
        self._draining = False

    def start(self) -> None:
        """In the loop's thread, before the loop runs. Raises RuntimeError or OSError."""
        settings = self._settings
        self._core = Core(self)
        self._core.start()
        if settings.http_proxy_host:
            self._core.use_http_proxy(settings.http_proxy_host, settings.http_proxy_port)
        self._logins = LoginQueue(settings.workers)
        self._store = Store(settings.db_url, settings.db_table)
        run = Path(settings.state_dir) / "run"
        self._sip = SipSender(RpcClient(settings.rpc_socket, run / f"rpc-{self._number}.sock"))
        client = UserAgentClient(self._to_kamailio, settings.workers)
        shelf = Shelf(self._store, self._kept_users)
        self._postman = Postman(client, shelf, self._undeliverable, self._deliver_kept)
        self._messages = Messages(settings, self._postman, self._with_address)
        self._backlog = Backlog(
            self._store, settings.queue == "always", self._owns, lambda: list(self._accounts.values()), self._expired
        )
        commands = {
            "ping": self._ping,
            "status": self._status,
            "queue": self._backlog.changed,
            "drain": self._drain,
        }
        self._control = ControlServer(socket_path(settings.state_dir, self._number), commands)
        glib.watch(self._channels.descriptor(self._number), glib.READ, self._receive)
        _every(SWEEP_SECONDS, self._sweep)
        _every(POLL_SECONDS, self._poll)
        _every(EXPIRY_SECONDS, self._backlog.expire)
        if self._number == 1:
            self._store.erase_expired_kept()
            _every(KEPT_EXPIRY_SECONDS, self._store.erase_expired_kept)
        self._sending = Sending(run / f"sending-{self._number}")
        # ready first: a row that was written because this worker was not is then seen by the first look at the rows
        self._board.set_ready(self._number, True)
        self._backlog.start(self._sending.left_behind())
        self._look_for_accounts()

    # ------------------------------------------------------------ commands from the SIP workers
    def _receive(self, _descriptor: int, _condition: int) -> None:
        for _ in range(FRAMES_AT_ONCE):
            frame = self._channels.receive(self._number)
            if not frame:
                break
            try:
                self._handle(decode(frame))
            except Exception:  # one bad command must not stop the others
                logger.exception("a command failed")
        self._pump()

    def _handle(self, command: Command) -> None:
        match command:
            case SendMessage():
                self._send(command)
            case Typing() | Delivered():
                self._tell(command)
            case SetPresence():
                self._set_presence(command)
            case ExtendPresence():
                self._extend_presence(command)
            case Watch():
                self._watch(command)
            case DeliverKept():
                self._postman.registered(command.sip_user)

    def _send(self, message: SendMessage) -> None:
        account = self._accounts.get(account_digest(message.protocol, message.ext_user))
        if account is not None and self._answers_request(account, message):
            if message.stored:
                self._store.erase_message(message.id)
        elif account is not None:
            self._messages.send(account, message)
            self._to_pump.add(account)
        elif message.stored:
            self._backlog.passed_by(message)
        else:
            logger.error("[%s] lost: no account %s here", message.call_id, message.ext_user)

    def _pump(self) -> None:
        """Once for all messages that came together."""
        accounts, self._to_pump = self._to_pump, set()
        for account in accounts:
            account.pump()

    def _tell(self, command: Typing | Delivered) -> None:
        account = self._accounts.get(account_digest(command.protocol, command.ext_user))
        if account is not None and isinstance(command, Typing):
            self._messages.typing(account, command)
        elif account is not None and isinstance(command, Delivered):
            self._messages.delivered(account, command)

    def _answers_request(self, account: OwnedAccount, message: SendMessage) -> bool:
        """ "yes" or "no" to a contact that asked to see the user's presence is the answer to that."""
        word = message.text.strip().lower()
        key = account.contact_key(message.contact)
        if word not in ("yes", "no") or key not in account.requests:
            return False
        request = account.requests.pop(key)
        (request.authorize if word == "yes" else request.deny)()
        logger.info("[%s] %s answered %s to %s", message.call_id, message.sip_user, word, request.who)
        return True

    def _set_presence(self, command: SetPresence) -> None:
        account = self._account(command.account)
        show = Show(command.show)
        presence = Presence(open=show is not Show.OFFLINE, activity=show, note=command.note)
        account.want(command.account.sip_user, self._wanted(presence, command.expires_at))
        if command.keep:
            self._keep(command.account.sip_user, Wanted(presence, command.expires_at))

    def _wanted(self, presence: Presence, expires_at: float) -> Wanted:
        """With connect_on=start a phone says how the account is shown, not whether it is online."""
        if self._always_on:
            return Wanted(presence if presence.open else AVAILABLE)
        return Wanted(presence, expires_at)

    def _extend_presence(self, command: ExtendPresence) -> None:
        account = self._account(command.account)
        user = command.account.sip_user
        if user not in account.wanted:
            # the publication is there, so the user is: our own memory of it is what was lost
            account.want(user, self._wanted(AVAILABLE, command.expires_at))
        elif not self._always_on:
            account.extend(user, command.expires_at)
        if command.keep:
            self._keep(user, Wanted(account.wanted[user].presence, command.expires_at))

    def _keep(self, sip_user: str, wanted: Wanted) -> None:
        if not wanted.presence.open:
            self._store.delete_presence(sip_user)
            return
        status = json.dumps({"show": wanted.presence.activity, "note": wanted.presence.note})
        self._store.save_presence(WantedPresence(sip_user, int(wanted.expires_at), status))

    def _watch(self, command: Watch) -> None:
        account = self._account(command.account)
        key = account.contact_key(command.contact)
        contact = account.watched.get(key)
        if contact is None:
            if command.expires_at <= time.time():
                return
            contact = WatchedContact(command.contact, SipAddress.parse(command.contact_uri))
            account.watch(contact)
        contact.watch(command.dialog, command.expires_at, time.time())
        self._publish_soon(account, key)

    # ------------------------------------------------------------ accounts
    def _account(self, spec: AccountSpec) -> OwnedAccount:
        digest = account_digest(*spec.key)
        account = self._accounts.get(digest)
        if account is None:
            outbox = self._backlog.outbox(*spec.key)
            account = self._accounts[digest] = OwnedAccount(spec, self, outbox)
        account.share(spec.sip_user)
        return account

    def _owns(self, protocol: str, ext_user: str) -> bool:
        return owner_of(protocol, ext_user, self._settings.workers) == self._number

    def _mine(self, rows: Iterable[Row]) -> list[AccountSpec]:
        return [spec_of(row) for row in rows if self._owns(row.protocol, row.ext_user)]

    def _look_for_accounts(self) -> None:
        """At the start, and every few seconds for rows that were added: accounts that should be online.

        The next look waits in proportion to how long this one took, so a large table costs no more than a small one.
        """
        started = time.monotonic()
        if self._draining:
            return

        def again() -> None:
            pause = max(POLL_SECONDS, LOOK_SHARE * (time.monotonic() - started))
            glib.add_timer(pause, self._look_for_accounts)

        if self._always_on:
            self._store.all_accounts(lambda rows: self._start(rows, again))
        else:
            self._store.presences(lambda presences: self._restore(presences, again))

    def _start(self, rows: list[Row] | None, done: Callable[[], None]) -> None:
        """purple.connect_on = start: every account is online, whoever is there."""
        for spec in self._mine(rows or []):
            account = self._account(spec)
            if spec.sip_user not in account.wanted:
                account.want(spec.sip_user, Wanted(AVAILABLE))
        done()

    def _restore(self, presences: list[WantedPresence] | None, done: Callable[[], None]) -> None:
        """Users whose presence is kept: after a restart all their accounts, later those with a new row."""
        kept = {presence.sip_user: presence for presence in presences or []}

        def sign_on(accounts: dict[str, tuple[Row, ...]] | None) -> None:
            for user, rows in (accounts or {}).items():
                for spec in self._mine(rows):
                    account = self._account(spec)
                    if user not in account.told:
                        account.want(user, _kept(kept[user]))
            done()

        if kept:
            self._store.accounts_of(list(kept), sign_on)
        else:
            done()

    def _sweep(self) -> None:
        """Once a second: presences and subscriptions that nobody refreshed, messages that stay."""
        now = time.time()
        self._sending.end()
        self._store.flush()
        if self._board.reload_requested(self._number):
            self._backlog.reload()
        for digest, account in self._accounts.items():
            account.expire(now)
            if account.outbox:
                account.sweep()
            for key, contact in account.watched.items():
                contact.expire(now)
                if not contact.watched or now - contact.published_at > PUBLISH_AGAIN:
                    self._dirty.add((digest, key))
        self._flush(now)

    def _poll(self) -> None:
        """See changed rows: passwords, options, rows that are gone."""
        pairs = {(account.protocol, account.ext_user): digest for digest, account in self._accounts.items()}
        if pairs:
            self._store.rows(list(pairs), lambda rows: self._rows_read(rows, pairs))

    def _rows_read(
        self, rows: dict[tuple[str, str], tuple[Row, ...]] | None, pairs: dict[tuple[str, str], bytes]
    ) -> None:
        for pair, found in (rows or {}).items():
            account = self._accounts.get(pairs[pair])
            if account is None:
                continue
            if found:
                account.renew(spec_of(found[0]), tuple(dict.fromkeys(row.sip_user for row in found)))
            else:
                self._forget(pairs[pair], account)

    def _forget(self, digest: bytes, account: OwnedAccount) -> None:
        logger.info("account %s %s: its row is gone", account.protocol, account.ext_user)
        for key in account.watched:
            account.watched[key].dialogs.clear()
            self._publish(account, key)
        account.remove()
        del self._accounts[digest]

    def submit_login(self, login: Callable[[], None]) -> None:
        self._logins.submit(login)

    def account_made(self, account: OwnedAccount, purple: Account) -> None:
        """From now on ``purple``'s events are the account's."""
        self._of_purple[purple.pointer] = account

    def account_changed(self, account: OwnedAccount) -> None:
        """Tell the SIP workers, and the watchers of the account's contacts."""
        self.way_changed(account)
        if account.state is not State.CONNECTING:
            for key in account.watched:
                self._publish_soon(account, key)

    def way_changed(self, account: OwnedAccount) -> None:
        try:
            way = Way.QUEUE if self._draining else account.way
            self._board.set_state(account.protocol, account.ext_user, account.state, way)
        except BoardFull as error:
            logger.error("%s", error)

    def sending(self, message: SendMessage) -> None:
        self._sending.start(message)
        self._messages.handed_over(message)

    def message_refused(self, _account: OwnedAccount, message: SendMessage, condition: str, text: str) -> None:
        self._messages.tell_failure(message, condition, text)

    def _deliver_kept(self, user: str) -> None:
        """One worker hands out all that is kept for a user, so that nothing comes twice."""
        keeper = keeper_of(user, self._settings.workers)
        if keeper == self._number:
            self._postman.registered(user)
            return
        try:
            self._channels.send(keeper, encode(DeliverKept(user)))
        except Overloaded as error:
            logger.error("what is kept for %s waits for the next REGISTER: %s", user, error.reason)

    def _undeliverable(self, letter: Letter, status: int, reason: str) -> None:
        self._messages.undeliverable(letter, status, reason)

    def _expired(self, message: SendMessage) -> None:
        self._messages.expired(message)

    # ------------------------------------------------------------ libpurple's events
    def _owner(self, purple: Account) -> OwnedAccount | None:
        account = self._of_purple.get(purple.pointer)
        return account if account is not None and account.purple is purple else None

    def connected(self, purple: Account) -> None:
        if account := self._owner(purple):
            account.connected()

    def connection_failed(self, purple: Account, error: ConnectionError) -> None:
        if account := self._owner(purple):
            account.failed(error)

    def disconnected(self, purple: Account) -> None:
        if account := self._owner(purple):
            account.disconnected()

    def notified(self, purple: Account | None, text: str) -> None:
        account = self._owner(purple) if purple else None
        if account is not None:
            account.questioned(text)
        logger.info("libpurple says%s: %s", f" to {account.ext_user}" if account else "", text)

    def message_received(self, purple: Account, message: ReceivedMessage) -> None:
        if account := self._owner(purple):
            self._messages.received(account, message)

    def message_acknowledged(self, purple: Account, ident: str) -> None:
        if account := self._owner(purple):
            account.acknowledged(ident)

    def message_failed(self, purple: Account, ident: str, who: str, condition: str, text: str) -> None:
        if account := self._owner(purple):
            self._messages.failed(account, ident, who, condition, text)

    def receipt_received(self, purple: Account, who: str, ident: str) -> None:
        if account := self._owner(purple):
            self._messages.receipt(account, who, ident)

    def typing_changed(self, purple: Account, who: str, typing: bool) -> None:
        if account := self._owner(purple):
            self._messages.typing_changed(account, who, typing)

    def authorization_requested(self, purple: Account, request: AuthorizationRequest) -> None:
        account = self._owner(purple)
        if account is None:
            return
        key = account.contact_key(request.who)
        policy = self._settings.authorize
        if policy == "accept" or key in account.watched:  # who is watched by the user may watch the user
            request.authorize()
        elif policy == "deny":
            request.deny()
        else:
            account.requests[key] = request
            question = f"{key} asks to see when you are online. Answer yes or no."
            self._with_address(account, request.who, lambda sender: self._messages.say(account, sender, question))

    def buddy_changed(self, purple: Account, name: str) -> None:
        account = self._owner(purple)
        if account is not None and account.contact_key(name) in account.watched:
            self._publish_soon(account, account.contact_key(name))

    # ------------------------------------------------------------ contacts
    def _with_address(self, account: OwnedAccount, name: str, done: Callable[[SipAddress], None]) -> None:
        """Call ``done`` with the contact's SIP address: in the order of the calls, also when the database is asked."""
        key = account.contact_key(name)
        owner = name_as_account(account.plugin, account.ext_user, key)
        pair = (account.protocol, owner)
        if pair in self._waiting:
            self._waiting[pair].append(done)
            return
        rows = self._store.cached_owners(*pair)
        if rows is not None:
            done(self._address(account.protocol, key, rows))
            return
        self._waiting[pair] = [done]
        self._store.owners(*pair, lambda found: self._resolved(pair, key, found))

    def _resolved(self, pair: tuple[str, str], key: str, rows: tuple[Row, ...] | None) -> None:
        address = self._address(pair[0], key, rows or ())
        for done in self._waiting.pop(pair):
            done(address)

    def _address(self, protocol: str, key: str, rows: tuple[Row, ...]) -> SipAddress:
        """A contact with a row is known by its SIP user, any other by its address at the gateway."""
        return address_of(rows[0].sip_user) if rows else self._settings.gateway.contact_uri(protocol, key)

    # ------------------------------------------------------------ presence into SIP
    def _publish_soon(self, account: OwnedAccount, key: str) -> None:
        if not self._dirty:
            glib.call_soon(lambda: self._flush(time.time()))
        self._dirty.add((account_digest(account.protocol, account.ext_user), key))

    def _flush(self, now: float) -> None:
        """Publish what changed; what was published a moment ago waits for the next sweep."""
        dirty, self._dirty = self._dirty, set()
        for digest, key in dirty:
            account = self._accounts.get(digest)
            contact = account.watched.get(key) if account else None
            if account is None or contact is None:
                continue
            if now - contact.published_at < PUBLISH_INTERVAL:
                self._dirty.add((digest, key))
            else:
                self._publish(account, key)

    def _publish(self, account: OwnedAccount, key: str) -> None:
        contact, now = account.watched[key], time.time()
        identifier = blake2b(f"{account.protocol}\0{account.ext_user}\0{key}".encode(), digest_size=12).hexdigest()
        if not contact.watched:
            self._sip.unpublish(contact.address, identifier)
            contact.published = b""
            contact.published_at = now
            self._unwatched(account, key)
            return
        body = pidf.build(contact.address.uri, account.presence_of(contact.name), identifier)
        if body != contact.published or now - contact.published_at > PUBLISH_AGAIN:
            self._sip.publish(contact.address, identifier, body)
            contact.published, contact.published_at = body, now

    def _unwatched(self, account: OwnedAccount, key: str) -> None:
        """Nobody watches any more; the contact stays on the IM contact list (RFC 8048 §5.3.3)."""
        glib.call_soon(lambda: self._drop(account, key))

    def _drop(self, account: OwnedAccount, key: str) -> None:
        contact = account.watched.get(key)
        if contact is not None and not contact.watched:
            del account.watched[key]

    # ------------------------------------------------------------ purplectl
    def _ping(self, _request: dict[str, Any]) -> dict[str, Any]:
        return {"ready": True, "error": None}

    def _drain(self, _request: dict[str, Any]) -> dict[str, Any]:
        """Kamailio is about to be stopped: what is only in memory is written down, and so is what still comes.

        A stream that is closed in good order acknowledges what it received, and contacts see the user go.
        """
        self._draining = True
        for account in self._accounts.values():
            account.outbox.write_down()
            account.close()
        self._postman.close()
        self._store.settle()
        return {}

    def _status(self, _request: dict[str, Any]) -> dict[str, Any]:
        states = [_status_of(account, self._number) for account in self._accounts.values()]
        return {"worker": self._number, "accounts": states}


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
    }


def _kept(presence: WantedPresence) -> Wanted:
    try:
        status = json.loads(presence.status)
        show = Show(status["show"])
        return Wanted(Presence(open=True, activity=show, note=status["note"]), presence.expires)
    except (ValueError, KeyError, TypeError):
        return Wanted(AVAILABLE, presence.expires)
