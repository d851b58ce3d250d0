"""``purplectl account test``: what it says of servers that work and that do not, in which time, and what is left."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from purple_bridge.cli.main import cli
from purple_bridge.libpurple import c
from purple_bridge.sign_on_errors import explain
from purple_bridge.trial import Order, Trial
from tests.agents.irc import IrcUser
from tests.agents.xmpp import XmppUser
from tests.children import run_in_child
from tests.command_line import Purplectl
from tests.purple_client import PASSWORD, new_users
from tests.purplectl import COMMAND
from tests.servers.ngircd import Ngircd
from tests.servers.prosody import Prosody
from tests.waiting import free_port, wait_until

JABBER, IRC = "prpl-jabber", "prpl-irc"
ALICE = "sip:alice@example.org"


class AccountTest:
    """``purplectl account test --spec-stdin`` as a process, with a HOME of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {
            **{name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH")},
            "HOME": str(home),
            "TMPDIR": str(home),
        }

    def run(self, spec: Any, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, "account", "test", "--spec-stdin", *options],
            input=spec if isinstance(spec, str) else json.dumps(spec),
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def result(self, spec: Any, *options: str) -> dict[str, Any]:
        """What it says in JSON; the exit code says the same."""
        done = self.run(spec, "--json", *options)
        assert done.stderr == ""
        result: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (0 if result["ok"] else 1)
        return result

    def reason(self, spec: Any, *options: str) -> tuple[str, str]:
        """(word for programs, text for people) of a trial that has to fail."""
        result = self.result(spec, *options)
        assert not result["ok"]
        assert result["text"].startswith("not online: ")
        return result["detail"]["reason"], result["text"]


@pytest.fixture
def account_test(tmp_path: Path) -> AccountTest:
    home = tmp_path / "home"
    home.mkdir()
    return AccountTest(home)


def xmpp(name: str, port: int, password: str | None = PASSWORD, **options: Any) -> dict[str, Any]:
    given = {"connect_server": "127.0.0.1", "port": port, "connection_security": "opportunistic_tls", **options}
    return {"protocol": JABBER, "ext_user": f"{name}@localhost", "password": password, "options": given}


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """A server that sends this to everybody and then waits; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        connections: list[socket.socket] = []

        def serve() -> None:
            try:
                while True:
                    connection = server.accept()[0]
                    connections.append(connection)
                    connection.sendall(answer)
            except OSError:
                return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        for connection in connections:
            connection.close()


# --- it works ---------------------------------------------------------------------------------------------


def test_online_in_words_and_nothing_is_left(prosody: Prosody, account_test: AccountTest) -> None:
    (name,) = new_users(prosody, 1)
    done = account_test.run(xmpp(name, prosody.port))
    assert done.returncode == 0, done.stderr
    *steps, last = done.stdout.splitlines()
    assert steps[:3] == ["Connecting …", "Initializing Stream …", "Authenticating …"]
    assert last.startswith("online after ")
    assert last.endswith(": not encrypted, 0 contacts")
    assert list(account_test.home.iterdir()) == []


def _presence(user: XmppUser, kind: str, sender: str) -> None:
    user.wait_presence(lambda presence: (presence.type, presence.from_bare) == (kind, sender))


def test_a_running_session_and_waiting_messages_are_not_disturbed(prosody: Prosody, account_test: AccountTest) -> None:
    """RFC 6121 §4.2, §8.5: without initial presence nobody sees the trial, and no message goes there."""
    name, other = new_users(prosody, 2)
    address, friend, place = f"{name}@localhost", f"{other}@localhost", ("127.0.0.1", prosody.port)
    with XmppUser(friend, PASSWORD, place) as watcher:
        with XmppUser(address, PASSWORD, place, auto_approve=True) as running:
            watcher.subscribe(address)
            _presence(watcher, "available", address)
            result = account_test.result(xmpp(name, prosody.port))
            assert result["ok"], result
            assert result["detail"]["contacts"] == 1
            assert result["detail"]["name"].startswith(f"{address}/purple-test-")
            watcher.send(address, "still there?")
            running.wait_message(lambda message: message.body == "still there?")
        _presence(watcher, "unavailable", address)
        watcher.send(address, "for later")
        assert account_test.result(xmpp(name, prosody.port))["ok"]
        with XmppUser(address, PASSWORD, place) as again:
            again.wait_message(lambda message: message.body == "for later")
        assert [presence for presence in watcher.presences if "purple-test" in presence.from_jid] == []


def test_irc_with_a_name_that_is_in_use(ngircd: Ngircd, account_test: AccountTest) -> None:
    spec = {"protocol": IRC, "ext_user": "tess@127.0.0.1", "options": {"port": ngircd.port}}
    assert account_test.result(spec)["detail"]["name"] == "tess"
    with IrcUser("tess", ("127.0.0.1", ngircd.port)):
        result = account_test.result(spec)
    assert result["ok"]
    assert "because the name is in use" in result["text"]
    assert result["detail"]["name"] != "tess"


def trusted(port: int, authority: str) -> dict[str, Any]:
    """In a process: the trial of an account whose server's authority libpurple trusts."""
    options: dict[str, bool | int | str] = {"port": port, "connect_server": "localhost"}
    trial = Trial(Order(JABBER, "alice@localhost", PASSWORD, options), lambda _step: None)
    trial.start()
    c.purple.purple_certificate_add_ca_search_path(authority.encode())
    result = trial.run()
    return {"text": result.text, **result.detail}


def test_tls_and_whose_certificate_was_verified(tmp_path: Path) -> None:
    with Prosody(tmp_path / "prosody", {"alice": PASSWORD}, tls=True) as server:
        assert server.ca_file is not None
        authorities = tmp_path / "authorities"
        authorities.mkdir()
        (authorities / "test.pem").write_bytes(server.ca_file.read_bytes())
        result = run_in_child(trusted, server.port, str(authorities))
        assert (result["tls"], result["certificate"]) == ("1.3", "localhost")
        assert ": TLS 1.3, certificate of localhost verified, 0 contacts" in result["text"]


# --- it does not ------------------------------------------------------------------------------------------


def test_what_the_server_refuses(prosody: Prosody, account_test: AccountTest) -> None:
    (name,) = new_users(prosody, 1)
    reason, text = account_test.reason(xmpp(name, prosody.port, "wrong"))
    assert reason == "authentication-failed"
    assert "Incorrect username or password; if the password is wrong, set it: purplectl account set" in text
    assert account_test.reason(xmpp(name, prosody.port, None))[0] == "password-missing"
    reason, text = account_test.reason(xmpp(name, prosody.port, connection_security="require_tls"))
    assert reason == "no-tls"
    assert "connection_security=opportunistic_tls" in text
    elsewhere = {**xmpp(name, prosody.port), "ext_user": f"{name}@elsewhere.example"}
    assert account_test.reason(elsewhere)[0] == "wrong-domain"


def test_a_certificate_that_is_not_trusted(tmp_path: Path, account_test: AccountTest) -> None:
    with Prosody(tmp_path / "prosody", {"alice": PASSWORD}, tls=True) as server:
        result = account_test.result(xmpp("alice", server.port, connection_security="require_tls"))
        assert result["detail"]["reason"] == "certificate-untrusted"
        assert "purple.ca_dir" in result["text"]
        pin, presented = result["detail"]["pin"], result["detail"]["presented"]
        assert f"its key is {pin}; " in result["text"]
        assert (presented["names"], presented["issuer"]) == (["localhost"], "CN=Test CA")
        pinned = account_test.result(xmpp("alice", server.port, connection_security="require_tls", tls_pin=pin))
        assert ": TLS 1.3, the key is pinned, 0 contacts" in pinned["text"]
        other = xmpp("alice", server.port, connection_security="require_tls", tls_pin=f"sha256:{'0' * 64}")
        reason, text = account_test.reason(other)
        assert reason == "certificate-wrong-fingerprint"
        assert "somebody is in between" in text


def test_nobody_there(account_test: AccountTest) -> None:
    reason, text = account_test.reason(xmpp("alice", free_port()))
    assert (reason, "Connection refused" in text) == ("refused", True)
    reason, text = account_test.reason(xmpp("alice", 5222, connect_server="nosuch.invalid"))
    assert (reason, "spelled right" in text) == ("name-not-found", True)


def test_plain_text_passwords(account_test: AccountTest) -> None:
    """RFC 6120 §6.3.4: a server that offers PLAIN alone, without encryption."""
    stream = (
        b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
        b" from='localhost' id='1' version='1.0'><stream:features><mechanisms"
        b" xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms></stream:features>"
    )
    with answering(stream) as port:
        reason, text = account_test.reason(xmpp("alice", port))
    assert reason == "plain-text"
    assert "auth_plain_in_clear=true" in text


@pytest.mark.parametrize("answer", [b"220 mail.example ESMTP\r\n", b"<stream:stream>", b"\0" * 100], ids=repr)
def test_it_ends_in_time_whatever_the_server_says(answer: bytes, account_test: AccountTest) -> None:
    began = time.monotonic()
    with answering(answer) as port:
        result = account_test.result(xmpp("alice", port), "--timeout", "1")
    assert not result["ok"]
    assert time.monotonic() - began < 1 + 5
    assert list(account_test.home.iterdir()) == []


def test_a_silent_server_is_named(account_test: AccountTest) -> None:
    with answering(b"") as port:
        reason, text = account_test.reason(xmpp("alice", port), "--timeout", "1")
    assert reason == "timeout"
    assert "did not answer within 1 s (last: Initializing Stream)" in text


def test_the_http_proxy_of_the_gateway_is_used(account_test: AccountTest, tmp_path: Path) -> None:
    config = tmp_path / "kamailio.cfg"
    config.write_text(f'purple.httpProxy_host = "127.0.0.1" desc "x"\npurple.httpProxy_port = {free_port()} desc "x"\n')
    with answering(b"") as port:  # which would be silence, and not a refusal
        assert account_test.reason(xmpp("alice", port), "--config", str(config), "--timeout", "2")[0] == "refused"


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"protocol": "prpl-nothing", "ext_user": "a@b"}, "no-protocol"),
        (xmpp("alice", 1, color="red"), "invalid-settings"),
        (xmpp("alice", 1, auth_plain_in_clear="perhaps"), "invalid-settings"),
        ({**xmpp("alice", 1), "ext_user": "alice"}, "invalid-username"),
    ],
)
def test_what_cannot_be_an_account(spec: dict[str, Any], reason: str, account_test: AccountTest) -> None:
    assert account_test.reason(spec)[0] == reason


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "[]",
        "{",
        '{"protocol": "x"}',
        '{"protocol": 1, "ext_user": "a"}',
        '{"protocol": "x", "ext_user": ""}',
        '{"protocol": "x", "ext_user": "a", "options": [1]}',
        '{"protocol": "x", "ext_user": "a", "password": 1}',
        '{"protocol": "x", "ext_user": "a", "options": {"port": null}}',
    ],
)
def test_what_is_no_order(spec: str) -> None:
    refused = CliRunner().invoke(cli, ["account", "test", "--spec-stdin", "--json"], input=spec)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "Error: " in refused.stderr


# --- the process ------------------------------------------------------------------------------------------


def _child_of(pid: int) -> int:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return wait_until(lambda: int((path.read_text().split() or ["0"])[0]), 10, "the process of the trial")


@contextmanager
def waiting(account_test: AccountTest, timeout: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """purplectl, and its child that waits for a silent server."""
    with answering(b"") as port:
        command = [*COMMAND, "account", "test", "--spec-stdin", "--timeout", timeout]
        purplectl = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=account_test.environment, text=True
        )
        assert purplectl.stdin and purplectl.stdout
        purplectl.stdin.write(json.dumps(xmpp("alice", port)))
        purplectl.stdin.close()
        child = _child_of(purplectl.pid)
        try:
            assert purplectl.stdout.readline() == "Connecting …\n"
            yield purplectl, child
        finally:
            purplectl.kill()
            purplectl.wait()
            purplectl.stdout.close()


def test_a_crash_of_libpurple_is_told(account_test: AccountTest) -> None:
    with waiting(account_test, "30") as (purplectl, child):
        os.kill(child, signal.SIGSEGV)
        assert purplectl.wait(10) == 1
        assert purplectl.stdout
        assert "libpurple crashed on what the server sent (SIGSEGV)" in purplectl.stdout.read()


def test_a_libpurple_that_hangs_is_ended(account_test: AccountTest) -> None:
    with waiting(account_test, "1") as (purplectl, child):
        os.kill(child, signal.SIGSTOP)
        assert purplectl.wait(1 + 5) == 1
        assert purplectl.stdout
        assert "libpurple did not come back in time" in purplectl.stdout.read()
        assert not Path(f"/proc/{child}").exists()


def test_the_process_ends_by_itself_when_purplectl_is_killed(account_test: AccountTest) -> None:
    with waiting(account_test, "1") as (purplectl, child):
        purplectl.kill()
        wait_until(lambda: not Path(f"/proc/{child}/exe").exists(), 8, "the end of the trial")


def test_the_password_is_no_argument_and_not_in_the_environment(account_test: AccountTest) -> None:
    with waiting(account_test, "30") as (purplectl, child):
        for pid in (purplectl.pid, child):
            for name in ("cmdline", "environ"):
                assert PASSWORD.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()


# --- an account of the table ------------------------------------------------------------------------------


def test_a_stored_account(prosody: Prosody, tmp_path: Path) -> None:
    purplectl = Purplectl(f"sqlite:///{tmp_path / 'kamailio.db'}", tmp_path)
    purplectl.done("db", "create")
    (name,) = new_users(prosody, 1)
    account = (ALICE, JABBER, f"{name}@localhost")
    options = ["--option", f"port={prosody.port}", "--option", "connection_security=opportunistic_tls"]
    purplectl.done("account", "add", *account, *options, "--password-stdin", stdin=f"{PASSWORD}\n")
    assert "online after" in purplectl.done("account", "test", *account)
    assert "see `purplectl account list`" in purplectl.fails(1, "account", "test", ALICE, IRC, "nobody")
    assert "which account?" in purplectl.fails(2, "account", "test", ALICE, JABBER)
    assert "which account?" in purplectl.fails(2, "account", "test", *account, "--spec-stdin")
    assert "which account?" in purplectl.fails(2, "account", "test")


# --- the words --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "error", "notices", "kind"),
    [
        ("network", "Unable to connect: Connection refused", [], "refused"),
        ("network", "Unable to connect: Connection timed out", [], "unreachable"),
        ("network", "Server closed the connection", [], "closed"),
        ("certificate-expired", "SSL peer presented an invalid certificate", [], "certificate-expired"),
        ("certificate-self-signed", "its issuer is not known, it is refused", [], "certificate-self-signed"),
        ("other", "The connection ended", ["Enter password for x (XMPP)"], "password-missing"),
        ("timeout", "The server did not answer within 2 s (last: Resolving)", [], "timeout"),
        ("name-in-use", "You have signed on from another location", [], "name-in-use"),
        ("other", "Something new", [], "other"),
    ],
)
def test_reasons(reason: str, error: str, notices: list[str], kind: str) -> None:
    found, text, advice = explain(reason, error, notices)
    assert found == kind
    assert text
    assert bool(advice) == (kind != "other")
