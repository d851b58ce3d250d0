"""SUBSCRIBE: who may watch whom, under which presentity, and what the workers are told of it; to contact lists, too."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from purple_bridge.accepted import Accepted, fingerprint
from purple_bridge.addresses import SipAddress
from purple_bridge.commands import Watch, spec_of
from purple_bridge.contact_lists import ContactLists, listed_route
from purple_bridge.db import presence_server
from purple_bridge.db.words import in_words
from purple_bridge.destinations import Route
from purple_bridge.errors import NoAccount, NoContact, NoDialog, Overloaded
from purple_bridge.functions.accounts import Accounts
from purple_bridge.functions.limits import Limits
from purple_bridge.functions.process import Process
from purple_bridge.functions.request import Request, parsed
from purple_bridge.functions.workers import Workers
from purple_bridge.live import LiveSettings

logger = logging.getLogger(__name__)

T = TypeVar("T")

MOST_WATCHES = 5000  # subscriptions that a user begins in an hour, which is the longest that one lasts
MOST_OF_ONE = 200  # of them to one address: each change of it is a NOTIFY for each, and what is behind them waits


class Subscriptions:
    """The presence server keeps them; here it is prepared for them, and the workers hear of them."""

    def __init__(
        self,
        request: Request,
        live: LiveSettings,
        process: Process,
        accounts: Accounts,
        workers: Workers,
        limits: Limits,
        accepted: Accepted,
    ) -> None:
        self._request, self._live, self._process = request, live, process
        self._accounts, self._workers, self._limits = accounts, workers, limits
        self._accepted = accepted
        # Call-ID, and whom `prepare` found in the request URI
        self._prepared = ("", SipAddress("", "localhost"))

    # ------------------------------------------------------------ who may watch whom
    def check_watcher(self) -> None:
        """See ``PurpleFunctions.check_watcher``.

        The presence server writes a new dialog down within 10 s (``db_update_period``): until then it is a mark.
        """
        call_id, from_tag, to_tag = (self._request.text(name) for name in ("$ci", "$ft", "$tt"))
        user = parsed(self._request.text("$fu"))
        self._limits.take_user(user)
        watcher = user.key
        mark = fingerprint(call_id, f"SUBSCRIBE {watcher}", from_tag)
        if not to_tag:
            self._limits.take("watches", f"watches {watcher}", MOST_WATCHES, 3600.0)
            watched = self._watched(watcher)
            self._limits.take("watches", f"watches {watcher} {watched}", MOST_OF_ONE, 3600.0)
            self._accepted.add(mark)
            return
        found = self._in_database(lambda: presence_server.watcher_of(self._process.engine, call_id, to_tag, from_tag))
        if found != watcher if found else mark not in self._accepted:
            raise NoDialog("Subscription does not exist")

    def _watched(self, watcher: str) -> str:
        """One text for all spellings of the request URI."""
        address = parsed(self._request.text("$ru"))
        gateway = self._live.now.gateway
        return address.key if gateway.contact_of(address) is None else gateway.presentity(address, watcher).uri

    def prepare(self) -> None:
        """See ``PurpleFunctions.prepare_subscribe``. In a dialog the presence server knows whom it is about."""
        if self._request.has("$tt") or self._request.event() != "presence":
            return
        watcher, address = parsed(self._request.text("$fu")), parsed(self._request.text("$ru"))
        contact = self._live.now.gateway.contact_of(address)
        if contact is None:
            self._admit(address, watcher)
        elif not self._accounts.routes(watcher, address, self._accounts.contacts(address)):
            raise NoAccount(f"{watcher.uri} has no account on {contact.protocol}")
        else:
            presentity = self._live.now.gateway.presentity(address, watcher.key)
            # a contact that has refused a moment ago is asked anew
            self._in_database(lambda: presence_server.forget_refusal(self._process.engine, presentity))
            self._request.set_uri(presentity.uri)
            self._prepared = (self._request.text("$ci"), address)

    def _admit(self, user: SipAddress, watcher: SipAddress) -> None:
        """Every local user may watch every local user who has no presence rules of his own."""
        if self._live.now.gateway.contact_of(watcher) is None:
            self._in_database(lambda: presence_server.admit(self._process.engine, user, watcher))

    def _in_database(self, work: Callable[[], T]) -> T:
        """A look into the presence server's tables for each new subscription; the server itself needs several."""
        try:
            return work()
        except SQLAlchemyError as error:
            logger.error("[%s] watchers: %s", self._request.text("$ci"), in_words(error))
            raise Overloaded("The database does not answer") from error

    # ------------------------------------------------------------ the presence of an IM contact
    def handle(self, uri: str, expires: int) -> None:
        """See ``PurpleFunctions.handle_subscribe``."""
        if self._request.event() != "presence":
            return
        watcher, in_dialog = parsed(self._request.text("$fu")), self._request.has("$tt")
        # within a dialog the request URI is this server's own contact
        presentity = parsed(uri or self._request.text("$tu" if in_dialog else "$ru"))
        target = self._target(in_dialog) if self._live.now.gateway.is_presentity(presentity) else presentity
        found = self._routes(watcher, presentity, target)
        seconds = expires if expires >= 0 else self._request.expires()
        for account, contact in found:
            watch = Watch(
                account=spec_of(account),
                contact=contact.name,
                contact_uri=target.uri,
                presentity=presentity.uri,
                watcher=watcher.key,
                dialog=f"{self._request.text('$ci')};{self._request.text('$ft')}",
                expires_at=time.time() + seconds if seconds else 0,
                initial=not in_dialog,
                listed=self._request.listener() == self._live.now.internal,  # the list server asks there
            )
            self._workers.hand_over(account, watch)

    def _target(self, in_dialog: bool) -> SipAddress:
        """Whom the watcher meant, where ``prepare`` has made the request URI the presentity."""
        call_id, address = self._prepared
        if not in_dialog and call_id == self._request.text("$ci"):
            return address
        return parsed(self._request.text("$tu" if in_dialog else "$ou"))

    def _routes(self, watcher: SipAddress, presentity: SipAddress, target: SipAddress) -> list[Route]:
        """Of a private presentity one, the account that has the contact on its list. Raises NoContact, NoAccount."""
        contacts = self._accounts.contacts(target)
        if not contacts:
            raise NoContact(f"{target.uri} is no IM contact")
        found = self._accounts.routes(watcher, target, contacts)
        if not found:
            raise NoAccount(f"{watcher.uri} has no account on {contacts[0].protocol}")
        if presentity != target and len(found) > 1:
            return [self._in_database(lambda: listed_route(self._process.engine, found))]
        return found

    # ------------------------------------------------------------ a contact list
    def prepare_list(self) -> None:
        """See ``PurpleFunctions.prepare_list``."""
        user = parsed(self._request.text("$fu"))
        if not self._accounts.rows(user) or self._process.mapping is None:
            raise NoContact(f"{user.uri} has no IM account")
        lists = ContactLists(self._process.engine, self._process.mapping, self._live.now.gateway)
        self._in_database(lambda: lists.prepare(SipAddress(user.user.lower(), user.host)))
