"""Programs that answer each other stop by themselves, and rates hold: two real gateways over one XMPP server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

import pytest

from purple_bridge import metrics
from purple_bridge.launcher import rpc
from tests.agents.phone import Phone
from tests.agents.xmpp import XmppUser
from tests.gateway import Gateway, xmpp_contact
from tests.servers.prosody import Prosody
from tests.waiting import wait_until

LOOP_LIMIT = 20  # the default
MOST = 4 * LOOP_LIMIT  # turns until both gateways have seen it, and as many notices


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, prosody: Prosody) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("first")) as gateway:
        gateway.add_xmpp_account("alice", prosody)
        yield gateway


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory, prosody: Prosody) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("second")) as gateway:
        gateway.add_xmpp_account("bob", prosody)
        yield gateway


@pytest.fixture(scope="module")
def alice(first: Gateway) -> Phone:
    return first.online_phone("alice", "alice@localhost")


@pytest.fixture(scope="module")
def bob(second: Gateway) -> Phone:
    return second.online_phone("bob", "bob@localhost")


def limited(gateway: Gateway, limit: str) -> float:
    return metrics.gather(metrics.directory(gateway.kamailio.state_dir)).value(metrics.LIMITED, limit)


def _has(user: XmppUser, count: int) -> bool:
    return len(user.messages) == count


@contextmanager
def answering(phone: Phone, answer: Callable[[str], str]) -> Iterator[None]:
    """The phone answers every MESSAGE to whom it came from, at once."""
    end = threading.Event()

    def run() -> None:
        while not end.is_set():
            with suppress(AssertionError):
                message = phone.wait_message(timeout=0.2)
                phone.message(message.from_uri, answer(message.text))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def set_parameter(gateway: Gateway, name: str, value: int) -> None:
    known = len(gateway.kamailio.log)
    rpc.call(gateway.kamailio.rpc_socket, "cfg.seti", "purple", name, value)
    wait_until(lambda: f"purple.{name} is '{value}' now" in gateway.kamailio.log[known:], 10, f"{name} {value}")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(lambda _text: "I am away", lambda _text: "So am I"), (lambda text: text, lambda text: text)],
    ids=["automatic answers", "forwarded"],
)
def test_two_gateways_pointed_at_each_other_stop(
    first: Gateway,
    second: Gateway,
    alice: Phone,
    bob: Phone,
    prosody: Prosody,
    ours: Callable[[str], str],
    theirs: Callable[[str], str],
) -> None:
    before, counted = len(alice.messages) + len(bob.messages), limited(first, "loop") + limited(second, "loop")
    with answering(alice, ours), answering(bob, theirs):
        assert alice.message(xmpp_contact("bob@localhost"), f"hello {before}").status == 202
        wait_until(lambda: limited(first, "loop") + limited(second, "loop") > counted, 30, "a loop is broken")
        dave = first.xmpp_user(prosody, "dave")
        for number in range(10):  # each of them goes both ways, behind whatever is still on its way
            for jid in ("alice@localhost", "bob@localhost"):
                dave.send(jid, f"are you there? {number}")
            wait_until(partial(_has, dave, 2 * (number + 1)), 30, "two answers")
    assert len(alice.messages) + len(bob.messages) - before <= MOST + 2 * 10
    assert "refused from bob@localhost" in first.kamailio.log or "refused from alice@localhost" in second.kamailio.log


def test_others_can_still_write(prosody: Prosody, second: Gateway, bob: Phone) -> None:
    carol = second.xmpp_user(prosody, "carol")
    carol.send("bob@localhost", "nothing to do with it")
    assert bob.wait_message(lambda message: message.text == "nothing to do with it")


def test_an_error_makes_no_error(first: Gateway, alice: Phone, prosody: Prosody) -> None:
    """RFC 6120 section 8.3.1: whoever gets one must not answer with another."""
    carol, before = first.xmpp_user(prosody, "carol"), len(alice.messages)
    condition = '<service-unavailable xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/>'
    carol.send_xml(
        '<message to="alice@localhost" type="error" id="e1"><body>words</body>'
        f'<error type="cancel">{condition}</error></message>'
    )
    carol.send("alice@localhost", "the end")
    assert alice.wait_message(lambda message: message.text == "the end")
    assert [message.text for message in alice.messages[before:]] == ["the end"]
    assert carol.errors == []


def test_a_users_requests_are_limited(first: Gateway, alice: Phone) -> None:
    set_parameter(first, "user_rate", 1)
    try:
        answers = [alice.message(xmpp_contact("dave@localhost"), f"number {number}") for number in range(12)]
        statuses = [answer.status for answer in answers]
        assert statuses[:10] == [202] * 10
        assert statuses[-1] == 503
        assert 1 <= int(answers[-1].headers["Retry-After"]) <= 2
        assert answers[-1].reason == "Too many requests: at most 1 in 1 s"
        assert limited(first, "user") >= 1
    finally:
        set_parameter(first, "user_rate", 0)
    assert alice.message(xmpp_contact("dave@localhost"), "without a limit").status == 202


def test_a_contacts_messages_are_limited_and_it_is_told(first: Gateway, alice: Phone, prosody: Prosody) -> None:
    carol, dave = first.xmpp_user(prosody, "carol"), first.xmpp_user(prosody, "dave")
    set_parameter(first, "contact_rate", 1)
    try:
        before = len(alice.messages)
        for number in range(20):
            carol.send("alice@localhost", f"number {number}")
        error = carol.wait_error()
        assert "resource-constraint" in error.xml and "too many messages" in error.xml
        dave.send("alice@localhost", "another contact")
        alice.wait_message(lambda message: message.text == "another contact")
        passed = len(alice.messages) - before - 1
        wait_until(lambda: passed + len(carol.errors) == 20, 10, "each is with the phone or refused")
        assert 10 <= passed < 20
        assert limited(first, "contact") == len(carol.errors)
    finally:
        set_parameter(first, "contact_rate", 0)


def test_an_accounts_messages_are_limited(first: Gateway, alice: Phone, prosody: Prosody) -> None:
    set_parameter(first, "account_rate", 1)
    try:
        statuses = [alice.message(xmpp_contact("dave@localhost"), f"number {number}").status for number in range(12)]
        assert statuses[:10] == [202] * 10
        assert statuses[-1] == 503
        assert limited(first, "account_out") >= 1
        carol = first.xmpp_user(prosody, "carol")
        for number in range(15):
            carol.send("alice@localhost", f"number {number}")
        assert "resource-constraint" in carol.wait_error().xml
    finally:
        set_parameter(first, "account_rate", 0)
