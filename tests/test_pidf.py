"""PIDF: what counts in a document, hostile documents, and what the gateway writes."""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purple_bridge.bodies.pidf import (
    CIPID,
    DATA_MODEL,
    MAX_DOCUMENT,
    PIDF,
    RPID,
    build,
    contact_priority,
    parse,
    tuple_id,
    tuple_ids,
)
from purple_bridge.errors import BadRequest, BodyTooLarge
from purple_bridge.presence import (
    AVAILABLE,
    MAX_NOTE,
    MOODS,
    NO_MOODS,
    OFFLINE,
    ContactPresence,
    Note,
    Presence,
    Resource,
    Show,
    most_available_resource,
)
from tests.documents import LINPHONE, NOON, closed, open_

# --- details, one at a time ------------------------------------------------------------------------------


def document(inner: str) -> bytes:
    namespaces = f'xmlns="{PIDF}" xmlns:dm="{DATA_MODEL}" xmlns:r="{RPID}" xmlns:j="jabber:client" xmlns:i="{PIDF}:im"'
    return f'<presence {namespaces} entity="sip:a@b">{inner}</presence>'.encode()


def tuple_(status: str, more: str = "") -> str:
    return f"<tuple id='t'><status>{status}</status>{more}</tuple>"


OPEN, CLOSED = tuple_("<basic>open</basic>"), tuple_("<basic>closed</basic>")
AWAY = "<dm:person id='p'><r:activities><r:away/></r:activities></dm:person>"
PERSON_NOTE = "<dm:person id='p'><dm:note>p</dm:note></dm:person>"


def short(value: object) -> str:
    """A parameter as a test id that fits on a line."""
    return ascii(value)[:40]


DETAILS = [
    # which tuples count
    ("", OFFLINE),
    ("<note>gone</note>", closed("gone")),
    (OPEN, AVAILABLE),
    (CLOSED, OFFLINE),
    (CLOSED + OPEN, AVAILABLE),
    (OPEN + CLOSED, AVAILABLE),
    (CLOSED + CLOSED, OFFLINE),
    (tuple_(""), AVAILABLE),
    ("<tuple id='t'/>", AVAILABLE),
    (tuple_("<basic>perhaps</basic>"), AVAILABLE),
    (tuple_("<basic>OPEN</basic>"), AVAILABLE),
    (tuple_("<basic/>") + CLOSED, OFFLINE),
    (tuple_("<basic> Closed </basic>"), OFFLINE),
    (tuple_("<j:show>chat</j:show>"), open_(Show.CHAT)),
    (AWAY, open_(Show.AWAY)),
    ("<dm:person id='p'/>", AVAILABLE),
    (CLOSED + AWAY, OFFLINE),
    (tuple_("<r:basic>closed</r:basic>"), OFFLINE),
    (tuple_("<x:basic xmlns:x='urn:x'>closed</x:basic>"), AVAILABLE),
    ("<dm:person id='p'><status><basic>closed</basic></status></dm:person>", OFFLINE),
    ("<dm:person id='p'><status><basic>open</basic></status></dm:person>", AVAILABLE),
    (OPEN + "<dm:person id='p'><status><basic>closed</basic></status></dm:person>", AVAILABLE),
    # show and activities
    (tuple_("<basic>open</basic><j:show>chat</j:show>"), open_(Show.CHAT)),
    (tuple_("<basic>open</basic><j:show> xa </j:show>"), open_(Show.XA)),
    (tuple_("<basic>open</basic><j:show>dnd</j:show>"), open_(Show.DND)),
    (tuple_("<basic>open</basic><j:show>dnd</j:show>") + AWAY, open_(Show.DND)),
    (tuple_("<basic>open</basic><j:show>offline</j:show>") + AWAY, open_(Show.AWAY)),
    (tuple_("<basic>open</basic><show>dnd</show>"), open_(Show.DND)),
    (tuple_("<basic>open</basic><show xmlns='urn:x'>dnd</show>"), AVAILABLE),
    (tuple_("<basic>open</basic><j:show>DND</j:show>"), open_(Show.DND)),
    (tuple_("<basic>open</basic><i:im>away</i:im>"), open_(Show.AWAY)),
    (tuple_("<basic>open</basic><i:im>dancing</i:im>"), AVAILABLE),
    (tuple_("<basic>open</basic><i:im>busy</i:im><r:activities><r:away/></r:activities>"), open_(Show.AWAY)),
    (OPEN + "<person><activities><busy/></activities></person>", open_(Show.DND)),
    (OPEN + "<person xmlns=''><activities><busy/></activities></person>", open_(Show.DND)),
    (OPEN + "<dm:person><r:activities><r:away/>away</r:activities></dm:person>", open_(Show.AWAY)),
    (OPEN + "<dm:person><r:activities><r:Busy/></r:activities></dm:person>", open_(Show.DND)),
    (tuple_("<basic>open</basic><j:show/>"), AVAILABLE),
    (tuple_("<r:activities><r:activity/><r:activity> meeting </r:activity></r:activities>"), open_(Show.DND)),
    (tuple_("<basic>open</basic>", "<j:show>away</j:show>"), open_(Show.AWAY)),
    (tuple_("<basic>closed</basic><j:show>away</j:show>"), OFFLINE),
    (tuple_("<basic>open</basic><r:activities><r:busy/></r:activities>") + AWAY, open_(Show.DND)),
    (tuple_("<basic>open</basic><j:show>away</j:show>") + OPEN, AVAILABLE),
    (tuple_("<basic>open</basic><j:show>away</j:show>") + tuple_("<basic>open</basic><j:show>dnd</j:show>"),
     open_(Show.DND)),
    (OPEN + AWAY + "<dm:person id='q'><r:activities><r:busy/></r:activities></dm:person>", open_(Show.AWAY)),
    (OPEN + "<dm:person id='p'><r:activities><r:gardening/></r:activities></dm:person>", AVAILABLE),
    (OPEN + "<dm:person id='p'><r:mood><r:angry/></r:mood></dm:person>", open_(Show.AVAILABLE, mood="angry")),
    (OPEN + "<dm:device id='d'><r:activities><r:busy/></r:activities></dm:device>", AVAILABLE),
    (OPEN + "<x xmlns='urn:x'><y/><tuple><status><basic>closed</basic></status></tuple></x>", AVAILABLE),
    # notes
    (tuple_("<basic>open</basic>", "<note>t</note>") + "<note>d</note>" + PERSON_NOTE, open_(Show.AVAILABLE, "t")),
    (OPEN + "<note>d</note>" + PERSON_NOTE, open_(Show.AVAILABLE, "p")),
    (OPEN + "<note>d</note>", open_(Show.AVAILABLE, "d")),
    (tuple_("<basic>open</basic>", "<note> </note><note>t</note>"), open_(Show.AVAILABLE, "t")),
    (tuple_("<basic>open</basic>", "<note/>") + "<note>d</note>", open_(Show.AVAILABLE, "d")),
    (tuple_("<note>s</note>", "<note>t</note>"), open_(Show.AVAILABLE, "t")),
    (tuple_("<basic>open</basic><note>s</note>"), open_(Show.AVAILABLE, "s")),
    (tuple_("<basic>closed</basic>", "<note>t</note>"), closed("t")),
    (tuple_("<basic>closed</basic>", "<note>old</note>") + OPEN, AVAILABLE),
    (OPEN + "<dm:person id='p'><r:activities><r:other>reading</r:other></r:activities></dm:person>",
     open_(Show.AVAILABLE, "reading")),
    (OPEN + "<dm:person id='p'><r:mood><r:other>brooding</r:other></r:mood></dm:person>", AVAILABLE),
    (OPEN + "<dm:person id='p'><r:mood><r:note>sunny</r:note></r:mood><dm:note>p</dm:note></dm:person>",
     open_(Show.AVAILABLE, "p")),
    (OPEN + "<dm:person id='p'><r:mood><r:note>sunny</r:note></r:mood></dm:person>", AVAILABLE),
    (OPEN + "<note>&lt;b&gt;x&lt;/b&gt;</note>", open_(Show.AVAILABLE, "<b>x</b>")),
    (OPEN + "<note>a <b>bold</b> word</note>", open_(Show.AVAILABLE, "a bold word")),
    (OPEN + "<note> a\r\n\t b &#133;c </note>", open_(Show.AVAILABLE, "a b c")),
    (OPEN + "<note>a&#127;&#128;b &amp; &lt;c&gt; <![CDATA[<d>]]></note>", open_(Show.AVAILABLE, "ab & <c> <d>")),
    (OPEN + "<note>" + "é" * 5_000 + "</note>", open_(Show.AVAILABLE, "é" * MAX_NOTE)),
    (OPEN + "<!-- <note>no</note> --><?x y?>", AVAILABLE),
]  # fmt: skip


@pytest.mark.parametrize(("inner", "presence"), DETAILS, ids=short)
def test_details(inner: str, presence: Presence) -> None:
    assert parse(document(inner), now=NOON) == presence


IDLE = [
    ("<r:user-input>idle</r:user-input>", NOON),
    ("<r:user-input> idle </r:user-input>", NOON),
    ("<r:user-input idle-threshold='600'>idle</r:user-input>", NOON - timedelta(minutes=10)),
    ("<r:user-input idle-threshold='-1'>idle</r:user-input>", NOON),
    ("<r:user-input idle-threshold='99999999999999999999'>idle</r:user-input>", NOON),
    ("<r:user-input last-input='2024-05-01T11:00:00Z'>idle</r:user-input>", NOON - timedelta(hours=1)),
    ("<r:user-input last-input=' 2024-05-01T11:00:00Z '>idle</r:user-input>", NOON - timedelta(hours=1)),
    ("<r:user-input last-input='2024-05-01T11:00:00'>idle</r:user-input>", NOON - timedelta(hours=1)),
    ("<r:user-input last-input='2024-05-01T13:59:59.5+02:00'>idle</r:user-input>", NOON - timedelta(seconds=0.5)),
    ("<r:user-input last-input='2024-05-01T13:00:00Z'>idle</r:user-input>", NOON),
    ("<r:user-input last-input='yesterday'>idle</r:user-input>", NOON),
    ("<r:user-input last-input='0001-01-01T00:00:00+14:00'>idle</r:user-input>", NOON),
    ("<r:user-input last-input='2024-05-01T11:00:00Z'>active</r:user-input>", None),
    ("<r:user-input/>", None),
    ("<user-input>Idle</user-input>", NOON),
    ("<user-input xmlns='urn:x'>idle</user-input>", None),
    ("", None),
]  # fmt: skip


@pytest.mark.parametrize(("user_input", "idle_since"), IDLE, ids=short)
@pytest.mark.parametrize("where", ["tuple", "person"])
def test_idle(where: str, user_input: str, idle_since: datetime | None) -> None:
    in_tuple, in_person = (user_input, "") if where == "tuple" else ("", user_input)
    inner = tuple_("<basic>open</basic>", in_tuple) + f"<dm:person id='p'>{in_person}</dm:person>"
    assert parse(document(inner), now=NOON) == open_(Show.AVAILABLE, idle_since=idle_since)


def test_one_active_phone_is_enough() -> None:
    idle = tuple_("<basic>open</basic>", "<r:user-input>idle</r:user-input>")
    active = tuple_("<basic>open</basic>", "<r:user-input>active</r:user-input>")
    assert parse(document(idle + active), now=NOON) == AVAILABLE
    assert parse(document(active + "<dm:person id='p'><r:user-input>idle</r:user-input></dm:person>")) == AVAILABLE


def test_idle_without_a_time_is_now() -> None:
    before = datetime.now(UTC)
    idle_since = parse(document(tuple_("", "<r:user-input>idle</r:user-input>"))).idle_since
    assert idle_since is not None
    assert before <= idle_since <= datetime.now(UTC)


# --- encodings -------------------------------------------------------------------------------------------

UMLAUT = OPEN + "<note>grün</note>"


@pytest.mark.parametrize(
    ("body", "charset"),
    [
        (document(UMLAUT), None),
        (document(UMLAUT), "utf-8"),
        (document(UMLAUT), "UTF-8"),
        (b"\xef\xbb\xbf" + document(UMLAUT), None),
        (b"\xef\xbb\xbf" + document(UMLAUT), "utf-8"),
        (b"\r\n<?xml version='1.0' encoding='UTF-8'?>" + document(UMLAUT) + b"\r\n\x00", None),
        (b"\n<?xml version='1.0'?>" + document(UMLAUT) + b"\x00", "utf-8"),
        (document(UMLAUT).decode().encode("utf-16"), None),
        (document(UMLAUT).decode().encode("utf-16"), "utf-16"),
        (b'<?xml version="1.0" encoding="ISO-8859-1"?>' + document(UMLAUT).decode().encode("latin-1"), None),
        (b'<?xml version="1.0" encoding="windows-1252"?>' + document(UMLAUT).decode().encode("cp1252"), None),
        (document(UMLAUT).decode().encode("latin-1"), "iso-8859-1"),
        # RFC 7303 §3.1: the charset parameter counts, not the declaration.
        (b'<?xml version="1.0" encoding="ISO-8859-1"?>' + document(UMLAUT), "utf-8"),
    ],
    ids=short,
)
def test_encodings(body: bytes, charset: str | None) -> None:
    assert parse(body, charset) == open_(Show.AVAILABLE, "grün")


# --- hostile and broken ----------------------------------------------------------------------------------

LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
HOSTILE = {
    "empty": (b"", None),
    "blank": (b" \r\n", None),
    "text": (b"I am away", None),
    "nul": (b"\x00" * 100, None),
    "truncated": (LINPHONE[:-20], None),
    "two roots": (document(OPEN) * 2, None),
    "unbound prefix": (b"<p:presence/>", None),
    "billion laughs": (f'<!DOCTYPE x [<!ENTITY l0 "ha">{LAUGHS}]><x>&l9;</x>'.encode(), None),
    "external entity": (
        b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]>' + document(OPEN + "<note>&e;</note>"),
        None,
    ),
    "external DTD": (b'<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">' + document(OPEN), None),
    "empty DTD": (b"<!DOCTYPE presence>" + document(OPEN), None),
    "parameter entity": (b'<!DOCTYPE x [<!ENTITY % p SYSTEM "file:///etc/hostname"> %p;]>' + document(OPEN), None),
    "unknown entity": (document(OPEN + "<note>&nbsp;</note>"), None),
    "forbidden character": (document(OPEN + "<note>&#0;</note>"), None),
    "control character": (document(OPEN + "<note>\x08</note>"), None),
    "not UTF-8": (document(UMLAUT).decode().encode("latin-1"), None),
    "declared UTF-16": (b'<?xml version="1.0" encoding="UTF-16"?>' + document(OPEN), None),
    "declared ASCII": (b'<?xml version="1.0" encoding="US-ASCII"?>' + document(UMLAUT), None),
    "declared unknown": (b'<?xml version="1.0" encoding="x-nonsense"?>' + document(OPEN), None),
    "declared multi-byte": (b'<?xml version="1.0" encoding="shift_jis"?>' + document(OPEN), None),
    "declared codec": (b'<?xml version="1.0" encoding="zlib"?>' + document(OPEN), None),
    "unknown charset": (document(OPEN), "x-nonsense"),
    "wrong charset": (document(UMLAUT), "us-ascii"),
    "lone surrogate": (b"+2AA-", "utf-7"),
    "deep and open": (b"<a>" * 20_000, None),
    "wrong root": (f'<tuple xmlns="{PIDF}"/>'.encode(), None),
    "no namespace": (b"<presence><tuple id='t'><status><basic>open</basic></status></tuple></presence>", None),
    "other namespace": (b'<presence xmlns="jabber:client"/>', None),
    "xpidf": (b'<presence><presentity uri="sip:a@b"/><atom id="1"><address uri="x"/></atom></presence>', None),
}


@pytest.mark.parametrize(("body", "charset"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_documents_are_bad_requests(body: bytes, charset: str | None) -> None:
    start = time.perf_counter()
    with pytest.raises(BadRequest) as error:
        parse(body, charset)
    assert error.value.status == 400
    assert error.value.reason.isprintable()
    assert time.perf_counter() - start < 1.0


def test_at_most_64_kilobytes() -> None:
    def of_size(size: int) -> bytes:
        return document(OPEN) + b" " * (size - len(document(OPEN)))

    assert MAX_DOCUMENT == 64 * 1024
    assert parse(of_size(MAX_DOCUMENT)) == AVAILABLE
    with pytest.raises(BodyTooLarge) as error:
        parse(of_size(MAX_DOCUMENT + 1))
    assert error.value.status == 413
    with pytest.raises(BodyTooLarge):
        parse(b"x" * 66_560)


@pytest.mark.parametrize(
    "inner",
    [
        OPEN + "<a>" * 9_000 + "</a>" * 9_000,
        OPEN + "<r:activities>" * 2_100 + "</r:activities>" * 2_100,
        "<tuple id='t'/>" * 2_000 + "<dm:person id='p'/>" * 1_700,
        "<tuple/>" * 4_000 + "<dm:person>" + "<dm:note/>" * 3_000 + "</dm:person>",
        OPEN + "<note>" + " " * 60_000 + "</note>",
    ],
    ids=["deep", "deep activities", "many persons", "many notes", "long note"],
)
def test_large_documents_take_linear_time(inner: str) -> None:
    start = time.perf_counter()
    assert parse(document(inner)) == AVAILABLE
    assert time.perf_counter() - start < 1.0


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text(st.sampled_from("<>/&;'\"=! presncetu:[]-?"), max_size=60).map(str.encode))
def test_nothing_but_bad_requests(body: bytes) -> None:
    with pytest.raises(BadRequest):
        parse(body)


# --- writing ---------------------------------------------------------------------------------------------


ENTITY = "sip:bob@example.org"
HOUR_AGO = datetime(2024, 5, 1, 11, tzinfo=UTC)
XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"


def test_the_document_in_full() -> None:
    notes = (Note("a < b & c", "en"), Note("ça va"))
    home = Resource("Home-1", Show.DND, notes, priority=5, idle_since=HOUR_AGO)
    phone = Resource("phone", Show.XA, priority=-1)
    contact = ContactPresence((phone, home), (), "Bob <b>", "https://example.org/a?b&c", "happy")
    assert build(ENTITY, contact, "k").decode() == (
        "<?xml version='1.0' encoding='UTF-8'?>\n"
        '<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" '
        'xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" xmlns:cipid="urn:ietf:params:xml:ns:pidf:cipid" '
        'entity="sip:bob@example.org">'
        '<tuple id="ID-phone"><status><basic>open</basic><show xmlns="jabber:client">xa</show></status>'
        "<contact>sip:bob@example.org</contact></tuple>"
        '<tuple id="ID-Home-1"><status><basic>open</basic><show xmlns="jabber:client">dnd</show></status>'
        '<rpid:user-input last-input="2024-05-01T11:00:00Z">idle</rpid:user-input>'
        '<contact priority="0.039">sip:bob@example.org</contact>'
        '<note xml:lang="en">a &lt; b &amp; c</note><note>ça va</note></tuple>'
        '<dm:person id="ID-k_person"><rpid:activities><rpid:busy /></rpid:activities>'
        "<rpid:mood><rpid:happy /></rpid:mood>"
        '<rpid:user-input last-input="2024-05-01T11:00:00Z">idle</rpid:user-input>'
        "<cipid:display-name>Bob &lt;b&gt;</cipid:display-name><cipid:icon>https://example.org/a?b&amp;c</cipid:icon>"
        '<dm:note xml:lang="en">a &lt; b &amp; c</dm:note><dm:note>ça va</dm:note></dm:person></presence>'
    )


def test_the_document_of_nobody() -> None:
    contact = ContactPresence(notes=(Note("zu Hause", "de"),), display_name="Bob", mood="happy")
    assert build(ENTITY, contact, "k").decode().partition(' entity="sip:bob@example.org">')[2] == (
        '<tuple id="ID-k"><status><basic>closed</basic></status><contact>sip:bob@example.org</contact>'
        '<note xml:lang="de">zu Hause</note></tuple>'
        '<dm:person id="ID-k_person"><cipid:display-name>Bob</cipid:display-name>'
        '<dm:note xml:lang="de">zu Hause</dm:note></dm:person></presence>'
    )


def written(contact: ContactPresence, entity: str = ENTITY, identifier: str = "k") -> ET.Element:
    return ET.fromstring(build(entity, contact, identifier))


def pidf_tuple(contact: ContactPresence) -> ET.Element:
    """The only tuple of a contact with one resource or none."""
    (found,) = written(contact).iterfind(f"{{{PIDF}}}tuple")
    return found


def one(show: Show = Show.AVAILABLE, **more: Any) -> ContactPresence:
    return ContactPresence((Resource("home", show, **more),))


# RFC 8048 §6.2, table 1, row by row; From, To and Event are the request's.


@pytest.mark.parametrize(
    ("priority", "read"),
    [("0", 0), ("0.0", 0), ("0.007", 1), ("0.5", 64), ("0.992", 126), ("1", 127), ("1.000", 127)]
    + [(text, None) for text in ("", "1.1", "-0.5", "2", "high", ".5", "1e-3", "0,5")],
)
def test_priority_of_a_tuple(priority: str, read: int | None) -> None:
    """RFC 8048 §6.3, table 2; of the phone that speaks for the user."""
    body = (
        f"<presence xmlns='{PIDF}'><tuple id='a'><status><basic>open</basic></status>"
        f"<contact priority='{priority}'>sip:a@b</contact><note xml:lang='de-AT'>da</note></tuple></presence>"
    )
    presence = parse(body.encode())
    assert (presence.priority, presence.language, presence.note) == (read, "de-AT", "da")


@pytest.mark.parametrize(
    ("resource", "name"),
    [("yn0cl4bnw0yr3vym", "ID-yn0cl4bnw0yr3vym"), ("7", "ID-7"), ("Bob's Mac", "ID-Bob_27_s_20_Mac"), ("", "ID-k")],
)
def test_row_resource(resource: str, name: str) -> None:
    assert pidf_tuple(ContactPresence((Resource(resource, Show.AVAILABLE),))).get("id") == name


@pytest.mark.parametrize(("contact", "basic"), [(one(), "open"), (one(Show.XA), "open"), (ContactPresence(), "closed")])
def test_row_type(contact: ContactPresence, basic: str) -> None:
    assert pidf_tuple(contact).findtext(f"{{{PIDF}}}status/{{{PIDF}}}basic") == basic


SHOWN = [
    (Show.AVAILABLE, None, None),
    (Show.CHAT, "chat", None),
    (Show.AWAY, "away", "away"),
    (Show.XA, "xa", "away"),
    (Show.DND, "dnd", "busy"),
]


@pytest.mark.parametrize(("show", "xmpp", "activity"), SHOWN)
def test_row_show(show: Show, xmpp: str | None, activity: str | None) -> None:
    root = written(one(show))
    assert [element.text for element in root.iter("{jabber:client}show")] == ([xmpp] if xmpp else [])
    activities = [element.tag for element in root.iterfind(f"{{{DATA_MODEL}}}person/{{{RPID}}}activities/*")]
    assert activities == ([f"{{{RPID}}}{activity}"] if activity else [])
    assert parse(build(ENTITY, one(show), "k")) == open_(show)


PRIORITIES = [
    (None, None),
    (-128, None),
    (-1, None),
    (0, "0"),
    (1, "0.007"),
    (2, "0.015"),
    (64, "0.503"),
    (126, "0.992"),
    (127, "1"),
]


@pytest.mark.parametrize(("priority", "value"), PRIORITIES)
def test_row_priority(priority: int | None, value: str | None) -> None:
    contact = pidf_tuple(one(priority=priority)).find(f"{{{PIDF}}}contact")
    assert contact is not None
    assert contact.text == ENTITY
    assert contact.get("priority") == value


def test_priorities_are_unique_and_in_order() -> None:
    values = [contact_priority(priority) for priority in range(128)]
    assert all(re.fullmatch(r"0(\.[0-9]{1,3})?|1", value) for value in values)  # "qvalue" of RFC 3863 §4.4
    assert sorted(set(values), key=float) == values


def test_nobody_has_no_priority() -> None:
    contact = pidf_tuple(ContactPresence()).find(f"{{{PIDF}}}contact")
    assert contact is not None
    assert contact.attrib == {}


def test_row_status_and_language() -> None:
    notes = (
        Note("back soon", "en"),
        Note("bis gleich", "de-AT"),
        Note("?"),
        Note(" \x00 ", "fr"),
        Note("x", "not a tag"),
    )
    for contact in (one(notes=notes), ContactPresence(notes=notes)):
        for path in (f"{{{PIDF}}}tuple/{{{PIDF}}}note", f"{{{DATA_MODEL}}}person/{{{DATA_MODEL}}}note"):
            found = [(note.text, note.get(XML_LANG)) for note in written(contact).iterfind(path)]
            assert found == [("back soon", "en"), ("bis gleich", "de-AT"), ("?", None), ("x", None)]
    assert parse(build(ENTITY, one(notes=notes), "k")).note == "back soon"


# --- the person


def test_the_most_available_resource_speaks() -> None:
    resources = (
        Resource("a", Show.XA, (Note("far"),), 100),
        Resource("b", Show.AWAY, (Note("low"),), 1),
        Resource("c", Show.AWAY, (Note("high"),), 2, HOUR_AGO),
    )
    (person,) = written(ContactPresence(resources)).iterfind(f"{{{DATA_MODEL}}}person")
    assert person.findtext(f"{{{DATA_MODEL}}}note") == "high"
    assert person.findtext(f"{{{RPID}}}user-input") == "idle"


def test_idle_is_said_of_each_resource() -> None:
    idle, active = Resource("a", Show.AWAY, idle_since=HOUR_AGO), Resource("b", Show.AVAILABLE)
    root = written(ContactPresence((idle, active)))
    assert [len(list(part.iter(f"{{{RPID}}}user-input"))) for part in root] == [1, 0, 0]
    assert parse(build(ENTITY, ContactPresence((idle,)), "k"), now=NOON).idle_since == HOUR_AGO
    assert parse(build(ENTITY, ContactPresence((idle, active)), "k"), now=NOON) == AVAILABLE


@pytest.mark.parametrize("mood", sorted(MOODS))
def test_moods_of_rpid(mood: str) -> None:
    contact = ContactPresence((Resource("", Show.AVAILABLE),), mood=mood)
    assert parse(build(ENTITY, contact, "k")).mood == mood


def test_moods_that_rpid_has_not() -> None:
    contact = ContactPresence((Resource("", Show.AVAILABLE),), mood="amorous")
    assert [mood.text for mood in written(contact).iterfind(f".//{{{RPID}}}mood/{{{RPID}}}other")] == ["amorous"]


@pytest.mark.parametrize("mood", sorted(NO_MOODS))
def test_words_that_are_no_moods(mood: str) -> None:
    contact = ContactPresence((Resource("", Show.AVAILABLE),), mood=mood)
    assert b"mood" not in build(ENTITY, contact, "k")


def test_an_icon_within_the_document() -> None:
    contact = ContactPresence(icon="data:image/png;base64,iVBORw0KGgo=")
    assert written(contact).findtext(f".//{{{CIPID}}}icon") == "data:image/png;base64,iVBORw0KGgo="


# --- properties of all documents


def test_an_entity_cannot_break_out() -> None:
    entity = 'sip:"<&>\x00\x08\ud800\uffff@example.org'
    root = written(one(), entity)
    assert root.get("entity") == root.findtext(f".//{{{PIDF}}}contact") == 'sip:"<&>@example.org'


def test_equal_times_make_equal_octets() -> None:
    zone = timezone(timedelta(hours=5))
    here, there = one(idle_since=HOUR_AGO), one(idle_since=HOUR_AGO.astimezone(zone))
    assert here == there
    assert build(ENTITY, here, "k") == build(ENTITY, there, "k")


NAMES = st.sampled_from(["", "k", "k_", "home", "home_person", "k_person"]) | st.text(max_size=8)
NOTES = st.lists(st.builds(Note, st.text(max_size=40), st.sampled_from(["", "en", "de-CH", "1"])), max_size=3).map(
    tuple
)
TIMES = st.datetimes(datetime(1970, 1, 2), datetime(2024, 4, 30), timezones=st.just(UTC))
RESOURCES = st.builds(
    Resource,
    NAMES,
    st.sampled_from([show for show in Show if show is not Show.OFFLINE]),
    NOTES,
    st.none() | st.integers(-128, 127),
    st.none() | TIMES,
)
WORDS = st.text(max_size=20) | st.sampled_from(sorted(MOODS))
ICONS = st.text(max_size=20) | st.sampled_from(["https://example.org/a?b&c=%41", "data:image/png;base64,iVBORw0KGgo="])
CONTACTS = st.builds(ContactPresence, st.lists(RESOURCES, max_size=4).map(tuple), NOTES, WORDS, ICONS, WORDS)

# What may follow what: RFC 3863 §4.4, RFC 4479 §5.1 and RFC 4480 §5, as texts of local names.
ORDER = {
    "presence": "(tuple )*(person )?",
    "tuple": "status (user-input )?contact (note )*",
    "status": "basic (show )?",
    "person": "(activities )?(mood )?(user-input )?(display-name )?(icon )?(note )*",
    "activities": "(away|busy) ",
    "mood": r"\S+ ",
}


@settings(deadline=None)
@given(CONTACTS, st.text(max_size=20), st.sampled_from(["k", "home"]) | st.text(max_size=8))
def test_every_document_is_valid(contact: ContactPresence, entity: str, identifier: str) -> None:
    body = build(entity, contact, identifier)
    root = ET.fromstring(body)
    ids = [element.get("id") for element in root]
    assert len(set(ids)) == len(ids) == max(len(contact.resources), 1) + 1
    assert all(re.fullmatch("[A-Za-z_][A-Za-z0-9._-]*", id_ or "") for id_ in ids)
    for element in root.iter():
        children = "".join(child.tag.rpartition("}")[2] + " " for child in element)
        assert re.fullmatch(ORDER.get(element.tag.rpartition("}")[2], ""), children)
    assert build(entity, contact, identifier) == body


@settings(deadline=None)
@given(CONTACTS, st.text(max_size=20))
def test_what_is_written_of_a_contact_is_read(contact: ContactPresence, entity: str) -> None:
    presence = parse(build(entity, contact, "k"), now=NOON)
    speaker = most_available_resource(contact.resources)
    assert presence.open == contact.open
    assert presence.activity == (speaker.show if speaker else Show.OFFLINE)
    assert presence.mood == (contact.mood if contact.open and contact.mood in MOODS else "")


@settings(deadline=None)
@given(RESOURCES, st.text(max_size=20))
def test_what_is_written_of_a_resource_is_read(resource: Resource, entity: str) -> None:
    presence = parse(build(entity, ContactPresence((resource,)), "k"), now=NOON)
    note = next((note for note in resource.notes if note.text), Note(""))
    idle_since = resource.idle_since.replace(microsecond=0) if resource.idle_since else None
    said = open_(resource.show, note.text, idle_since)
    priority = resource.priority if resource.priority is not None and resource.priority >= 0 else None
    assert presence == replace(said, priority=priority, language=note.language)


@pytest.mark.parametrize(
    ("resource", "name"),
    [
        ("yn0cl4bnw0yr3vym", "ID-yn0cl4bnw0yr3vym"),
        ("1", "ID-1"),
        ("a b", "ID-a_20_b"),
        ("a_b", "ID-a_5f_b"),
        ("é/😀", "ID-_e9__2f__1f600_"),
        ("sip:a@b.c", "ID-sip_3a_a_40_b.c"),
    ],
)
def test_tuple_id(resource: str, name: str) -> None:
    assert tuple_id(resource) == name


@settings(deadline=None)
@given(st.text(), st.text())
def test_tuple_ids_are_names_and_differ(one: str, other: str) -> None:
    assert re.fullmatch("[A-Za-z_][A-Za-z0-9._-]*", tuple_id(one))  # the ASCII part of NCName
    assert (tuple_id(one) == tuple_id(other)) == (one == other)


def test_tuples_of_a_document() -> None:
    tuples = "<tuple id='a'/><x:tuple xmlns:x='urn:other' id='b'/><tuple id='c'><tuple id='d'/></tuple>"
    assert tuple_ids(f"<presence xmlns='{PIDF}'>{tuples}</presence>".encode()) == {"a", "c"}
    with pytest.raises(BadRequest):
        tuple_ids(b"")
