"""What IM contacts see of phones, end to end: each row of RFC 8048 §6.3, table 2, RPID, IRC, and what is refused."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import pytest

from tests.agents.irc import IrcUser
from tests.agents.phone import HeaderFields, Phone
from tests.agents.pidf import DATA_MODEL, PIDF, RPID, XML_LANG, pidf
from tests.agents.xmpp import XmppPresence, XmppUser
from tests.gateway import PASSWORD, Gateway, sip, xmpp_contact
from tests.pairs import make_pair
from tests.servers.ngircd import Ngircd
from tests.servers.prosody import Prosody
from tests.waiting import wait_until

USER = "paul"
MOOD = "http://jabber.org/protocol/mood"
PIDF_TYPE = "application/pidf+xml"
SHORTEST = 5  # seconds of a publication
LARGEST = 65_536  # octets of a document
SIGNED_ON_AGAIN = 30.0

# RFC 4480 §3.2, every activity, and what XMPP shows for it; "" is no <show/>
SHOW_OF_ACTIVITY = {
    "appointment": "dnd",
    "away": "away",
    "breakfast": "away",
    "busy": "dnd",
    "dinner": "away",
    "holiday": "xa",
    "in-transit": "away",
    "looking-for-work": "",
    "lunch": "away",
    "meal": "away",
    "meeting": "dnd",
    "on-the-phone": "dnd",
    "other": "",
    "performance": "dnd",
    "permanent-absence": "xa",
    "playing": "away",
    "presentation": "dnd",
    "shopping": "away",
    "sleeping": "xa",
    "spectator": "away",
    "steering": "dnd",
    "travel": "xa",
    "tv": "away",
    "unknown": "",
    "vacation": "xa",
    "working": "",
    "worship": "dnd",
}

_numbers = itertools.count(1)


def unique(words: str) -> str:
    """A note by which its presence is found."""
    return f"{words} {next(_numbers)}"


def document(
    note: str = "",
    basic: str = "open",
    status: str = "",
    person: str = "",
    more: str = "",
    priority: str = "",
    root_note: str = "",
    tuples: str = "",
) -> bytes:
    """A tuple with `note`; `status`, `more` and `person` are XML in the status, the tuple and the person."""
    given = f' priority="{priority}"' if priority else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<presence xmlns="{PIDF}" xmlns:dm="{DATA_MODEL}" xmlns:r="{RPID}" '
        f'entity="{sip(USER)}">{tuples}<tuple id="t1"><status><basic>{basic}</basic>{status}</status>{more}'
        f"<contact{given}>{sip(USER)}</contact>{_note(note)}</tuple>{_note(root_note)}"
        f'<dm:person id="p1">{person}</dm:person></presence>'
    ).encode()


def _note(text: str) -> str:
    return f"<note>{escape(text)}</note>" if text else ""


def activities(*names: str) -> str:
    return f"<r:activities>{''.join(f'<r:{name}/>' for name in names)}</r:activities>"


@dataclass
class Stage:
    """A SIP user with a phone, and an XMPP contact: both see each other."""

    gateway: Gateway
    phone: Phone
    client: XmppUser
    jid: str

    @classmethod
    def set(cls, gateway: Gateway, prosody: Prosody, user: str, contact: str, phone: Phone) -> Self:
        """`phone`: of the user, whose account is online. The contact's client is for the caller to close."""
        prosody.add_user(contact, PASSWORD)
        jid, own = f"{user}@{prosody.domain}", f"{contact}@{prosody.domain}"
        client = XmppUser(f"{own}/desk", PASSWORD, ("127.0.0.1", prosody.port), interests=(MOOD,)).connect()
        stage = cls(gateway, phone, client, jid)
        watch = phone.subscribe(xmpp_contact(own))
        client.wait_presence(lambda one: one.type == "subscribe" and one.from_bare == jid)
        client.approve(jid)
        watch.wait_notify(lambda one: one.presence is not None and one.presence.basic == "open")
        client.subscribe(jid)  # who is watched may watch
        stage.wait(lambda one: one.type == "available")
        return stage

    def wait(self, fits: Callable[[XmppPresence], bool], timeout: float = 30.0) -> XmppPresence:
        """A presence of the user's account that was not waited for before."""
        return self.client.wait_presence(lambda one: one.from_bare == self.jid and fits(one), timeout)

    def sees(self, note: str, timeout: float = 30.0) -> XmppPresence:
        return self.wait(lambda one: one.status == note, timeout)

    def publish(self, body: bytes, phone: Phone | None = None, expires: int = 3600) -> None:
        assert (phone or self.phone).publish(body, expires).status == 200

    def show(self, note: str = "", phone: Phone | None = None, **parts: str) -> XmppPresence:
        """Publish `document` and see it."""
        note = note or unique("seen")
        self.publish(document(note, **parts), phone)
        return self.sees(note, SIGNED_ON_AGAIN)

    def changes_nothing(self, act: Callable[[], None]) -> None:
        """The contact sees nothing of what `act` does, and what the phone publishes next as ever."""
        self.show(unique("before"), status="<show xmlns='jabber:client'>xa</show>")
        seen = len(self._own())
        act()
        after = unique("after")
        self.publish(document(after))
        assert self.sees(after).show == ""
        assert [one.status for one in self._own()[seen:]] == [after]

    def _own(self) -> list[XmppPresence]:
        return [one for one in self.client.presences if one.from_bare == self.jid]


@pytest.fixture(scope="module")
def stage(gateway: Gateway, prosody: Prosody) -> Iterator[Stage]:
    prosody.add_user(USER, PASSWORD)
    gateway.add_user(USER)
    gateway.add_xmpp_account(USER, prosody)
    phone = gateway.online_phone(USER, f"{USER}@{prosody.domain}")
    found = Stage.set(gateway, prosody, USER, "cleo", phone)
    with found.client:
        yield found


def attribute(presence: XmppPresence, name: str) -> str | None:
    return ET.fromstring(presence.xml).get(name)


def part(presence: XmppPresence, name: str) -> ET.Element | None:
    """An element of the stanza; slixmpp leaves XMPP's own namespace out."""
    return ET.fromstring(presence.xml).find(name)


# ---- the rows of the table


def test_open_is_available(stage: Stage) -> None:
    """Note 1; From and To: the account's own address, and the contact that sees it."""
    seen = stage.show()
    assert attribute(seen, "type") is None
    assert (seen.type, seen.show) == ("available", "")
    assert seen.from_bare == stage.jid
    assert (attribute(seen, "to") or "").partition("/")[0] == "cleo@localhost"


def test_closed_is_unavailable_and_open_available_again(stage: Stage) -> None:
    stage.show()
    stage.publish(document("closing", basic="closed"))
    assert stage.wait(lambda one: one.type == "unavailable").from_bare == stage.jid
    stage.gateway.wait_state(stage.jid, "offline")
    assert stage.show().type == "available"


def test_removed_is_unavailable(stage: Stage) -> None:
    """RFC 3903 §4.5"""
    stage.show()
    assert stage.phone.publish(None, expires=0).status == 200
    stage.wait(lambda one: one.type == "unavailable")
    assert stage.show().type == "available"


@pytest.mark.parametrize(
    ("note", "status"),
    [
        ("at <lunch> & back soon", None),
        ("<b>x</b> & y &amp; \"z\" 'q'", None),
        ("Grüße, 中文, 🍵, ẍ̱", None),
        ("http://example.org/?a=1&b=2 a@example.org", None),
        (" two\n\t lines\r\n ", "two lines"),
        ("a\u0085b\u009fc\u007fd", "a bcd"),
        ("-" * 1000, None),
        ("%s %n &#65; \\n", None),
    ],
)
def test_a_note_is_the_status_exactly(stage: Stage, note: str, status: str | None) -> None:
    assert stage.show(unique("before"))
    stage.publish(document(note))
    assert stage.sees(note if status is None else status).type == "available"


@pytest.mark.parametrize("place", ["tuple", "person", "root"])
def test_a_note_is_read_wherever_it_stands(stage: Stage, place: str) -> None:
    note = unique(place)
    bodies = {
        "tuple": document(note, root_note="less", person="<dm:note>less</dm:note>"),
        "person": document(person=f"<dm:note>{note}</dm:note>", root_note="less"),
        "root": document(root_note=note),
    }
    stage.publish(bodies[place])
    stage.sees(note)


def test_without_a_note_there_is_no_status(stage: Stage) -> None:
    stage.show()
    stage.publish(document())
    seen = stage.wait(lambda one: one.type == "available")
    assert part(seen, "status") is None


def test_a_document_has_no_status_of_the_former(stage: Stage) -> None:
    stage.show(person=activities("away"))
    stage.publish(document(person=activities("vacation")))
    assert stage.wait(lambda one: one.show == "xa").status == ""


@pytest.mark.parametrize("language", ["de", "pt-BR"])
def test_the_language_of_a_note_is_that_of_the_status(stage: Stage, language: str) -> None:
    note = unique("Angeln")
    body = document(note).replace(b"<note>", f'<note xml:lang="{language}">'.encode())
    stage.publish(body)
    seen = stage.sees(note)
    status = part(seen, "status")
    assert status is not None
    assert status.get(XML_LANG, attribute(seen, XML_LANG)) == language


@pytest.mark.parametrize(
    ("pidf", "xmpp"),
    [("0", 0), ("0.007", 1), ("0.015", 2), ("0.5", 64), ("0.992", 126), ("1", 127), ("1.000", 127)],
)
def test_priority(stage: Stage, pidf: str, xmpp: int) -> None:
    """Note 2; RFC 6121 §4.7.2.3: no priority is 0."""
    priority = part(stage.show(priority=pidf), "priority")
    assert int(priority.text or "" if priority is not None else "0") == xmpp


@pytest.mark.parametrize("show", ["away", "xa", "dnd", "chat"])
def test_show_of_xmpp_counts_more_than_activities(stage: Stage, show: str) -> None:
    """Note 3"""
    other = "busy" if show != "dnd" else "away"
    seen = stage.show(status=f"<show xmlns='jabber:client'>{show}</show>", person=activities(other))
    assert seen.show == show


# ---- RPID


@pytest.mark.parametrize(("activity", "show"), SHOW_OF_ACTIVITY.items())
def test_every_activity(stage: Stage, activity: str, show: str) -> None:
    assert stage.show(person=activities(activity)).show == show


@pytest.mark.parametrize(
    ("names", "show"),
    [(["working", "meeting", "holiday"], "xa"), (["busy", "meal"], "away"), (["unknown", "on-the-phone"], "dnd")],
)
def test_of_several_activities_the_least_available_counts(stage: Stage, names: list[str], show: str) -> None:
    assert stage.show(person=activities(*names)).show == show


def test_of_several_tuples_the_most_available_counts(stage: Stage) -> None:
    """RFC 8048 §6.2: as clients do with several resources."""
    closed = '<tuple id="t0"><status><basic>closed</basic></status><note>not this</note></tuple>'
    away = f'<tuple id="t2"><status><basic>open</basic></status>{activities("away")}<note>nor this</note></tuple>'
    seen = stage.show(more=activities("busy"), tuples=closed + away)
    assert seen.show == "dnd"


def test_idle_since_when(stage: Stage) -> None:
    """RFC 4480 §3.14; XEP-0319, and beside it XEP-0256 for older clients; gone when the user is back."""
    since = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=20)
    note = unique("idle")
    idle = f'<r:user-input last-input="{since.isoformat()}">idle</r:user-input>'
    stage.publish(document(note, person=activities("away") + idle))
    seen = stage.wait(lambda one: one.status == note and "jabber:iq:last" in one.xml)
    root = ET.fromstring(seen.xml)
    element = root.find("{urn:xmpp:idle:1}idle")
    assert element is not None
    assert datetime.fromisoformat(element.get("since", "")) == since
    last = root.find("{jabber:iq:last}query")
    assert last is not None
    assert abs(int(last.get("seconds", "0")) - 1200) < 15
    stage.publish(document("back again", person="<r:user-input>active</r:user-input>"))
    stage.wait(lambda one: one.status == "back again" and not re.search("urn:xmpp:idle:1|jabber:iq:last", one.xml))


@pytest.mark.parametrize("mood", ["happy", "in_awe"])
def test_a_mood_is_an_event(stage: Stage, mood: str) -> None:
    """RFC 4480 §3.5, XEP-0107; and none when the phone does not tell one any more."""
    stage.show(person=f"<r:mood><r:{mood}/></r:mood>")
    stage.client.wait_any(lambda message: _mood(message.xml) == [mood])
    stage.show()
    stage.client.wait_any(lambda message: _mood(message.xml) == [])


def _mood(xml: str) -> list[str] | None:
    """Names in the <mood/> of an event, None for another stanza."""
    found = ET.fromstring(xml).find(f".//{{{MOOD}}}mood")
    return None if found is None else [child.tag.rpartition("}")[2] for child in found]


# ---- several publications


def test_several_phones_count_together(stage: Stage) -> None:
    """The most available wins; who removes its publication counts no more."""
    second = stage.gateway.phone(USER)
    stage.show(person=activities("vacation"))
    busy = unique("busy")
    stage.publish(document(busy, person=activities("busy")), second)
    assert stage.sees(busy).show == "dnd"
    away = unique("away")
    stage.publish(document(away, person=activities("away")))  # less available: not shown
    here = unique("here")
    stage.publish(document(here), second)
    assert stage.sees(here).show == ""
    assert away not in [one.status for one in stage.client.presences]
    assert second.publish(None, expires=0).status == 200
    assert stage.sees(away).show == "away"


def test_a_phone_that_is_closed_does_not_hide_another(stage: Stage) -> None:
    second = stage.gateway.phone(USER)
    here = stage.show(person=activities("dinner"))
    seen = len(stage.client.presences)
    stage.publish(document("closed", basic="closed"), second)
    assert stage.show(person=activities("lunch")).show == "away"
    assert here.type == "available"
    assert "unavailable" not in [one.type for one in stage.client.presences[seen:]]
    assert second.publish(None, expires=0).status == 200


def test_publications_expire_one_after_the_other(stage: Stage) -> None:
    """RFC 3903 §4.1: what is not refreshed is gone; the last one signs the account off."""
    second = stage.gateway.phone(USER)
    busy, away = unique("busy"), unique("away")
    stage.publish(document(busy, person=activities("busy")), second, SHORTEST)
    stage.publish(document(away, person=activities("away")), expires=SHORTEST + 3)
    stage.sees(busy)
    assert stage.sees(away).show == "away"
    assert stage.wait(lambda one: one.type == "unavailable", SIGNED_ON_AGAIN)
    stage.phone.etag = None
    assert stage.show().type == "available"


def test_a_refresh_changes_nothing(stage: Stage) -> None:
    """RFC 3903 §4.1: without a body; the server gives another ETag."""

    def refresh() -> None:
        before = stage.phone.etag
        assert stage.phone.publish(None).status == 200
        assert stage.phone.etag not in (None, before)

    stage.changes_nothing(refresh)


def test_a_refresh_keeps_the_account_online(stage: Stage) -> None:
    note = unique("short")
    stage.publish(document(note), expires=SHORTEST)
    stage.sees(note)
    seen = len(stage.client.presences)
    assert stage.phone.publish(None).status == 200
    late = datetime.now(UTC) + timedelta(seconds=SHORTEST + 2)
    wait_until(lambda: datetime.now(UTC) > late, SHORTEST + 5, "the time of the first publication")
    assert [one for one in stage.client.presences[seen:] if one.from_bare == stage.jid] == []
    assert stage.show().type == "available"


# ---- what is refused, and changes nothing

BOMB = (
    '<?xml version="1.0"?><!DOCTYPE presence [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {chr(98 + number)} "{f"&{chr(97 + number)};" * 10}">' for number in range(9))
    + f']><presence xmlns="{PIDF}" entity="{sip(USER)}"><tuple id="t"><status><basic>open</basic></status>'
    "<note>&j;</note></tuple></presence>"
).encode()
OUTSIDE = (
    '<?xml version="1.0"?><!DOCTYPE presence [<!ENTITY x SYSTEM "file:///etc/hostname">]>'
    f'<presence xmlns="{PIDF}" entity="{sip(USER)}"><tuple id="t"><status><basic>open</basic></status>'
    "<note>&x;</note></tuple></presence>"
).encode()


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"<presence", {}, 400),
        (b"no XML at all", {}, 400),
        (document("evil").replace(b"</tuple>", b""), {}, 400),
        (b'<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"/>', {}, 400),
        (document("evil\x0b"), {}, 400),
        (BOMB, {}, 400),
        (OUTSIDE, {}, 400),
        (b'<?xml version="1.0"?><!DOCTYPE presence>' + document("evil").partition(b"\n")[2], {}, 400),
        (b"", {}, 400),
        (document("evil"), {"Content-Type": f"{PIDF_TYPE};charset=none-such"}, 400),
        (document("evil"), {"Content-Type": "text/plain"}, 415),
        (document("evil"), {"Content-Type": "application/xpidf+xml"}, 415),
        (document("evil"), {"Event": "none-such"}, 489),
        (document("evil"), {"Event": ""}, 489),
        (document("evil"), {"Expires": "1"}, 423),
        (document("evil"), {"SIP-If-Match": "gone"}, 412),
        (b"", {"SIP-If-Match": "gone"}, 412),
        (b"", {"SIP-If-Match": "gone", "Expires": "0"}, 412),
    ],
    ids=[
        *["cut", "text", "unbalanced", "html", "control", "bomb", "external-entity", "doctype", "empty", "charset"],
        *["text-plain", "xpidf", "event", "no-event", "brief", "etag", "refresh-of-nothing", "removal-of-nothing"],
    ],
)
def test_what_is_refused_changes_nothing(stage: Stage, body: bytes, headers: dict[str, str], status: int) -> None:
    def publish() -> None:
        answer = stage.phone.request("PUBLISH", sip(USER), _fields(headers, body), body)
        assert answer.status == status
        if status == 415:  # RFC 3261 §21.4.13
            assert PIDF_TYPE in answer.headers["Accept"]
        elif status == 423:  # RFC 3261 §21.4.17
            assert int(answer.headers["Min-Expires"]) == SHORTEST
        elif status == 489:  # RFC 6665 §8.3.2
            assert "presence" in re.split(r",\s*", answer.headers["Allow-Events"])

    stage.changes_nothing(publish)


def _fields(headers: dict[str, str], body: bytes) -> HeaderFields:
    fields = {"Event": "presence", "Expires": "60", "Content-Type": PIDF_TYPE, **headers}
    return {name: value for name, value in fields.items() if value and (body or name != "Content-Type")}


@pytest.mark.parametrize("body", [document("evil"), None], ids=["change", "refresh"])
def test_a_publication_that_was_removed_is_gone(stage: Stage, body: bytes | None) -> None:
    """RFC 3903 §6: its ETag is of no use any more; without one the phone starts over."""
    phone = stage.gateway.phone(USER)
    stage.publish(document("short-lived", person=activities("away")), phone)
    etag = phone.etag
    assert etag is not None
    assert phone.publish(None, expires=0).status == 200

    def publish() -> None:
        assert phone.publish(body, etag=etag).status == 412

    stage.changes_nothing(publish)
    note = unique("anew")
    stage.publish(document(note, status="<show xmlns='jabber:client'>chat</show>"), phone)
    assert stage.sees(note).show == "chat"
    assert phone.publish(None, expires=0).status == 200


def padded(body: bytes, octets: int) -> bytes:
    """The same document, so many octets long."""
    filler = b"x" * (octets - len(body) - len("<!---->"))
    return body.replace(b"</presence>", b"<!--" + filler + b"--></presence>")


@pytest.mark.parametrize("octets", [LARGEST + 1, 200_000])
def test_a_document_that_is_too_large_changes_nothing(stage: Stage, octets: int) -> None:
    """RFC 3261 §21.4.11"""
    phone = stage.gateway.phone(USER, transport="tcp")

    def publish() -> None:
        assert phone.publish(padded(document("evil"), octets)).status == 413

    stage.changes_nothing(publish)


def test_the_largest_document_is_read(stage: Stage) -> None:
    phone = stage.gateway.phone(USER, transport="tcp")
    note = unique("large")
    stage.publish(padded(document(note, status="<show xmlns='jabber:client'>chat</show>"), LARGEST), phone)
    assert stage.sees(note).show == "chat"
    assert phone.publish(None, expires=0).status == 200


def test_a_subscription_that_is_too_brief_or_to_something_unknown_is_refused(stage: Stage) -> None:
    brief = stage.phone.subscribe(xmpp_contact("cleo@localhost"), expires=1)
    assert brief.status == 423
    assert brief.response is not None
    assert int(brief.response.headers["Min-Expires"]) > 1
    unknown = stage.phone.subscribe(xmpp_contact("cleo@localhost"), event="none-such")
    assert unknown.status == 489
    assert unknown.response is not None
    assert "presence" in re.split(r",\s*", unknown.response.headers["Allow-Events"])


# ---- IRC


def test_irc_shows_who_is_away(gateway: Gateway, ngircd: Ngircd) -> None:
    """RFC 2812 §4.1"""
    gateway.add_user("sven")
    gateway.add_irc_account("sven", ngircd, "sven")
    phone = gateway.online_phone("sven", "sven@127.0.0.1")
    friend = gateway.irc_user(ngircd, "friend")
    assert _away(friend, "sven") is None
    assert phone.publish(document("at <lunch> & back", person=activities("lunch"))).status == 200
    wait_until(lambda: _away(friend, "sven") == "at <lunch> & back", 30, "away")
    assert phone.publish(document("in a meeting", person=activities("meeting"))).status == 200
    wait_until(lambda: _away(friend, "sven") == "in a meeting", 30, "busy")
    assert phone.publish(document("here")).status == 200
    wait_until(lambda: _away(friend, "sven") is None, 30, "back")
    assert phone.publish(document(person=activities("holiday"))).status == 200
    wait_until(lambda: _away(friend, "sven"), 30, "away without words")
    assert phone.publish(None, expires=0).status == 200
    wait_until(lambda: not _whois(friend, "sven"), 30, "gone")


def _whois(friend: IrcUser, nick: str) -> list[tuple[str, str]]:
    """Command and text of each line of the answer; none for nobody (RFC 2812 §3.6.2)."""
    seen = len(friend.lines)
    friend.raw(f"WHOIS {nick}")
    friend.wait_line(lambda line: line.command == "318")
    answer = [line for line in friend.lines[seen:] if line.command in ("311", "301")]
    return [(line.command, line.parameters[-1]) for line in answer]


def _away(friend: IrcUser, nick: str) -> str | None:
    return dict(_whois(friend, nick)).get("301")


# ---- purple.connect_on


def test_only_publications_sign_on(gateway: Gateway, prosody: Prosody) -> None:
    """purple.connect_on=publish"""
    prosody.add_user("tina", PASSWORD)
    gateway.add_user("tina")
    gateway.add_xmpp_account("tina", prosody)
    phone = gateway.phone("tina")
    assert phone.unregister().status == phone.register().status == 200
    phone = gateway.online_phone("tina", "tina@localhost")
    assert phone.unregister().status == 200
    assert phone.publish(None).status == 200
    assert gateway.account("tina@localhost")["state"] == "online"
    assert phone.publish(None, expires=0).status == 200
    gateway.wait_state("tina@localhost", "offline")


@pytest.fixture(params=["register", "start"])
def other_gateway(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gateway]:
    settings = {"connect_on": request.param}
    with Gateway(tmp_path, users={}, settings=settings) as running:
        yield running


def test_publications_say_how_and_not_whether(other_gateway: Gateway, prosody: Prosody) -> None:
    """purple.connect_on=register and start: a publication changes the status; only the phone's going signs off."""
    connect_on = other_gateway.kamailio.settings["connect_on"]
    user, jid = f"uma-{connect_on}", f"uma-{connect_on}@localhost"
    prosody.add_user(user, PASSWORD)
    other_gateway.add_user(user)
    other_gateway.add_xmpp_account(user, prosody)
    if connect_on == "start":
        other_gateway.wait_state(jid, "online")
    phone = other_gateway.phone(user)
    other_gateway.wait_state(jid, "online")
    stage = Stage.set(other_gateway, prosody, user, f"vera-{connect_on}", phone)
    with stage.client:
        assert stage.show(person=activities("meeting")).show == "dnd"
        seen = len(stage.client.presences)
        stage.publish(document("closed", basic="closed"))
        assert stage.wait(lambda one: one.show == "").status == ""
        assert stage.show(person=activities("away")).show == "away"
        assert phone.publish(None, expires=0).status == 200
        assert stage.wait(lambda one: one.show == "").status == ""
        assert "unavailable" not in [one.type for one in stage.client.presences[seen:]]
        assert stage.show(person=activities("vacation")).show == "xa"
        assert phone.unregister().status == 200
        if connect_on == "register":
            stage.wait(lambda one: one.type == "unavailable")
            other_gateway.wait_state(jid, "offline")
            assert phone.register().status == 200
            assert stage.wait(lambda one: one.type == "available").show == "xa"  # what is published counts on
        else:
            assert stage.show(person=activities("meal")).show == "away"
            assert "unavailable" not in [one.type for one in stage.client.presences[seen:]]


def test_a_phone_without_its_etag_goes_by_its_document(tmp_path: Path, prosody: Prosody) -> None:
    """Expires 0 without SIP-If-Match ends what was published with the same tuple."""
    with Gateway(tmp_path, users={}) as gateway:
        pair = make_pair(gateway, prosody)
        pair.phone.etag = None
        assert pair.phone.publish(pidf(sip(pair.user)), expires=0).status == 200
        gateway.wait_state(pair.jid, "offline")
