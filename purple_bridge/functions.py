"""``KSR.purple``: what a route script calls. The only part that touches KSR; runs in the SIP worker's main thread.

Every function returns 1 when the gateway took the request over, else a SIP status as a negative number, and then
``reply_error()`` sends that status with its reason:

-400  the request cannot be understood        -415  a content type the gateway cannot carry
-403  the sender has no account on the network -480  it cannot leave now, and must not or cannot wait
-404  the destination is no IM contact        -500  an error of the gateway itself, see the log
-412  no publication has this ETag (RFC 3903)
-413  the body is too large                   -423  a publication shorter than MIN_EXPIRES (Min-Expires says so)
-481  a subscription that is not there        -503  a queue is full or the database does not answer

Nothing here waits for an IM network.
"""

from __future__ import annotations

import binascii
import logging
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import msgspec
from sqlalchemy.exc import SQLAlchemyError

from purple_bridge import logs
from purple_bridge.accepted import fingerprint
from purple_bridge.addresses import ImContact, SipAddress
from purple_bridge.board import State, Way
from purple_bridge.bodies import content, incoming, outgoing, pidf
from purple_bridge.commands import (
    RANKS,
    Command,
    Delivered,
    DeliverKept,
    ListChanged,
    Published,
    Registered,
    RulesChanged,
    SendMessage,
    Typing,
    Watch,
    encode,
    spec_of,
)
from purple_bridge.contact_lists import ContactLists, listed_route
from purple_bridge.database_state import DatabaseState
from purple_bridge.db import presence_server, silo, subscribers
from purple_bridge.db.engine import make_engine
from purple_bridge.db.mapping import Account as Row
from purple_bridge.db.mapping import DatabaseUnavailable, Mapping
from purple_bridge.db.passwords import Passwords
from purple_bridge.db.words import in_words
from purple_bridge.destinations import contacts_of, routes
from purple_bridge.encryption import Promise, promise_of
from purple_bridge.errors import (
    BadRequest,
    BodyTooLarge,
    ConditionFailed,
    GatewayError,
    IntervalTooBrief,
    NoAccount,
    NoContact,
    NoDialog,
    NotOnline,
    Overloaded,
    TooFast,
    UnsupportedBody,
    UnsupportedEncoding,
)
from purple_bridge.kept_users import keeper_of
from purple_bridge.live import LiveSettings
from purple_bridge.meter import Meter
from purple_bridge.metrics import LIMITED, MESSAGES, REFUSALS, SIP_TO_IM, Outcome
from purple_bridge.ownership import owner_of
from purple_bridge.presence import OFFLINE, Presence
from purple_bridge.queued import QueueWriter
from purple_bridge.rates import BURST_SECONDS
from purple_bridge.settings import Settings
from purple_bridge.shared import Shared

logger = logging.getLogger(__name__)

T = TypeVar("T")
Route = tuple[Row, ImContact]

TAKEN = 1
DEFAULT_EXPIRES = 3600  # RFC 3903 §4.1 leaves it to the server; RFC 3856 §6.4: 3600 s for a subscription
MIN_EXPIRES = (
    5  # seconds: RFC 3856 §6.10 lets watchers hear of a change every 5 s; kamailio.cfg, presence, says the same
)
_ETAG = re.compile(r".*\.[0-9]{1,9}")  # how Kamailio's presence server ends its own (presence/presentity.c)
PIDF_TYPE = "application/pidf+xml"
LOCATION = "location"  # usrloc's table, as every kamailio.cfg calls it
MOST_WATCHES = 5000  # subscriptions that a user begins in an hour, which is the longest that one lasts
WRITE_SECONDS = 1.0  # a SIP worker waits so long for a row to be written,
TURN_SECONDS = 2.0  # and so long for another one that handles the same request
MAX_NOT_UTF_8 = 65_535 // 4 * 3  # octets of a body in another charset
KNOWN_WAYS = 50_000  # pairs of sender and destination

# what a MESSAGE is asked for: one call of Kamailio's `$_s`, which writes all into one text, costs as much as each
_MESSAGE = ("$ci", "$cs", "$ft", "$cT", "$hdr(Content-Encoding)", "$hdr(Expires)", "$hdr(Subject)", "$hdrc(Subject)",
            "$hdr(Content-Language)")  # fmt: skip
_BETWEEN = "\x1f"
_MESSAGE_AT_ONCE = f"$_s({_BETWEEN.join(_MESSAGE)})"
_NULL = "<null>"  # how `$_s` writes what is not there
_WAY = f"$_s({_BETWEEN.join(('$pr', '$si', '$sp', '$Ri:$Rp'))})"  # from where a request came, and to where


class Numbers:
    """Message ids: microseconds since 1970, then this process's rank, so that they grow and no two are the same."""

    def __init__(self, rank: int) -> None:
        self._rank = rank % RANKS
        self._last = 0

    def next(self) -> int:
        self._last = max(self._last + 1, time.time_ns() // 1000)
        return self._last * RANKS + self._rank


@lru_cache(maxsize=65536)
def _parsed(uri: str) -> SipAddress:
    return SipAddress.parse(uri)


class _Headers(msgspec.Struct, frozen=True):
    """Of a MESSAGE; "" for what it has not. In the order of ``_MESSAGE``."""

    call_id: str
    cseq: str
    from_tag: str
    content_type: str
    content_encoding: str
    expires: str
    subject: str
    language: str


@dataclass(frozen=True, slots=True)
class _Ways:
    """From one SIP user to one destination, as the ``rows`` say: valid as long as the mapping gives these very ones."""

    sender: SipAddress
    destination: SipAddress
    rows: tuple[tuple[Row, ...], ...]
    contacts: list[ImContact]
    routes: list[Route]
    enabled: list[Route]


def _protected(address: SipAddress, found: list[Route]) -> list[Route]:
    """RFC 7247 §8: what is for a sips: URI leaves by accounts that are encrypted in any case. Raises NoAccount."""
    if not address.secure or not found:
        return found
    protected = [route for route in found if promise_of(route[0].protocol, dict(route[0].options)) is Promise.ALWAYS]
    if not protected:
        raise NoAccount(f"{address.uri} needs an account that is encrypted in any case")
    return protected


class PurpleFunctions:
    """One object per Kamailio, copied into every worker by the fork; ``open_database`` comes after it."""

    def __init__(
        self,
        ksr: Any,
        settings: Settings,
        shared: Shared,
        own_sockets: frozenset[tuple[str, int]] = frozenset(),
    ) -> None:
        """``own_sockets``: address and port from which each worker sends into SIP."""
        self._ksr = ksr
        self._live = LiveSettings(settings, shared.live, lambda now: logs.follow(now.log_level, now.log_bodies))
        self._channels, self._board = shared.channels, shared.board
        self._accepted = shared.accepted
        self._kept_users = shared.kept_users
        self._rates = shared.rates
        self._database = shared.database
        ways = (("udp", host, str(port), settings.internal) for host, port in own_sockets)
        self._own_ways = frozenset(map(_BETWEEN.join, ways))
        self._mapping: Mapping | None = None
        self._prepared = (
            "",
            SipAddress("", "localhost"),
        )  # Call-ID, and whom prepare_subscribe found in the request URI
        self._error: GatewayError | None = None
        self._ways: dict[tuple[str, str], _Ways] = {}
        self._meter = Meter.detached()

    def open_database(self, rank: int, meter: Meter | None = None) -> None:
        """Connections to the database are never shared over a fork, so each process makes its own.

        ``rank``: this process's number, unique in this Kamailio; ``meter``: this thread's.
        """
        self._meter = meter or self._meter
        self._engine = make_engine(self._settings.db_url)
        self._mapping = Mapping(
            self._engine,
            self._settings.db_table,
            generation=self._board.rows_generation,
            may_ask=lambda: self._database.state is not DatabaseState.SILENT,
            passwords=Passwords(self._settings.key_path),
        )
        self._queue = QueueWriter(make_engine(self._settings.db_url, timeout=WRITE_SECONDS))
        self._numbers = Numbers(rank)

    @property
    def _settings(self) -> Settings:
        """As they are now: some change at run time."""
        return self._live.now

    # ------------------------------------------------------------ for routes
    def send_message(self) -> int:
        """MESSAGE: the request URI (rewritten or not) is the destination, From the sender."""
        return self._guarded(self._send_message)

    def check_publish(self) -> int:
        """PUBLISH: whether ``handle_publish`` could read it; changes nothing."""
        return self._guarded(self._check_publish)

    def handle_publish(self) -> int:
        """PUBLISH: signs the user's accounts on, changes their status, or signs them off (RFC 3903)."""
        return self._guarded(self._handle_publish)

    def handle_register(self, expires: int = -1) -> int:
        """REGISTER that was accepted; ``expires``: seconds the user is still registered for, 0: no more.

        Default: what the module registrar has in LOCATION for the user in To.
        What was kept for the user goes to the phone. Signs the user's accounts on or off where purple.connect_on is
        ``register``.
        """
        return self._guarded(lambda: self._handle_register(expires))

    def has_registered(self) -> int:
        """OPTIONS of the gateway: 1 if a phone of the user in the request URI has registered since ``;since``."""
        return self._guarded(self._has_registered)

    def handle_subscribe(self, uri: str = "", expires: int = -1) -> int:
        """SUBSCRIBE: makes the IM contact's presence arrive. Default: the request's own URI and Expires."""
        return self._guarded(lambda: self._handle_subscribe(uri, expires))

    def check_watcher(self) -> int:
        """SUBSCRIBE, in front of all else: in a dialog, -481 unless it is one of the user in From.

        The modules presence and rls know a dialog by its Call-ID and tags alone.
        """
        return self._guarded(self._check_watcher)

    def prepare_subscribe(self) -> int:
        """Initial SUBSCRIBE, in front of presence.handle_subscribe: who may watch whom, and under which presentity.

        An IM contact's request URI becomes the presentity of this watcher alone; -403 without an account on its
        network.
        A local user who has no presence rules of his own may be watched by every local user.
        """
        return self._guarded(self._prepare_subscribe)

    def prepare_list(self) -> int:
        """SUBSCRIBE to the contact list of the user in From, of which there is no document yet: makes it.

        -404 for a user without an IM account. Else the list is there as soon as an account has signed on.
        """
        return self._guarded(self._prepare_list)

    def handle_xcap(self, auid: str, uri: str, method: str, conditional: int = 0) -> int:
        """The XCAP server has served the user ``uri`` a document of the application ``auid``.

        ``method``: GET, PUT or DELETE; ``conditional``: 1 if the client knows what it changes (If-Match, or a part of
        the document).
        """
        return self._guarded(lambda: self._handle_xcap(auid, uri, method, conditional))

    def limited(self, limit: str) -> int:
        """The script has refused or dropped the request: counts it in ``purple_limited_total`` under this name."""
        self._meter.count(LIMITED, limit)
        return TAKEN

    def is_contact(self, uri: str) -> int:
        """1 when the address is one of the gateway's own (``sip:x*y@xmpp.GATEWAY_DOMAIN``), else -404."""
        try:
            return TAKEN if self._settings.gateway.contact_of(_parsed(uri)) else -NoContact.status
        except BadRequest:
            return -NoContact.status

    def is_user(self, uri: str) -> int:
        """1 when the table ``subscriber`` has the user, whatever the case of the name, else -404; asks the database."""
        return self._guarded(lambda: self._is_user(uri))

    def database_answers(self, writing: int = 1) -> int:
        """1, or -503 while the database is known not to answer; ``writing`` 0: for a request that only reads.

        Without a query: who asks the database himself would wait for it, and all requests behind him.
        """
        return self._guarded(lambda: self._ask_database(writing=writing != 0))

    def is_from_gateway(self) -> int:
        """1 when the request came from the gateway's own socket to the internal listener, else -403."""
        return TAKEN if self._text(_WAY) in self._own_ways else -NoAccount.status

    def reply_error(self) -> int:
        """Answer with the SIP status and reason of the function that failed last."""
        error = self._error or GatewayError("Server Internal Error")
        if error.retry_after is not None:
            self._ksr.hdr.append_to_reply(f"Retry-After: {error.retry_after}\r\n")
        if isinstance(error, IntervalTooBrief):  # RFC 3903 §6
            self._ksr.hdr.append_to_reply(f"Min-Expires: {MIN_EXPIRES}\r\n")
        if isinstance(error, UnsupportedEncoding):
            self._ksr.hdr.append_to_reply(f"Accept-Encoding: {', '.join(self._encodings())}\r\n")
        elif isinstance(error, UnsupportedBody):
            # RFC 3428 §7, RFC 3261 §21.4.13: 415 lists what is understood
            self._ksr.hdr.append_to_reply(f"Accept: {', '.join(self._media_types())}\r\n")
        self._log_refusal(error, answered=True)
        self._ksr.sl.send_reply(error.status, error.reason)
        return TAKEN

    def _ask_database(self, *, writing: bool) -> None:
        """Raises DatabaseUnavailable."""
        if self._database.state > (DatabaseState.WELL if writing else DatabaseState.READ_ONLY):
            raise DatabaseUnavailable("The database does not answer")

    def _media_types(self) -> tuple[str, ...]:
        return (PIDF_TYPE,) if self._text("$rm") == "PUBLISH" else content.ACCEPTED

    def _encodings(self) -> tuple[str, ...]:
        return ("identity",) if self._text("$rm") == "PUBLISH" else content.ENCODINGS

    # ------------------------------------------------------------ the error boundary
    def _guarded(self, function: Callable[[], object]) -> int:
        """A GatewayError is an answer; anything else is logged with the Call-ID and answered 500."""
        self._error = None
        self._live.look()
        try:
            function()
        except GatewayError as error:
            self._error = error
            self._meter.count(REFUSALS, str(error.status))
            self._log_refusal(error)
            return -error.status
        except Exception:
            self._error = GatewayError("Server Internal Error")
            self._meter.count(REFUSALS, str(self._error.status))
            logger.exception("[%s] a request failed", self._for_log("$ci"))
            return -self._error.status
        return TAKEN

    def _log_refusal(self, error: GatewayError, answered: bool = False) -> None:
        """Once for each refusal. That something is not for the gateway becomes one when the script answers with it."""
        routine = isinstance(error, (NoAccount, NoContact)) or self._for_log("$rm") == "OPTIONS"
        if answered and not routine:
            return
        level = logging.DEBUG if routine and not answered else logging.WARNING if error.status >= 500 else logging.INFO
        if logger.isEnabledFor(level):
            words = (self._for_log(variable) for variable in ("$ci", "$rm", "$fu", "$ru"))
            became = "not taken" if routine and not answered else "refused"
            logger.log(level, "[%s] %s from %s to %s %s: %d %s", *words, became, error.status, error.reason)

    def _for_log(self, variable: str) -> str:
        try:
            return self._text(variable)
        except UnicodeDecodeError:
            return "?"

    # ------------------------------------------------------------ MESSAGE
    def _send_message(self) -> None:
        sender, destination = self._text("$fu"), self._text("$ru")
        ways = self._known_ways(sender, destination) or self._new_ways(sender, destination)
        try:
            self._take(ways)
        except Exception as error:
            # without an account of the sender's, the message of one user to another is for his phones
            if not isinstance(error, NoAccount) or self._settings.gateway.contact_of(ways.destination):
                self._meter.count(MESSAGES, SIP_TO_IM, ways.contacts[0].protocol, Outcome.REFUSED)
            raise

    def _known_ways(self, sender: str, destination: str) -> _Ways | None:
        """What the same two URIs meant before, if it is still so."""
        ways = self._ways.get((sender, destination))
        if ways is None or self._rows(ways.sender) is not ways.rows[0]:
            return None
        return ways if len(ways.rows) == 1 or self._rows(ways.destination) is ways.rows[1] else None

    def _new_ways(self, sender: str, destination: str) -> _Ways:
        """Raises NoContact, and BadRequest for what is no address."""
        known, self._ways = (sender, destination), self._ways if len(self._ways) < KNOWN_WAYS else {}
        writer, target = _parsed(sender), _parsed(destination)
        contacts = self._contacts(target)
        if not contacts:
            self._limit_user(writer)
            raise NoContact(f"{target.uri} is no IM contact")
        rows = [self._rows(writer)]
        if self._settings.gateway.contact_of(target) is None:
            rows.append(self._rows(target))
        found = _protected(target, list(routes(rows[0], contacts)))
        enabled = [route for route in found if route[0].enabled]
        self._ways[known] = ways = _Ways(writer, target, tuple(rows), contacts, found, enabled)
        return ways

    def _headers(self) -> _Headers:
        """A value with the sign that parts them, and what is too long for one text, is read again by itself."""
        values = self._text(_MESSAGE_AT_ONCE).split(_BETWEEN)
        if len(values) != len(_MESSAGE):
            values = [self._text(name) for name in _MESSAGE]
        there = values.pop(_MESSAGE.index("$hdrc(Subject)")) != "0"
        texts = ["" if value == _NULL else value for value in values]
        if there and not texts[6]:
            texts[6] = self._text("$hdr(Subject)")  # its text is "<null>"
        return _Headers(*texts)

    def _take(self, ways: _Ways) -> None:
        headers = self._headers()
        mark = fingerprint(headers.call_id, headers.cseq, headers.from_tag)
        turn = self._accepted.turn(mark)
        held = turn.acquire(timeout=TURN_SECONDS)
        try:
            if mark in self._accepted:
                logger.debug("[%s] a retransmission: answered as before", headers.call_id)
                self._meter.count(MESSAGES, SIP_TO_IM, ways.contacts[0].protocol, Outcome.RETRANSMISSION)
                return
            self._take_new(ways, headers, mark)
            self._accepted.add(mark)
        finally:
            if held:
                turn.release()

    def _take_new(self, ways: _Ways, headers: _Headers, mark: bytes) -> None:
        self._limit_user(ways.sender)
        body = content.decompressed(self._body(), headers.content_encoding)
        said = incoming.read(headers.content_type or None, body)
        if not ways.routes:
            networks = ", ".join(dict.fromkeys(contact.protocol for contact in ways.contacts))
            raise NoAccount(f"{ways.sender.uri} has no account on {networks}")
        if not ways.enabled:
            raise NotOnline(f"Your account {ways.routes[0][0].ext_user} is disabled")
        if isinstance(said, incoming.Text):
            self._send_text(said, ways, headers, mark)
        else:
            self._tell(said, ways.enabled)

    def _send_text(self, said: incoming.Text, ways: _Ways, headers: _Headers, mark: bytes) -> None:
        settings = self._settings
        seconds = min(_expires(headers.expires, settings.queue_ttl), settings.queue_ttl)
        account, contact, way = self._best(ways.enabled, may_wait=seconds > 0)
        if settings.account_rate:
            key = f"account {account.protocol} {account.ext_user}"
            self._limit("account_out", key, settings.account_rate)
        message = SendMessage(
            id=self._numbers.next(),
            protocol=account.protocol,
            ext_user=account.ext_user,
            contact=contact.name,
            text=said.text,
            sip_user=ways.sender.key,
            call_id=headers.call_id,
            recipient=ways.destination.uri,
            html=said.html,
            subject=headers.subject.strip(),
            language=headers.language.partition(",")[0].strip(),
            message_id=said.message_id,
            wants=said.wants,
            date_time=said.date_time,
            cpim=said.cpim,
            expires_at=time.time() + seconds,
            fingerprint=mark,
            stored=way is not Way.DIRECT or settings.queue == "always",
        )
        if message.stored:
            self._ask_database(writing=True)
            self._queue.write(message)
        if logger.isEnabledFor(logging.DEBUG):
            how = "has a row" if message.stored else "leaves at once"
            names = logs.of(message), ways.sender.uri, ways.destination.uri
            logger.debug("%s accepted from %s to %s, %s%s", *names, how, logs.body(message.text))
        self._hand_over_message(account, message)
        outcome = Outcome.QUEUED if message.stored else Outcome.ACCEPTED
        self._meter.count(MESSAGES, SIP_TO_IM, account.protocol, outcome)

    def _hand_over_message(self, account: Row, message: SendMessage) -> None:
        """A message with a row is safe: a worker that cannot be told now reads the row later."""
        try:
            self._hand_over(account, message)
        except Overloaded:
            if not message.stored:
                raise
            self._board.request_reload(owner_of(account.protocol, account.ext_user, self._settings.workers))

    def _best(self, routes: list[Route], may_wait: bool) -> tuple[Row, ImContact, Way]:
        """The first way that is open now, else the first on which the message can wait. Raises NotOnline."""
        account, contact = routes[0]
        if (way := self._board.way(account.protocol, account.ext_user)) is Way.DIRECT:
            return account, contact, way
        ways = [(account, contact, self._board.way(account.protocol, account.ext_user)) for account, contact in routes]
        for wanted in (Way.DIRECT, Way.QUEUE) if may_wait else (Way.DIRECT,):
            for account, contact, way in ways:
                if way is wanted:
                    return account, contact, way
        account = routes[0][0]
        state = self._board.state(account.protocol, account.ext_user)
        raise NotOnline(f"Your account {account.ext_user} is {_in_words(state)}")

    def _tell(self, said: incoming.Typing | incoming.Receipt, routes: list[Route]) -> None:
        """A notice is of use now or not at all, so it never waits."""
        for account, contact in routes:
            if self._board.way(account.protocol, account.ext_user) is not Way.DIRECT:
                continue
            target = (account.protocol, account.ext_user, contact.name)
            if isinstance(said, incoming.Typing):
                self._hand_over(account, Typing(*target, said.active, said.refresh))
            elif said.status in ("delivered", "displayed") and outgoing.ident_of_message_id(said.message_id):
                self._hand_over(account, Delivered(*target, outgoing.ident_of_message_id(said.message_id)))
            return

    def _contacts(self, address: SipAddress) -> list[ImContact]:
        """Whom an address stands for: a gateway address one contact, a user with rows one per network."""
        return contacts_of(address, self._settings.gateway, lambda _key: self._rows(address))

    def _rows(self, address: SipAddress) -> tuple[Row, ...]:
        if self._mapping is None:
            raise Overloaded("The gateway has not started in this process")
        return self._mapping.accounts_of(address.key)

    def _routes(self, sender: SipAddress, contacts: list[ImContact]) -> Iterator[tuple[Row, ImContact]]:
        """The sender's own accounts on each contact's network."""
        return routes(self._rows(sender), contacts)

    # ------------------------------------------------------------ PUBLISH
    def _published_presence(self) -> Presence | None:
        """The presence in the body; OFFLINE for a removal; None for a refresh (RFC 3903 §4.1)."""
        body = self._body()
        if self._expires() == 0:
            return OFFLINE
        if not body:
            if not self._ksr.pv.get("$hdr(SIP-If-Match)"):
                raise BadRequest("A PUBLISH without a body needs SIP-If-Match")
            return None
        if (coding := self._text("$hdr(Content-Encoding)").strip().lower()) not in ("", "identity"):
            raise UnsupportedEncoding(f"a PUBLISH with Content-Encoding {coding[:40]!a} is not understood")
        kind = content.parse_content_type(self._text("$cT"))
        if kind.media_type != PIDF_TYPE:
            raise UnsupportedBody(f"{kind.media_type} is not understood; send {PIDF_TYPE}")
        return pidf.parse(body, kind.parameters.get("charset"))

    def _check_publish(self) -> None:
        self._limit_user(_parsed(self._text("$fu")))
        if self._event() == "presence":
            if 0 < self._expires() < MIN_EXPIRES:
                raise IntervalTooBrief("Interval Too Brief")
            etag = self._text("$hdr(SIP-If-Match)").strip()
            if etag and not _ETAG.fullmatch(etag):  # Kamailio would answer 500, and the phone would not start over
                raise ConditionFailed("Conditional Request Failed")
            self._published_presence()

    def _handle_publish(self) -> None:
        if self._event() != "presence":
            return
        user = _parsed(self._text("$ru"))
        presence = self._published_presence()
        expires_at = time.time() + self._expires()
        removes = self._removed_tuples() if presence == OFFLINE else frozenset()
        for place, row in enumerate(self._own_rows(user)):
            command = Published(
                account=spec_of(row),
                user=user.uri,
                show=presence.activity if presence else "",
                expires_at=expires_at,
                note=presence.note if presence else "",
                idle_since=presence.idle_since.timestamp() if presence and presence.idle_since else 0.0,
                mood=presence.mood if presence else "",
                priority=presence.priority if presence else None,
                language=presence.language if presence else "",
                etag=self._text("$hdr(SIP-If-Match)").strip(),
                removes=removes,
                keep=place == 0,
                call_id=self._text("$ci"),
            )
            self._hand_over(row, command)

    def _removed_tuples(self) -> frozenset[str]:
        """Phones that have lost their ETag remove what they published by the same document with Expires 0."""
        try:
            removes = self._expires() == 0 and not self._ksr.pv.get("$hdr(SIP-If-Match)")
            return pidf.tuple_ids(self._body()) if removes else frozenset()
        except BadRequest:  # a removal need not have a document, and may have anything
            return frozenset()

    def _own_rows(self, user: SipAddress) -> tuple[Row, ...]:
        rows = self._rows(user)
        if not rows:
            raise NoAccount(f"{user.uri} has no IM account")
        return rows

    def _handle_register(self, expires: int) -> None:
        user = _parsed(self._text("$tu"))
        if expires < 0:
            expires = self._registered_seconds()
        if expires > 0 and self._kept_users.stamp(*silo.owner(user.key)):
            self._deliver_kept(user.key)
        if self._settings.connect_on == "register":
            expires_at = time.time() + expires if expires > 0 else 0.0
            for place, row in enumerate(self._rows(user)):
                self._hand_over(row, Registered(spec_of(row), expires_at, place == 0, self._text("$ci")))

    def _registered_seconds(self) -> int:
        """For how long the user in To is still registered, by the phone that stays longest; 0: no phone is left."""
        ends = (expires for _modified, expires in self._bindings(self._text("$tu")))
        return max(0, max(ends, default=0) - int(time.time()))

    def _has_registered(self) -> None:
        since = self._text("$(ru{uri.param,since})")
        user = _parsed(self._text("$ru"))
        bindings = self._bindings(f"sip:{user.key}") if since.isascii() and since.isdigit() else []
        if not any(modified >= int(since) for modified, _expires in bindings):
            raise NotOnline("Temporarily Unavailable")

    def _bindings(self, uri: str) -> list[tuple[int, int]]:
        """When each contact of the user registered last, and when it expires; Unix seconds."""
        registrar = self._ksr.registrar
        if registrar.reg_fetch_contacts(LOCATION, uri, "purple") < 0:
            return []
        places = range(int(self._text("$ulc(purple=>count)") or 0))
        modified = [int(self._text(f"$(ulc(purple=>modified)[{place}])")) for place in places]
        expires = [int(self._text(f"$(ulc(purple=>expires)[{place}])")) for place in places]
        registrar.reg_free_contacts("purple")
        return list(zip(modified, expires, strict=True))

    def _deliver_kept(self, user: str) -> None:
        """Also to a worker that is still starting: it reads the command then."""
        try:
            self._channels.send(keeper_of(user, self._settings.workers), encode(DeliverKept(user)))
        except Overloaded as error:
            words = "[%s] what is kept for %s waits for the next REGISTER: %s"
            logger.error(words, self._for_log("$ci"), user, error.reason)

    def _is_user(self, uri: str) -> None:
        if not subscribers.has_user(self._engine, _parsed(uri)):
            raise NoContact(f"{uri} is no user")

    # ------------------------------------------------------------ SUBSCRIBE
    def _check_watcher(self) -> None:
        """The presence server writes a new dialog down within 10 s (``db_update_period``): until then it is a mark."""
        call_id, from_tag, to_tag = (self._text(name) for name in ("$ci", "$ft", "$tt"))
        user = _parsed(self._text("$fu"))
        self._limit_user(user)
        watcher = user.key
        mark = fingerprint(call_id, f"SUBSCRIBE {watcher}", from_tag)
        if not to_tag:
            self._limit("watches", f"watches {watcher}", MOST_WATCHES, 3600.0)
            self._accepted.add(mark)
            return
        found = self._in_database(lambda: presence_server.watcher_of(self._engine, call_id, to_tag, from_tag))
        if found != watcher if found else mark not in self._accepted:
            raise NoDialog("Subscription does not exist")

    def _prepare_subscribe(self) -> None:
        """In a dialog the presence server knows whom it is about."""
        if self._ksr.pv.get("$tt") or self._event() != "presence":
            return
        watcher, address = _parsed(self._text("$fu")), _parsed(self._text("$ru"))
        contact = self._settings.gateway.contact_of(address)
        if contact is None:
            self._admit(address, watcher)
        elif not _protected(address, list(self._routes(watcher, self._contacts(address)))):
            raise NoAccount(f"{watcher.uri} has no account on {contact.protocol}")
        else:
            presentity = self._settings.gateway.presentity(address, watcher.key)
            # a contact that has refused a moment ago is asked anew
            self._in_database(lambda: presence_server.forget_refusal(self._engine, presentity))
            self._ksr.pv.sets("$ru", presentity.uri)
            self._prepared = (self._text("$ci"), address)

    def _admit(self, user: SipAddress, watcher: SipAddress) -> None:
        """Every local user may watch every local user who has no presence rules of his own."""
        if self._settings.gateway.contact_of(watcher) is None:
            self._in_database(lambda: presence_server.admit(self._engine, user, watcher))

    def _in_database(self, work: Callable[[], T]) -> T:
        """A look into the presence server's tables for each new subscription; the server itself needs several."""
        try:
            return work()
        except SQLAlchemyError as error:
            logger.error("[%s] watchers: %s", self._text("$ci"), in_words(error))
            raise Overloaded("The database does not answer") from error

    def _handle_subscribe(self, uri: str, expires: int) -> None:
        if self._event() != "presence":
            return
        watcher, in_dialog = _parsed(self._text("$fu")), bool(self._ksr.pv.get("$tt"))
        # within a dialog the request URI is this server's own contact
        presentity = _parsed(uri or self._text("$tu" if in_dialog else "$ru"))
        target = self._target(in_dialog) if self._settings.gateway.is_presentity(presentity) else presentity
        contacts = self._contacts(target)
        if not contacts:
            raise NoContact(f"{target.uri} is no IM contact")
        found = _protected(target, list(self._routes(watcher, contacts)))
        if not found:
            raise NoAccount(f"{watcher.uri} has no account on {contacts[0].protocol}")
        if presentity != target and len(found) > 1:
            found = [self._in_database(lambda: listed_route(self._engine, found))]
        seconds = expires if expires >= 0 else self._expires()
        for account, contact in found:
            watch = Watch(
                account=spec_of(account),
                contact=contact.name,
                contact_uri=target.uri,
                presentity=presentity.uri,
                watcher=watcher.key,
                dialog=f"{self._text('$ci')};{self._text('$ft')}",
                expires_at=time.time() + seconds if seconds else 0,
                initial=not in_dialog,
                listed=self._is_internal(),
            )
            self._hand_over(account, watch)

    def _is_internal(self) -> bool:
        """The request came to the internal listener."""
        return f"{self._text('$Ri')}:{self._text('$Rp')}" == self._settings.internal

    def _target(self, in_dialog: bool) -> SipAddress:
        """Whom the watcher meant, where ``prepare_subscribe`` has made the request URI the presentity."""
        call_id, address = self._prepared
        if not in_dialog and call_id == self._text("$ci"):
            return address
        return _parsed(self._text("$tu" if in_dialog else "$ou"))

    # ------------------------------------------------------------ contact lists
    def _prepare_list(self) -> None:
        user = _parsed(self._text("$fu"))
        if not self._rows(user) or self._mapping is None:
            raise NoContact(f"{user.uri} has no IM account")
        lists = ContactLists(self._engine, self._mapping, self._settings.gateway)
        self._in_database(lambda: lists.prepare(SipAddress(user.user.lower(), user.host)))

    def _handle_xcap(self, auid: str, uri: str, method: str, conditional: int) -> None:
        user = _parsed(uri)
        if auid == "resource-lists":
            changed = method != "GET"
            if self._rows(user):
                worker = keeper_of(user.key, self._settings.workers)
                self._channels.send(worker, encode(ListChanged(user.uri, changed, conditional > 0)))
        elif auid.endswith("pres-rules") and method != "GET":
            for row in self._rows(user):
                self._hand_over(row, RulesChanged(spec_of(row), user.uri))

    # ------------------------------------------------------------ rates
    def _limit_user(self, user: SipAddress) -> None:
        """Raises TooFast. A retransmission is known before, and counts as nothing."""
        if rate := self._settings.user_rate:
            self._limit("user", f"user {user.key}", rate)

    def _limit(self, limit: str, key: str, rate: int, seconds: float = 1.0) -> None:
        """``rate``: in so many ``seconds``. Raises TooFast."""
        wait = self._rates.take(key, rate / seconds, max(BURST_SECONDS, seconds))
        if wait:
            self._meter.count(LIMITED, limit)
            raise TooFast(f"Too many requests: at most {rate} in {seconds:.0f} s", wait)

    # ------------------------------------------------------------ helpers
    def _hand_over(self, account: Row, command: Command) -> None:
        """To the worker that owns the account. Raises Overloaded."""
        worker = owner_of(account.protocol, account.ext_user, self._settings.workers)
        if not self._board.ready(worker):
            raise Overloaded(f"IM worker {worker} is not running: purple.workers is at most Kamailio's children")
        self._channels.send(worker, encode(command))

    def _text(self, variable: str) -> str:
        """A pseudo-variable's value, empty where there is none."""
        value = self._ksr.pv.get(variable)
        return "" if value is None else str(value)

    def _event(self) -> str:
        """The event package, without parameters (RFC 6665 §8.2.1)."""
        return self._text("$hdr(Event)").partition(";")[0].strip().lower()

    def _body(self) -> bytes:
        """The body's octets: KEMI hands over text, so what is not UTF-8 comes as base64.

        Raises BodyTooLarge: what a transformation makes has at most 65,535 octets, and of three it makes four.
        """
        try:
            return self._text("$rb").encode()
        except UnicodeDecodeError:
            encoded = self._text("$(rb{s.encode.base64})")
        if not encoded:
            raise BodyTooLarge(f"more than {MAX_NOT_UTF_8} octets can be sent as UTF-8 only")
        return binascii.a2b_base64(encoded)

    def _expires(self, default: int = DEFAULT_EXPIRES) -> int:
        return _expires(self._text("$hdr(Expires)"), default)


def _expires(value: str, default: int) -> int:
    """RFC 3261 §20.19: seconds; for a value that is missing or cannot be read the default counts."""
    value = value.strip()
    return min(int(value), 2**31) if value.isascii() and value.isdigit() else default


def _in_words(state: State) -> str:
    words = {State.CONNECTING: "still connecting", State.ERROR: "not connected: see purplectl status"}
    return words.get(state, "offline")
