"""Owns one trial sign-on of an account, in a process that does nothing else; must not know SIP, rows or the gateway.

The process reads an order from standard input (``Order``, as JSON) and writes lines of JSON: ``{"step": text}`` for
what libpurple is doing, and at the end ``{"result": {...}}``, the fields of ``Result``. libpurple may crash or hang on
what a server sends, so whoever starts the process watches it; SIGALRM ends it in any case.
"""

from __future__ import annotations

import json
import logging
import os
import re
import resource
import secrets
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, TextIO, cast

from purple_bridge.gateway_options import check_line, for_libpurple, is_public_only, server_of
from purple_bridge.libpurple import buddies, c, core, glib
from purple_bridge.libpurple.accounts import Account, UnknownProtocol
from purple_bridge.libpurple.core import Core
from purple_bridge.libpurple.events import ConnectionError, Events
from purple_bridge.libpurple.glib import MainLoop, decode
from purple_bridge.ownership import plugin_of
from purple_bridge.sign_on_errors import REASONS, UNABLE, explain

XMPP, IRC = "prpl-jabber", "prpl-irc"
LIST_SECONDS = 1.0  # after the sign-on, for the contact list
SIGN_OFF_SECONDS = 0.2
MOST_NAMES = 20  # of a certificate
ALARM_SECONDS = 3.0  # after the time limit: the loop does not turn any more

_TLS = re.compile(r"SSL version 3\.(\d+) using")
_ATTEMPT = re.compile(r"proxy: Connection attempt failed: (?:\[Errno -?\d+\] )?(.+)")


@dataclass(frozen=True, slots=True)
class Order:
    """``protocol``, ``options``: as in a row; ``timeout``: seconds; ``http_proxy``: host and port, None for none.

    ``protocols``: as purple.protocols; empty: none is ruled out. No other plugin than the account's is loaded.
    """

    protocol: str
    ext_user: str
    password: str | None
    options: dict[str, bool | int | str] = field(default_factory=dict)
    timeout: float = 60.0
    ca_dir: str = ""  # as purple.ca_dir
    http_proxy: tuple[str, int] | None = None
    protocols: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Result:
    """``ok``: it was online; ``seconds``: until then, or until it was given up; ``text``: all of it in words.

    ``detail``: ``reason`` (None, or a word that programs know), ``error`` (libpurple's own words), ``advice``,
    ``fatal`` (another try without a change is of no use), ``tls`` ("1.3", "" for none or unknown), ``certificate``
    (whose it was verified to be, ""), ``pin`` (of the key that the server presented, as the option tls_pin has it, ""),
    ``presented`` (what else its certificate says, None), ``contacts`` (None: not told), ``name`` (as the network knows
    the account), ``steps``.
    """

    ok: bool
    seconds: float
    text: str
    detail: dict[str, Any] = field(default_factory=dict)


class Transcript(logging.Handler):
    """What libpurple's own log says of the connection; nothing else of it is kept."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.tls = ""
        self.attempt = ""  # why the last attempt to connect failed: prpl-jabber does not tell

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if found := _TLS.search(text):
            self.tls = f"1.{int(found[1]) - 1}"  # RFC 8446 §5.1: TLS 1.x has the number 3.(x+1)
        elif found := _ATTEMPT.search(text):
            self.attempt = found[1]

    def listen(self) -> None:
        core.tell_of_encryption()
        logger = logging.getLogger(core.__name__)
        logger.handlers, logger.propagate = [self], False
        logger.setLevel(logging.DEBUG)


class Trial:
    """One sign-on: what libpurple reports of it, until there is a result."""

    def __init__(self, order: Order, tell: Callable[[str], None]) -> None:
        """``tell``: called with each step, in libpurple's words."""
        self._order, self._tell = order, tell
        self._transcript = Transcript()
        self._steps: list[str] = []
        self._notices: list[str] = []
        self._seconds: float | None = None
        self._result: Result | None = None
        self._account: Account | None = None
        self._core = Core(cast(Events, self), self._progress, order.protocols or [plugin_of(order.protocol)])

    def start(self) -> None:
        """Once in a process. Raises RuntimeError when libpurple does not start."""
        self._transcript.listen()
        self._core.start()
        if self._order.http_proxy:
            self._core.use_http_proxy(*self._order.http_proxy)
        if self._order.ca_dir:
            self._core.trust_authorities(self._order.ca_dir)
        self._loop = MainLoop()

    def run(self) -> Result:
        """Sign on and off; takes the order's ``timeout`` at most, and a second or two."""
        self._began = time.monotonic()
        glib.add_timer(self._order.timeout, self._timed_out)
        try:
            self._account = self._sign_on()
        except (UnknownProtocol, ValueError) as error:
            return self._failure("invalid-settings", str(error), fatal=True)
        self._loop.run()
        return self._result or self._failure("other", "The loop ended", fatal=False)

    def _sign_on(self) -> Account:
        order, plugin = self._order, plugin_of(self._order.protocol)
        check_line("the name", order.ext_user)
        account = Account(plugin, self._username(plugin))
        if account.needs_password and not order.password:
            raise ValueError("the account has no password")
        for name, value in for_libpurple(order.protocol, order.options):
            account.set_option(name, value)
        account.pins, account.server_name = server_of(order.protocol, order.options)
        account.public_only = is_public_only(order.protocol, order.ext_user, order.options)
        account.unseen = True
        account.connect(order.password)
        account.set_status(buddies.AVAILABLE, "")
        return account

    def _username(self, plugin: str) -> str:
        """On XMPP with a resource of its own: the gateway's session, or a phone's, goes on beside it."""
        name = self._order.ext_user.strip()
        return f"{name.partition('/')[0]}/purple-test-{secrets.token_hex(4)}" if plugin == XMPP else name

    # ------------------------------------------------------------ what libpurple reports
    def __getattr__(self, name: str) -> Callable[..., None]:
        """Of no interest: messages, presence."""
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *_: None

    def _progress(self, _account: Account, step: str) -> None:
        if self._result is None and self._seconds is None and self._steps[-1:] != [step]:
            self._steps.append(step)
            self._tell(step)

    def connected(self, _account: Account) -> None:
        self._seconds = time.monotonic() - self._began
        glib.add_timer(LIST_SECONDS, self._signed_on)

    def roster_changed(self, _account: Account) -> None:
        if self._seconds is not None:
            self._signed_on()

    def connection_failed(self, _account: Account, error: ConnectionError) -> None:
        code = error.code if 0 <= error.code < len(REASONS) else -1
        glib.call_soon(lambda: self._end(self._failure(REASONS[code], error.text, fatal=error.fatal)))

    def disconnected(self, _account: Account) -> None:
        """Without an error before: libpurple gives up, for example because nobody answers its question."""
        glib.call_soon(lambda: self._end(self._failure("other", "The connection ended", fatal=False)))

    def notified(self, _account: Account | None, text: str) -> None:
        self._notices.append(text)

    # ------------------------------------------------------------ the result
    def _timed_out(self) -> None:
        if self._seconds is not None:
            return self._signed_on()
        step = f" (last: {self._steps[-1]})" if self._steps else ""
        text = f"The server did not answer within {self._order.timeout:g} s{step}"
        return self._end(self._failure("timeout", text, fatal=False))

    def _signed_on(self) -> None:
        if self._result is not None or self._account is None:
            return
        self._result = self._success(self._account)
        self._account.disconnect()
        glib.add_timer(SIGN_OFF_SECONDS, self._loop.quit)

    def _end(self, result: Result) -> None:
        if self._result is None:
            self._result = result
            self._loop.quit()

    def _success(self, account: Account) -> Result:
        seconds = round(self._seconds or 0.0, 2)
        contacts, name = len(account.roster()), _display_name(account)
        facts = [_encryption(self._transcript, account), f"{contacts} contact{'' if contacts == 1 else 's'}"]
        if other := _other_name(account, name):
            facts.append(f"as {other}, because the name is in use")
        text = f"online after {seconds:.1f} s: {', '.join(facts)}"
        return Result(True, seconds, text, self._detail(contacts=contacts, name=name))

    def _failure(self, reason: str, error: str, *, fatal: bool) -> Result:
        attempt = self._transcript.attempt
        if error == UNABLE and attempt:
            error = f"{UNABLE}: {attempt}"
        reason, error, advice = explain(reason, error, self._notices)
        seconds = round(time.monotonic() - self._began, 2)
        text = f"not online: {error}" + (f"; {advice}" if advice else "")
        return Result(False, seconds, text, self._detail(reason=reason, error=error, advice=advice, fatal=fatal))

    def _detail(self, **known: Any) -> dict[str, Any]:
        transcript = self._transcript
        empty = {"reason": None, "error": "", "advice": "", "fatal": False, "contacts": None, "name": ""}
        seen = {"tls": transcript.tls, "steps": self._steps, **_certificate(self._account)}
        return empty | seen | known


def _encryption(transcript: Transcript, account: Account) -> str:
    taken = account.encryption
    if not transcript.tls and taken is None:
        return "not encrypted"
    version = f"TLS {transcript.tls}" if transcript.tls else "TLS"
    if taken is None:
        return f"{version}, certificate unknown"
    if taken.pinned:
        return f"{version}, the key is pinned"
    return f"{version}, certificate of {taken.name} verified"


def _certificate(account: Account | None) -> dict[str, Any]:
    """What the server has presented, whether it was taken or not; to be compared, and pinned."""
    taken = account.encryption if account is not None else None
    shown = taken.presented if taken is not None else None
    if taken is None or shown is None:
        return {"certificate": "", "pin": "", "presented": None}
    accepted = taken.name if taken.refusal is None else ""
    presented = {
        "names": sorted(shown.names)[:MOST_NAMES],
        "subject": shown.subject,
        "issuer": shown.issuer,
        "not_before": shown.not_before.isoformat(),
        "not_after": shown.not_after.isoformat(),
        "sha256": shown.sha256,
    }
    return {"certificate": accepted, "pin": shown.pin, "presented": presented}


def _display_name(account: Account) -> str:
    connection = c.purple_quick.purple_account_get_connection(account.pointer)
    return decode(c.purple_quick.purple_connection_get_display_name(connection)) if connection else ""


def _other_name(account: Account, name: str) -> str:
    """On IRC a name that is in use is changed by libpurple; "" if it was not."""
    wanted = account.name.partition("@")[0]
    return name if account.protocol == IRC and name and name.lower() != wanted.lower() else ""


def main() -> None:
    """In the process: nothing but lines of JSON on standard output."""
    order = Order(**json.load(sys.stdin))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a server may make libpurple crash, and the password is in memory
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, order.timeout + ALARM_SECONDS)
    output = sys.stdout
    trial = Trial(order, lambda step: _write(output, {"step": step}))
    trial.start()
    _write(output, {"result": asdict(trial.run())})
    os._exit(0)  # a look-up of a name may hold its thread for long, and the interpreter would wait for it


def _write(output: TextIO, line: dict[str, Any]) -> None:
    output.write(json.dumps(line) + "\n")
    output.flush()


if __name__ == "__main__":
    main()
