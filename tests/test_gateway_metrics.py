"""The metrics of a running gateway: what /metrics and purplectl say after messages, and while a worker stands still."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from purple_bridge.cli.status import status_command
from tests.agents.phone import Phone
from tests.agents.xmpp import XmppUser
from tests.gateway import Gateway, xmpp_contact
from tests.servers.prosody import Prosody
from tests.waiting import free_port, wait_until

BOB = xmpp_contact("bob@localhost")
MESSAGES = 5
WAITING = ("prpl-jabber", "waiting")
WEB_PORT = free_port()
URL = f"http://127.0.0.1:{WEB_PORT}/metrics"

Series = dict[tuple[str, ...], float]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, prosody: Prosody) -> Iterator[Gateway]:
    """Two workers; alice and carol have accounts of which each worker owns one."""
    options = ["--web", f"127.0.0.1:{WEB_PORT}"]
    with Gateway(tmp_path_factory.mktemp("metrics"), auth=False, options=options) as running:
        running.add_xmpp_account("alice", prosody)
        running.add_xmpp_account("carol", prosody)
        yield running


@pytest.fixture
def bob(gateway: Gateway, prosody: Prosody) -> XmppUser:
    return gateway.xmpp_user(prosody, "bob")


@pytest.fixture(scope="module")
def alice(gateway: Gateway) -> Phone:
    return gateway.online_phone("alice", "alice@localhost")


def read() -> dict[str, Series]:
    """By the sample's name its values, by the labels' values in the order of their names."""
    with urlopen(URL, timeout=5) as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        text = answer.read().decode()
    found: dict[str, Series] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(value for _, value in sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def messages(direction: str, outcome: str, protocol: str = "prpl-jabber") -> float:
    return read().get("purple_messages_total", {}).get((direction, outcome, protocol), 0.0)


def accounts(state: str) -> float:
    return read().get("purple_accounts", {}).get(("prpl-jabber", state), 0.0)


def exchange(phone: Phone, contact: XmppUser, account: str) -> None:
    for number in range(MESSAGES):
        assert phone.message(BOB, f"{account} to bob {number}").status == 202
        assert contact.wait_message().body == f"{account} to bob {number}"
        contact.send(f"{account}@localhost", f"bob to {account} {number}")
        assert phone.wait_message().text == f"bob to {account} {number}"


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_messages_of_all_workers_are_counted(gateway: Gateway, alice: Phone, bob: XmppUser) -> None:
    carol = gateway.online_phone("carol", "carol@localhost")
    assert {gateway.account(f"{name}@localhost")["worker"] for name in ("alice", "carol")} == {1, 2}
    exchange(alice, bob, "alice")
    exchange(carol, bob, "carol")
    both = 2 * MESSAGES
    wait_until(lambda: messages("sip_to_im", "acknowledged") == both, 5, "all are acknowledged")
    wait_until(lambda: messages("im_to_sip", "delivered") == both, 5, "all are delivered")
    found = read()
    assert {labels: count for labels, count in found["purple_messages_total"].items() if count} == {
        ("sip_to_im", "accepted", "prpl-jabber"): both,
        ("sip_to_im", "acknowledged", "prpl-jabber"): both,
        ("im_to_sip", "accepted", "prpl-jabber"): both,
        ("im_to_sip", "delivered", "prpl-jabber"): both,
    }
    for direction in ("sip_to_im", "im_to_sip"):
        assert found["purple_message_latency_seconds_count"][direction, "prpl-jabber"] == both
        assert 0 < found["purple_message_latency_seconds_sum"][direction, "prpl-jabber"] < both * 5
        assert found["purple_message_latency_seconds_bucket"][direction, "10.0", "prpl-jabber"] == both
    assert found["purple_sign_ons_total"]["prpl-jabber",] == 2
    ((_kamailio, _libpurple, _python, version),) = found["purple_build_info"]
    assert version == "0.1.0"


def test_purplectl_says_the_same_without_http(gateway: Gateway) -> None:
    url, state_dir = gateway.kamailio.db_url, str(gateway.kamailio.state_dir)
    result = CliRunner().invoke(status_command, ["--metrics", "--json", "--state-dir", state_dir, "--db-url", url])
    printed = json.loads(result.stdout)
    found = read()["purple_messages_total"]
    counted = {
        tuple(one["labels"][name] for name in ("direction", "outcome", "protocol")): one["value"]
        for one in printed["purple_messages_total"]
    }
    assert counted == found
    processes = {one["labels"]["process"] for one in printed["purple_process_resident_memory_bytes"]}
    assert {"worker-1", "worker-2"} < processes  # and those that serve phones and HTTP
    ranks = {f"sip-{one['rank']}" for one in gateway.kamailio.processes() if one["rank"] > 2}
    assert processes == {"worker-1", "worker-2"} | ranks


def test_accounts_by_state_follow(gateway: Gateway, alice: Phone) -> None:
    online = sum(account["state"] == "online" for account in gateway.accounts())
    wait_until(lambda: accounts("online") == online, 5, "all are counted online")
    assert alice.publish(None, expires=0).status == 200
    wait_until(lambda: (accounts("online"), accounts("offline")) == (online - 1, 1), 10, "one less is online")
    # what she writes now waits
    assert alice.message(BOB, "later").status == 202
    assert messages("sip_to_im", "queued") == 1
    wait_until(lambda: read().get("purple_queue_messages", {}).get(WAITING) == 1, 10, "the row is counted")
    assert read()["purple_queue_oldest_seconds"][WAITING] < 30


def test_what_no_phone_takes_is_kept(gateway: Gateway, alice: Phone, bob: XmppUser) -> None:
    gateway.publish_until_seen(alice, "alice", "alice@localhost")
    gateway.wait_state("alice@localhost", "online")
    alice.unregister()
    bob.send("alice@localhost", "are you there?")
    wait_until(lambda: messages("im_to_sip", "kept") == 1, 10, "it is kept")
    alice.register()
    wait_until(lambda: messages("im_to_sip", "delivered_later", "kept") == 1, 10, "a phone has it")


def test_refusals_are_counted_by_status(alice: Phone) -> None:
    assert alice.message(BOB, "x", content_type="image/png").status == 415
    found = read()
    assert found["purple_refusals_total"]["415",] == 1
    assert found["purple_messages_total"]["sip_to_im", "refused", "prpl-jabber"] == 1


def test_a_worker_that_stands_still_holds_nobody_up(gateway: Gateway) -> None:
    with stopped(gateway.kamailio.worker_pid(2)):
        wait_until(lambda: read()["purple_loop_silence_seconds"]["worker-2",] > 1, 10, "worker 2 is seen to hang")
        started = time.monotonic()
        found = read()
        assert time.monotonic() - started < 1
        assert found["purple_loop_silence_seconds"]["worker-1",] < 1
        assert found["purple_process_resident_memory_bytes"]["worker-2",] > 0
    wait_until(lambda: read()["purple_loop_lag_max_seconds"]["worker-2",] > 0.5, 10, "its delay is measured")
    assert read()["purple_loop_silence_seconds"]["worker-2",] < 1


def test_a_queue_that_is_empty_again_has_no_rows(gateway: Gateway) -> None:
    gateway.wait_state("alice@localhost", "online")
    wait_until(lambda: read()["purple_queue_messages"][WAITING] == 0, 10, "no row is left")
    assert read()["purple_queue_oldest_seconds"][WAITING] == 0


def test_only_get_and_only_on_the_web_listener(gateway: Gateway) -> None:
    assert _status_of(Request(URL, b"x", method="POST")) == 405
    on_phones_listener = URL.replace(str(WEB_PORT), str(gateway.kamailio.port))
    assert _status_of(Request(on_phones_listener)) in (400, 404)  # XCAP is there


def _status_of(request: Request) -> int:
    try:
        with urlopen(request, timeout=5) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code
