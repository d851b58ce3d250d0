"""Whom a message reaches, and what a phone is told when it reaches nobody."""

from __future__ import annotations

import pytest

from tests.agents.phone import Phone
from tests.gateway import Gateway, sip, xmpp_contact
from tests.servers.ngircd import Ngircd
from tests.servers.prosody import Prosody


@pytest.fixture(scope="module")
def phone(gateway: Gateway, prosody: Prosody) -> Phone:
    """Carol's phone; her XMPP account is online."""
    gateway.add_xmpp_account("carol", prosody)
    return gateway.online_phone("carol", "carol@localhost")


@pytest.fixture(scope="module")
def irc_phone(gateway: Gateway, ngircd: Ngircd) -> Phone:
    """Erin's phone; her IRC account is online."""
    gateway.add_irc_account("erin", ngircd, "erin")
    return gateway.online_phone("erin", "erin@127.0.0.1")


def test_contact_with_a_row_is_known_by_its_sip_user(gateway: Gateway, prosody: Prosody, phone: Phone) -> None:
    gateway.add_xmpp_account("dave", prosody)
    dave = gateway.xmpp_user(prosody, "dave")
    assert phone.message(sip("dave"), "by your SIP name").status == 202
    assert dave.wait_message().body == "by your SIP name"
    dave.send("carol@localhost", "and back")
    assert phone.wait_message().from_uri == sip("dave")


def test_sip_user_is_matched_without_case_port_and_parameters(gateway: Gateway, prosody: Prosody, phone: Phone) -> None:
    bob = gateway.xmpp_user(prosody, "bob")
    uri = xmpp_contact("bob@localhost").replace("sip:", "sip:").replace("@xmpp", "@XMPP") + ":5060;transport=udp"
    assert phone.message(uri, "spelled differently").status == 202
    assert bob.wait_message().body == "spelled differently"


def test_proto_purple_from_outside_means_nothing(gateway: Gateway, prosody: Prosody, phone: Phone) -> None:
    bob = gateway.xmpp_user(prosody, "bob")
    assert phone.message(xmpp_contact("bob@localhost") + ";proto=purple", "just a message").status == 202
    assert bob.wait_message(lambda message: message.body == "just a message")


def test_irc_user_and_phone_write_to_each_other(gateway: Gateway, ngircd: Ngircd, irc_phone: Phone) -> None:
    nick = gateway.irc_user(ngircd, "guest")
    contact = "sip:guest@irc.im.example.org"
    assert irc_phone.message(contact, "hello over IRC <&> 😀").status == 202
    received = nick.wait_message()
    assert (received.sender, received.text) == ("erin", "hello over IRC <&> 😀")
    nick.privmsg("erin", "hello phone <&>")
    message = irc_phone.wait_message()
    assert (message.text, message.from_uri) == ("hello phone <&>", contact)


@pytest.mark.parametrize("name", ["guest%20:x", "guest,root", "guest%0d%0aQUIT"])
def test_name_that_would_be_more_than_one_irc_target(irc_phone: Phone, name: str) -> None:
    assert irc_phone.message(f"sip:{name}@irc.im.example.org", "hello").status == 400


def test_text_that_looks_like_irc_commands(gateway: Gateway, ngircd: Ngircd, irc_phone: Phone) -> None:
    nick = gateway.irc_user(ngircd, "reader")
    assert irc_phone.message("sip:reader@irc.im.example.org", "/quit\r\nQUIT :bye").status == 202
    assert [nick.wait_message().text, nick.wait_message().text] == ["/quit", "QUIT :bye"]


def test_sender_without_a_row_is_told(gateway: Gateway) -> None:
    phone = gateway.phone("frank")
    answer = phone.message(xmpp_contact("bob@localhost"), "who am I?")
    assert answer.status == 403
    assert "account" in answer.reason


def test_watcher_without_an_account_sees_nobody(gateway: Gateway) -> None:
    watch = gateway.phone("bob").subscribe(xmpp_contact("dave@localhost"))
    assert watch.status == 403


def test_unknown_recipient_is_told(phone: Phone) -> None:
    answer = phone.message("sip:nobody@example.org", "anybody?")
    assert answer.status == 404


def test_account_on_no_matching_network(phone: Phone) -> None:
    assert phone.message("sip:someone@simple.im.example.org", "hello").status == 403


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("image/png", b"\x89PNG", 415),
        ("text/plain", b"", 400),
        ("text/plain;charset=utf-8", b"\xff\xfe\xfa", 400),
        ("text/plain;charset=klingon", b"qapla", 400),
        ("text/plain", b"x\x07y", 400),
    ],
)
def test_bodies_that_cannot_be_carried(phone: Phone, content_type: str, body: bytes, status: int) -> None:
    headers = {"Content-Type": content_type} if body else {}
    answer = phone.request("MESSAGE", xmpp_contact("bob@localhost"), headers, body)
    assert answer.status == status
    assert (status == 415) == (answer.headers.get("Accept") != "")


def test_oversize_body(gateway: Gateway, phone: Phone) -> None:
    with Phone(sip("carol"), "secret", ("127.0.0.1", gateway.kamailio.port), transport="tcp") as over_tcp:
        assert over_tcp.message(xmpp_contact("bob@localhost"), "x" * 64_100).status == 413


def test_latin1_by_charset(gateway: Gateway, prosody: Prosody, phone: Phone) -> None:
    bob = gateway.xmpp_user(prosody, "bob")
    headers = {"Content-Type": "text/plain;charset=iso-8859-1"}
    answer = phone.request("MESSAGE", xmpp_contact("bob@localhost"), headers, "Grüße".encode("latin-1"))
    assert answer.status == 202
    assert bob.wait_message(lambda message: message.body == "Grüße")


@pytest.mark.parametrize("body", [b"<presence", b"<!DOCTYPE x [<!ENTITY a 'b'>]><presence>&a;</presence>", b"hello"])
def test_malformed_pidf_is_refused_and_changes_nothing(gateway: Gateway, phone: Phone, body: bytes) -> None:
    assert phone.publish(body).status == 400
    assert gateway.account("carol@localhost")["state"] == "online"


def test_retransmission_is_delivered_once(gateway: Gateway, prosody: Prosody, phone: Phone) -> None:
    bob = gateway.xmpp_user(prosody, "bob")
    before = len(phone.trace)
    assert phone.message(xmpp_contact("bob@localhost"), "three times").status == 202
    sent = next(text for text in phone.trace[before:] if "Proxy-Authorization" in text and "three times" in text)
    request = sent[sent.index("MESSAGE sip:") :]
    for _ in range(2):
        phone.send_raw(request.encode())
    assert phone.message(xmpp_contact("bob@localhost"), "the end").status == 202
    bob.wait_message(lambda message: message.body == "the end")
    assert [message.body for message in bob.messages].count("three times") == 1


def test_wrong_accounts_are_explained(gateway: Gateway, prosody: Prosody) -> None:
    local = {"connect_server": "127.0.0.1", "connection_security": "opportunistic_tls"}
    gateway.add_account("frank", "prpl-nothing", "frank@nowhere")
    gateway.add_account("frank", "prpl-jabber", "alice@localhost", "wrong", port=prosody.port, **local)
    gateway.add_account("frank", "prpl-jabber", "frank@unreachable.invalid", "x", port=1, **local)
    gateway.add_account("frank", "prpl-jabber", "dave2@localhost", None, port=prosody.port, **local)
    gateway.add_account("frank", "prpl-jabber", "frank@options.invalid", "x", colour="blue")
    phone = gateway.phone("frank")
    gateway.publish_until_seen(phone, "frank", "frank@nowhere")
    expected = {
        "frank@nowhere": "prpl-nothing",
        "alice@localhost": "password",
        "frank@unreachable.invalid": "connect",
        "dave2@localhost": "assword",
        "frank@options.invalid": "colour",
    }
    for ext_user, words in expected.items():
        state = gateway.wait_state(ext_user, "error")
        assert words in state["error"]
    log = gateway.kamailio.log
    assert log.count("account prpl-nothing frank@nowhere: error") == 1


def test_contact_that_asks_is_answered_by_message(gateway: Gateway, prosody: Prosody, phone: Phone) -> None:
    bob = gateway.xmpp_user(prosody, "bob")
    bob.subscribe("carol@localhost")
    question = phone.wait_message(lambda message: "yes or no" in message.text)
    assert question.from_uri == xmpp_contact("bob@localhost")
    assert phone.message(question.from_uri, "yes").status == 202
    bob.wait_presence(lambda presence: presence.type == "subscribed")
    assert "yes" not in [message.body for message in bob.messages]


def test_gtalk_is_xmpp_with_a_server_of_its_own(gateway: Gateway, prosody: Prosody) -> None:
    gateway.add_account("grace", "gtalk", "bob@localhost", "secret", **prosody.account_options)
    client = gateway.xmpp_user(prosody, "dave")
    phone = gateway.online_phone("grace", "bob@localhost")
    assert phone.message("sip:dave*localhost@gtalk.im.example.org", "over gtalk").status == 202
    assert client.wait_message().body == "over gtalk"


def test_irc_accounts_of_two_sip_users_are_each_others_contacts(gateway: Gateway, ngircd: Ngircd) -> None:
    """A row has nick@server; on the network the user is the nick."""
    gateway.add_user("irene")
    gateway.add_user("ivan")
    gateway.add_irc_account("irene", ngircd, "irene_nick")
    gateway.add_irc_account("ivan", ngircd, "ivan_nick")
    irene = gateway.online_phone("irene", "irene_nick@127.0.0.1")
    ivan = gateway.online_phone("ivan", "ivan_nick@127.0.0.1")
    assert irene.message(sip("ivan"), "over IRC").status == 202
    received = ivan.wait_message(lambda message: message.text == "over IRC")
    assert received.from_uri == sip("irene")
    assert ivan.message(sip("irene"), "and back").status == 202
    assert irene.wait_message(lambda message: message.text == "and back").from_uri == sip("ivan")
