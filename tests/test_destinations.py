"""Whom an address means, and on which of a user's accounts: a table of users, and every branch of it."""

from __future__ import annotations

import pytest

from purple_bridge.addresses import GatewayDomain, ImContact, SipAddress
from purple_bridge.db.account import Account
from purple_bridge.destinations import client_of, contacts_of, name_for, routes
from purple_bridge.errors import BadRequest

GATEWAY = GatewayDomain("im.example.org")


def _row(number: int, protocol: str, name: str, user: str = "alice@example.org") -> Account:
    return Account(number, user, name, protocol, None)


XMPP = _row(1, "prpl-jabber", "alice@xmpp.example")
GTALK = _row(2, "gtalk", "alice@gtalk.example")
IRC = _row(3, "prpl-irc", "alice@irc.one.example")
OTHER_IRC = _row(4, "prpl-irc", "Alice2@irc.two.example")
THIRD_IRC = _row(7, "prpl-irc", "alice3@IRC.one.example")
OTHER = _row(5, "prpl-novell", "alice")
ROWS = {"alice@example.org": (XMPP, GTALK, IRC), "bob@example.org": (_row(6, "prpl-jabber", "bob@xmpp.example"),)}


def _contacts(uri: str) -> list[ImContact]:
    return contacts_of(SipAddress.parse(uri), GATEWAY, lambda key: ROWS.get(key, ()))


@pytest.mark.parametrize(
    ("uri", "contacts"),
    [
        ("sip:bob*xmpp.example@xmpp.im.example.org", [ImContact("prpl-jabber", "bob@xmpp.example")]),
        ("sip:carol@irc.im.example.org", [ImContact("prpl-irc", "carol")]),
        ("sip:%23cows@irc.im.example.org", [ImContact("prpl-irc", "#cows")]),
        ("sip:a%20b*xmpp.example@xmpp.im.example.org", [ImContact("prpl-jabber", "a b@xmpp.example")]),
        # RFC 7247 §6.4: what the local part of a JID cannot have; the escape itself stays (§6.5 the other way round)
        ("sip:o'malley*x.example@xmpp.im.example.org", [ImContact("prpl-jabber", "o\\27malley@x.example")]),
        ("sip:o%27malley*x.example@xmpp.im.example.org", [ImContact("prpl-jabber", "o\\27malley@x.example")]),
        ("sip:o%5C27malley*x.example@xmpp.im.example.org", [ImContact("prpl-jabber", "o\\27malley@x.example")]),
        ("sip:a/b*x.example@gtalk.im.example.org;gr=phone", [ImContact("gtalk", "a\\2fb@x.example")]),
        ("sip:a&b@irc.im.example.org", [ImContact("prpl-irc", "a&b")]),
        ("sip:bob@example.org", [ImContact("prpl-jabber", "bob@xmpp.example")]),
        ("sip:BOB@Example.org;transport=tcp", [ImContact("prpl-jabber", "bob@xmpp.example")]),
        (
            "sip:alice@example.org",
            [
                ImContact("prpl-jabber", "alice@xmpp.example"),
                ImContact("gtalk", "alice@gtalk.example"),
                ImContact("prpl-irc", "alice@irc.one.example"),
            ],
        ),
        ("sip:nobody@example.org", []),
        ("sip:im.example.org", []),
        ("sip:xmpp.im.example.org", []),
        (GATEWAY.presentity(SipAddress.parse("sip:b@xmpp.im.example.org"), "alice@example.org").uri, []),
    ],
)
def test_an_address_is_a_contact_or_a_user_with_accounts(uri: str, contacts: list[ImContact]) -> None:
    assert _contacts(uri) == contacts


@pytest.mark.parametrize("name", ["a%20b", "a%2Cb", ":a", "%E2%80%83a"])
def test_a_name_that_irc_cannot_have_is_refused(name: str) -> None:
    """RFC 2812 §2.3.1, §3.3.1: it would be several parameters or targets."""
    with pytest.raises(BadRequest):
        _contacts(f"sip:{name}@irc.im.example.org")


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("sip:bob*xmpp.example@xmpp.im.example.org", "bob@xmpp.example"),
        ("sip:bob*xmpp.example@xmpp.im.example.org;gr=My%20phone", "bob@xmpp.example/My phone"),
        ("sip:a/b*xmpp.example@xmpp.im.example.org;gr=c/d", "a\\2fb@xmpp.example/c/d"),
        ("sip:carol@irc.im.example.org;gr=phone", "carol"),
    ],
)
def test_a_message_is_for_the_client_that_the_address_names(uri: str, name: str) -> None:
    """RFC 7247 §6.4: the parameter gr is the resource."""
    (contact,) = _contacts(uri)
    assert client_of(contact, SipAddress.parse(uri)).name == name


def test_rows_are_not_asked_for_of_a_contact() -> None:
    def fail(key: str) -> tuple[Account, ...]:
        raise AssertionError(key)

    assert contacts_of(SipAddress.parse("sip:carol@irc.im.example.org"), GATEWAY, fail)


BOB = ImContact("prpl-jabber", "bob@xmpp.example")
CAROL = ImContact("prpl-irc", "carol")


@pytest.mark.parametrize(
    ("accounts", "contacts", "expected"),
    [
        ([XMPP], [BOB], [(XMPP, BOB)]),
        ([], [BOB], []),
        ([XMPP], [], []),
        ([IRC, OTHER], [BOB], []),
        # the same ext_prot in front of a kindred one, whatever the order of the rows
        ([GTALK, XMPP], [BOB], [(XMPP, BOB), (GTALK, BOB)]),
        ([XMPP, GTALK], [ImContact("gtalk", "b@gmail.com")], [
            (GTALK, ImContact("gtalk", "b@gmail.com")),
            (XMPP, ImContact("gtalk", "b@gmail.com")),
        ]),
        ([GTALK], [BOB], [(GTALK, BOB)]),
        # an IRC contact is a nick on the account's own server
        ([IRC], [CAROL], [(IRC, CAROL)]),
        ([OTHER_IRC], [CAROL], [(OTHER_IRC, CAROL)]),
        # ... and a nick alone on that of the first one: on the other it is somebody else
        ([IRC, OTHER_IRC], [CAROL], [(IRC, CAROL)]),
        ([IRC, OTHER_IRC, THIRD_IRC], [CAROL], [(IRC, CAROL), (THIRD_IRC, CAROL)]),
        ([IRC, OTHER_IRC], [ImContact("prpl-irc", "carol@IRC.two.example")], [(OTHER_IRC, CAROL)]),
        ([IRC], [ImContact("prpl-irc", "carol@irc.three.example")], []),
        # nobody writes to himself
        ([XMPP], [ImContact("prpl-jabber", "Alice@XMPP.example/phone")], []),
        ([XMPP, GTALK], [ImContact("prpl-jabber", "alice@xmpp.example")], [
            (GTALK, ImContact("prpl-jabber", "alice@xmpp.example")),
        ]),
        ([IRC], [ImContact("prpl-irc", "ALICE")], []),
        ([OTHER_IRC], [ImContact("prpl-irc", "alice")], [(OTHER_IRC, ImContact("prpl-irc", "alice"))]),
        ([OTHER], [ImContact("prpl-novell", "alice")], []),
        ([OTHER], [ImContact("prpl-novell", "Alice")], [(OTHER, ImContact("prpl-novell", "Alice"))]),
        # contact after contact
        ([IRC, XMPP], [BOB, CAROL], [(XMPP, BOB), (IRC, CAROL)]),
    ],
)  # fmt: skip
def test_accounts_that_reach_a_contact(
    accounts: list[Account], contacts: list[ImContact], expected: list[tuple[Account, ImContact]]
) -> None:
    assert list(routes(iter(accounts), iter(contacts))) == expected


ALL = [XMPP, GTALK, IRC, OTHER_IRC, THIRD_IRC, OTHER]


@pytest.mark.parametrize(
    ("accounts", "row", "contact", "name"),
    [
        (ALL, GTALK, "bob@xmpp.example", "bob@xmpp.example"),
        (ALL, OTHER, "bob", "bob"),
        (ALL, IRC, "carol", "carol"),
        (ALL, THIRD_IRC, "carol", "carol"),
        (ALL, OTHER_IRC, "carol", "carol@irc.two.example"),
        ([OTHER_IRC], OTHER_IRC, "carol", "carol"),
        ([], OTHER_IRC, "carol", "carol@irc.two.example"),  # whoever has no account there
    ],
)
def test_how_a_user_is_told_of_a_contact(accounts: list[Account], row: Account, contact: str, name: str) -> None:
    assert name_for(accounts, row.protocol, row.ext_user, contact) == name


@pytest.mark.parametrize("row", [IRC, OTHER_IRC, THIRD_IRC])
def test_what_a_user_is_told_leads_back_to_the_server(row: Account) -> None:
    uri = GATEWAY.contact_uri("prpl-irc", name_for(ALL, row.protocol, row.ext_user, "carol")).uri
    found = list(routes(ALL, _contacts(uri)))
    assert (row, CAROL) in found
    assert {account.ext_user.lower().partition("@")[2] for account, _ in found} == {
        row.ext_user.lower().partition("@")[2]
    }
