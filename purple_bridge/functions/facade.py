"""The functions of KSR.purple, each handed on to the object of its method within the error boundary."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from purple_bridge import logs
from purple_bridge.db import subscribers
from purple_bridge.db.mapping import DatabaseUnavailable
from purple_bridge.db.words import in_words
from purple_bridge.errors import BadRequest, NoAccount, NoContact
from purple_bridge.functions.accounts import Accounts
from purple_bridge.functions.error_boundary import TAKEN, ErrorBoundary
from purple_bridge.functions.limits import Limits
from purple_bridge.functions.message import Messages
from purple_bridge.functions.process import Process
from purple_bridge.functions.publish import Publications
from purple_bridge.functions.register import Registrations
from purple_bridge.functions.request import Request, parsed, way_of
from purple_bridge.functions.subscribe import Subscriptions
from purple_bridge.functions.workers import Workers
from purple_bridge.functions.xcap import Documents
from purple_bridge.live import LiveSettings
from purple_bridge.meter import Meter
from purple_bridge.settings import Settings
from purple_bridge.shared import Shared

logger = logging.getLogger(__name__)


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
        self._live = live = LiveSettings(settings, shared.live, lambda now: logs.follow(now.log_level, now.log_bodies))
        self._own_ways = frozenset(way_of("udp", host, port, settings.internal) for host, port in own_sockets)
        self._request = request = Request(ksr)
        self._process = process = Process(live, shared)
        self._boundary = ErrorBoundary(request, live, process)
        self._limits = limits = Limits(live, process, shared.rates)
        accounts = Accounts(live, process)
        workers = Workers(live, shared.channels, shared.board)
        self._messages = Messages(request, live, process, accounts, workers, limits, shared)
        self._publications = Publications(request, accounts, workers, limits)
        self._registrations = Registrations(request, live, accounts, workers, shared.kept_users)
        self._subscriptions = Subscriptions(request, live, process, accounts, workers, limits, shared.accepted)
        self._documents = Documents(accounts, workers)

    def open_database(self, rank: int, meter: Meter | None = None) -> None:
        """Connections to the database are never shared over a fork, so each process makes its own.

        ``rank``: this process's number, unique in this Kamailio; ``meter``: this thread's.
        """
        self._process.open(rank, meter)

    def send_message(self) -> int:
        """MESSAGE: the request URI (rewritten or not) is the destination, From the sender."""
        return self._boundary.guarded(self._messages.send)

    def check_publish(self) -> int:
        """PUBLISH: whether ``handle_publish`` could read it; changes nothing."""
        return self._boundary.guarded(self._publications.check)

    def handle_publish(self) -> int:
        """PUBLISH: signs the user's accounts on, changes their status, or signs them off (RFC 3903)."""
        return self._boundary.guarded(self._publications.handle)

    def handle_register(self, expires: int = -1) -> int:
        """REGISTER that was accepted; ``expires``: seconds the user is still registered for, 0: no more.

        Default: what the module registrar has in LOCATION for the user in To.
        What was kept for the user goes to the phone. Signs the user's accounts on or off where purple.connect_on is
        ``register``.
        """
        return self._boundary.guarded(lambda: self._registrations.handle(expires))

    def has_registered(self) -> int:
        """OPTIONS of the gateway: 1 if a phone of the user in the request URI has registered since ``;since``."""
        return self._boundary.guarded(self._registrations.check_since)

    def handle_subscribe(self, uri: str = "", expires: int = -1) -> int:
        """SUBSCRIBE: makes the IM contact's presence arrive. Default: the request's own URI and Expires."""
        return self._boundary.guarded(lambda: self._subscriptions.handle(uri, expires))

    def check_watcher(self) -> int:
        """SUBSCRIBE, in front of all else: in a dialog, -481 unless it is one of the user in From.

        The modules presence and rls know a dialog by its Call-ID and tags alone.
        """
        return self._boundary.guarded(self._subscriptions.check_watcher)

    def prepare_subscribe(self) -> int:
        """Initial SUBSCRIBE, in front of presence.handle_subscribe: who may watch whom, and under which presentity.

        An IM contact's request URI becomes the presentity of this watcher alone; -403 without an account on its
        network.
        A local user who has no presence rules of his own may be watched by every local user.
        """
        return self._boundary.guarded(self._subscriptions.prepare)

    def prepare_list(self) -> int:
        """SUBSCRIBE to the contact list of the user in From, of which there is no document yet: makes it.

        -404 for a user without an IM account. Else the list is there as soon as an account has signed on.
        """
        return self._boundary.guarded(self._subscriptions.prepare_list)

    def handle_xcap(self, auid: str, uri: str, method: str, conditional: int = 0) -> int:
        """The XCAP server serves the user ``uri`` a document of the application ``auid``.

        ``method``: GET, to be told of before the answer, PUT or DELETE, after it has been done; ``conditional``: 1 if
        the client knows what it changes (If-Match, or a part of the document).
        """
        return self._boundary.guarded(lambda: self._documents.handle(auid, uri, method, conditional))

    def limited(self, limit: str) -> int:
        """The script has refused or dropped the request: counts it in ``purple_limited_total`` under this name."""
        self._limits.count(limit)
        return TAKEN

    def is_contact(self, uri: str) -> int:
        """1 when the address is one of the gateway's own (``sip:x*y@xmpp.GATEWAY_DOMAIN``), else -404."""
        with suppress(BadRequest):
            if self._live.now.gateway.contact_of(parsed(uri)):
                return TAKEN
        return self._boundary.no(NoContact(f"{uri} is no address of the gateway"))

    def is_user(self, uri: str) -> int:
        """1 when the table ``subscriber`` has the user, whatever the case of the name, else -404; asks the database,
        -503 if that does not answer."""
        try:
            self._process.ask_database(writing=False)
            if subscribers.has_user(self._process.engine, parsed(uri)):
                return TAKEN
        except DatabaseUnavailable as error:
            return self._boundary.refused(error)
        except BadRequest as error:
            return self._boundary.no(error)
        except SQLAlchemyError as error:
            logger.error("[%s] subscriber: %s", self._request.for_log("$ci"), in_words(error))
            return self._boundary.failed(DatabaseUnavailable("The database does not answer"))
        return self._boundary.no(NoContact(f"{uri} is no user"))

    def database_answers(self, writing: int = 1) -> int:
        """1, or -503 where the database does not answer; ``writing`` 0: for a request that only reads.

        At once while the workers find so, else after a short question: who asks the database something himself waits
        for it for seconds, and all requests behind him. What failed before it is still what failed, unless this does.
        """
        try:
            self._process.ask_database(writing=writing != 0)
        except DatabaseUnavailable as error:
            return self._boundary.refused(error)
        return TAKEN

    def took_long(self) -> int:
        """The script has waited for the database for seconds, although that answers: for 15 s ``database_answers`` is
        -503 and all else that needs it fails at once, so that the others are served."""
        self._process.leave_database()
        logger.warning("[%s] waited for the database: what needs it is 503 for a while", self._request.for_log("$ci"))
        return TAKEN

    def is_from_gateway(self) -> int:
        """1 when the request came from the gateway's own socket to the internal listener, else -403."""
        if self._request.way() in self._own_ways:
            return TAKEN
        return self._boundary.no(NoAccount("This is for the gateway itself"))

    def reply_error(self) -> int:
        """Answer with the SIP status and reason of the function that failed last, for the request; the answer "no" of
        ``is_contact``, ``is_user`` and ``is_from_gateway`` counts where nothing else has failed."""
        self._boundary.reply()
        return TAKEN
