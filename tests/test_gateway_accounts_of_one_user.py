"""A user with several accounts on one network: what his phone answers leaves by the one to which the contact wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agents.irc import IrcUser
from tests.agents.phone import Phone
from tests.agents.xmpp import XmppUser
from tests.gateway import Gateway, xmpp_contact
from tests.servers.ngircd import Ngircd
from tests.servers.prosody import Prosody

HOME, WORK = "al-home@localhost", "al-work@localhost"


@pytest.fixture
def phone(own_gateway: Gateway, prosody: Prosody) -> Phone:
    """Alice's, with two accounts on XMPP."""
    for account in (HOME, WORK):
        name = account.partition("@")[0]
        prosody.add_user(name, "secret")
        own_gateway.add_xmpp_account("alice", prosody, name)
    phone = own_gateway.online_phone("alice", HOME)
    own_gateway.wait_state(WORK, "online")
    return phone


def _write_and_answer(carol: XmppUser, account: str, phone: Phone, number: int) -> str:
    """Carol writes to the account; from which one the answer comes."""
    carol.send(account, f"text {number}")
    message = phone.wait_message(lambda one: one.text == f"text {number}")
    assert message.from_uri == xmpp_contact("carol@localhost")
    assert phone.message(message.from_uri, f"answer {number}").status == 202
    return carol.wait_message(lambda one: one.body == f"answer {number}").from_bare


def test_an_answer_leaves_by_the_account_to_which_the_contact_wrote_last(
    own_gateway: Gateway, prosody: Prosody, phone: Phone
) -> None:
    carol = own_gateway.xmpp_user(prosody, "carol")
    accounts = [WORK, HOME, WORK, WORK, HOME]
    assert [_write_and_answer(carol, account, phone, number) for number, account in enumerate(accounts)] == accounts


def test_yes_is_the_answer_to_the_account_that_was_asked(own_gateway: Gateway, prosody: Prosody, phone: Phone) -> None:
    carol = own_gateway.xmpp_user(prosody, "carol")
    carol.subscribe(WORK)
    question = phone.wait_message(lambda one: "Answer yes or no" in one.text)
    assert phone.message(question.from_uri, "yes").status == 202
    carol.wait_presence(lambda one: one.type == "subscribed" and one.from_bare == WORK)
    assert carol.messages == []


def _answered(user: IrcUser, phone: Phone, text: str) -> str:
    """The user writes to Alice; which address the phone sees, to which it answers."""
    user.privmsg("alice", text)
    message = phone.wait_message(lambda one: one.text == text)
    assert phone.message(message.from_uri, f"re {text}").status == 202
    user.wait_message(lambda one: one.text == f"re {text}")
    return message.from_uri


def test_two_people_of_one_nick_on_two_irc_servers(own_gateway: Gateway, ngircd: Ngircd, tmp_path: Path) -> None:
    with Ngircd(tmp_path / "two") as two:
        own_gateway.add_irc_account("alice", ngircd, "alice")
        own_gateway.add_account("alice", "prpl-irc", "alice@localhost", None, port=two.port)
        phone = own_gateway.online_phone("alice", "alice@127.0.0.1")
        own_gateway.wait_state("alice@localhost", "online")
        here, there = own_gateway.irc_user(ngircd, "bob"), own_gateway.irc_user(two, "bob")
        uri = _answered(there, phone, "from two")
        assert uri == "sip:bob*localhost@irc.im.example.org"
        assert _answered(here, phone, "from one") == "sip:bob@irc.im.example.org"
        assert [message.text for message in there.messages] == ["re from two"]
        assert [message.text for message in here.messages] == ["re from one"]
        own_gateway.kamailio.restart()
        own_gateway.wait_state("alice@localhost", "online")
        assert phone.message(uri, "after the restart").status == 202
        there.wait_message(lambda one: one.text == "after the restart")
        assert {message.text for message in here.messages} == {"re from one"}
