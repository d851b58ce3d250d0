"""Neighbours and workers that die: accounts come back by themselves, and nothing is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agents.pidf import pidf
from tests.gateway import Gateway, sip, xmpp_contact
from tests.servers.prosody import Prosody
from tests.waiting import wait_until


@pytest.fixture
def own_prosody(tmp_path: Path) -> Prosody:
    return Prosody(tmp_path / "prosody", {f"user{number}": "secret" for number in range(10)} | {"alice": "secret"})


def test_two_workers_share_the_accounts(tmp_path: Path, own_prosody: Prosody) -> None:
    names = [f"user{number}" for number in range(10)]
    users = dict.fromkeys(names, "secret")
    with own_prosody, Gateway(tmp_path / "gw", users=users, workers=2) as gateway:
        for name in names:
            gateway.add_xmpp_account(name, own_prosody)
        for name in names:
            gateway.online_phone(name, f"{name}@localhost")
        accounts = gateway.accounts()
        assert sorted(account["ext_user"] for account in accounts) == [f"{name}@localhost" for name in names]
        assert {account["state"] for account in accounts} == {"online"}
        assert {account["worker"] for account in accounts} == {1, 2}


def test_accounts_come_back_after_the_im_server(tmp_path: Path, own_prosody: Prosody) -> None:
    with own_prosody, Gateway(tmp_path / "gw") as gateway:
        gateway.add_xmpp_account("alice", own_prosody)
        phone = gateway.online_phone("alice", "alice@localhost")
        own_prosody.kill()
        state = gateway.wait_state("alice@localhost", "error")
        assert state["error"]
        wait_until(lambda: gateway.account("alice@localhost")["retries"] >= 3, 20, "three tries")
        own_prosody.start()
        gateway.wait_state("alice@localhost", "online", timeout=30)
        user = gateway.xmpp_user(own_prosody, "user1")
        assert phone.message(xmpp_contact("user1@localhost"), "back again").status == 202
        assert user.wait_message().body == "back again"


def test_killed_worker_leaves_nothing_and_a_restart_restores(tmp_path: Path, own_prosody: Prosody) -> None:
    with own_prosody, Gateway(tmp_path / "gw") as gateway:
        gateway.add_xmpp_account("alice", own_prosody)
        gateway.online_phone("alice", "alice@localhost")
        pids = [int(process["pid"]) for process in gateway.kamailio.processes()]
        gateway.kamailio.kill_worker(2)
        wait_until(lambda: not gateway.kamailio.running, 12, "the launcher ends")
        wait_until(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()], 5, "all are buried")
        gateway.kamailio.start()
        gateway.wait_state("alice@localhost", "online", timeout=20)


@pytest.mark.parametrize(
    ("parameter", "value"), [("connect_on", "sometimes"), ("authorize", "maybe"), ("gateway_domain", "no domain")]
)
def test_wrong_parameter_stops_the_start(tmp_path: Path, parameter: str, value: str) -> None:
    gateway = Gateway(tmp_path, settings={parameter: value})
    with pytest.raises(AssertionError), gateway:
        pass
    assert f"purple.{parameter}" in gateway.kamailio.log_tail()


def test_start_keeps_every_account_online(tmp_path: Path, own_prosody: Prosody) -> None:
    with own_prosody, Gateway(tmp_path / "gw", settings={"connect_on": "start"}) as gateway:
        gateway.add_xmpp_account("alice", own_prosody)
        gateway.wait_state("alice@localhost", "online")  # a row added while it runs
        gateway.kamailio.restart()
        gateway.wait_state("alice@localhost", "online")
        phone = gateway.phone("alice")
        phone.publish(pidf(sip("alice"), note="busy", activity="busy"))
        phone.publish(None, expires=0)
        assert phone.message(xmpp_contact("user1@localhost"), "still there").status == 202


def test_register_signs_on_and_off(tmp_path: Path, own_prosody: Prosody) -> None:
    with own_prosody, Gateway(tmp_path / "gw", settings={"connect_on": "register"}) as gateway:
        gateway.add_xmpp_account("alice", own_prosody)
        phone = gateway.phone("alice")
        gateway.wait_state("alice@localhost", "online")
        phone.unregister()
        gateway.wait_state("alice@localhost", "offline")
