"""What an XMPP user writes, on its way to a SIP user's phones: each gets it, whole, in order, once; or it is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime

import pytest
from sqlalchemy import delete, select

from purple_bridge.db.engine import make_engine
from purple_bridge.db.tables import presentity, silo
from tests.agents.dialog import Dialog
from tests.agents.phone import Phone, Received
from tests.agents.pidf import pidf
from tests.agents.xmpp import XmppUser
from tests.gateway import PASSWORD, Gateway, sip, xmpp_contact
from tests.servers.prosody import Prosody
from tests.waiting import wait_until

ALICE = "alice@localhost"
COMPOSING = "application/im-iscomposing+xml"
PIECES = ("Grüße aus Köln, ", "👩\u200d👩\u200d👧 ", "naïve ", "\n\n", "<b>&amp;</b> ", "тест ", "x" * 40)

MakePhone = Callable[..., Phone]


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory, prosody: Prosody) -> Iterator[Gateway]:
    """A gateway with Alice, whose XMPP account is online although she has no phone yet."""
    with Gateway(tmp_path_factory.mktemp("gw")) as gateway:
        gateway.add_xmpp_account("alice", prosody)
        gateway.online_phone("alice", ALICE, register=False)
        yield gateway


@pytest.fixture
def make_phone(office: Gateway) -> Iterator[MakePhone]:
    """Phones of Alice, which are unregistered after the test; nothing is kept for her then."""
    made: list[Phone] = []

    def make(transport: str = "udp", register: bool = True) -> Phone:
        phone = Phone(sip("alice"), PASSWORD, ("127.0.0.1", office.kamailio.port), transport)
        made.append(phone)
        assert not register or phone.register().status == 200
        return phone

    yield make
    for phone in made:
        phone.answer = (200, "OK")
        phone.unregister()
        phone.close()
    _forget_kept(office)


@pytest.fixture
def bob(office: Gateway, prosody: Prosody) -> XmppUser:
    return office.xmpp_user(prosody, "bob")


def _forget_kept(gateway: Gateway) -> None:
    """So that a test that fails leaves nothing to the next one."""
    engine = make_engine(gateway.kamailio.db_url)
    with engine.begin() as connection:
        connection.execute(delete(silo))
    engine.dispose()


def _wait_next_second() -> None:
    """Kamailio knows the second in which a phone registered, by a clock that may be some milliseconds late."""
    now = int(time.time())
    wait_until(lambda: time.time() > now + 1.1, 3, "the next second")


def _wait_kept(gateway: Gateway, least: int = 1, timeout: float = 20) -> None:
    """Until that many rows are there and no more come."""
    wait_until(lambda: gateway.kept_messages() >= least, timeout, f"{least} messages kept")


def _taken(phone: Phone) -> list[Received]:
    return [message for message in phone.messages if message.answered == 200]


def _wait_texts(phone: Phone, text: str, timeout: float = 20) -> None:
    """Until all that the phone took, one after the other, is ``text``."""
    wait_until(lambda: len("".join(m.text for m in _taken(phone))) >= len(text), timeout, "the whole text")
    assert "".join(message.text for message in _taken(phone)) == text


def _datagrams(phone: Phone) -> list[bytes]:
    """Every MESSAGE as it came in."""
    heads = ("<-\nMESSAGE ",)
    return [entry[3:].encode() for entry in phone.trace if entry.startswith(heads)]


def _long_text(characters: int) -> str:
    text = "".join(f"{number}: {PIECES[number % len(PIECES)]}" for number in range(characters // 5))
    return text[:characters]


# ---- phones that are there


def test_every_phone_gets_it(make_phone: MakePhone, bob: XmppUser) -> None:
    phones = [make_phone(), make_phone(), make_phone("tcp")]
    bob.send(ALICE, "hello 👋")
    for phone in phones:
        message = phone.wait_message()
        assert (message.text, message.from_uri) == ("hello 👋", xmpp_contact("bob@localhost"))
        assert "Contact" not in message.headers  # RFC 3428 §4
        assert "Date" not in message.headers


def test_a_long_text_over_tcp_is_one_message(make_phone: MakePhone, bob: XmppUser) -> None:
    phone = make_phone("tcp")
    text = _long_text(10_000)
    bob.send(ALICE, text)
    assert phone.wait_message().text == text
    assert len(phone.messages) == 1


def test_a_long_text_over_udp_comes_in_parts(make_phone: MakePhone, bob: XmppUser) -> None:
    """RFC 3428 §8: at most 1300 octets each."""
    phone = make_phone()
    text = _long_text(10_000)
    bob.send(ALICE, "before")
    bob.send(ALICE, text)
    bob.send(ALICE, "after")
    _wait_texts(phone, f"before{text}after")
    sizes = [len(datagram) for datagram in _datagrams(phone)]
    assert max(sizes) <= 1300
    assert len(sizes) < 40
    assert len({message.headers["Call-ID"] for message in phone.messages}) == len(sizes)


def test_a_text_that_just_fits_is_not_cut(make_phone: MakePhone, bob: XmppUser) -> None:
    phone = make_phone()
    for characters in range(600, 1000, 20):
        bob.send(ALICE, "y" * characters)
    _wait_texts(phone, "y" * sum(range(600, 1000, 20)))
    assert 1200 < max(len(datagram) for datagram in _datagrams(phone)) <= 1300


def test_a_phone_over_udp_beside_one_over_tcp(make_phone: MakePhone, bob: XmppUser) -> None:
    phones = [make_phone("tcp"), make_phone()]
    text = _long_text(3_000)
    bob.send(ALICE, text)
    for phone in phones:
        _wait_texts(phone, text)
    assert max(len(datagram) for datagram in _datagrams(phones[1])) <= 1300


def test_two_hundred_messages_stay_in_order(make_phone: MakePhone, bob: XmppUser) -> None:
    phone = make_phone()
    for number in range(200):
        bob.send(ALICE, f"number {number}")
    wait_until(lambda: len(phone.messages) >= 200, 30, "200 messages")
    assert [message.text for message in phone.messages] == [f"number {number}" for number in range(200)]


# ---- phones that are not there


def test_what_comes_while_the_phone_is_off(office: Gateway, make_phone: MakePhone, bob: XmppUser) -> None:
    """It outlives a restart, and arrives at the next REGISTER, in order, once."""
    texts = [_long_text(4_000) if number % 7 == 3 else f"{number}: äöü 😀 {PIECES[number % 7]}" for number in range(30)]
    for text in texts:
        bob.send(ALICE, text)
    _wait_kept(office, 30)
    wait_until(lambda: _settled(office), 20, "all are kept")
    office.kamailio.restart()
    started = int(time.time())
    phone = make_phone()
    _wait_texts(phone, "".join(texts))
    assert max(len(datagram) for datagram in _datagrams(phone)) <= 1300
    dates = [parsedate_to_datetime(message.headers["Date"]).timestamp() for message in phone.messages]
    assert dates == sorted(dates)
    assert started - 60 < dates[0] <= dates[-1] <= started
    assert {message.from_uri for message in phone.messages} == {xmpp_contact("bob@localhost")}
    assert not any("Contact" in message.headers for message in phone.messages)
    wait_until(lambda: office.kept_messages() == 0, 30, "the rows are gone")
    received = len(phone.messages)
    phone.register()
    office.wait_state(ALICE, "online")
    bob.send(ALICE, "the end")
    phone.wait_message(lambda message: message.text == "the end")
    assert len(phone.messages) == received + 1, "something came twice"


def test_what_is_kept_on_each_database(any_gateway: Gateway, prosody: Prosody) -> None:
    prosody.add_user("keeper", PASSWORD)
    any_gateway.add_xmpp_account("bob", prosody, "keeper")
    any_gateway.online_phone("bob", "keeper@localhost", register=False)
    bob = any_gateway.xmpp_user(prosody, "bob")
    texts = ['it\'s \\ "äöü" 😀; -- %s', _long_text(3_000), "\n"]
    for text in texts:
        bob.send("keeper@localhost", text)
    wait_until(lambda: any_gateway.kept_messages() > len(texts) and _settled(any_gateway), 20, "all of them kept")
    phone = any_gateway.phone("bob")
    _wait_texts(phone, "".join(texts))
    wait_until(lambda: any_gateway.kept_messages() == 0, 30, "the rows are gone")
    assert all(message.headers["Date"] for message in phone.messages)
    phone.unregister()


def _settled(gateway: Gateway) -> bool:
    """No row was added for a moment."""
    before = gateway.kept_messages()
    end = time.monotonic() + 1
    wait_until(lambda: time.monotonic() >= end, 5, "a second")
    return gateway.kept_messages() == before


def test_a_delayed_message_keeps_its_time(office: Gateway, make_phone: MakePhone, bob: XmppUser) -> None:
    """XEP-0203: the XMPP server had it while the account was offline; the phone was off as well."""
    phone, publisher = make_phone(register=False), make_phone(register=False)
    _all_phones_say(office, publisher, online=False)
    written = int(time.time())
    bob.send(ALICE, "while nobody was there")
    wait_until(lambda: time.time() > written + 3, 5, "three seconds")
    _all_phones_say(office, publisher, online=True)
    _wait_kept(office)
    phone.register()
    message = phone.wait_message(lambda message: message.text == "while nobody was there")
    assert written <= parsedate_to_datetime(message.headers["Date"]).timestamp() <= written + 2


def _all_phones_say(gateway: Gateway, phone: Phone, online: bool) -> None:
    """Of all publications the one that there is."""
    engine = make_engine(gateway.kamailio.db_url)
    with engine.connect() as connection:
        phone.etag = connection.execute(select(presentity.c.etag)).scalar_one()
    engine.dispose()
    assert phone.publish(pidf(sip("alice"), basic="open" if online else "closed")).status == 200
    gateway.wait_state(ALICE, "online" if online else "offline")


def test_a_silent_phone(office: Gateway, make_phone: MakePhone, bob: XmppUser) -> None:
    """All that waits behind the first message is kept at once, not after 12 s each."""
    phone = make_phone()
    phone.answer = None
    texts = [f"to a silent phone {number}" for number in range(10)]
    for text in texts:
        bob.send(ALICE, text)
    _wait_kept(office, 10, timeout=25)
    assert {message.text for message in phone.messages} == {texts[0]}
    phone.answer = (200, "OK")
    phone.register()
    _wait_texts(phone, "".join(texts))
    wait_until(lambda: office.kept_messages() == 0, 30, "the rows are gone")
    assert len(_taken(phone)) == 10


def test_another_phone_registers_while_one_is_silent(office: Gateway, make_phone: MakePhone, bob: XmppUser) -> None:
    """It gets what the silent one did not take, without another REGISTER."""
    silent = make_phone()
    silent.answer = None
    bob.send(ALICE, "is there anybody?")
    silent.wait_message()
    _wait_next_second()
    phone = make_phone()
    assert phone.wait_message().text == "is there anybody?"
    wait_until(lambda: office.kept_messages() == 0, 30, "the row is gone")


def test_a_phone_that_refuses_what_is_kept_gets_it_later(office: Gateway, make_phone: MakePhone, bob: XmppUser) -> None:
    """The row of a MESSAGE that no phone took stays, and is sent again at the next REGISTER."""
    phone = make_phone(register=False)
    bob.send(ALICE, "not now")
    _wait_kept(office)
    phone.answer = (480, "Temporarily Unavailable")
    phone.register()
    phone.wait_message()
    phone.answer = (200, "OK")

    def registered_again() -> bool:
        phone.register()
        return bool(_taken(phone))

    wait_until(registered_again, 30, "the message at a later REGISTER")
    wait_until(lambda: office.kept_messages() == 0, 30, "the row is gone")
    assert len(_taken(phone)) == 1


# ---- messages that no phone will ever take


@pytest.mark.parametrize(
    ("answer", "condition"), [((415, "Unsupported Media Type"), "not-acceptable"), ((603, "Decline"), "unavailable")]
)
def test_what_a_phone_refuses_comes_back(
    office: Gateway, make_phone: MakePhone, bob: XmppUser, answer: tuple[int, str], condition: str
) -> None:
    phone = make_phone()
    phone.answer = answer
    bob.send(ALICE, f"to be refused with {answer[0]}")
    phone.wait_message()
    assert condition in bob.wait_error().xml
    phone.answer = (200, "OK")
    bob.send(ALICE, "next")
    phone.wait_message(lambda message: message.text == "next")
    assert office.kept_messages() == 0


def test_a_user_that_is_none(office: Gateway, bob: XmppUser, prosody: Prosody) -> None:
    office.add_xmpp_account("nobody", prosody, "carol")
    publisher = office.phone("bob")
    office.add_xmpp_account("bob", prosody, "carol")
    office.publish_until_seen(publisher, "bob", "carol@localhost")
    office.wait_state("carol@localhost", "online")
    wait_until(lambda: "sip:nobody@example.org" in _sip_users(office, "carol@localhost"), 30, "the second row")
    bob.send("carol@localhost", "who are you?")
    assert publisher.wait_message().text == "who are you?"
    assert "item-not-found" in bob.wait_error().xml


def _sip_users(gateway: Gateway, ext_user: str) -> list[str]:
    return [f"sip:{user}" for user in gateway.account(ext_user).get("sip_users", [])]


# ---- typing notices (RFC 3994)


def test_typing_notices(make_phone: MakePhone, bob: XmppUser) -> None:
    phone = make_phone()
    bob.send_chat_state(ALICE, "composing")
    active = phone.wait_message(lambda message: message.content_type == COMPOSING)
    assert b"<state>active</state>" in active.body
    bob.send_chat_state(ALICE, "paused")
    idle = phone.wait_message(lambda message: message.content_type == COMPOSING)
    assert b"<state>idle</state>" in idle.body


def test_a_phone_that_does_not_know_typing_notices(make_phone: MakePhone, bob: XmppUser) -> None:
    """RFC 3994 §4: after a 415 no more of them, until a phone registers."""
    phone = make_phone()
    phone.answer = (415, "Unsupported Media Type")
    bob.send_chat_state(ALICE, "composing")
    phone.wait_message(lambda message: message.content_type == COMPOSING)
    phone.answer = (200, "OK")
    bob.send(ALICE, "one")
    phone.wait_message(lambda message: message.text == "one")
    bob.send_chat_state(ALICE, "composing")
    bob.send(ALICE, "two")
    phone.wait_message(lambda message: message.text == "two")
    assert [message.content_type for message in phone.messages].count(COMPOSING) == 1
    _wait_next_second()
    phone.register()
    bob.send_chat_state(ALICE, "composing")
    phone.wait_message(lambda message: message.content_type == COMPOSING)


def test_typing_is_not_kept(office: Gateway, make_phone: MakePhone, bob: XmppUser) -> None:
    phone = make_phone(register=False)
    bob.send_chat_state(ALICE, "composing")
    bob.send(ALICE, "a message")
    _wait_kept(office)
    phone.register()
    assert phone.wait_message().text == "a message"
    assert len(phone.messages) == 1


# ---- who is believed


def test_only_the_gateway_itself_may_ask_for_what_is_kept(office: Gateway, make_phone: MakePhone) -> None:
    """The internal listener is on loopback, where any program can send."""
    phone = make_phone()
    stranger = Phone(sip("alice"), PASSWORD, ("127.0.0.1", office.kamailio.internal_port))
    for method in ("MESSAGE", "OPTIONS"):
        uri = f"{sip('alice')};proto=purple;since=0"
        dialog = Dialog(sip("bob"), uri, uri)
        assert stranger.send_in_dialog(dialog, method, [("Content-Type", "text/plain")], b"x").status == 403
    assert phone.messages == []
    stranger.close()


# ---- the end


def test_a_restart_while_a_phone_is_silent(office: Gateway, make_phone: MakePhone, bob: XmppUser) -> None:
    """What waits for its answer is written down before the gateway ends.

    The XMPP server may deliver again what was not acknowledged to it at that moment, to a worker that is not the one
    which hands out what is kept; so the phone comes back when that has been kept, too.
    """
    phone = make_phone()
    phone.answer = None
    texts = [f"before the restart {number}" for number in range(5)]
    for text in texts:
        bob.send(ALICE, text)
    phone.wait_message()
    phone.unregister()
    office.kamailio.restart()
    office.wait_state(ALICE, "online")
    wait_until(lambda: _settled(office), 30, "all are kept")
    phone.answer = (200, "OK")
    phone.register()
    wait_until(lambda: {message.text for message in _taken(phone)} == set(texts), 30, "all texts")
    assert list(dict.fromkeys(message.text for message in _taken(phone))) == texts
