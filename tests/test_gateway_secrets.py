"""Passwords of accounts: encrypted in the database, and in nothing that the gateway writes; the plugins it loads."""

from __future__ import annotations

import json
import stat
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from purple_bridge.db import key_file
from purple_bridge.db.engine import make_engine
from purple_bridge.db.mapping import Mapping
from purple_bridge.db.passwords import NO_KEYS
from purple_bridge.launcher import rpc
from tests.gateway import Gateway, sip
from tests.purplectl import run_purplectl
from tests.servers.ngircd import Ngircd
from tests.servers.prosody import Prosody
from tests.waiting import free_port, wait_until

JABBER, IRC, SIMPLE = "prpl-jabber", "prpl-irc", "prpl-simple"
XMPP_PASSWORD, WRONG_PASSWORD, IRC_PASSWORD = "Tr4nsp0rt-xmpp-Kiwi", "Tr4nsp0rt-false-Kiwi", "Tr4nsp0rt-irc-Kiwi"
EVERY = (XMPP_PASSWORD, WRONG_PASSWORD, IRC_PASSWORD)
ALICE, BOB, IRC_NAME = "alice@localhost", "bob@localhost", "alic@127.0.0.1"
SECONDS = 10.0


@pytest.fixture(scope="module")
def prosody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prosody]:
    with Prosody(tmp_path_factory.mktemp("prosody"), {"alice": XMPP_PASSWORD, "bob": XMPP_PASSWORD}) as server:
        yield server


@pytest.fixture(scope="module")
def ngircd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ngircd]:
    with Ngircd(tmp_path_factory.mktemp("ngircd"), password=IRC_PASSWORD) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """At debug, with a page, and with XMPP and IRC allowed."""
    settings = {"log_level": "debug", "connect_on": "start", "protocols": f"{JABBER},{IRC}"}
    options = ("--web", f"127.0.0.1:{free_port()}")
    with Gateway(tmp_path_factory.mktemp("gw"), settings=settings, options=options, workers=1) as running:
        yield running


@pytest.fixture(scope="module")
def online(gateway: Gateway, prosody: Prosody, ngircd: Ngircd) -> Gateway:
    """Rows that purplectl has written, encrypted: right and wrong passwords, XMPP and IRC."""
    _purplectl(gateway, "key", "create")
    server = ("--option", "connect_server=127.0.0.1", "--option", f"port={prosody.port}")
    xmpp = (*server, "--option", "connection_security=opportunistic_tls")
    _add(gateway, JABBER, ALICE, XMPP_PASSWORD, *xmpp)
    _add(gateway, JABBER, BOB, WRONG_PASSWORD, *xmpp)
    _add(gateway, IRC, IRC_NAME, IRC_PASSWORD, "--option", f"port={ngircd.port}")
    gateway.wait_state(ALICE, "online")
    gateway.wait_state(IRC_NAME, "online")
    gateway.wait_state(BOB, "error")
    return gateway


def _purplectl(gateway: Gateway, *words: str, stdin: str = "", code: int = 0) -> str:
    done = gateway.purplectl(*words, stdin=stdin)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def _add(gateway: Gateway, protocol: str, name: str, password: str, *options: str) -> None:
    words = ("account", "add", sip("alice"), protocol, name, "--password-stdin", *options)
    _purplectl(gateway, *words, stdin=f"{password}\n")


def _key(gateway: Gateway) -> Path:
    return gateway.kamailio.state_dir / "key"


def _sign_ons(gateway: Gateway, name: str) -> int:
    return gateway.kamailio.log.count(f"account {JABBER} {name}: online")


# ------------------------------------------------------------ what is written where
def test_no_password_is_in_a_file_a_process_list_or_an_answer(online: Gateway) -> None:
    tested = json.loads(_purplectl(online, "account", "test", sip("alice"), JABBER, ALICE, "--json"))
    assert tested["ok"], tested
    _purplectl(online, "account", "test", sip("alice"), JABBER, BOB, code=1)
    answers = [json.dumps(online.accounts()), _purplectl(online, "status"), _purplectl(online, "account", "list")]
    socket = online.kamailio.rpc_socket
    answers += [json.dumps(rpc.call(socket, method)) for method in ("core.psa", "core.info")]
    answers += [json.dumps(rpc.call(socket, "cfg.list"))]
    with urllib.request.urlopen(f"http://{online.kamailio.options[1]}/metrics", timeout=10) as page:
        answers.append(page.read().decode())
    assert {password for password in EVERY for answer in answers if password in answer} == set()
    wrong = [str(path) for path in _files(online) if any(word.encode() in path.read_bytes() for word in EVERY)]
    assert wrong == []
    for process in _processes(online):
        words = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        assert not any(word.encode() in words for word in EVERY)


def _files(gateway: Gateway) -> list[Path]:
    """The database, the log, and whatever else lies there."""
    found = [path for path in gateway.kamailio.directory.rglob("*") if path.is_file()]
    assert {"purple.db", "kamailio.log", "settings.json", "key"} <= {path.name for path in found}
    return found


def _processes(gateway: Gateway) -> list[Path]:
    return [Path("/proc") / str(process["pid"]) for process in gateway.kamailio.processes()]


def test_every_file_is_for_its_owner_alone(online: Gateway) -> None:
    state = online.kamailio.state_dir
    paths = [state, *state.rglob("*"), online.kamailio.directory / "kamailio.log"]
    wrong = {
        str(path): oct(path.stat().st_mode) for path in paths if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    }
    assert wrong == {}


def test_no_process_can_leave_a_core_dump_with_data_in_it(online: Gateway) -> None:
    for process in _processes(online):
        limits = (process / "limits").read_text()
        assert next(line.split()[4] for line in limits.splitlines() if line.startswith("Max core")) == "0"
        assert int((process / "coredump_filter").read_text(), 16) == 0x10


# ------------------------------------------------------------ keys
def test_a_rotation_keeps_accounts_online_and_the_next_sign_on_works(online: Gateway) -> None:
    engine = make_engine(online.kamailio.db_url)
    assert [account.unreadable for account in Mapping(engine, passwords=NO_KEYS).all_accounts()] == [True] * 3
    engine.dispose()
    before = _sign_ons(online, ALICE)
    old = key_file.read_keys(_key(online))
    rotated = json.loads(_purplectl(online, "key", "rotate", "--json"))
    assert rotated["written"] == 3
    assert [key.id for key in key_file.read_keys(_key(online))] == [rotated["key"]] != [old[0].id]
    line = "the mapping has changed"
    wait_until(lambda: line in online.kamailio.log.rpartition(f"{ALICE}: online")[2], SECONDS, "the rows are read")
    assert _sign_ons(online, ALICE) == before
    _purplectl(online, "account", "reconnect", sip("alice"), JABBER, ALICE)
    assert _sign_ons(online, ALICE) == before + 1


def test_a_key_that_is_not_there_is_an_error_in_words_and_its_return_cures_it(online: Gateway) -> None:
    """Nothing is sent to the server; a new password is not written plain; the gateway starts all the same."""
    right = _key(online).read_bytes()
    _key(online).unlink()
    key_file.create(_key(online), (key_file.new_key(),))
    online.kamailio.stop()
    online.kamailio.start()
    account = online.wait_state(ALICE, "error")
    assert account["error"].endswith("its password was encrypted with another key: purplectl key status")
    assert "they need another key" in _purplectl(online, "check", code=1)
    assert json.loads(_purplectl(online, "key", "status", "--json"))["unreadable"] == 3
    _key(online).write_bytes(right)
    online.wait_state(ALICE, "online", SECONDS)


# ------------------------------------------------------------ plugins
def test_only_allowed_plugins_are_loaded(online: Gateway) -> None:
    pid = online.kamailio.worker_pid(1)
    files = {
        line.rpartition("/")[2] for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if "/purple-2/" in line
    }
    assert {name for name in files if not name.startswith(("libjabber.so", "ssl"))} == {"libxmpp.so", "libirc.so"}


def test_an_account_of_another_protocol(online: Gateway) -> None:
    online.add_account("bob", SIMPLE, "bob@sip.example")
    account = online.wait_state("bob@sip.example", "error")
    assert account["error"].startswith(f"purple.protocols does not allow '{SIMPLE}'")
    words = ("account", "add", sip("bob"), SIMPLE, "x@sip.example", "--no-password")
    assert f"only {JABBER}, {IRC}" in _purplectl(online, *words, code=2)
    assert f"1 accounts of {SIMPLE}, which purple.protocols does not allow" in _purplectl(online, "check")


def test_the_commands_load_no_other_plugin_either(online: Gateway) -> None:
    done = run_purplectl("protocols", "--json", PURPLE_STATE_DIR=str(online.kamailio.state_dir))
    assert done.returncode == 0, done.stderr
    found = {one["id"]: one["allowed"] for one in json.loads(done.stdout)}
    assert {name for name, allowed in found.items() if allowed} == {JABBER, IRC}
    assert found[SIMPLE] is False
