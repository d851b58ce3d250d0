"""Names that come over XMPP and are longer than names are; pure, then from a server that sends what it likes."""

from __future__ import annotations

from typing import Any

import pytest

from purple_bridge.libpurple import buddies, xmlnode
from purple_bridge.libpurple.xmpp_names import LONGEST, forget_long, is_jid
from tests.children import run_in_child
from tests.loops import run_until
from tests.purple_client import started, xmpp_account
from tests.servers.hostile_xmpp import BIND, MANAGEMENT, HostileXmpp, Plan, Session
from tests.servers.hostile_xmpp_attacks import sends

MOST = "x" * LONGEST
TOO_LONG = "x" * (LONGEST + 1)
THE_END = b"<message from='a@x.test/r' type='chat'><body>the end</body></message>"


@pytest.mark.parametrize(
    ("jid", "expected"),
    [
        ("", True),
        ("a@x.test/r", True),
        (f"{MOST}@{MOST}/{MOST}", True),
        (f"{TOO_LONG}@x.test", False),
        (f"a@{TOO_LONG}", False),
        (f"a@x.test/{TOO_LONG}", False),
        (TOO_LONG, False),
        ("\u0301" * 511 + "@x.test", True),
        ("\u0301" * 512 + "@x.test", False),
    ],
)
def test_parts_of_a_jid_have_a_length(jid: str, expected: bool) -> None:
    """RFC 7622 §3.1"""
    assert is_jid(jid) is expected


def card(names: list[str]) -> list[str]:
    """What of a vCard with these children, each of them too long, is left."""
    started()
    node = xmlnode.new(b"vCard")
    for name in names:
        xmlnode.add(node, name.encode(), text=TOO_LONG)
        xmlnode.add(node, name.encode(), text=MOST)
    forget_long(node)
    return [f"{name.decode()} {len(xmlnode.text_of(child))}" for _, name, child in xmlnode.children(node)]


def test_a_name_in_a_card_has_a_length() -> None:
    """XEP-0054: libpurple takes FN and NICKNAME for the contact's name."""
    seen = run_in_child(card, ["FN", "NICKNAME", "DESC"])
    assert seen == ["FN 1023", "NICKNAME 1023", "DESC 1024", "DESC 1023"]


def _signed_on_until_the_end(port: int) -> tuple[Any, Any]:
    recorder = started()
    account = xmpp_account("user", port, auth_plain_in_clear=True)
    run_until(lambda: [message.text for _, message in recorder.messages][-1:] == ["the end"], "the end")
    return recorder, account


def heard(port: int) -> list[str | None]:
    recorder, _account = _signed_on_until_the_end(port)
    return [message.text for _, message in recorder.messages]


def test_stanzas_from_such_a_jid_are_dropped_and_acknowledged() -> None:
    """XEP-0198 §4: or else the server would send another one again."""
    counts = []
    wrong = TOO_LONG.encode()

    async def attack(session: Session) -> None:
        message = b"<message from='a@x.test/%s' type='chat'><body>no</body></message>" % wrong
        presence = b"<presence from='%s@x.test' type='subscribe'/>" % wrong
        query = b"<iq type='get' id='q' from='%s'><query xmlns='jabber:iq:version'/></iq>" % wrong
        for sent in (b"", message, presence + query, THE_END.replace(b"the end", b"yes"), message):
            await session.say(sent + b"<r xmlns='urn:xmpp:sm:3'/>")
            counts.append(int((await session.hear(rb"<a [^>]*h='([0-9]+)'"))[1]))
        await session.say(THE_END)

    with HostileXmpp({"localhost": Plan(features=BIND + MANAGEMENT, then=attack)}) as server:
        assert run_in_child(heard, server.port) == ["yes", "the end"]
        assert [count - counts[0] for count in counts] == [0, 1, 3, 4, 5]
        assert b"type='error'" not in server.heard("localhost")


def contacts(port: int) -> dict[str, Any]:
    _recorder, account = _signed_on_until_the_end(port)
    known = {entry.name: [entry.alias, len(entry.groups)] for entry in account.roster()}
    statuses = {name: account.contact_status(name) for name in known}
    return {
        "list": known,
        "aliases": {name: status and status.alias for name, status in statuses.items()},
        "nodes": sorted(buddies.name_of(buddy) for buddy in buddies.find_all(account.pointer)),
    }


def _nick(who: bytes, nick: bytes) -> bytes:
    items = b"<items node='http://jabber.org/protocol/nick'><item id='1'>%s</item></items>"
    element = b"<nick xmlns='http://jabber.org/protocol/nick'>%s</nick>" % nick
    event = b"<event xmlns='http://jabber.org/protocol/pubsub#event'>%s</event>"
    return b"<message from='%s'>%s%s</message>" % (who, event % b"", event % (items % element))


def test_a_contact_list_is_read_as_far_as_its_names_are_names() -> None:
    wrong = TOO_LONG.encode()
    groups = b"".join(b"<group>%d</group>" % number for number in range(200))
    items = (
        b"<item jid='%s@x.test' subscription='both'/>" % wrong
        + b"<item jid='a@x.test' subscription='both' name='A'><group>G</group><group>%s</group></item>" % wrong
        + b"<item jid='b@x.test' subscription='both' name='%s'>%s</item>" % (wrong, groups)
        + b"<item jid='c@x.test' subscription='both'/><item jid='d@x.test' subscription='both'/>"
    )
    push = b"<iq type='set' id='p1'><query xmlns='jabber:iq:roster'>%s</query></iq>" % items
    presence = b"<presence from='d@x.test/r'><nick xmlns='http://jabber.org/protocol/nick'>%s</nick></presence>"
    told = sends(
        push, _nick(b"c@x.test", b"Cee"), _nick(b"c@x.test", wrong), presence % b"Dee", presence % wrong, THE_END
    )
    with HostileXmpp({"localhost": Plan(then=told)}) as server:
        seen = run_in_child(contacts, server.port)
    assert seen["list"] == {"a@x.test": ["A", 1], "b@x.test": ["", 100], "c@x.test": ["", 0], "d@x.test": ["", 0]}
    assert seen["aliases"] == {"a@x.test": "A", "b@x.test": "", "c@x.test": "Cee", "d@x.test": "Dee"}
    assert seen["nodes"] == [f"{name}@x.test" for name in "abcd"], "one for each, whatever its groups"
