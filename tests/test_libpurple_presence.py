"""What an XMPP account shows, and what it sees of its contacts: clients, languages, moods, avatars; a real server."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from purple_bridge.libpurple import buddies
from purple_bridge.libpurple.accounts import Account
from purple_bridge.libpurple.events import ResourcePresence
from purple_bridge.libpurple.xmpp_presence import MOST_LANGUAGES, MOST_OCTETS, MOST_RESOURCES, Seen
from tests.agents.xmpp import XmppPresence, XmppUser
from tests.children import run_in_child
from tests.loops import run_for, run_until
from tests.purple_client import PASSWORD, Recorder, new_users, signed_on, started, wait_online, xmpp_account
from tests.servers.prosody import Prosody

MARKUP = 'a < b & "c" <b>d</b>'
NOTE = "lunch & <coffee> 🍵"
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def _bare(name: str) -> str:
    return f"{name}@localhost"


def _user(name: str, port: int, resource: str = "phone", auto_approve: bool = False) -> XmppUser:
    return XmppUser(f"{_bare(name)}/{resource}", PASSWORD, ("127.0.0.1", port), auto_approve=auto_approve)


def _seen(account: Account, name: str) -> dict[str, Any]:
    status = account.contact_status(_bare(name))
    return asdict(status) if status else {}


def _resources(account: Account, name: str) -> dict[str, dict[str, Any]]:
    return {one["resource"]: one for one in _seen(account, name).get("resources", ())}


def _watch(account: Account, user: XmppUser, name: str) -> None:
    """``user`` (``name``) lets the account see its presence."""
    account.ask_contact(_bare(name))
    run_until(lambda: _asked(user), "the question")
    user.approve(_bare(_name_of(account)))
    run_until(lambda: _resources(account, name), f"{name} online")


def _asked(user: XmppUser) -> bool:
    return any(presence.type == "subscribe" for presence in user.presences)


def _name_of(account: Account) -> str:
    return account.name.partition("@")[0]


# ---- what a contact's clients say


def clients(port: int, purple: str, other: str) -> dict[str, Any]:
    recorder, (account,) = signed_on(port, purple)
    with _user(other, port) as phone, _user(other, port, "desk") as desk:
        _watch(account, phone, other)
        desk.send_xml(
            "<presence xml:lang='en'><show>dnd</show><priority>-7</priority><status>busy &amp; &lt;so&gt;</status>"
            "<status xml:lang='de'>besch\u00e4ftigt</status><status xml:lang='de'>nicht der</status>"
            "<idle xmlns='urn:xmpp:idle:1' since='2024-05-06T07:08:09Z'/></presence>"
        )
        phone.send_xml(
            "<presence><show>chat</show><priority>5</priority><query xmlns='jabber:iq:last' seconds='600'/></presence>"
        )
        run_until(lambda: _resources(account, other).get("phone", {}).get("show") == "chat", "the phone")
        both = run_until(lambda: two if len(two := _resources(account, other)) == 2 else {}, "both clients")
        told = len(recorder.buddies)
        desk.presence(type="unavailable", status="home now")
        run_until(lambda: "desk" not in _resources(account, other), "the desk gone")
        one = _seen(account, other)
        phone.presence(type="unavailable", status=NOTE)
        run_until(lambda: not _resources(account, other), "the phone gone")
        run_until(lambda: len(recorder.buddies) > told, "the changes told")  # perhaps both at once
        return {"both": both, "one": one, "none": _seen(account, other), "now": int(time.time())}


def test_every_client_of_a_contact_is_seen_with_all_it_says(prosody: Prosody) -> None:
    """RFC 6121 §4.7.2, XEP-0256, XEP-0319"""
    seen = run_in_child(clients, prosody.port, *new_users(prosody, 2))
    desk, phone = seen["both"]["desk"], seen["both"]["phone"]
    assert (desk["show"], desk["priority"]) == ("dnd", -7)
    assert desk["notes"] == [["en", "busy & <so>"], ["de", "beschäftigt"]]
    assert desk["idle_since"] == 1714979289
    assert (phone["show"], phone["priority"], phone["notes"]) == ("chat", 5, [])
    assert seen["now"] - 640 < phone["idle_since"] <= seen["now"] - 600
    assert [one["resource"] for one in seen["one"]["resources"]] == ["phone"]
    assert seen["one"]["notes"] == [], "who is there has not left"
    assert seen["none"]["notes"] == [["en", NOTE]]


def news(port: int, purple: str, other: str) -> list[int]:
    recorder, (account,) = signed_on(port, purple)
    with _user(other, port) as phone:
        _watch(account, phone, other)
        steps = [
            "<presence><priority>3</priority></presence>",
            "<presence><priority>3</priority></presence>",
            "<presence><priority>3</priority><status xml:lang='fr'>oui</status></presence>",
            "<presence xml:lang='fr'><priority>3</priority><status>oui</status><show/></presence>",
            "<presence><priority>4</priority><status xml:lang='fr'>oui</status></presence>",
        ]
        counts = []
        run_for(0.3)
        for step in steps:
            before = len(recorder.buddies)
            phone.send_xml(step)
            phone.send(_bare(purple), "seen?")
            messages = len(recorder.messages)
            run_until(lambda: len(recorder.messages) > messages, "what came behind")  # noqa: B023
            run_for(0.1)
            counts.append(len(recorder.buddies) - before)
        return counts


def test_only_what_changed_is_told_and_that_once(prosody: Prosody) -> None:
    assert run_in_child(news, prosody.port, *new_users(prosody, 2)) == [1, 0, 1, 0, 1]


def strangers(port: int, purple: str, other: str) -> list[Any]:
    recorder, (account,) = signed_on(port, purple)
    with _user(other, port) as stranger:
        stranger.presence(to=_bare(purple), status="look at me")
        stranger.send_xml(f"<presence to='{_bare(purple)}'><x xmlns='http://jabber.org/protocol/muc#user'/></presence>")
        stranger.send(_bare(purple), "done")
        run_until(lambda: recorder.messages, "the message")
        return [account.contact_status(_bare(other)), recorder.buddies]


def test_who_is_not_on_the_list_is_not_remembered(prosody: Prosody) -> None:
    assert run_in_child(strangers, prosody.port, *new_users(prosody, 2)) == [None, []]


def reconnected(port: int, purple: str, other: str) -> dict[str, Any]:
    _, (account,) = signed_on(port, purple)
    with _user(other, port) as phone:
        _watch(account, phone, other)
        counts, states = [], []
        for _ in range(3):
            account.disconnect()
            run_until(lambda: account.disconnected, "signed off")
            states.append([_seen(account, other), account.roster()])
            account.connect(PASSWORD)
            wait_online(account)
            run_until(lambda: _resources(account, other), "the contact again")
            counts.append(len(buddies.find_all(account.pointer)))
        return {"states": states, "counts": counts}


def test_nothing_is_known_while_signed_off_and_all_again_afterwards(prosody: Prosody) -> None:
    seen = run_in_child(reconnected, prosody.port, *new_users(prosody, 2))
    assert seen == {"states": [[{}, []]] * 3, "counts": [1, 1, 1]}


def flapping(port: int, purple: str, other: str) -> list[Any]:
    recorder, (account,) = signed_on(port, purple)
    with _user(other, port) as phone:
        _watch(account, phone, other)
        for number in range(500):
            phone.presence(show="away" if number % 2 else None, status=str(number))
        run_until(lambda: _resources(account, other)["phone"]["notes"] == (("en", "499"),), "the last one")
        run_for(0.1)
        return [_resources(account, other)["phone"]["show"], len(recorder.buddies) <= 503]


def test_a_flapping_contact_ends_as_it_is(prosody: Prosody) -> None:
    assert run_in_child(flapping, prosody.port, *new_users(prosody, 2)) == ["away", True]


# ---- limits


@pytest.mark.parametrize("count", [MOST_RESOURCES, MOST_RESOURCES + 1, MOST_RESOURCES + 500])
def test_a_contact_has_a_limited_number_of_clients(count: int) -> None:
    seen = Seen()
    for number in range(count):
        seen.available(ResourcePresence(str(number), ""))
    names = [one.resource for one in seen.status("", "").resources]
    assert names == [str(number) for number in range(count)][-MOST_RESOURCES:]


def test_without_a_resource_all_clients_leave() -> None:
    """RFC 6121 §4.5.2"""
    seen = Seen()
    seen.available(ResourcePresence("a", ""))
    seen.available(ResourcePresence("b", ""))
    seen.unavailable("", (("", "bye"),))
    assert seen.status("Bob", "happy").resources == ()
    assert seen.status("Bob", "happy").notes == (("", "bye"),)


def long_notes(port: int, purple: str, other: str) -> dict[str, Any]:
    _, (account,) = signed_on(port, purple)
    with _user(other, port) as phone:
        _watch(account, phone, other)
        many = "".join(f"<status xml:lang='x-{number}'>ü{'ä' * 5000}</status>" for number in range(25))
        phone.send_xml(f"<presence><priority>300</priority><show>gone</show>{many}</presence>")
        run_until(lambda: _resources(account, other)["phone"]["notes"], "the notes")
        return _resources(account, other)["phone"]


def test_what_a_status_says_is_limited_and_nonsense_is_left_out(prosody: Prosody) -> None:
    seen = run_in_child(long_notes, prosody.port, *new_users(prosody, 2))
    assert len(seen["notes"]) == MOST_LANGUAGES
    assert {len(text.encode()) for _, text in seen["notes"]} == {MOST_OCTETS}
    assert (seen["priority"], seen["show"]) == (None, "")


# ---- permissions


def permissions(port: int, purple: str, other: str) -> dict[str, Any]:
    recorder, (account,) = signed_on(port, purple)
    who = _bare(other)
    seen: dict[str, Any] = {}
    with _user(other, port) as user:
        account.ask_contact(who)
        asked = run_until(lambda: [one for one in account.roster() if one.asked], "on the list, asked")
        seen["asked"] = asdict(asked[0])
        run_until(lambda: _asked(user), "the question")
        user.presence(type="unsubscribed", to=_bare(purple))
        run_until(lambda: recorder.permissions == [("refused", who)], "the refusal")
        user.forget_presences()
        account.ask_contact(who)
        user.wait_presence(lambda presence: presence.type == "subscribe")
        user.approve(_bare(purple))
        run_until(lambda: ("granted", who) in recorder.permissions, "the permission")
        run_until(lambda: _resources(account, other), "seen")
        user.presence(type="unsubscribed", to=_bare(purple))
        run_until(lambda: recorder.permissions[2:] == [("refused", who)], "the withdrawal")
        run_until(lambda: not _resources(account, other), "not seen any more")
        user.subscribe(_bare(purple))
        run_until(lambda: recorder.requests, "the other's question")[0][1].authorize()
        user.wait_presence(lambda presence: presence.type == "subscribed")
        user.presence(type="unsubscribe", to=_bare(purple))
        run_until(lambda: recorder.permissions[3:] == [("left", who)], "the other does not look any more")
        user.subscribe(_bare(purple))
        run_until(lambda: recorder.requests[1:], "the question once more")[0][1].authorize()
        user.wait_presence(lambda presence: presence.type == "subscribed")
        account.cancel_authorization(who)
        user.wait_presence(lambda presence: presence.type == "unsubscribed")
    return seen


def test_permissions_are_given_refused_and_withdrawn_both_ways(prosody: Prosody) -> None:
    """RFC 6121 §3"""
    first, second = new_users(prosody, 2)
    seen = run_in_child(permissions, prosody.port, first, second)
    assert (seen["asked"]["name"], seen["asked"]["subscription"]) == (_bare(second), "none")


# ---- what the account shows


def _friend(account: Account, user: XmppUser, recorder: Recorder) -> None:
    """``user`` sees the account's presence."""
    user.subscribe(_bare(_name_of(account)))
    run_until(lambda: recorder.requests, "the question")[0][1].authorize()


def _shown(user: XmppUser, what: str, fits: Callable[[XmppPresence], bool]) -> ET.Element:
    """The last presence of the account, once it fits."""

    def last() -> list[XmppPresence]:
        return [one for one in user.presences if one.type in ("available", "unavailable") and fits(one)][-1:]

    return ET.fromstring(run_until(last, what)[0].xml)


def _idle(shown: ET.Element) -> list[Any]:
    since, last = shown.find("{urn:xmpp:idle:1}idle"), shown.find("{jabber:iq:last}query")
    return [
        None if since is None else since.get("since"),
        None if last is None else int(last.get("seconds", "0")),
    ]


def shown(port: int, purple: str, other: str, since: int) -> dict[str, Any]:
    recorder, (account,) = signed_on(port, purple)
    seen: dict[str, Any] = {}
    with _user(other, port) as user:
        _friend(account, user, recorder)
        account.set_status(buddies.AVAILABLE, MARKUP, chat=True)
        seen["chat"] = _shown(user, "chat", lambda one: one.show == "chat").findtext("status")
        account.set_status(buddies.AWAY, "two\nlines  \x00\x07here", idle_since=since)
        away = _shown(user, "away", lambda one: one.show == "away" and "jabber:iq:last" in one.xml)
        seen["away"] = [away.findtext("status"), _idle(away)]
        account.disconnect()
        run_until(lambda: account.disconnected, "signed off")
        run_until(lambda: user.presences[-1].type == "unavailable", "gone")
        account.set_status(buddies.UNAVAILABLE, MARKUP, idle_since=since, mood="happy")
        user.forget_presences()
        count = len(user.presences)
        account.connect(PASSWORD)
        wait_online(account)
        run_until(lambda: len(user.presences) >= count + 2, "the sign-on with its idleness")
        first, second = (ET.fromstring(one.xml) for one in user.presences[count : count + 2])
        seen["sign-on"] = [first.findtext("show"), first.findtext("status")]
        seen["idle"] = [_idle(first)[0], _idle(second)]
        count = len(user.presences)
        account.set_status(buddies.UNAVAILABLE, MARKUP)
        run_until(lambda: len(user.presences) > count, "back")
        seen["back"] = _idle(ET.fromstring(user.presences[-1].xml))
    return seen


def test_status_idleness_and_text_are_shown_exactly_also_at_the_sign_on(prosody: Prosody) -> None:
    since = int(time.time()) - 1000
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since))
    seen = run_in_child(shown, prosody.port, *new_users(prosody, 2), since)
    assert seen["chat"] == MARKUP
    assert seen["away"][0] == "two\nlines  here"
    assert seen["away"][1][0] == stamp
    assert 1000 <= seen["away"][1][1] < 1060
    assert seen["sign-on"] == ["dnd", MARKUP]
    assert seen["idle"][0] == seen["idle"][1][0] == stamp
    assert 1000 <= seen["idle"][1][1] < 1060
    assert seen["back"] == [None, None]


# ---- mood, avatar, alias


def _befriend(recorder: Recorder, one: Account, two: Account) -> None:
    """Both see each other: a server tells moods and avatars only to whom its own user sees, too (XEP-0163 §3)."""
    for asking, asked in ((one, two), (two, one)):
        recorder.requests.clear()
        asking.ask_contact(_bare(_name_of(asked)))
        run_until(lambda: recorder.requests, "the question")[0][1].authorize()
        run_until(lambda: _resources(asking, _name_of(asked)), "seen")  # noqa: B023


def moods(port: int, first: str, second: str) -> list[Any]:
    recorder = started()
    one, two = xmpp_account(first, port), xmpp_account(second, port)
    two.set_status(buddies.AVAILABLE, "", mood="happy")  # before the sign-on
    wait_online(one, two)
    _befriend(recorder, one, two)
    seen = []
    for mood in ("happy", "in_awe", ""):
        recorder.buddies.clear()
        two.set_status(buddies.AVAILABLE, f"mood {mood}", mood=mood)
        run_until(lambda: _seen(one, second).get("mood") == mood and _resources(one, second), mood)  # noqa: B023
        run_until(lambda: (one, _bare(second)) in recorder.buddies, "told")
        seen.append(_seen(one, second)["mood"])
    two.set_status(buddies.AVAILABLE, "still here", mood="<evil/>")
    run_until(lambda: "still here" in str(_seen(one, second)), "still here")
    return [seen, _seen(one, second)["mood"], two.connected]


def test_moods_are_shown_and_seen(prosody: Prosody) -> None:
    """XEP-0107"""
    assert run_in_child(moods, prosody.port, *new_users(prosody, 2)) == [["happy", "in_awe", ""], "", True]


def _publish(user: XmppUser, node: str, item: str, ident: str = "current") -> None:
    """XEP-0163 §3"""
    user.send_xml(
        f"<iq type='set' id='pep'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{node}'>"
        f"<item id='{ident}'>{item}</item></publish></pubsub></iq>"
    )


def _publish_vcard(user: XmppUser, data: str, digest: str) -> None:
    user.send_xml(
        "<iq type='set' id='v1'><vCard xmlns='vcard-temp'><PHOTO><TYPE>image/png</TYPE>"
        f"<BINVAL>{data}</BINVAL></PHOTO></vCard></iq>"
        f"<presence><x xmlns='vcard-temp:x:update'><photo>{digest}</photo></x></presence>"
    )


def _publish_avatar(user: XmppUser, data: str, digest: str) -> None:
    info = f"<info bytes='{len(PICTURE)}' id='{digest}' height='1' width='1' type='image/png'/>"
    metadata = f"<metadata xmlns='urn:xmpp:avatar:metadata'>{info}</metadata>"
    _publish(user, "urn:xmpp:avatar:data", f"<data xmlns='urn:xmpp:avatar:data'>{data}</data>", digest)
    _publish(user, "urn:xmpp:avatar:metadata", metadata, digest)


def avatar(port: int, purple: str, other: str, way: str) -> list[Any]:
    recorder, (account,) = signed_on(port, purple)
    who = _bare(other)
    data, digest = base64.b64encode(PICTURE).decode(), hashlib.sha1(PICTURE).hexdigest()
    with _user(other, port) as user:
        _watch(account, user, other)
        _friend(account, user, recorder)
        seen = [account.icon(who) == b"", _seen(account, other)["alias"]]
        run_for(0.3)
        recorder.buddies.clear()
        (_publish_vcard if way == "vcard" else _publish_avatar)(user, data, digest)
        run_until(lambda: account.icon(who) == PICTURE, "the picture")
        run_until(lambda: (account, who) in recorder.buddies, "the picture, told")
        recorder.buddies.clear()
        nick = "http://jabber.org/protocol/nick"
        _publish(user, nick, f"<nick xmlns='{nick}'>Bobby</nick>")
        run_until(lambda: _seen(account, other)["alias"] == "Bobby", "the nickname")
        run_until(lambda: (account, who) in recorder.buddies, "the nickname, told")
        account.save_contact(who, "Robert", ())
        run_until(lambda: _seen(account, other)["alias"] == "Robert", "the name on the list")
    return seen


@pytest.mark.parametrize("way", ["vcard", "pep"])
def test_avatars_and_names_are_seen(prosody: Prosody, way: str) -> None:
    """XEP-0153, XEP-0084, XEP-0172; the name that the user gave counts more"""
    assert run_in_child(avatar, prosody.port, *new_users(prosody, 2), way) == [True, ""]


def avatar_on_the_web(port: int, purple: str, other: str) -> bool:
    """Whether libpurple has asked the web server that the contact names."""
    recorder, (account,) = signed_on(port, purple)
    with _user(other, port) as user, socket.create_server(("127.0.0.1", 0)) as web:
        web.setblocking(False)
        _watch(account, user, other)
        _friend(account, user, recorder)
        url = f"http://127.0.0.1:{web.getsockname()[1]}/picture.png"
        digest = hashlib.sha1(PICTURE).hexdigest()
        info = f"<info bytes='{len(PICTURE)}' id='{digest}' type='image/png' url='{url}'/>"
        node = "urn:xmpp:avatar:metadata"
        _publish(user, node, f"<metadata xmlns='{node}'>{info}</metadata>", digest)
        nick = "http://jabber.org/protocol/nick"
        _publish(user, nick, f"<nick xmlns='{nick}'>Bobby</nick>")
        run_until(lambda: _seen(account, other)["alias"] == "Bobby", "what was published after the picture")
        run_for(0.5)
        with contextlib.suppress(BlockingIOError):
            web.accept()[0].close()
            return True
    return False


def test_no_contact_makes_the_gateway_fetch_a_picture_from_the_web(prosody: Prosody) -> None:
    """XEP-0084 section 4.2.2: it names any address, and would learn where the gateway is."""
    assert not run_in_child(avatar_on_the_web, prosody.port, *new_users(prosody, 2))
