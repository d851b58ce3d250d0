"""What was kept for a user, handed out when a phone registers: in order, once, all; whatever happens meanwhile."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from purple_bridge.bodies import outgoing
from purple_bridge.db.engine import make_engine
from purple_bridge.db.silo import StoredMessage, store
from purple_bridge.kept_users import keeper_of
from purple_bridge.ownership import owner_of
from tests.agents.phone import Phone, Received
from tests.agents.xmpp import XmppUser
from tests.gateway import DOMAIN, PASSWORD, Gateway, sip, xmpp_contact
from tests.servers.prosody import Prosody
from tests.waiting import wait_until

ALICE = "alice@localhost"
MANY = 1000
SOME = 300
SECONDS = 60.0
WRITTEN = 1_700_000_000

MakePhone = Callable[..., Phone]


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory, prosody: Prosody) -> Iterator[Gateway]:
    """A gateway with one worker, so that all messages pass through it, and Alice, whose account is online."""
    with Gateway(tmp_path_factory.mktemp("kept"), workers=1) as gateway:
        gateway.add_xmpp_account("alice", prosody)
        gateway.online_phone("alice", ALICE, register=False)
        yield gateway


@pytest.fixture
def make_phone(office: Gateway) -> Iterator[MakePhone]:
    """Phones of Alice, registered, until the test ends."""
    made: list[Phone] = []

    def make(register: bool = True) -> Phone:
        made.append(Phone(sip("alice"), PASSWORD, ("127.0.0.1", office.kamailio.port)))
        assert not register or made[-1].register().status == 200
        return made[-1]

    yield make
    for phone in made:
        phone.unregister()
        phone.close()


@pytest.fixture
def bob(office: Gateway, prosody: Prosody) -> XmppUser:
    return office.xmpp_user(prosody, "bob")


def _write(bob: XmppUser, office: Gateway, count: int) -> list[str]:
    """That many messages to Alice, who has no phone."""
    texts = [f"kept {number} äöü 😀" for number in range(count)]
    for text in texts:
        bob.send(ALICE, text)
    wait_until(lambda: office.kept_messages() == count, SECONDS, f"{count} messages kept")
    return texts


def _keep(gateway: Gateway, texts: list[str], user: str = "alice", ends: int = 2_000_000_000) -> None:
    """Rows as an earlier run of the gateway left them; the gateway must be down."""
    rows = [
        StoredMessage(
            xmpp_contact("bob@localhost"), sip(user), user, DOMAIN, WRITTEN, ends, "text/plain", text.encode()
        )
        for text in texts
    ]
    engine = make_engine(gateway.kamailio.db_url)
    store(engine, rows)
    engine.dispose()


def _taken(phone: Phone) -> list[str]:
    return [message.text for message in phone.messages if message.answered == 200]


def _wait_count(phone: Phone, count: int) -> list[Received]:
    wait_until(lambda: len(phone.messages) >= count, SECONDS, f"{count} messages")
    return phone.messages


def _wait_none_kept(gateway: Gateway) -> None:
    wait_until(lambda: gateway.kept_messages() == 0, 30, "the rows are gone")


def test_a_thousand(office: Gateway, make_phone: MakePhone, bob: XmppUser) -> None:
    texts = _write(bob, office, MANY)
    phone = make_phone()
    _wait_count(phone, MANY)
    _wait_none_kept(office)
    assert [message.text for message in phone.messages] == texts
    assert phone.retransmissions == 0
    assert {message.from_uri for message in phone.messages} == {xmpp_contact("bob@localhost")}
    assert not any("Contact" in message.headers for message in phone.messages)
    dates = [parsedate_to_datetime(message.headers["Date"]).timestamp() for message in phone.messages]
    assert dates == sorted(dates)
    assert time.time() - 120 < dates[0] <= dates[-1] <= time.time()


def test_registered_again_and_again_meanwhile(office: Gateway, make_phone: MakePhone, bob: XmppUser) -> None:
    texts = _write(bob, office, SOME)
    phone = make_phone()
    registered = 0
    while len(phone.messages) < SOME:
        assert phone.register().status == 200
        registered += 1
    assert registered > 5
    _wait_none_kept(office)
    bob.send(ALICE, "the end")
    phone.wait_message(lambda message: message.text == "the end")
    assert _taken(phone) == [*texts, "the end"]


def test_another_phone_comes_in_the_middle(office: Gateway, make_phone: MakePhone, bob: XmppUser) -> None:
    """Each row is a MESSAGE to all phones that are there at that moment."""
    texts = _write(bob, office, SOME)
    first = make_phone()
    _wait_count(first, 20)
    first.hold()
    second = make_phone()
    first.go_on()
    _wait_count(first, SOME)
    _wait_none_kept(office)
    assert _taken(first) == texts
    assert 0 < len(second.messages) < SOME
    wait_until(lambda: _taken(second) == texts[-len(second.messages) :], 30, "the rest, on the second")


def test_two_phones_have_the_same_order(office: Gateway, make_phone: MakePhone, bob: XmppUser) -> None:
    """Each message leaves when one of them has answered the one before."""
    first, second = make_phone(), make_phone()
    texts = [f"to both {number}" for number in range(MANY)]
    for text in texts:
        bob.send(ALICE, text)
    _wait_count(first, MANY)
    _wait_count(second, MANY)
    assert _taken(first) == texts
    assert _taken(second) == texts


def test_a_phone_that_goes_silent(office: Gateway, make_phone: MakePhone, bob: XmppUser) -> None:
    """The rest stays, without a second copy of anything, and comes when the phone registers the next time."""
    texts = _write(bob, office, SOME)
    phone = make_phone()
    _wait_count(phone, 50)
    phone.hold()  # else it could be all over by now
    phone.answer = None
    phone.go_on()
    silent = _wait_silence(phone)
    bob.send(ALICE, "while it was silent")
    left = SOME - len(_taken(phone))
    wait_until(lambda: office.kept_messages() == left + 1, 25, "the row and all behind it stay")
    assert phone.messages[-1] is silent
    phone.answer = (200, "OK")
    phone.register()
    wait_until(lambda: len(_taken(phone)) > SOME, SECONDS, "all")
    _wait_none_kept(office)
    assert _taken(phone) == [*texts, "while it was silent"]


def _wait_silence(phone: Phone) -> Received:
    wait_until(lambda: phone.messages[-1].answered is None, 30, "a MESSAGE that is not answered")
    return phone.messages[-1]


def test_what_comes_meanwhile_comes_after(office: Gateway, make_phone: MakePhone, bob: XmppUser) -> None:
    texts, live = _write(bob, office, MANY), [f"live {number}" for number in range(20)]
    phone = make_phone()
    _wait_count(phone, 1)
    for text in live:
        bob.send(ALICE, text)
    bob.send_chat_state(ALICE, "composing")
    wait_until(lambda: len(_taken(phone)) >= MANY + len(live), SECONDS, "all")
    assert _taken(phone)[: MANY + len(live)] == texts + live
    assert [message for message in phone.messages if message.text in live and "Date" in message.headers] == []
    _wait_none_kept(office)


@pytest.mark.parametrize("answer", [(415, "Unsupported Media Type"), (603, "Decline")])
def test_what_a_phone_refuses_does_not_block_the_rest(
    office: Gateway, make_phone: MakePhone, bob: XmppUser, answer: tuple[int, str]
) -> None:
    _write(bob, office, 3)
    phone = make_phone(register=False)
    phone.answer = answer
    phone.register()
    _wait_none_kept(office)
    assert len(phone.messages) == 3
    assert f"is given up: {answer[0]}" in office.kamailio.log


@pytest.mark.parametrize("status", [500, 503, 504])
def test_a_message_on_which_a_phone_fails_does_not_block_the_rest(
    office: Gateway, make_phone: MakePhone, bob: XmppUser, status: int
) -> None:
    first, *others = _write(bob, office, 5)
    phone = make_phone(register=False)
    phone.answer = lambda request: (status, "No memory") if request.body.decode() == first else (200, "OK")
    phone.register()
    wait_until(lambda: office.kept_messages() == 1, 30, "all but that one are gone")
    assert [message.text for message in phone.messages] == [first, *others]
    bob.send(ALICE, "live")
    phone.wait_message(lambda message: message.text == "live")
    phone.answer = (200, "OK")
    phone.register()
    _wait_none_kept(office)
    assert _taken(phone) == [*others, "live", first]


def test_a_phone_that_does_not_read_cpim(office: Gateway, make_phone: MakePhone, bob: XmppUser) -> None:
    """The phone before it did: what was kept then arrives as text."""
    before = make_phone()
    content_type, body = outgoing.cpim_message(sip("alice"), xmpp_contact("bob@localhost"), "I read CPIM", WRITTEN)
    assert before.message(xmpp_contact("bob@localhost"), body.decode(), content_type).status == 202
    bob.wait_message()
    before.unregister()
    _ask_receipt(bob, "for whatever phone")
    wait_until(lambda: office.kept_messages() == 1, 30, "it is kept")
    phone = make_phone(register=False)
    phone.answer = lambda request: (415, "No CPIM") if request.headers["Content-Type"] == content_type else (200, "OK")
    phone.register()
    assert phone.wait_message().content_type == content_type
    plain = phone.wait_message()
    assert (plain.content_type, plain.text) == ("text/plain", "for whatever phone")
    _wait_none_kept(office)
    _ask_receipt(bob, "for this one")
    assert phone.wait_message().text == "for this one", "without a try in an envelope"


def _ask_receipt(bob: XmppUser, text: str) -> None:
    """XEP-0184: then it comes in an envelope to a phone that reads CPIM."""
    request = "<request xmlns='urn:xmpp:receipts'/>"
    bob.send_xml(f"<message to='{ALICE}' type='chat' id='{text}'><body>{text}</body>{request}</message>")


def test_killed_in_the_middle(tmp_path: Path) -> None:
    """Nothing is lost; the one that was on its way may come twice."""
    texts = [f"number {number}" for number in range(SOME)]
    with Gateway(tmp_path) as gateway:
        gateway.kamailio.stop()
        _keep(gateway, texts)
        gateway.kamailio.start()
        phone = gateway.phone("alice")
        _wait_count(phone, 50)
        phone.hold()
        gateway.kamailio.kill()
        before = len(phone.messages)
        assert before < SOME, "it was over before it could be killed"
        phone.go_on()
        gateway.kamailio.start()
        assert phone.register().status == 200
        _wait_none_kept(gateway)
        received = [message.text for message in phone.messages]
        assert list(dict.fromkeys(received)) == texts
        assert sorted(Counter(received).values())[-2:] in ([1, 1], [1, 2])
        assert received[:before] == texts[:before]


def test_what_comes_meanwhile_through_another_worker(tmp_path: Path, prosody: Prosody) -> None:
    """The worker of the account is not the one that hands out what is kept: its messages do not overtake."""
    name = next(name for name in map("order{}".format, range(100)) if _has_two_workers(name))
    jid = f"{name}@{prosody.domain}"
    prosody.add_user(name, PASSWORD)
    with Gateway(tmp_path, workers=2) as gateway:
        gateway.add_user(name)
        gateway.add_xmpp_account(name, prosody)
        phone = gateway.online_phone(name, jid, register=False)
        bob = gateway.xmpp_user(prosody, "bob")
        kept, live = [[f"{kind} {number}" for number in range(SOME)] for kind in ("kept", "live")]
        for text in kept:
            bob.send(jid, text)
        wait_until(lambda: gateway.kept_messages() == SOME, SECONDS, "all kept")
        assert phone.register().status == 200
        phone.wait_message()
        for text in live:
            bob.send(jid, text)
        _wait_count(phone, 2 * SOME)
        assert [message.text for message in phone.messages] == kept + live
        _wait_none_kept(gateway)
        bob.send(jid, "the end")
        phone.wait_message(lambda message: message.text == "the end")
        assert len(phone.messages) == 2 * SOME + 1


def _has_two_workers(name: str) -> bool:
    return keeper_of(f"{name}@{DOMAIN}", 2) != owner_of("prpl-jabber", f"{name}@localhost", 2)


def test_what_an_earlier_run_left(tmp_path: Path) -> None:
    """Not what has expired; also for a user whose name has capitals, who is told by all in lower case."""
    with Gateway(tmp_path) as gateway:
        gateway.add_user("Carla")
        gateway.kamailio.stop()
        _keep(gateway, ["long ago"], "carla", int(time.time()) - 7200)
        _keep(gateway, ["a little too late"], "carla", int(time.time()) - 1)
        _keep(gateway, ["in time"], "carla")
        gateway.kamailio.start()
        wait_until(lambda: gateway.kept_messages() == 2, 30, "what expired long ago is deleted")
        phone = gateway.phone("Carla")
        message = phone.wait_message()
        assert (message.text, message.headers["Date"]) == ("in time", "Tue, 14 Nov 2023 22:13:20 GMT")
        wait_until(lambda: gateway.kept_messages() == 1, 30, "its row is gone")
        assert len(phone.messages) == 1


def test_a_user_whose_name_has_capitals(tmp_path: Path, prosody: Prosody) -> None:
    with Gateway(tmp_path) as gateway:
        gateway.add_user("Carla")
        gateway.add_xmpp_account("Carla", prosody, "carol")
        phone = gateway.phone("Carla", register=False)
        gateway.publish_until_seen(phone, "Carla", "carol@localhost")
        gateway.wait_state("carol@localhost", "online")
        bob = gateway.xmpp_user(prosody, "bob")
        bob.send("carol@localhost", "for later")
        wait_until(lambda: gateway.kept_messages() == 1, 30, "it is kept")
        phone.register()
        assert phone.wait_message().text == "for later"
        _wait_none_kept(gateway)
