"""Owns which page answers which request, and who may see it; knows no Kamailio and no page's content.

Whatever goes wrong is answered in words; what is an error of the gateway itself goes to the log.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import logging
import os
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from sqlalchemy.exc import SQLAlchemyError

from purple_bridge import metrics
from purple_bridge.db.engine import make_engine
from purple_bridge.db.mapping import DatabaseUnavailable, Mapping
from purple_bridge.db.passwords import Passwords
from purple_bridge.settings import Settings
from purple_bridge.web.account_pages import AccountPages
from purple_bridge.web.accounts import Accounts
from purple_bridge.web.http import HTML, JSON, REASONS, Raw, Refused, Request, Response, see_other
from purple_bridge.web.logins import ha1_of, log_in
from purple_bridge.web.messages import Messages
from purple_bridge.web.pages import Pages
from purple_bridge.web.queue_pages import QueuePages
from purple_bridge.web.sessions import COOKIE, IDLE_SECONDS, Failures, Session, Sessions
from purple_bridge.web.trials import Trials
from purple_bridge.web.visits import Visit

logger = logging.getLogger(__name__)

Access = Literal["everybody", "user", "admin"]
Handler = Callable[..., Response]

NOT_HERE = "There is no such page."
TOO_OLD = "The form was too old. Please try again."
NO_DATABASE = "The database does not answer. Try again soon."
WRONG = "The name or the password is wrong."
TOO_MANY = "Too many wrong passwords: wait a minute, then try again."


@dataclass(frozen=True, slots=True)
class Route:
    """``pattern``: of the whole path; its groups are the handler's arguments, numbers as int."""

    method: str
    pattern: re.Pattern[str]
    handler: Handler
    access: Access = "user"


class Site:
    """Made before Kamailio forks; used in one process alone."""

    def __init__(
        self,
        settings: Settings,
        admins: Callable[[], frozenset[str]],
        database_answers: Callable[[], bool] = lambda: True,
    ) -> None:
        """``admins``: who sees everything, at this moment (``SipAddress.key``). ``database_answers``: False while it is
        known not to: then no page waits for it, nor the phones behind it in the same process."""
        self._settings, self._admins, self._database_answers = settings, admins, database_answers
        self._pages = Pages()
        self._sessions, self._failures = Sessions(secrets.token_bytes(32)), Failures()
        self._routes: list[Route] = []

    def answer(self, raw: Raw, serves: Callable[[str], bool]) -> Response:
        """``serves``: whether a name is one of this server's domains. Raises nothing."""
        session = Session.new("", 0)  # which is old, so that its cookie is sent
        try:
            request = Request.parse(raw)
            self._check_host(request, serves)
            if not (_is_without_database(request.path) or self._database_answers()):
                raise Refused(503, NO_DATABASE, [("Retry-After", "5")])
            if not self._routes:
                self._open()
            session = self._session_of(request) or session
            return self._answer(request, session)
        except Refused as refused:
            return self._refusal(raw, session, refused)
        except (SQLAlchemyError, DatabaseUnavailable):
            logger.exception("web page: the database fails")
            return self._refusal(raw, session, Refused(503, NO_DATABASE))
        except Exception:
            logger.exception("web page: %s", ascii(raw.target[:200]))
            return self._refusal(raw, session, Refused(500, "The gateway made an error; its log says more."))

    def _open(self) -> None:
        """Connections to the database are never shared over a fork, so they begin with the first request."""
        settings = self._settings
        self._engine = make_engine(settings.db_url)
        passwords = Passwords(settings.key_path)
        mapping = Mapping(self._engine, settings.db_table, passwords=passwords)
        accounts = Accounts(mapping, Path(settings.state_dir), settings.workers)
        pages = AccountPages(settings, self._engine, mapping, accounts, Trials(os.environ), passwords)
        queue = QueuePages(Messages(self._engine, accounts), pages.names)
        self._routes = [
            _route("GET", "/", pages.overview),
            _route("GET", "/login", self._login_page, "everybody"),
            _route("POST", "/login", self._log_in, "everybody"),
            _route("POST", "/logout", self._log_out),
            _route("GET", "/metrics", self._metrics, "everybody"),
            _route("GET", "/static/([a-z.]+)", self._static, "everybody"),
            _route("GET", "/api/accounts[.]json", pages.listed),
            _route("GET", "/api/tests/([A-Za-z0-9_-]+)[.]json", pages.trial_listed),
            _route("GET", "/tests/([A-Za-z0-9_-]+)", pages.trial),
            _route("GET", "/accounts/new", pages.new),
            _route("POST", "/accounts", pages.add),
            _route("GET", "/accounts/([0-9]{1,9})", pages.account),
            _route("GET", "/accounts/([0-9]{1,9})/edit", pages.edit),
            _route("POST", "/accounts/([0-9]{1,9})/edit", pages.save),
            _route("GET", "/accounts/([0-9]{1,9})/remove", pages.ask_remove),
            _route("POST", "/accounts/([0-9]{1,9})/remove", pages.remove),
            _route("POST", "/accounts/([0-9]{1,9})/enable", pages.enable),
            _route("POST", "/accounts/([0-9]{1,9})/disable", pages.disable),
            _route("POST", "/accounts/([0-9]{1,9})/reconnect", pages.reconnect),
            _route("POST", "/accounts/([0-9]{1,9})/test", pages.test),
            _route("GET", "/queue", queue.queue),
            _route("POST", "/queue/retry", queue.retry, "admin"),
            _route("POST", "/queue/drop", queue.drop, "admin"),
        ]

    def close(self) -> None:
        """The connections to the database, if there are any."""
        if self._routes:
            self._engine.dispose()

    # ------------------------------------------------------------ who may
    def _check_host(self, request: Request, serves: Callable[[str], bool]) -> None:
        """A name that an attacker lets point to this address (DNS rebinding) is none of ours."""
        host = request.host
        if host == "localhost" or _is_ip_address(host) or host == self._listener_host() or (host and serves(host)):
            return
        raise Refused(421, "This server does not answer to that name: use its address, or a domain of it.")

    def _listener_host(self) -> str:
        return self._settings.web.removeprefix("tls:").removeprefix("tcp:").rpartition(":")[0].lower()

    def _session_of(self, request: Request) -> Session | None:
        cookie = request.cookie(COOKIE)
        return self._sessions.read(cookie, time.time(), self._ha1_of) if cookie else None

    def _ha1_of(self, user: str) -> str | None:
        return ha1_of(self._engine, user)

    def _visit(self, request: Request, session: Session) -> Visit:
        admin = bool(session.user) and session.user in self._admins()
        return Visit(request, session, admin, self._sessions.token(session), self._pages)

    def _answer(self, request: Request, session: Session) -> Response:
        found = [(route, match) for route in self._routes if (match := route.pattern.fullmatch(request.path))]
        chosen = [(route, match) for route, match in found if route.method == request.method]
        if not chosen:
            raise _no_route([route.method for route, _match in found])
        route, match = chosen[0]
        visit = self._visit(request, session)
        if route.access != "everybody":
            if not session.user:
                return _to_login(request)
            if route.access == "admin" and not visit.admin:
                raise Refused(403, "That is for administrators.")
        if request.method == "POST" and route.handler != self._log_in:
            self._check_form(visit)
        arguments = [int(text) if text.isdigit() else text for text in match.groups()]
        response = route.handler(visit, *arguments)
        return self._with_cookie(response, request, session)

    def _check_form(self, visit: Visit) -> None:
        """A form comes from a page of ours, shown to the same reader."""
        if visit.request.is_from_elsewhere():
            raise Refused(403, "The form was sent by another site.")
        if not self._sessions.has_sent(visit.session, visit.request.given("token")):
            raise Refused(403, f"{TOO_OLD} Nothing was changed.")

    def _with_cookie(self, response: Response, request: Request, session: Session) -> Response:
        """Pages renew the cookie, the script of a page does not: an open page alone keeps nobody logged in."""
        is_page = response.media_type == HTML and not any(name == "Set-Cookie" for name, _ in response.headers)
        if not is_page or request.path.startswith("/api/") or not session.is_old(time.time()):
            return response
        return self._with_session(response, request, session.renewed(time.time()))

    def _with_session(self, response: Response, request: Request, session: Session) -> Response:
        ha1 = (self._ha1_of(session.user) or "") if session.user else ""
        cookie = _cookie(self._sessions.cookie(session, ha1), IDLE_SECONDS, request.secure)
        return Response(response.status, response.body, response.media_type, (*response.headers, cookie))

    # ------------------------------------------------------------ log in and out
    def _login_page(self, visit: Visit) -> Response:
        if visit.user:
            return see_other("/")
        return self._login_form(visit, visit.request.asked("next"))

    def _login_form(self, visit: Visit, then: str, error: str = "", status: int = 200) -> Response:
        name = visit.request.given("name")[:200]
        return visit.page("login.html", status=status, next=_local(then), error=error, name=name)

    def _log_in(self, visit: Visit) -> Response:
        request, now = visit.request, time.time()
        name, then = request.given("name").strip(), request.given("next")
        try:
            self._check_form(visit)
        except Refused as refused:
            return self._login_form(visit, then, TOO_OLD if not request.is_from_elsewhere() else refused.words, 403)
        if self._failures.too_many(request.address, name, now):
            return self._login_form(visit, then, TOO_MANY, 429)
        found = log_in(self._engine, name, request.given("password"))
        if found is None:
            self._failures.add(request.address, name, now)
            logger.warning("web page: log-in of %s from %s refused", ascii(name[:100]), request.address)
            return self._login_form(visit, then, WRONG, 403)
        self._failures.forget(request.address, name)
        return self._with_session(see_other(_local(then)), request, Session.new(found.user.key, now))

    def _log_out(self, visit: Visit) -> Response:
        self._sessions.end(visit.session)
        return see_other("/login", _cookie("", 0, visit.request.secure))

    # ------------------------------------------------------------ beside the pages
    def _static(self, visit: Visit, name: str) -> Response:
        return self._pages.file(name, visit.request.asked("v"))

    def _metrics(self, visit: Visit) -> Response:
        """On loopback without a password; from elsewhere with that of an administrator (RFC 7617)."""
        request = visit.request
        near = _is_loopback(request.address) and not request.secure and not request.was_passed_on
        if not near and not self._is_admin_by_header(request):
            raise Refused(401, "An administrator's name and password are needed.", [BASIC])
        return Response(200, metrics.exposition().decode(), metrics.CONTENT_TYPE)

    def _is_admin_by_header(self, request: Request) -> bool:
        name, password = _basic(request.headers.get("authorization", ""))
        if not name:
            return False
        if not self._database_answers():
            raise Refused(503, NO_DATABASE)
        if self._failures.too_many(request.address, name, time.time()):
            raise Refused(429, TOO_MANY)
        found = log_in(self._engine, name, password)
        if found is None:
            self._failures.add(request.address, name, time.time())
        return found is not None and found.user.key in self._admins()

    def _refusal(self, raw: Raw, session: Session, refused: Refused) -> Response:
        if raw.target.startswith("/api/"):
            return Response(refused.status, "{}", JSON, refused.headers)
        user, token = session.user, self._sessions.token(session)
        body = self._pages.html(
            "refused.html",
            reason=REASONS[refused.status],
            words=refused.words,
            user=user,
            admin=user in self._admins() if user else False,
            token=token,
            here="",
        )
        return Response(refused.status, body, HTML, refused.headers)


BASIC = ("WWW-Authenticate", 'Basic realm="kamailio-purple", charset="UTF-8"')


def _route(method: str, pattern: str, handler: Handler, access: Access = "user") -> Route:
    return Route(method, re.compile(pattern), handler, access)


def _no_route(methods: list[str]) -> Refused:
    """``methods``: that the path has; empty: there is no such path."""
    if not methods:
        return Refused(404, NOT_HERE)
    return Refused(405, "That cannot be done with this page.", [("Allow", ", ".join(sorted(set(methods))))])


def _to_login(request: Request) -> Response:
    if request.path.startswith("/api/"):
        return Response(401, "{}", JSON)
    then = request.path if request.method == "GET" and request.path != "/" else ""
    return see_other(f"/login?next={quote(then)}" if then else "/login")


def _local(path: str) -> str:
    """Only a page of ours, so that nobody is led elsewhere after the log-in."""
    return path if re.fullmatch(r"/(?:[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*)?", path) else "/"


def _cookie(value: str, seconds: int, secure: bool) -> tuple[str, str]:
    """RFC 6265 §4.1; SameSite=Strict: no other site's link or form brings it along."""
    words = [f"{COOKIE}={value}", "Path=/", f"Max-Age={seconds}", "HttpOnly", "SameSite=Strict"]
    return "Set-Cookie", "; ".join([*words, *(["Secure"] if secure else [])])


def _basic(header: str) -> tuple[str, str]:
    """RFC 7617 §2; empty for what is none."""
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        # the name has no colon, but "sip:alice@example.org" is how ours are written
        text = base64.b64decode(rest.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return "", ""
    name, _, password = text.removeprefix("sip:").partition(":")
    return name, password


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _is_without_database(path: str) -> bool:
    return path == "/metrics" or path.startswith("/static/")


def _is_loopback(address: str) -> bool:
    return _is_ip_address(address) and ipaddress.ip_address(address.strip("[]")).is_loopback
