"""Contact lists: read, changed from here and from elsewhere, asked for again after every sign-on; real servers."""

from __future__ import annotations

import ctypes
from dataclasses import asdict
from typing import Any

from purple_bridge.libpurple import buddies, c, xmlnode, xmpp_roster
from purple_bridge.libpurple.accounts import Account
from purple_bridge.libpurple.events import RosterEntry
from tests.agents.xmpp import XmppUser
from tests.children import run_in_child
from tests.loops import run_for, run_until
from tests.purple_client import PASSWORD, irc_account, new_users, signed_on, started, wait_online
from tests.servers.ngircd import Ngircd
from tests.servers.prosody import Prosody

ALIAS = 'Bob & "Bobby" <x> 🐄'


def _list(account: Account) -> dict[str, list[Any]]:
    return {one.name: [one.alias, sorted(one.groups), one.subscription] for one in account.roster()}


def _set(user: XmppUser, item: str) -> None:
    user.send_xml(f"<iq type='set' id='r1'><query xmlns='jabber:iq:roster'>{item}</query></iq>")


def _became(account: Account, name: str, expected: list[Any]) -> list[Any]:
    return run_until(lambda: (there := _list(account).get(name)) == expected and there, f"{name}: {expected}") or []


# ---- XMPP


def edited(port: int, purple: str, other: str) -> dict[str, Any]:
    recorder, (account,) = signed_on(port, purple)
    who = f"{other}@localhost"
    run_until(lambda: recorder.rosters == [account], "the list, told once")
    empty = account.roster()
    account.save_contact(who, ALIAS, ("Friends", "Work & Play"))
    added = _became(account, who, [ALIAS, ["Friends", "Work & Play"], "none"])
    run_for(0.3)
    told, nodes = len(recorder.rosters), len(buddies.find_all(account.pointer, who))
    status = run_until(lambda: account.contact_status(who), "the contact")
    account.save_contact(who.upper(), "Robert", ("Work & Play",))
    _became(account, who, ["Robert", ["Work & Play"], "none"])
    account.save_contact(who, "", ())
    plain = _became(account, who, ["", [], "none"])
    account.remove_contact(who)
    run_until(lambda: account.roster() == [], "removed")
    run_for(0.3)
    return {
        "empty": empty,
        "added": added,
        "told": told,
        "nodes": nodes,
        "alias": status.alias if status else None,
        "plain": plain,
        "requests": len(recorder.requests),
        "left": [account.contact_status(who), len(buddies.find_all(account.pointer))],
    }


def test_contacts_are_added_renamed_moved_and_removed(prosody: Prosody) -> None:
    """RFC 6121 §2.3 to §2.5"""
    seen = run_in_child(edited, prosody.port, *new_users(prosody, 2))
    assert seen["empty"] == []
    assert seen["added"] == [ALIAS, ["Friends", "Work & Play"], "none"]
    assert seen["told"] == 2, "one push, one change"
    assert seen["nodes"] == 1, "libpurple does not know the groups"
    assert seen["alias"] == ALIAS
    assert seen["plain"] == ["", [], "none"]
    assert seen["requests"] == 0, "saving asks nobody"
    assert seen["left"] == [None, 0]


def elsewhere(port: int, purple: str, other: str) -> dict[str, Any]:
    """Another client of the account changes the list, while this one is there and while it is not."""
    recorder, (account,) = signed_on(port, purple)
    who = f"{other}@localhost"
    with XmppUser(f"{purple}@localhost/desk", PASSWORD, ("127.0.0.1", port)) as desk:
        _set(desk, f"<item jid='{who}' name='Bob'><group>A</group><group>A</group><group>B</group></item>")
        _set(desk, "<item jid='other@localhost'/>")
        first = _became(account, who, ["Bob", ["A", "B"], "none"])
        _became(account, "other@localhost", ["", [], "none"])
        account.disconnect()
        run_until(lambda: account.disconnected, "signed off")
        _set(desk, f"<item jid='{who}' subscription='remove'/>")
        _set(desk, "<item jid='new@localhost' name='New'/>")
        recorder.rosters.clear()
        account.connect(PASSWORD)
        wait_online(account)
        run_until(lambda: recorder.rosters, "told")
        names = sorted(one.name for one in account.roster())
        nodes = sorted(buddies.name_of(buddy) for buddy in buddies.find_all(account.pointer))
    return {"first": first, "names": names, "nodes": nodes, "status": account.contact_status(who)}


def test_what_another_client_changes_is_seen_also_when_it_did_so_meanwhile(prosody: Prosody) -> None:
    seen = run_in_child(elsewhere, prosody.port, *new_users(prosody, 2))
    assert seen["first"] == ["Bob", ["A", "B"], "none"]
    assert seen["names"] == seen["nodes"] == ["new@localhost", "other@localhost"]
    assert seen["status"] is None


def forged(port: int, purple: str, other: str) -> list[Any]:
    recorder, (account,) = signed_on(port, purple)
    with XmppUser(f"{other}@localhost/desk", PASSWORD, ("127.0.0.1", port)) as attacker:
        for kind in ("set", "result"):
            attacker.send_xml(
                f"<iq type='{kind}' id='purple1' to='{purple}@localhost/test'><query xmlns='jabber:iq:roster'>"
                "<item jid='evil@localhost' subscription='both'/></query></iq>"
            )
        attacker.send(f"{purple}@localhost", "done")
        run_until(lambda: recorder.messages, "the message")
    return account.roster()


def test_nobody_else_changes_the_list(prosody: Prosody) -> None:
    """RFC 6121 §2.1.6"""
    assert run_in_child(forged, prosody.port, *new_users(prosody, 2)) == []


def refused(port: int, purple: str) -> list[Any]:
    _, (account,) = signed_on(port, purple)
    account.save_contact("not@a@jid", "x", ())
    account.save_contact("good@localhost", "with \x00 controls \x1b", ("G\x07roup", "\x01"))
    _became(account, "good@localhost", ["with  controls ", ["Group"], "none"])
    return [account.connected, len(account.roster())]


def test_what_the_server_refuses_harms_nothing(prosody: Prosody) -> None:
    assert run_in_child(refused, prosody.port, *new_users(prosody, 1)) == [True, 1]


def both(port: int, first: str, second: str) -> list[str]:
    recorder, (one, two) = signed_on(port, first, second)
    for account, who in ((one, second), (two, first)):
        recorder.requests.clear()
        account.ask_contact(f"{who}@localhost")
        run_until(lambda: recorder.requests, "the question")[0][1].authorize()
    for account, who in ((one, second), (two, first)):  # each learns of it in a push of its own
        _became(account, f"{who}@localhost", ["", [], "both"])
    one.delete()  # signs off, and takes its contacts with it
    run_until(lambda: not getattr(two.contact_status(f"{first}@localhost"), "resources", True), "gone")
    return [two.roster()[0].subscription]


def test_a_deleted_account_takes_its_contacts_with_it(prosody: Prosody) -> None:
    assert run_in_child(both, prosody.port, *new_users(prosody, 2)) == ["both"]


def items_of(items: str) -> list[Any]:
    parse = c.purple_quick.xmlnode_from_str
    parse.restype, parse.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_ssize_t)
    node = parse(f"<iq type='result'><query xmlns='jabber:iq:roster'>{items}</query></iq>".encode(), -1)
    query = xmpp_roster.query_of(node)
    assert query
    found = [[asdict(entry), removed] for entry, removed in xmpp_roster.items(query)]
    xmlnode.free(node)
    return found


def test_items_are_read_as_far_as_they_make_sense() -> None:
    """RFC 6121 §2.1.2"""
    found = run_in_child(
        items_of,
        "<item/><item jid=''/><other jid='a@b'/><item jid='c@d' subscription='odd' ask='what'><group/></item>"
        "<item jid='e@f' subscription='from' ask='subscribe' name='E'><group>1</group><group>1</group></item>"
        "<item jid='g@h' subscription='remove'/>",
    )
    assert found == [
        [{**asdict(RosterEntry("c@d", subscription="none")), "groups": []}, False],
        [{"name": "e@f", "alias": "E", "groups": ["1"], "subscription": "from", "asked": True}, False],
        [{**asdict(RosterEntry("g@h", subscription="none")), "groups": []}, True],
    ]


# ---- networks that libpurple keeps the list of


def on_irc(port: int, nick: str) -> dict[str, Any]:
    recorder = started()
    account = irc_account(nick, port)
    wait_online(account)
    account.save_contact("bob", "Bob", ("Work", "Home"))
    account.ask_contact("carol")
    run_until(lambda: recorder.rosters, "told")
    added = _list(account)
    account.save_contact("bob", "Robert", ("Home",))
    account.save_contact("carol", "", ("Home",))
    moved = _list(account)
    account.save_contact("carol", "", ())
    account.remove_contact("bob")
    account.cancel_authorization("bob")
    return {"added": added, "moved": moved, "left": _list(account)}


def test_the_list_of_irc_is_libpurples_own(ngircd: Ngircd) -> None:
    assert run_in_child(on_irc, ngircd.port, "rosterpurple") == {
        "added": {"bob": ["Bob", ["Work"], "to"], "carol": ["", [], "to"]},
        "moved": {"bob": ["Robert", ["Home"], "to"], "carol": ["", ["Home"], "to"]},
        "left": {"carol": ["", [], "to"]},
    }
