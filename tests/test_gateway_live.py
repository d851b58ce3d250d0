"""Parameters that change in a running gateway, and its log: the way of each message, and nothing of what it says."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from itertools import count

import pytest

from purple_bridge.launcher import rpc
from tests.agents.dialog import new_token
from tests.agents.phone import Phone
from tests.gateway import Gateway, xmpp_contact
from tests.purplectl import run_purplectl
from tests.raising.sitecustomize import FROM_THE_NETWORK, IN_A_ROUTE, IN_A_WORKER
from tests.servers.kamailio import PROJECT
from tests.servers.prosody import Prosody
from tests.waiting import free_port, wait_until

ALICE, BOB = "alice@localhost", xmpp_contact("bob@localhost")
EFFECT = 5.0  # seconds until all processes follow
_numbers = count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, prosody: Prosody) -> Iterator[Gateway]:
    """Two workers, errors on demand, Alice online, and an account whose server is not there."""
    gateway = Gateway(tmp_path_factory.mktemp("live"))
    gateway.kamailio.python_path = [PROJECT / "tests" / "raising"]
    with gateway:
        gateway.add_xmpp_account("alice", prosody)
        gateway.add_account("bob", "prpl-jabber", "bob@gone.invalid", connect_server="127.0.0.1", port=free_port("tcp"))
        gateway.publish_until_seen(gateway.phone("bob"), "bob", "bob@gone.invalid")
        yield gateway


@pytest.fixture(scope="module")
def phone(server: Gateway) -> Phone:
    return server.online_phone("alice", ALICE)


def _set(server: Gateway, name: str, value: str | int) -> None:
    """Kamailio's cfg.set; returns when the gateway has followed."""
    known = len(server.kamailio.log)
    if rpc.call(server.kamailio.rpc_socket, "cfg.get", "purple", name) == value:
        return
    command = "cfg.seti" if isinstance(value, int) else "cfg.sets"
    rpc.call(server.kamailio.rpc_socket, command, "purple", name, value)
    wait_until(lambda: f"purple.{name} is '{value}' now" in server.kamailio.log[known:], EFFECT, f"{name} {value}")


def _lines(server: Gateway, call_id: str) -> list[str]:
    return [line for line in server.kamailio.log.splitlines() if f"[{call_id}]" in line]


def _wait_line(server: Gateway, call_id: str, words: str, timeout: float = 15.0) -> str:
    def found() -> str:
        return next((line for line in _lines(server, call_id) if words in line), "")

    return wait_until(found, timeout, f"[{call_id}] … {words}")


def _logs(server: Gateway, *options: str) -> list[str]:
    """What `purplectl logs` prints, as an operator calls it."""
    done = run_purplectl("logs", "--state-dir", str(server.kamailio.state_dir), *options)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def _secret() -> str:
    return f"only-for-bob-{next(_numbers)}-{new_token()}"


# ------------------------------------------------------------ parameters
def test_the_level_changes_in_every_process(server: Gateway, phone: Phone) -> None:
    """At info a message that goes well has no line; then its whole way is there, in SIP, TCP and libpurple workers."""
    assert phone.message(BOB, "quiet", call_id="quiet@phone").status == 202
    over_tcp = server.phone("alice", transport="tcp")
    started = time.monotonic()
    ctl = f"unix:{server.kamailio.state_dir}/run/ctl.sock"
    subprocess.run(["kamcmd", "-s", ctl, "cfg.set_now_string", "purple", "log_level", "debug"], check=True)
    wait_until(lambda: "purple.log_level is 'debug' now, it was 'info'" in server.kamailio.log, EFFECT, "the change")
    assert phone.message(BOB, "loud", call_id="loud@phone").status == 202
    assert over_tcp.message(BOB, "loud", call_id="tcp@phone").status == 202
    for call_id in ("loud@phone", "tcp@phone"):
        _wait_line(server, call_id, " DEBUG ", EFFECT - (time.monotonic() - started))
        _wait_line(server, call_id, "acknowledged by the network")
    assert over_tcp.unregister().status == 200
    assert _lines(server, "quiet@phone") == []
    assert server.kamailio.log.count("purple.log_level is ") == 1


def test_queue_and_its_time_change(server: Gateway, phone: Phone) -> None:
    _set(server, "log_level", "debug")
    _set(server, "queue", "always")
    assert phone.message(BOB, "x", call_id="row@phone").status == 202
    assert "has a row" in _wait_line(server, "row@phone", "accepted")
    _set(server, "queue", "offline")
    assert phone.message(BOB, "x", call_id="direct@phone").status == 202
    assert "leaves at once" in _wait_line(server, "direct@phone", "accepted")


def test_who_may_see_the_user_changes(server: Gateway, phone: Phone, prosody: Prosody) -> None:
    _set(server, "authorize", "accept")
    carol = server.xmpp_user(prosody, "carol")
    carol.subscribe(ALICE)
    carol.wait_presence(lambda presence: presence.type == "subscribed")
    assert [message for message in phone.messages if "yes or no" in message.text] == []


def test_a_wrong_value_is_told_and_the_old_one_stays(server: Gateway, phone: Phone) -> None:
    _set(server, "log_level", "debug")
    rpc.call(server.kamailio.rpc_socket, "cfg.sets", "purple", "queue", "nonsense")
    wait_until(lambda: "purple.queue is 'nonsense': it must be one of" in server.kamailio.log, EFFECT, "the line")
    assert phone.message(BOB, "x", call_id="still@phone").status == 202
    assert "leaves at once" in _wait_line(server, "still@phone", "accepted")
    rpc.call(server.kamailio.rpc_socket, "cfg.sets", "purple", "queue", "offline")
    assert server.kamailio.log.count("'nonsense'") == 1


def test_a_hundred_changes_under_load(server: Gateway, phone: Phone) -> None:
    """Long, empty and strange values while a phone registers and writes: Kamailio lives on, and the last one counts."""
    processes = [process["pid"] for process in server.kamailio.processes()]
    ended = threading.Event()
    statuses: set[int] = set()

    def load() -> None:
        while not ended.is_set():
            statuses.add(phone.register().status)
            statuses.add(phone.message(BOB, "load").status)

    thread = threading.Thread(target=load)
    thread.start()
    for number in range(100):
        value = ("x" * (number * 600), "", "ü€\U0001f600\n\x1b", "mark")[number % 4]
        rpc.call(server.kamailio.rpc_socket, "cfg.sets", "purple", "own_messages", value)
        rpc.call(server.kamailio.rpc_socket, "cfg.seti", "purple", "queue_ttl", 1000 + number)
    rpc.call(server.kamailio.rpc_socket, "cfg.sets", "purple", "own_messages", "drop")
    wait_until(lambda: "purple.own_messages is 'drop' now" in server.kamailio.log, EFFECT, "the last value")
    ended.set()
    thread.join()
    assert statuses == {200, 202}
    assert [process["pid"] for process in server.kamailio.processes()] == processes
    _set(server, "own_messages", "mark")
    _set(server, "queue_ttl", 259_200)


# ------------------------------------------------------------ the log
def test_the_way_of_a_message_to_the_network(server: Gateway, phone: Phone) -> None:
    _set(server, "log_level", "debug")
    call_id = f"{new_token()}@phone"
    assert phone.message(BOB, "x", call_id=call_id).status == 202
    _wait_line(server, call_id, "acknowledged")
    lines = _logs(server, "--call-id", call_id)
    about = rf"{re.escape(f'[{call_id}] account prpl-jabber {ALICE}')} p[0-9a-z]+: "
    texts = [re.fullmatch(rf"\S+ purple worker \d+ DEBUG {about}(.*)", line)[1] for line in lines]  # type: ignore[index]
    assert [text.split()[0] for text in texts] == ["accepted", "queued,", "handed", "acknowledged"]


def test_the_way_of_a_message_to_a_phone(server: Gateway, phone: Phone, prosody: Prosody) -> None:
    _set(server, "log_level", "debug")
    text = _secret()
    server.xmpp_user(prosody, "bob").send(ALICE, text)
    call_id = phone.wait_message(lambda message: message.text == text).headers["Call-ID"]
    _wait_line(server, call_id, "200")
    entries = [json.loads(line) for line in _logs(server, "--json", "--call-id", call_id)]
    assert [entry["text"].split()[0] for entry in entries] == ["received", "sent", "answered"]
    assert {(entry["protocol"], entry["ext_user"], entry["call_id"]) for entry in entries} == {
        ("prpl-jabber", ALICE, call_id)
    }
    assert all(entry["ident"] for entry in entries)


def test_each_account_has_one_line_for_each_change(server: Gateway) -> None:
    """Retries are not changes."""
    wait_until(lambda: server.account("bob@gone.invalid")["retries"] >= 4, 60, "retries")
    lines = [line for line in server.kamailio.log.splitlines() if "account prpl-jabber bob@gone.invalid: " in line]
    assert [line.partition("bob@gone.invalid: ")[2].partition(":")[0] for line in lines] == ["connecting", "error"]


def test_no_line_has_a_text_or_a_password(server: Gateway, phone: Phone, prosody: Prosody) -> None:
    """All ways that a message can go, at debug."""
    _set(server, "log_level", "debug")
    server.add_xmpp_account("bob", prosody, "dave", port=prosody.port)
    server.set_password("dave@localhost", wrong := f"{_secret()}-password")
    server.publish_until_seen(server.phone("bob"), "bob", "dave@localhost")
    secrets = [wrong, *_sent_by_phone(server, phone), *_sent_to_phone(server, phone, prosody)]
    server.wait_state("dave@localhost", "error")
    log = server.kamailio.log
    assert [secret for secret in [*secrets, "secret"] if secret in log] == []
    for words in (
        r"\[\S+\] a request failed: ValueError in ",
        r"\[\S+\] a command failed: KeyError in ",
        r" RuntimeError in ",
    ):
        assert re.search(words, log), "where it failed is told"


def _sent_by_phone(server: Gateway, phone: Phone) -> Iterator[str]:
    """Accepted, refused by the network or the gateway, and what makes it fail; then kept while the account is away."""

    def send(to: str, expected: int, words: str = "{}", kind: str = "text/plain", **headers: str) -> str:
        secret = _secret()
        assert phone.message(to, words.format(secret), kind, headers).status == expected
        return secret

    yield send(BOB, 202)
    yield send(xmpp_contact("nobody@localhost"), 202)
    phone.wait_message(lambda message: "was not delivered" in message.text)
    yield send("sip:x@irc.im.example.org", 403)
    yield send(BOB, 415, kind="image/png")
    for kind in ("message/cpim", "message/imdn+xml", "application/im-iscomposing+xml"):
        yield send(BOB, 400, "{}\r\n\r\nx", kind)
    yield send(BOB, 500, f"{IN_A_ROUTE} {{}}")
    yield send(BOB, 202, f"{IN_A_WORKER} {{}}")
    yield send(BOB, 202, "<b>{}</b>", "text/html")
    phone.send_raw(f"MESSAGE\r\nVia: SIP/2.0/UDP 127.0.0.1\r\n\r\n{(broken := _secret())}".encode())
    yield broken
    _set(server, "queue_ttl", 2)
    assert phone.publish(None, expires=0, etag=phone.etag).status == 200
    server.wait_state(ALICE, "offline")
    yield send(BOB, 202)
    phone.wait_message(lambda message: "in time" in message.text)
    _set(server, "queue_ttl", 259_200)
    server.publish_until_seen(phone, "alice", ALICE)
    server.wait_state(ALICE, "online")


def _sent_to_phone(server: Gateway, phone: Phone, prosody: Prosody) -> Iterator[str]:
    """Delivered, in parts, refused, kept for later and handed out, and what makes the worker fail."""
    bob = server.xmpp_user(prosody, "bob")

    def send(words: str = "{}") -> str:
        bob.send(ALICE, words.format(secret := _secret()))
        return secret

    yield (secret := send())
    phone.wait_message(lambda message: secret in message.text)
    yield (secret := send("long " * 400 + "{}"))  # at the end: the last part is there when it is
    phone.wait_message(lambda message: secret in message.text)
    yield send(f"{FROM_THE_NETWORK} {{}}")
    wait_until(lambda: "RuntimeError" in server.kamailio.log, 10, "the error")
    phone.answer = (603, "Decline")
    yield send()
    bob.wait_error()
    phone.answer = (200, "OK")
    assert phone.unregister().status == 200
    yield (secret := send())
    wait_until(lambda: server.kept_messages() == 1, 10, "the message is kept")
    assert phone.register().status == 200
    phone.wait_message(lambda message: secret in message.text)


def test_texts_are_there_only_if_asked_for(server: Gateway, phone: Phone) -> None:
    _set(server, "log_level", "debug")
    _set(server, "log_bodies", 1)
    secret = _secret()
    assert phone.message(BOB, secret, call_id="shown@phone").status == 202
    assert f"'{secret}'" in _wait_line(server, "shown@phone", "handed to libpurple")
    _set(server, "log_bodies", 0)
    assert phone.message(BOB, secret, call_id="hidden@phone").status == 202
    _wait_line(server, "hidden@phone", "acknowledged")
    assert secret not in "".join(_lines(server, "hidden@phone"))
