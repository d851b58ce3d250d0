"""Rows that change while the gateway runs take effect within five seconds; accounts are switched off, on, and renewed.

Each test has SIP users and accounts of its own. The five seconds are the product's promise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from purple_bridge.ownership import owner_of
from tests.agents.phone import Notify, Phone, Subscription
from tests.agents.pidf import pidf
from tests.agents.xmpp import XmppUser
from tests.gateway import PASSWORD, Gateway, sip, xmpp_contact
from tests.servers.prosody import Prosody
from tests.waiting import free_port, wait_until

PROMISE = 5.0  # seconds
WORKERS = 2
CAROL = "carol@localhost"

_numbers = count(1)


@pytest.fixture(scope="module")
def prosody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prosody]:
    with Prosody(tmp_path_factory.mktemp("prosody"), {"carol": PASSWORD}) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("gw"), workers=WORKERS) as running:
        yield running


def _sip_user(gateway: Gateway) -> str:
    name = f"user{next(_numbers)}"
    gateway.add_user(name)
    return name


def _im_user(prosody: Prosody, worker: int | None = None) -> str:
    """The name of a new XMPP account; ``worker``: that owns it."""
    names = (f"im{number}" for number in _numbers)
    name = next(name for name in names if worker in (None, owner_of("prpl-jabber", f"{name}@localhost", WORKERS)))
    prosody.add_user(name, PASSWORD)
    return name


def _online(gateway: Gateway, prosody: Prosody) -> tuple[Phone, str, str]:
    """A phone whose account is online, the SIP user, and the account's JID."""
    user, name = _sip_user(gateway), _im_user(prosody)
    gateway.add_xmpp_account(user, prosody, name)
    phone = gateway.phone(user)
    assert phone.publish(pidf(sip(user))).status == 200
    gateway.wait_state(f"{name}@localhost", "online")
    return phone, user, f"{name}@localhost"


def _status(gateway: Gateway, ext_user: str) -> dict[str, Any]:
    rows = json.loads(gateway.purplectl_done("status", "--json"))
    return next(row for row in rows if row["ext_user"] == ext_user)


# --- plain SQL --------------------------------------------------------------------------------------------


def test_a_row_for_a_user_whose_phone_publishes_already(gateway: Gateway, prosody: Prosody) -> None:
    user = _sip_user(gateway)
    phone = gateway.phone(user)
    assert phone.publish(pidf(sip(user), note="here", activity="busy")).status == 200
    for worker in (1, 2):  # the second one for a user who has an account by now
        name = _im_user(prosody, worker)
        gateway.add_xmpp_account(user, prosody, name)
        assert gateway.wait_state(f"{name}@localhost", "online", timeout=PROMISE)["worker"] == worker
    assert phone.message(xmpp_contact(CAROL), "at once").status == 202


def test_password_and_options(gateway: Gateway, prosody: Prosody) -> None:
    _, _, jid = _online(gateway, prosody)
    gateway.set_password(jid, "wrong")
    assert gateway.wait_state(jid, "error", timeout=PROMISE)["error"]
    gateway.change_account(jid, ext_pass=PASSWORD, ext_options="{broken")
    wait_until(lambda: "ext_options is not JSON" in gateway.account(jid)["error"], PROMISE, "words for broken options")
    gateway.change_account(jid, ext_options=json.dumps(prosody.account_options))
    gateway.wait_state(jid, "online", timeout=PROMISE)


def test_another_name_on_the_network_may_be_another_workers(gateway: Gateway, prosody: Prosody) -> None:
    _, _, jid = _online(gateway, prosody)
    before = gateway.account(jid)["worker"]
    other = _im_user(prosody, worker=3 - before) + "@localhost"
    gateway.change_account(jid, ext_user=other)
    assert gateway.wait_state(other, "online", timeout=PROMISE)["worker"] == 3 - before
    wait_until(lambda: gateway.account(jid)["state"] == "unknown", PROMISE, "the old account has left")


def test_another_users_account_now(gateway: Gateway, prosody: Prosody) -> None:
    """Presence, messages and watchers follow the row; the user who had it cannot use it any more."""
    phone, _, jid = _online(gateway, prosody)
    carol, watch = _watched(gateway, prosody, phone, jid)
    heir = _sip_user(gateway)
    new_phone = gateway.phone(heir)
    assert new_phone.publish(pidf(sip(heir))).status == 200
    gateway.change_account(jid, sip_user=sip(heir))
    wait_until(lambda: gateway.account(jid).get("sip_users") == [f"{heir}@example.org"], PROMISE, "another user's")
    gateway.wait_state(jid, "online", timeout=PROMISE)
    watch.wait_notify(lambda notify: notify.presence is None or notify.presence.basic != "open")
    assert phone.message(xmpp_contact(CAROL), "from whom?").status in (403, 404)
    assert new_phone.message(xmpp_contact(CAROL), "from the heir").status == 202
    assert carol.wait_message(lambda message: message.body == "from the heir").from_bare == jid
    carol.send(jid, "to the heir")
    assert new_phone.wait_message().text == "to the heir"
    assert [message.text for message in phone.messages if message.text == "to the heir"] == []


def test_what_waits_when_the_row_goes_waits_for_its_return(gateway: Gateway, prosody: Prosody) -> None:
    phone, user, jid = _online(gateway, prosody)
    carol, watch = _watched(gateway, prosody, phone, jid)
    gateway.change_account(jid, ext_options=json.dumps({"connect_server": "127.0.0.1", "port": 9}))
    wait_until(lambda: gateway.account(jid)["state"] in ("error", "connecting"), PROMISE, "off")
    assert phone.message(xmpp_contact(CAROL), "later").status == 202
    gateway.remove_account(jid)
    wait_until(lambda: gateway.account(jid)["state"] == "unknown", PROMISE, "the account is gone")
    wait_until(lambda: phone.message(xmpp_contact(CAROL), "no account").status == 403, PROMISE, "no account any more")
    gateway.add_xmpp_account(user, prosody, jid.partition("@")[0])
    watch.forget()
    gateway.wait_state(jid, "online", timeout=PROMISE)
    assert carol.wait_message(lambda message: message.from_bare == jid).body == "later"
    watch.wait_notify(_is_open, timeout=15)  # in the same dialog, without another SUBSCRIBE


def test_switched_off_by_plain_sql_for_one_of_two_users(gateway: Gateway, prosody: Prosody) -> None:
    """The other one keeps the account, and alone gets what is written to it."""
    phone, _, jid = _online(gateway, prosody)
    other = _sip_user(gateway)
    gateway.add_xmpp_account(other, prosody, jid.partition("@")[0], enabled=False)
    other_phone = gateway.phone(other)
    assert other_phone.publish(pidf(sip(other))).status == 200
    refused = wait_until(lambda: _refused(other_phone), PROMISE, "the second user's row")
    assert (refused.status, refused.reason) == (480, f"Your account {jid} is disabled")
    carol = gateway.xmpp_user(prosody, "carol")
    carol.send(jid, "to one")
    assert phone.wait_message().text == "to one"
    assert other_phone.messages == []
    assert gateway.account(jid)["state"] == "online"


def _watched(gateway: Gateway, prosody: Prosody, phone: Phone, jid: str) -> tuple[XmppUser, Subscription]:
    """Carol, whom the phone sees online by this account."""
    carol = gateway.xmpp_user(prosody, "carol")
    carol.presence()
    watch = phone.subscribe(xmpp_contact(CAROL))
    carol.approve(jid)
    watch.wait_notify(_is_open)
    return carol, watch


def _is_open(notify: Notify) -> bool:
    return notify.presence is not None and notify.presence.basic == "open"


def _refused(phone: Phone) -> Any:
    answer = phone.message(xmpp_contact(CAROL), "refused")
    return answer if answer.status == 480 else None


def test_on_each_database(any_gateway: Gateway, prosody: Prosody) -> None:
    user, first, second = _sip_user(any_gateway), _im_user(prosody, worker=1), _im_user(prosody, worker=2)
    phone = any_gateway.phone(user)
    assert phone.publish(pidf(sip(user))).status == 200
    any_gateway.add_xmpp_account(user, prosody, first)
    any_gateway.wait_state(f"{first}@localhost", "online", timeout=PROMISE)
    any_gateway.change_account(f"{first}@localhost", ext_user=f"{second}@localhost")
    any_gateway.wait_state(f"{second}@localhost", "online", timeout=PROMISE)
    any_gateway.change_account(f"{second}@localhost", ext_options='{"enabled": false}')
    any_gateway.wait_state(f"{second}@localhost", "offline", timeout=PROMISE)
    any_gateway.remove_account(f"{second}@localhost")
    wait_until(lambda: any_gateway.account(f"{second}@localhost")["state"] == "unknown", PROMISE, "the row is gone")
    assert any_gateway.account(f"{first}@localhost")["state"] == "unknown"


# --- purplectl --------------------------------------------------------------------------------------------


def test_disable_and_enable(gateway: Gateway, prosody: Prosody) -> None:
    phone, user, jid = _online(gateway, prosody)
    carol, watch = _watched(gateway, prosody, phone, jid)
    named = (sip(user), "prpl-jabber", jid)
    assert gateway.purplectl_done("account", "disable", *named).startswith("disabled")
    assert gateway.wait_state(jid, "offline", timeout=PROMISE)["error"] == "disabled"
    watch.wait_notify(lambda notify: notify.presence is None or notify.presence.basic != "open")
    refused = phone.message(xmpp_contact(CAROL), "refused")
    assert (refused.status, refused.reason) == (480, f"Your account {jid} is disabled")
    assert phone.publish(pidf(sip(user), note="still off")).status == 200
    assert (_status(gateway, jid)["state"], _status(gateway, jid)["last_error"]) == ("offline", "disabled")
    again = gateway.purplectl("account", "reconnect", *named)
    assert (again.returncode, "is disabled" in again.stderr) == (1, True)
    assert gateway.purplectl_done("account", "disable", *named).startswith("already disabled")
    assert gateway.purplectl_done("account", "enable", *named).startswith("enabled")
    gateway.wait_state(jid, "online", timeout=PROMISE)
    assert phone.message(xmpp_contact(CAROL), "again").status == 202
    assert carol.wait_message(lambda message: message.from_bare == jid).body == "again"
    watch.wait_notify(_is_open, timeout=15)


def test_a_row_that_purplectl_adds_is_there_at_once(gateway: Gateway, prosody: Prosody, tmp_path: Path) -> None:
    """The SIP workers' memory of a user without a row does not outlive it."""
    user, name = _sip_user(gateway), _im_user(prosody)
    phone = gateway.phone(user)
    assert phone.message(xmpp_contact(CAROL), "too soon").status == 403
    secret = tmp_path / "password"
    secret.write_text(PASSWORD)
    options = prosody.account_options.items()
    words = [word for option, value in options for word in ("--option", f"{option}={value}")]
    gateway.purplectl_done(
        "account", "add", sip(user), "prpl-jabber", f"{name}@localhost", *words, "--password-file", str(secret)
    )
    assert phone.message(xmpp_contact(CAROL), "it waits").status == 202
    gateway.purplectl_done("account", "remove", sip(user), "prpl-jabber", f"{name}@localhost")
    assert phone.message(xmpp_contact(CAROL), "no more").status == 403


def test_reconnect_an_account_that_had_given_up(gateway: Gateway, prosody: Prosody) -> None:
    user, name = _sip_user(gateway), f"late{next(_numbers)}"
    jid = f"{name}@localhost"
    named = (sip(user), "prpl-jabber", jid)
    gateway.add_xmpp_account(user, prosody, name)
    phone = gateway.phone(user)
    assert phone.publish(pidf(sip(user))).status == 200
    gateway.wait_state(jid, "error")
    failed = gateway.purplectl("account", "reconnect", *named)
    assert failed.returncode == 1
    assert failed.stderr.splitlines()[-1].startswith(f"purplectl: prpl-jabber {jid}: ")
    prosody.add_user(name, PASSWORD)
    done = gateway.purplectl("account", "reconnect", *named)
    assert (done.returncode, done.stdout) == (0, f"prpl-jabber {jid} is online\n")
    (state,) = json.loads(gateway.purplectl_done("account", "reconnect", *named, "--json"))
    assert (state["ext_user"], state["state"], state["last_error"]) == (jid, "online", "")


def test_reconnect_says_why_an_account_is_not_wanted(gateway: Gateway, prosody: Prosody) -> None:
    user, name = _sip_user(gateway), _im_user(prosody)
    gateway.add_xmpp_account(user, prosody, name)
    refused = gateway.purplectl("account", "reconnect", sip(user), "prpl-jabber", f"{name}@localhost")
    words = f"purplectl: prpl-jabber {name}@localhost stays offline: {user}'s phone does not publish presence\n"
    assert (refused.returncode, refused.stderr) == (1, words)


def test_reconnect_all(gateway: Gateway, prosody: Prosody) -> None:
    _, _, jid = _online(gateway, prosody)
    since = gateway.account(jid)["since"]
    wanted = [account for account in gateway.accounts() if account["state"] != "offline"]
    done = gateway.purplectl("account", "reconnect", "--all", "--json")
    states = json.loads(done.stdout)
    assert len(states) == len(wanted)
    assert next(state for state in states if state["ext_user"] == jid)["state"] == "online"
    assert gateway.account(jid)["since"] >= since


def test_two_rows_of_one_account_have_one_state(gateway: Gateway, prosody: Prosody) -> None:
    """`gtalk` and `prpl-jabber` are one network."""
    _, _, jid = _online(gateway, prosody)
    gateway.add_account(_sip_user(gateway), "gtalk", jid.upper(), PASSWORD, **prosody.account_options)
    rows = json.loads(gateway.purplectl_done("status", "--json"))
    states = {row["protocol"]: row["state"] for row in rows if row["ext_user"].lower() == jid}
    assert states == {"prpl-jabber": "online", "gtalk": "online"}


def test_status_while_the_database_does_not_answer(gateway: Gateway, prosody: Prosody) -> None:
    """What the workers know is shown all the same."""
    _, user, jid = _online(gateway, prosody)
    url = f"mysql://kamailio:s3cret@127.0.0.1:{free_port()}/kamailio"
    done = gateway.purplectl("status", "--json", "--db-url", url)
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1
    assert "mysql://kamailio:***@127.0.0.1" in done.stderr
    (row,) = (row for row in json.loads(done.stdout) if row["ext_user"] == jid)
    assert (row["sip_user"], row["state"], row["security"]) == (sip(user), "online", "plain text")
    assert row.keys() == _status(gateway, jid).keys()


# --- other values of purple.connect_on --------------------------------------------------------------------


def test_a_row_for_a_user_whose_phone_is_registered(tmp_path: Path, prosody: Prosody) -> None:
    with Gateway(tmp_path / "gw", settings={"connect_on": "register"}) as gateway:
        phone = gateway.phone("alice")
        for name in (_im_user(prosody), _im_user(prosody)):  # without any account before, and with one
            gateway.add_xmpp_account("alice", prosody, name)
            gateway.wait_state(f"{name}@localhost", "online", timeout=PROMISE)
        phone.unregister()
        gateway.wait_state(f"{name}@localhost", "offline", timeout=PROMISE)


def test_rows_of_accounts_that_are_always_online(tmp_path: Path, prosody: Prosody) -> None:
    with Gateway(tmp_path / "gw", settings={"connect_on": "start"}, workers=WORKERS) as gateway:
        first = _im_user(prosody, worker=1)
        gateway.add_xmpp_account("alice", prosody, first)
        gateway.wait_state(f"{first}@localhost", "online", timeout=PROMISE)
        second = _im_user(prosody, worker=2)
        gateway.change_account(f"{first}@localhost", ext_user=f"{second}@localhost")
        gateway.wait_state(f"{second}@localhost", "online", timeout=PROMISE)
        wait_until(lambda: len(gateway.accounts()) == 1, PROMISE, "the old account has left")
        gateway.change_account(f"{second}@localhost", sip_user=sip("bob"))
        wait_until(lambda: gateway.accounts()[0]["sip_users"] == ["bob@example.org"], PROMISE, "bob's now")
        gateway.wait_state(f"{second}@localhost", "online", timeout=PROMISE)
