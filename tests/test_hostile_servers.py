"""IM servers that mean harm, all at once, beside one that does not: processes live on, and its people chat on.

Run with -s it says how long a message takes before and meanwhile.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median
from typing import Any

import pytest

from tests.agents.phone import Phone
from tests.agents.xmpp import XmppUser
from tests.faults.processes import anonymous_kilobytes
from tests.gateway import DOMAIN, PASSWORD, Gateway, sip, xmpp_contact
from tests.servers.hostile_irc import ATTACKS, BEFORE, HostileIrc
from tests.servers.hostile_irc import MARKED as MARKED_IRC
from tests.servers.hostile_xmpp import HostileXmpp
from tests.servers.hostile_xmpp_attacks import FILES, FORGED, LIMITED, MARKED, PLANS
from tests.servers.made_certificates import server
from tests.servers.prosody import Prosody
from tests.waiting import wait_until

IRC_ATTACKS = [*ATTACKS, *BEFORE]
MOST_SECONDS = 150  # the loop gives the connections turns, and the XMPP servers go on while the IRC servers begin
LONGEST_CHAT = 5  # seconds, while servers send what takes libpurple minutes
MOST_GROWTH = 300  # MB: of about eighty connections, each of which sends what it can
WRONG = re.compile(r"Traceback|callback \S+ failed|failed in the routes| CRITICAL: | BUG:")


@dataclass(slots=True)
class Scene:
    """One worker for the good account and all the bad ones."""

    gateway: Gateway
    xmpp: HostileXmpp
    tls: HostileXmpp
    irc: HostileIrc
    phone: Phone
    friend: XmppUser
    victim: Phone
    pin: str
    said: int = 0

    def chat(self) -> float:
        """A message each way; seconds until both are there."""
        self.said += 1
        begin, there, back = time.monotonic(), f"there {self.said}", f"back {self.said}"
        assert self.phone.message(xmpp_contact("bob@localhost"), there).status == 202
        self.friend.wait_message(lambda message: message.body == there)
        self.friend.send("alice@localhost", back)
        self.phone.wait_message(lambda message: message.text == back)
        return time.monotonic() - begin

    def rest(self) -> None:
        """Until the next message: people do not write more than a few in a second, and there are limits for it."""
        due = time.monotonic() + 0.2
        wait_until(lambda: time.monotonic() >= due, 5, "the time for the next message")

    def add(self, name: str) -> None:
        options: dict[str, Any] = {"connection_security": "opportunistic_tls", "auth_plain_in_clear": True}
        place: dict[str, Any] = {"connect_server": "127.0.0.1", "port": self.xmpp.port}
        self.gateway.add_account("carol", "prpl-jabber", f"user@{name}.test", PASSWORD, **options, **place)

    def add_over_tls(self, name: str) -> None:
        place: dict[str, Any] = {"connect_server": "127.0.0.1", "port": self.tls.port, "tls_pin": self.pin}
        self.gateway.add_account("carol", "prpl-jabber", f"user@{name}.tls.test", PASSWORD, **place)

    def add_irc(self, name: str) -> None:
        self.gateway.add_account("carol", "prpl-irc", f"{name}@127.0.0.1", None, port=self.irc.port)

    def memory(self) -> int:
        return anonymous_kilobytes(self.gateway.kamailio.worker_pid(1)) // 1024


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with ExitStack() as stack:
        prosody = stack.enter_context(Prosody(tmp_path_factory.mktemp("p"), {"alice": PASSWORD, "bob": PASSWORD}))
        xmpp, irc = stack.enter_context(HostileXmpp({**PLANS, **MARKED})), stack.enter_context(HostileIrc())
        made = server(["hostile.test"], None)
        pem = made.write(tmp_path_factory.mktemp("made") / "made.pem")
        tls = stack.enter_context(HostileXmpp(PLANS, pem))
        users = dict.fromkeys(("alice", "carol"), PASSWORD)
        settings = {"connect_on": "start"}
        options = {"workers": 1, "users": users, "settings": settings, "keeps_chat_clients": True}
        gateway = stack.enter_context(Gateway(tmp_path_factory.mktemp("gw"), **options))
        gateway.add_xmpp_account("alice", prosody)
        phone, victim = gateway.online_phone("alice", "alice@localhost"), gateway.phone("carol")
        yield Scene(gateway, xmpp, tls, irc, phone, gateway.xmpp_user(prosody, "bob"), victim, made.pin)


def _under_attack(scene: Scene, waiting: set[str], finished: set[str], what: str) -> float:
    """Chat until every attack has been carried out, or ended by the gateway; seconds of the slowest exchange."""
    before = median(scene.chat() for _ in range(10))
    pid, memory, place = scene.gateway.kamailio.worker_pid(1), scene.memory(), len(scene.gateway.kamailio.log)
    begin, took = time.monotonic(), [scene.chat()]
    while not waiting <= finished and time.monotonic() - begin < MOST_SECONDS:
        took.append(scene.chat())
        scene.rest()
    assert waiting <= finished, f"not carried out: {sorted(waiting - finished)}"
    took += [scene.chat() for _ in range(10)]
    seconds = time.monotonic() - begin
    figures = ", ".join(f"{name} {value * 1000:.0f} ms" for name, value in _times(before, took).items())
    print(f"\n{len(waiting)} {what} in {seconds:.0f} s; there and back: {figures}")
    assert scene.gateway.kamailio.worker_pid(1) == pid
    assert scene.memory() - memory < MOST_GROWTH
    wrong = [line for line in scene.gateway.kamailio.log[place:].splitlines() if WRONG.search(line)]
    assert not wrong, wrong[:5]
    return max(took)


def _times(before: float, took: list[float]) -> dict[str, float]:
    ordered = sorted(took)
    return {
        "before": before,
        "meanwhile": median(took),
        "95 %": ordered[len(ordered) * 95 // 100],
        "at most": ordered[-1],
    }


def test_xmpp_servers(scene: Scene) -> None:
    for name in PLANS:
        scene.add(name)
    _under_attack(scene, set(PLANS), scene.xmpp.finished, "hostile XMPP servers")


def test_what_others_forge_is_not_believed(scene: Scene) -> None:
    """XEP-0280 §11, RFC 6121 §2.1.6, XEP-0313: from the account's own server alone."""
    scene.xmpp.say("carbons", b"<message from='x@carbons.test/r' type='chat'><body>the last one</body></message>")
    scene.victim.wait_message(lambda message: message.text == "the last one")
    assert not [message for message in scene.victim.messages if FORGED.decode() in message.text]
    assert "forged@x.test" not in str(scene.gateway.accounts())


def test_a_long_message_is_refused_as_a_whole(scene: Scene) -> None:
    wait_until(lambda: b"<policy-violation" in scene.xmpp.heard("large-message"), 20, "the refusal")
    assert not [message for message in scene.victim.messages if "xxxx" in message.text]


def test_files_and_calls_are_refused(scene: Scene) -> None:
    """Nothing is opened, asked for or looked up: each request gets an error."""
    refused = rb"<iq [^>]*type='error'[^>]*><error type='cancel'><service-unavailable"
    wait_until(lambda: len(re.findall(refused, scene.xmpp.heard("files"))) == len(FILES), 20, "the refusals")
    assert "File transfer" not in scene.gateway.kamailio.log


def _wait_reasons(scene: Scene, domain: str) -> None:
    """An account is told why it lost its connection."""
    reasons = {"deep": "levels", "endless-body": "without an end", "endless-attributes": "a tag of"}

    def said() -> bool:
        log = scene.gateway.kamailio.log
        return all(re.search(f"user@{name}.{domain}: error: .*{reason}", log) for name, reason in reasons.items())

    wait_until(said, 30, "three reasons in the log")


def test_an_account_is_told_why_it_lost_its_connection(scene: Scene) -> None:
    _wait_reasons(scene, "test")


def test_xmpp_servers_over_tls(scene: Scene) -> None:
    for name in LIMITED:
        scene.add_over_tls(name)
    _under_attack(scene, set(LIMITED), scene.tls.finished, "hostile XMPP servers over TLS")
    _wait_reasons(scene, "tls.test")


def _keep_nobody_waiting(scene: Scene, add: Callable[[str], None], names: Collection[str], finished: set[str]) -> None:
    """Each of the attacks ends with a message, which comes when everything before it has been read."""

    def ends() -> int:
        return sum(message.text == "that was all" for message in scene.victim.messages)

    before = ends()
    for name in names:
        add(name)
    assert _under_attack(scene, set(names), finished, "servers with long names") < LONGEST_CHAT
    wait_until(lambda: ends() >= before + len(names), 30, "the last messages")


def test_long_names_over_xmpp_keep_nobody_waiting(scene: Scene) -> None:
    """Without limits each of them takes the worker up to some minutes."""
    _keep_nobody_waiting(scene, scene.add, MARKED, scene.xmpp.finished)


def test_long_names_over_irc_keep_nobody_waiting(scene: Scene) -> None:
    _keep_nobody_waiting(scene, scene.add_irc, MARKED_IRC, scene.irc.finished)


def test_irc_servers(scene: Scene) -> None:
    for name in IRC_ATTACKS:
        scene.add_irc(name)
    _under_attack(scene, set(IRC_ATTACKS), scene.irc.finished, "hostile IRC servers")
    assert not [message for message in scene.victim.messages if "DCC" in message.text or "\x01" in message.text]


def test_the_gateway_still_takes_new_users(scene: Scene) -> None:
    scene.gateway.add_user("dave")
    phone = scene.gateway.phone("dave")
    assert phone.message(sip("carol"), "hello").status == 200
    scene.victim.wait_message(lambda message: message.text == "hello")
    assert phone.options(f"sip:{DOMAIN}").status == 200
