"""Owns the demo: the gateway's main job on screen, step by step as it happens; knows nothing of the set-up."""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tests.agents.phone import Notify, Phone, Response, Subscription, pidf
from tests.agents.xmpp import XmppPresence, XmppUser
from tests.servers.base import HOST
from tests.servers.kamailio import Kamailio
from tests.servers.prosody import Prosody
from tests.waiting import free_port, wait_until

SIP_DOMAIN = "example.org"
ALICE = f"sip:alice@{SIP_DOMAIN}"
ALICE_XMPP, BOB_XMPP = "alice@localhost", "bob@localhost"
BOB = f"sip:bob*localhost@xmpp.im.{SIP_DOMAIN}"
HELLO, ANSWER, NOTE = "Hello Bob, shall we have lunch? 🥕", "Hello Alice, in five minutes & not later!", "at lunch"
STEP_SECONDS = 15.0
LOG_LINES = 30
FAILURES = (AssertionError, OSError, RuntimeError)  # of the agents and servers; TimeoutError is an OSError


class NotSeen(Exception):
    """A step did not show what it should; the text says what that is, the cause why."""


class Screen:
    """Prints steps; colours on a terminal only."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._steps = 0

    def say(self, text: str = "", style: str = "") -> None:
        self._console.print(Text(text, style))

    def step(self, title: str) -> None:
        """What is to be seen now."""
        self._steps += 1
        self.say(f"\n{self._steps}. {title}", "bold")

    def see(self, expected: str, look: Callable[[], str]) -> None:
        """Call `look` and print what it saw. Raises NotSeen with `expected` if it saw something else, or nothing."""
        try:
            seen = look()
        except FAILURES as error:
            self._console.print(Text.assemble(("   ✘ ", "bold red"), f"not seen: {expected}"))
            raise NotSeen(f"in step {self._steps} that {expected}") from error
        self._console.print(Text.assemble(("   ✔ ", "bold green"), seen))


class Demo:
    """The people, the servers between them and what happens, in one temporary directory."""

    def __init__(self, screen: Screen, directory: Path) -> None:
        self.screen = screen
        self.directory = directory
        self.sip_password, self.alice_password, self.bob_password = (secrets.token_hex(4) for _ in range(3))
        users = {"alice": self.alice_password, "bob": self.bob_password}
        self.prosody = Prosody(directory / "prosody", users)
        self.web = f"{HOST}:{free_port('tcp')}"
        self.gateway = Kamailio(
            directory / "gateway", domain=SIP_DOMAIN, settings={"web_admins": ALICE}, options=["--web", self.web]
        )

    # ---- the servers

    def start_xmpp_server(self, running: ExitStack) -> None:
        self.screen.step(f"An XMPP server (Prosody) with {ALICE_XMPP} and {BOB_XMPP}, on loopback")
        self.screen.see("it answers", lambda: self._started(running, self.prosody, "XMPP"))

    def make_database(self) -> None:
        self.screen.step("A database (SQLite) with alice's SIP password and her XMPP account")
        self.gateway.state_dir.mkdir(mode=0o700)
        self._purplectl("db", "create")
        self._purplectl("user", "add", ALICE, "--password-stdin", password=self.sip_password)
        options = self.prosody.account_options.items()
        words = [word for name, value in options for word in ("--option", f"{name}={value}")]
        account = ("account", "add", ALICE, "prpl-jabber", ALICE_XMPP)
        self._purplectl(*account, "--password-stdin", *words, password=self.alice_password)

    def start_gateway(self, running: ExitStack) -> None:
        self.screen.step("The gateway: Kamailio with libpurple in its workers (purplectl run)")
        self.screen.see("purplectl run prints ready", lambda: self._started(running, self.gateway, "SIP"))

    def _started(self, running: ExitStack, server: Prosody | Kamailio, protocol: str) -> str:
        running.enter_context(server)
        return f"{protocol} on {HOST}:{server.port}, process {server.pid}"

    # ---- what happens between the people

    def show(self) -> None:
        """The main job. Raises NotSeen for the first step that does not show what it should."""
        bob = XmppUser(BOB_XMPP, self.bob_password, (HOST, self.prosody.port))
        phone = Phone(ALICE, self.sip_password, (HOST, self.gateway.port))
        with phone, ExitStack() as online:
            self._come_online(phone, bob, online)
            subscription = self._watches_bob(phone, bob)
            self._writes(phone, bob)
            self._goes_away(bob, subscription)
            self._goes_offline(phone, bob)

    def _come_online(self, phone: Phone, bob: XmppUser, online: ExitStack) -> None:
        self.screen.step("Bob's chat client comes online; Alice's SIP phone, too, and with it her XMPP account")
        self.screen.see("Bob's chat client logs in", lambda: f"{online.enter_context(bob).jid} logged in")
        self.screen.see("REGISTER is answered with 200", lambda: _accepted("REGISTER", phone.register()))
        self.screen.see("PUBLISH is answered with 200", lambda: _accepted("PUBLISH", phone.publish(pidf(ALICE))))
        self.screen.see("purplectl status shows her account online", self._account_online)

    def _watches_bob(self, phone: Phone, bob: XmppUser) -> Subscription:
        self.screen.step("Alice's phone asks for Bob's presence; he agrees, and asks for hers")
        subscription = phone.subscribe(BOB)
        self.screen.see("SUBSCRIBE is accepted", lambda: _accepted("SUBSCRIBE", subscription.response))
        self.screen.see("Bob's chat client is asked", lambda: _presence(bob, "subscribe"))
        bob.approve(ALICE_XMPP)
        self.screen.see("a NOTIFY says that Bob is online", lambda: _notified(subscription, "open"))
        bob.subscribe(ALICE_XMPP)
        self.screen.see("Bob's chat client sees Alice online", lambda: _presence(bob, "available"))
        return subscription

    def _writes(self, phone: Phone, bob: XmppUser) -> None:
        self.screen.step("Alice writes to Bob, and Bob answers")
        self.screen.see("MESSAGE is accepted", lambda: _accepted("MESSAGE", phone.message(BOB, HELLO)))
        self.screen.see(f"Bob's chat client shows {HELLO!r}", lambda: _shown_to_bob(bob))
        bob.send(ALICE_XMPP, ANSWER)
        self.screen.see(f"Alice's phone shows {ANSWER!r}", lambda: _shown_to_alice(phone))

    def _goes_away(self, bob: XmppUser, subscription: Subscription) -> None:
        self.screen.step("Bob goes away, and Alice sees it")
        bob.presence(show="away", status=NOTE)
        self.screen.see("a NOTIFY says that Bob is away", lambda: _notified(subscription, "open", "away", NOTE))

    def _goes_offline(self, phone: Phone, bob: XmppUser) -> None:
        self.screen.step("Alice's phone goes offline, and Bob sees it")
        self.screen.see(
            "PUBLISH with Expires 0 is answered with 200",
            lambda: _accepted("PUBLISH with Expires 0", phone.publish(None, expires=0)),
        )
        self.screen.see("Bob's chat client sees Alice go", lambda: _presence(bob, "unavailable"))

    def _account_online(self) -> str:
        wait_until(
            lambda: self._account()["state"] == "online", STEP_SECONDS, f"{ALICE_XMPP} online: {self._account()}"
        )
        account = self._account()
        return f"purplectl status: {account['ext_user']} of {account['sip_user']} is {account['state']}"

    def _account(self) -> dict[str, str]:
        (account,) = json.loads(self._output("status", "--json"))
        return dict(account)

    # ---- purplectl, as an operator uses it

    def _purplectl(self, *words: str, password: str | None = None) -> None:
        self.screen.say(f"   $ purplectl {' '.join(words)}", "dim")
        self.screen.see(
            f"purplectl {words[0]} {words[1]} succeeds", lambda: _last_line(self._output(*words, text=password))
        )

    def _output(self, *words: str, text: str | None = None) -> str:
        """Raises RuntimeError with what it printed on stderr if it fails."""
        done = subprocess.run(
            [Path(sys.executable).with_name("purplectl"), *words],
            env={**os.environ, "PURPLE_DB_URL": self.gateway.db_url, "PURPLE_STATE_DIR": str(self.gateway.state_dir)},
            input=text or "",
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        return done.stdout

    # ---- afterwards

    def keep(self) -> None:
        """Say how to take part, and wait for Ctrl-C."""
        self._say_facts(
            "Running until Ctrl-C. For a SIP phone and a chat client on this machine:",
            {
                "SIP phone": f"{ALICE}, password {self.sip_password}, proxy {HOST}:{self.gateway.port} (UDP or TCP)",
                "": "with presence publishing on: that is what signs her XMPP account on",
                "chat client": f"{BOB_XMPP}, password {self.bob_password}, server {HOST}:{self.prosody.port}, no TLS",
                "Alice writes to": BOB,
                "Bob writes to": f"{ALICE_XMPP} (her account's password: {self.alice_password})",
                "web page": f"http://{self.web}/, as alice, password {self.sip_password}",
                "see her account": f"./purplectl status --state-dir {self.gateway.state_dir}",
                "files": f"{self.directory}",
            },
        )
        with suppress(KeyboardInterrupt):
            self.gateway.wait_end(math.inf)
            raise NotSeen("that the gateway keeps running")

    def say_where(self) -> None:
        self._say_facts(
            "Every step was seen. All that was started is stopped; what is left of it:",
            {
                "database": f"{self.gateway.state_dir}/purple.db",
                "configuration": f"{self.gateway.state_dir}/kamailio-run.cfg, {self.prosody.directory}/prosody.cfg.lua",
                "logs": f"{self.gateway.directory}/kamailio.log, {self.prosody.log_path}",
            },
        )
        self.screen.say(
            "\n./demo --keep leaves the server and the gateway running, for your own phone and chat client."
        )

    def _say_facts(self, title: str, facts: dict[str, str]) -> None:
        self.screen.say(f"\n{title}\n", "bold")
        for name, value in facts.items():
            self.screen.say(f"   {name:<16} {value}")


def _accepted(method: str, response: Response | None) -> str:
    assert response is not None, f"{method} was not answered"
    answer = f"{method} answered {response.status} {response.reason}"
    assert 200 <= response.status < 300, answer
    return answer


def _presence(bob: XmppUser, type_: str) -> str:
    def is_it(presence: XmppPresence) -> bool:
        return presence.from_bare == ALICE_XMPP and presence.type == type_

    return f"Bob's chat client got presence {bob.wait_presence(is_it, STEP_SECONDS).type!r} from {ALICE_XMPP}"


def _notified(subscription: Subscription, basic: str, activity: str = "", note: str = "") -> str:
    def says_it(notify: Notify) -> bool:
        presence = notify.presence
        return (
            presence is not None
            and presence.basic == basic
            and (not activity or activity in presence.activities)
            and note in (presence.note or "")
        )

    presence = subscription.wait_notify(says_it, STEP_SECONDS).presence
    assert presence is not None
    facts = [presence.basic, *presence.activities, *map(repr, presence.notes)]
    return f"Alice's phone got NOTIFY: {presence.entity} {', '.join(dict.fromkeys(filter(None, facts)))}"


def _shown_to_bob(bob: XmppUser) -> str:
    message = bob.wait_message(lambda message: message.body == HELLO, STEP_SECONDS)
    return f"Bob's chat client shows, from {message.from_bare}: {message.body}"


def _shown_to_alice(phone: Phone) -> str:
    message = phone.wait_message(lambda message: message.text == ANSWER, STEP_SECONDS)
    return f"Alice's phone shows, from {message.from_uri}: {message.text}"


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1]


def _run(screen: Screen, directory: Path, keep: bool) -> None:
    """Everything, and the end of everything that was started."""
    demo = Demo(screen, directory)
    try:
        with ExitStack() as running:
            demo.start_xmpp_server(running)
            demo.make_database()
            demo.start_gateway(running)
            demo.show()
            if keep:
                demo.keep()
        demo.say_where()
    except (NotSeen, *FAILURES) as error:
        expected = (
            f"Expected {error}; instead: {error.__cause__ or 'it did not'}" if isinstance(error, NotSeen) else error
        )
        screen.say(f"\nThe demo failed. {expected}", "bold red")
        screen.say(f"\nThe end of the gateway's log ({demo.gateway.directory}):\n{demo.gateway.log_tail(LOG_LINES)}")
        sys.exit(1)


def main() -> None:
    """Exit 0 if every step was seen, 1 if not, 130 if interrupted before the end."""
    parser = argparse.ArgumentParser(prog="demo", description="Shows a phone and a chat client talk by the gateway.")
    parser.add_argument("--keep", action="store_true", help="leave server and gateway running until Ctrl-C")
    keep: bool = parser.parse_args().keep
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # SIGINT: a shell ignores it in the background
        signal.signal(number, signal.default_int_handler)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace", line_buffering=True)
    screen = Screen()
    try:
        _run(screen, Path(tempfile.mkdtemp(prefix="kamailio-purple-demo-")), keep)
    except KeyboardInterrupt:
        screen.say("\nInterrupted; everything is stopped.")
        sys.exit(130)


if __name__ == "__main__":
    main()
