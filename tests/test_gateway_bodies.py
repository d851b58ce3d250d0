"""Every text of tests/bodies.py from end to end: phone to gateway to chat server to contact, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import pytest

from purple_bridge.functions.request import MAX_NOT_UTF_8
from tests.agents.irc import IrcUser
from tests.agents.phone import Phone, Received
from tests.agents.xmpp import XmppUser
from tests.bodies import (
    BODIES,
    CHARSETS,
    CONTROLS,
    NICK,
    OF_CONTACTS,
    READ_IN_IRC,
    Body,
    are_pieces,
    trimmed,
)
from tests.gateway import Gateway, xmpp_contact
from tests.servers.ngircd import Ngircd
from tests.servers.prosody import Prosody
from tests.waiting import wait_until

MARK = "-- the end of this one --"
SECONDS = 30.0
LARGEST = 1300  # octets of a MESSAGE over UDP, RFC 3428 §8

JUDY = xmpp_contact("judy@localhost")
PEER = f"sip:{NICK}@irc.im.example.org"

Arrived = dict[str, list[str]]  # by the name of the body: what came before its mark


@pytest.fixture(scope="module")
def by_udp(gateway: Gateway, prosody: Prosody) -> Phone:
    """Henry's phone, with an account on XMPP."""
    gateway.add_user("henry")
    prosody.add_user("henry", "secret")
    gateway.add_xmpp_account("henry", prosody)
    return gateway.online_phone("henry", "henry@localhost")


@pytest.fixture(scope="module")
def by_tcp(gateway: Gateway, prosody: Prosody, ngircd: Ngircd) -> Phone:
    """Iris' phone, with an account on XMPP and one on IRC."""
    gateway.add_user("iris")
    prosody.add_user("iris", "secret")
    gateway.add_xmpp_account("iris", prosody)
    gateway.add_irc_account("iris", ngircd, "iris", **{"ratelimit-interval": 0})
    phone = gateway.online_phone("iris", "iris@localhost", "tcp")
    gateway.wait_state("iris@127.0.0.1", "online")
    return phone


@pytest.fixture(params=["udp", "tcp"])
def phone(request: pytest.FixtureRequest) -> Phone:
    found: Phone = request.getfixturevalue(f"by_{request.param}")
    return found


@pytest.fixture
def judy(gateway: Gateway, prosody: Prosody) -> XmppUser:
    prosody.add_user("judy", "secret")
    return gateway.xmpp_user(prosody, "judy")


@pytest.fixture
def peer(gateway: Gateway, ngircd: Ngircd) -> IrcUser:
    return gateway.irc_user(ngircd, NICK)


# ---- what arrives, and how it differs


def _send(phone: Phone, uri: str, bodies: Iterable[Body]) -> None:
    """Each, and behind it a mark."""
    for body in bodies:
        for text in (body.text, MARK):
            assert phone.message(uri, text).status == 202, body.name


def _arrived(texts: Callable[[], list[str]], names: Sequence[str]) -> Arrived:
    """A text without its mark counts as not arrived, so that it is told by name."""
    with suppress(AssertionError):
        wait_until(lambda: texts().count(MARK) >= len(names), SECONDS, "the last mark")
    groups: list[list[str]] = [[]]
    for text in texts():
        if text == MARK:
            groups.append([])
        else:
            groups[-1].append(text)
    return dict(zip(names, groups[:-1], strict=False))


def _check(arrived: Arrived, expected: Arrived) -> None:
    """All that differ, by name."""
    wrong = [name for name, texts in expected.items() if arrived.get(name) != texts]
    said = [f"{name}: {_short(arrived.get(name))} instead of {_short(expected[name])}" for name in wrong]
    assert not wrong, "\n".join(["", *said])


def _short(texts: list[str] | None) -> str:
    if texts is None:
        return "nothing"
    shown = ascii(texts)
    return shown if len(shown) < 200 else f"{shown[:90]} ... {shown[-90:]} ({len(texts)} texts)"


def _exact(bodies: Iterable[Body]) -> Arrived:
    return {body.name: [body.in_im] for body in bodies}


# ---- XMPP


def test_from_a_phone_to_xmpp(phone: Phone, judy: XmppUser) -> None:
    _send(phone, JUDY, BODIES)
    arrived = _arrived(lambda: [message.body for message in judy.messages], [body.name for body in BODIES])
    _check(arrived, _exact(BODIES))


def _from_judy(judy: XmppUser, phone: Phone, bodies: Sequence[Body]) -> tuple[Arrived, list[Received]]:
    known, account = len(phone.messages), phone.aor.removeprefix("sip:").partition("@")[0]
    for body in bodies:
        judy.send(f"{account}@localhost", body.text)
        judy.send(f"{account}@localhost", MARK)
    arrived = _arrived(lambda: [one.text for one in phone.messages[known:]], [body.name for body in bodies])
    return arrived, phone.messages[known:]


def test_from_xmpp_to_a_phone_over_tcp(by_tcp: Phone, judy: XmppUser) -> None:
    bodies = (*BODIES, *OF_CONTACTS)
    arrived, messages = _from_judy(judy, by_tcp, bodies)
    pieces = arrived.get("60,000 of other scripts", [])
    assert len(pieces) > 1, "more than a datagram holds, on its way through the gateway"
    arrived["60,000 of other scripts"] = ["".join(pieces)]
    _check(arrived, _exact(bodies))
    assert {message.from_uri for message in messages} == {JUDY}


def test_from_xmpp_to_a_phone_over_udp(by_udp: Phone, judy: XmppUser) -> None:
    known, bodies = len(by_udp.trace), (*BODIES, *OF_CONTACTS)
    arrived, _ = _from_judy(judy, by_udp, bodies)
    _check({name: ["".join(parts)] for name, parts in arrived.items()}, _exact(bodies))
    assert [body.name for body in bodies if len(body.text.encode()) < 600 and len(arrived[body.name]) != 1] == []
    sizes = [len(entry.encode()) - len("<-\n") for entry in by_udp.trace[known:] if entry.startswith("<-\nMESSAGE ")]
    assert max(sizes) <= LARGEST


def test_what_waits_for_the_account(gateway: Gateway, by_udp: Phone, judy: XmppUser) -> None:
    """In the database, until the phone publishes again."""
    assert by_udp.publish(None, expires=0).status == 200
    gateway.wait_state("henry@localhost", "offline")
    _send(by_udp, JUDY, BODIES)
    assert judy.messages == []
    gateway.publish_until_seen(by_udp, "henry", "henry@localhost")
    arrived = _arrived(lambda: [message.body for message in judy.messages], [body.name for body in BODIES])
    _check(arrived, _exact(BODIES))


def test_what_waits_for_the_phone(gateway: Gateway, by_udp: Phone, judy: XmppUser) -> None:
    """In the database, until the phone registers again; then in the order of writing."""
    known, texts = len(by_udp.messages), [body.in_im for body in BODIES if not body.long]
    assert by_udp.unregister().status == 200
    before = gateway.kept_messages()
    for text in texts:
        judy.send("henry@localhost", text)
    wait_until(lambda: gateway.kept_messages() >= before + len(texts), SECONDS, "all are kept")
    assert len(by_udp.messages) == known
    assert by_udp.register().status == 200
    wait_until(lambda: len(by_udp.messages) >= known + len(texts), SECONDS, "all have come")
    assert [message.text for message in by_udp.messages[known:]] == texts


@pytest.mark.parametrize("uri", [JUDY, PEER])
def test_what_cannot_be_carried_is_refused(by_tcp: Phone, uri: str) -> None:
    answers = {body.name: by_tcp.message(uri, body.text).status for body in CONTROLS}
    assert answers == dict.fromkeys(answers, 400)


def test_charsets_of_a_phone(by_tcp: Phone, judy: XmppUser) -> None:
    expected = {f"{charset} {codec} {text[:20]}": [text] for charset, codec, text in CHARSETS}
    for name, (charset, codec, text) in zip(expected, CHARSETS, strict=True):
        headers = {"Content-Type": f"text/plain;charset={charset}"}
        assert by_tcp.request("MESSAGE", JUDY, headers, text.encode(codec)).status == 202, name
        by_tcp.message(JUDY, MARK)
    _check(_arrived(lambda: [message.body for message in judy.messages], list(expected)), expected)


def test_another_charset_than_utf_8_has_less_room(by_tcp: Phone) -> None:
    headers = {"Content-Type": "text/plain;charset=iso-8859-1"}
    body = b"\xfc" * (MAX_NOT_UTF_8 + 1)
    assert by_tcp.request("MESSAGE", JUDY, headers, body).status == 413


# ---- IRC


def test_from_a_phone_to_irc(by_tcp: Phone, peer: IrcUser) -> None:
    bodies = [body for body in BODIES if body.in_irc]
    _send(by_tcp, PEER, bodies)
    arrived = _arrived(lambda: [message.text for message in peer.messages], [body.name for body in bodies])
    expected = {body.name: [trimmed(line) for line in body.in_irc] for body in bodies if not body.long}
    _check(arrived, expected)
    wrong = [body.name for body in bodies if body.long and not _is_cut(body.text, arrived.get(body.name, []))]
    assert not wrong


def _is_cut(text: str, lines: list[str]) -> bool:
    """Each piece of an action is one (CTCP)."""
    if not text.startswith("/me "):
        return are_pieces(lines, text)
    said = [line.removeprefix("\x01ACTION ").removesuffix("\x01") for line in lines]
    are_actions = lines == [f"\x01ACTION {piece}\x01" for piece in said]
    return are_actions and are_pieces(said, text.removeprefix("/me "))


def test_what_irc_cannot_say_is_told(by_tcp: Phone) -> None:
    for body in BODIES:
        if not body.in_irc:
            assert by_tcp.message(PEER, body.text).status == 202
            told = by_tcp.wait_message(lambda message: message.from_uri == PEER)
            assert told.text.startswith(f"Your message to {NICK} was not delivered"), body.name


def test_from_irc_to_a_phone(by_tcp: Phone, peer: IrcUser) -> None:
    known = len(by_tcp.messages)
    expected = {trimmed(line): [trimmed(line) if shown == line else shown] for line, shown in READ_IN_IRC}
    for line in expected:
        peer.privmsg("iris", line)
        peer.privmsg("iris", MARK)
    _check(_arrived(lambda: [one.text for one in by_tcp.messages[known:]], list(expected)), expected)
    assert {message.from_uri for message in by_tcp.messages[known:]} == {PEER}
