"""PIDF: what counts in a document, hostile documents, and what the gateway writes."""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purple_bridge.bodies.pidf import DATA_MODEL, MAX_DOCUMENT, PIDF, RPID, build, parse, tuple_id
from purple_bridge.errors import BadRequest, BodyTooLarge
from purple_bridge.presence import AVAILABLE, MAX_NOTE, OFFLINE, Presence, Show
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


def test_the_document_in_full() -> None:
    presence = open_(Show.DND, "a < b & c", datetime(2024, 5, 1, 11, tzinfo=UTC))
    assert build("sip:bob@example.org", presence, "Home-1").decode() == (
        "<?xml version='1.0' encoding='UTF-8'?>\n"
        '<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" '
        'xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" entity="sip:bob@example.org">'
        '<tuple id="ID-Home-1"><status><basic>open</basic><show xmlns="jabber:client">dnd</show></status>'
        "<note>a &lt; b &amp; c</note></tuple>"
        '<dm:person id="ID-Home-1-person"><rpid:activities><rpid:busy /></rpid:activities>'
        '<rpid:user-input last-input="2024-05-01T11:00:00+00:00">idle</rpid:user-input>'
        "<dm:note>a &lt; b &amp; c</dm:note></dm:person></presence>"
    )


WRITTEN = [
    (open_(Show.AVAILABLE), "open", None, None),
    (open_(Show.CHAT), "open", "chat", None),
    (open_(Show.AWAY), "open", "away", "away"),
    (open_(Show.XA), "open", "xa", "away"),
    (open_(Show.DND), "open", "dnd", "busy"),
    (OFFLINE, "closed", None, None),
]


@pytest.mark.parametrize(("presence", "basic", "show", "activity"), WRITTEN)
def test_written(presence: Presence, basic: str, show: str | None, activity: str | None) -> None:
    root = ET.fromstring(build("sip:bob@example.org", presence))
    status = root.find(f"{{{PIDF}}}tuple/{{{PIDF}}}status")
    assert status is not None
    assert status.findtext(f"{{{PIDF}}}basic") == basic
    assert status.findtext("{jabber:client}show") == show
    activities = [element.tag for element in root.iterfind(f".//{{{RPID}}}activities/*")]
    assert activities == ([f"{{{RPID}}}{activity}"] if activity else [])
    assert parse(build("sip:bob@example.org", presence)) == presence


def test_without_a_resource_the_entity_names_the_tuple() -> None:
    assert b' id="ID-sip_3a_bob_40_example.org"' in build("sip:bob@example.org", AVAILABLE)


def test_an_entity_cannot_break_out() -> None:
    entity = 'sip:"<&>\x00\x08\ud800\uffff@example.org'
    root = ET.fromstring(build(entity, AVAILABLE))
    assert root.get("entity") == 'sip:"<&>@example.org'


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


@st.composite
def presences(draw: st.DrawFn) -> Presence:
    show = draw(st.sampled_from(Show))
    idle = draw(st.none() | st.datetimes(max_value=datetime(2024, 1, 1), timezones=st.just(UTC)))
    return Presence(show is not Show.OFFLINE, show, draw(st.text(max_size=1_100)), idle)


@settings(deadline=None)
@given(presences(), st.text(max_size=20), st.text(max_size=20))
def test_what_is_written_is_read(presence: Presence, entity: str, resource: str) -> None:
    body = build(entity, presence, resource)
    assert parse(body, now=NOON) == presence
    assert parse(body, "utf-8", now=NOON) == presence
    assert build(entity, presence, resource) == body
