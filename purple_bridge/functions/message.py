"""MESSAGE: whom its destination means, on which of the sender's accounts it leaves, and whether it waits as a row."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from purple_bridge import logs
from purple_bridge.accepted import fingerprint
from purple_bridge.addresses import ImContact, SipAddress
from purple_bridge.board import State, Way
from purple_bridge.bodies import content, incoming, outgoing
from purple_bridge.commands import Delivered, SendMessage, Typing
from purple_bridge.contact_lists import listed_route
from purple_bridge.db.account import Account as Row
from purple_bridge.db.mapping import DatabaseUnavailable
from purple_bridge.db.words import in_words
from purple_bridge.destinations import Route, client_of
from purple_bridge.errors import NoAccount, NoContact, NotOnline, Overloaded
from purple_bridge.functions.accounts import Accounts, protected_routes
from purple_bridge.functions.limits import Limits
from purple_bridge.functions.process import Process
from purple_bridge.functions.request import MessageHeaders, Request, expires_of, parsed
from purple_bridge.functions.workers import Workers
from purple_bridge.live import LiveSettings
from purple_bridge.metrics import MESSAGES, SIP_TO_IM, Outcome
from purple_bridge.shared import Shared

logger = logging.getLogger(__name__)

TURN_SECONDS = 2.0  # a SIP worker waits so long for another one that handles the same request
KNOWN_WAYS = 50_000  # pairs of sender and destination


@dataclass(frozen=True, slots=True)
class _Ways:
    """From one SIP user to one destination, as the ``rows`` say: valid as long as the mapping gives these very ones."""

    sender: SipAddress
    destination: SipAddress
    rows: tuple[tuple[Row, ...], ...]
    contacts: list[ImContact]
    routes: list[Route]
    enabled: list[Route]


class Messages:
    """From SIP users to IM contacts. Runs for each message, so what can be remembered is."""

    def __init__(
        self,
        request: Request,
        live: LiveSettings,
        process: Process,
        accounts: Accounts,
        workers: Workers,
        limits: Limits,
        shared: Shared,
    ) -> None:
        self._request, self._live, self._process = request, live, process
        self._accounts, self._workers, self._limits = accounts, workers, limits
        self._board, self._accepted, self._heard = shared.board, shared.accepted, shared.heard
        self._ways: dict[tuple[str, str], _Ways] = {}

    def send(self) -> None:
        """See ``PurpleFunctions.send_message``."""
        sender, destination = self._request.text("$fu"), self._request.text("$ru")
        ways = self._known_ways(sender, destination) or self._new_ways(sender, destination)
        try:
            self._take(ways)
        except Exception as error:
            # without an account of the sender's, the message of one user to another is for his phones
            if not isinstance(error, NoAccount) or self._live.now.gateway.contact_of(ways.destination):
                self._count(ways.contacts[0].protocol, Outcome.REFUSED)
            raise

    def _count(self, protocol: str, outcome: str) -> None:
        self._process.meter.count(MESSAGES, SIP_TO_IM, protocol, outcome)

    # ------------------------------------------------------------ the ways from sender to destination
    def _known_ways(self, sender: str, destination: str) -> _Ways | None:
        """What the same two URIs meant before, if it is still so."""
        ways = self._ways.get((sender, destination))
        if ways is None or self._accounts.rows(ways.sender) is not ways.rows[0]:
            return None
        return ways if len(ways.rows) == 1 or self._accounts.rows(ways.destination) is ways.rows[1] else None

    def _new_ways(self, sender: str, destination: str) -> _Ways:
        """Raises NoContact, and BadRequest for what is no address."""
        known, self._ways = (sender, destination), self._ways if len(self._ways) < KNOWN_WAYS else {}
        writer, target = parsed(sender), parsed(destination)
        contacts = self._accounts.contacts(target)
        if not contacts:
            self._limits.take_user(writer)
            raise NoContact(f"{target.uri} is no IM contact")
        rows = [self._accounts.rows(writer)]
        if self._live.now.gateway.contact_of(target) is None:
            rows.append(self._accounts.rows(target))
        else:
            contacts = [client_of(contact, target) for contact in contacts]
        found = protected_routes(rows[0], target, contacts)
        enabled = self._by_list([route for route in found if route[0].enabled])
        self._ways[known] = ways = _Ways(writer, target, tuple(rows), contacts, found, enabled)
        return ways

    def _by_list(self, routes: list[Route]) -> list[Route]:
        """Of several accounts that the contact may know, one that has it on its list comes first, as for presence."""
        same = [route for route in routes if route[1] == routes[0][1]]
        if len(same) < 2:
            return routes
        try:
            self._process.ask_database(writing=False)
            first = listed_route(self._process.engine, same)
        except (DatabaseUnavailable, SQLAlchemyError) as error:
            words = in_words(error) if isinstance(error, SQLAlchemyError) else error.reason
            logger.warning("which account has %s on its list: %s", routes[0][1].name, words)
            return routes
        return [first, *(route for route in routes if route is not first)]

    # ------------------------------------------------------------ once, however often it comes
    def _take(self, ways: _Ways) -> None:
        headers = self._request.message_headers()
        mark = fingerprint(headers.call_id, headers.cseq, headers.from_tag)
        turn = self._accepted.turn(mark)
        held = turn.acquire(timeout=TURN_SECONDS)
        try:
            if mark in self._accepted:
                logger.debug("[%s] a retransmission: answered as before", headers.call_id)
                self._count(ways.contacts[0].protocol, Outcome.RETRANSMISSION)
                return
            self._take_new(ways, headers, mark)
            self._accepted.add(mark)
        finally:
            if held:
                turn.release()

    def _take_new(self, ways: _Ways, headers: MessageHeaders, mark: bytes) -> None:
        self._limits.take_user(ways.sender)
        body = content.decompressed(self._request.body(), headers.content_encoding)
        said = incoming.read(headers.content_type or None, body)
        if not ways.routes:
            networks = ", ".join(dict.fromkeys(contact.protocol for contact in ways.contacts))
            raise NoAccount(f"{ways.sender.uri} has no account on {networks}")
        if not ways.enabled:
            raise NotOnline(f"Your account {ways.routes[0][0].ext_user} is disabled")
        if isinstance(said, incoming.Text):
            self._send_text(said, ways, headers, mark)
        else:
            self._tell(said, ways)

    # ------------------------------------------------------------ a text
    def _send_text(self, said: incoming.Text, ways: _Ways, headers: MessageHeaders, mark: bytes) -> None:
        settings = self._live.now
        seconds = min(expires_of(headers.expires, settings.queue_ttl), settings.queue_ttl)
        account, contact, way = self._best(ways, may_wait=seconds > 0)
        if settings.account_rate:
            key = f"account {account.protocol} {account.ext_user}"
            self._limits.take("account_out", key, settings.account_rate)
        message = SendMessage(
            id=self._process.numbers.next(),
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
        self._accept(account, message, ways)

    def _best(self, ways: _Ways, may_wait: bool) -> tuple[Row, ImContact, Way]:
        """The way by which the contact wrote last, if the message can leave or wait there; else the first that is open
        now, else the first on which it can wait. Raises NotOnline."""
        last = self._last_heard(ways)
        account, contact = last or ways.enabled[0]
        way = self._board.way(account.protocol, account.ext_user)
        if way is Way.DIRECT or (last and way is Way.QUEUE and may_wait):
            return account, contact, way
        open_ways = [(*route, self._board.way(route[0].protocol, route[0].ext_user)) for route in ways.enabled]
        for wanted in (Way.DIRECT, Way.QUEUE) if may_wait else (Way.DIRECT,):
            for account, contact, way in open_ways:
                if way is wanted:
                    return account, contact, way
        account = ways.enabled[0][0]
        state = self._board.state(account.protocol, account.ext_user)
        raise NotOnline(f"Your account {account.ext_user} is {_in_words(state)}")

    def _last_heard(self, ways: _Ways) -> Route | None:
        """Of several accounts the one to which the contact wrote last; None: to none of them."""
        if len(ways.enabled) < 2:
            return None
        user = ways.sender.key
        times = [self._heard.when(user, row.protocol, row.ext_user, contact.name) for row, contact in ways.enabled]
        return ways.enabled[times.index(max(times))] if any(times) else None

    def _accept(self, account: Row, message: SendMessage, ways: _Ways) -> None:
        if message.stored:
            self._process.ask_database(writing=True)
            self._process.queue.write(message)
        if logger.isEnabledFor(logging.DEBUG):
            how = "has a row" if message.stored else "leaves at once"
            names = logs.of(message), ways.sender.uri, ways.destination.uri
            logger.debug("%s accepted from %s to %s, %s%s", *names, how, logs.body(message.text))
        self._hand_over(account, message)
        self._count(account.protocol, Outcome.QUEUED if message.stored else Outcome.ACCEPTED)

    def _hand_over(self, account: Row, message: SendMessage) -> None:
        """A message with a row is safe: a worker that cannot be told now reads the row later."""
        try:
            self._workers.hand_over(account, message)
        except Overloaded:
            if not message.stored:
                raise
            self._workers.request_reload(account)

    # ------------------------------------------------------------ a notice
    def _tell(self, said: incoming.Typing | incoming.Receipt, ways: _Ways) -> None:
        """A notice is of use now or not at all, so it never waits; and nowhere but where the contact wrote last."""
        last = self._last_heard(ways)
        for account, contact in [last] if last else ways.enabled:
            if self._board.way(account.protocol, account.ext_user) is not Way.DIRECT:
                continue
            target = (account.protocol, account.ext_user, contact.name)
            if isinstance(said, incoming.Typing):
                self._workers.hand_over(account, Typing(*target, said.active, said.refresh))
            elif said.status in ("delivered", "displayed") and outgoing.ident_of_message_id(said.message_id):
                ident = outgoing.ident_of_message_id(said.message_id)
                self._workers.hand_over(account, Delivered(*target, ident))
            return


def _in_words(state: State) -> str:
    words = {State.CONNECTING: "still connecting", State.ERROR: "not connected: see purplectl status"}
    return words.get(state, "offline")
