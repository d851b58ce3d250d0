"""REGISTER: a phone that came gets what was kept for its user; and the gateway's question who has registered."""

from __future__ import annotations

import logging
import time

from purple_bridge.commands import DeliverKept, Registered, spec_of
from purple_bridge.db import silo
from purple_bridge.errors import NotOnline, Overloaded
from purple_bridge.functions.accounts import Accounts
from purple_bridge.functions.request import Request, parsed
from purple_bridge.functions.workers import Workers
from purple_bridge.kept_users import KeptUsers
from purple_bridge.live import LiveSettings

logger = logging.getLogger(__name__)


class Registrations:
    """Kamailio's registrar keeps them; here they are read for the workers."""

    def __init__(
        self, request: Request, live: LiveSettings, accounts: Accounts, workers: Workers, kept_users: KeptUsers
    ) -> None:
        self._request, self._live = request, live
        self._accounts, self._workers, self._kept_users = accounts, workers, kept_users

    def handle(self, expires: int) -> None:
        """See ``PurpleFunctions.handle_register``."""
        user = parsed(self._request.text("$tu"))
        if expires < 0:
            expires = self._registered_seconds()
        if expires > 0 and self._kept_users.stamp(*silo.owner(user.key)):
            self._deliver_kept(user.key)
        if self._live.now.connect_on == "register":
            expires_at = time.time() + expires if expires > 0 else 0.0
            for place, row in enumerate(self._accounts.rows(user)):
                command = Registered(spec_of(row), expires_at, place == 0, self._request.text("$ci"))
                self._workers.hand_over(row, command)

    def check_since(self) -> None:
        """See ``PurpleFunctions.has_registered``. Raises NotOnline."""
        since = self._request.text("$(ru{uri.param,since})")
        user = parsed(self._request.text("$ru"))
        is_number = since.isascii() and since.isdigit()
        bindings = self._request.bindings(f"sip:{user.key}") if is_number else []
        if not any(modified >= int(since) for modified, _expires in bindings):
            raise NotOnline("Temporarily Unavailable")

    def _registered_seconds(self) -> int:
        """For how long the user in To is still registered, by the phone that stays longest; 0: no phone is left."""
        ends = (expires for _modified, expires in self._request.bindings(self._request.text("$tu")))
        return max(0, max(ends, default=0) - int(time.time()))

    def _deliver_kept(self, user: str) -> None:
        """Also to a worker that is still starting: it reads the command then."""
        try:
            self._workers.tell_keeper(user, DeliverKept(user))
        except Overloaded as error:
            words = "[%s] what is kept for %s waits for the next REGISTER: %s"
            logger.error(words, self._request.for_log("$ci"), user, error.reason)
