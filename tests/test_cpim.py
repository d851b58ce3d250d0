"""CPIM envelopes: those of phones, hostile ones, and what the gateway writes (RFC 3862)."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purple_bridge.bodies.content import MAX_BODY
from purple_bridge.bodies.cpim import CORE, IMDN, Cpim, build, parse
from purple_bridge.errors import BadRequest, BodyTooLarge

RFC_3862 = "\r\n".join(
    [
        "From: MR SANDERS <im:piglet@100akerwood.com>",
        'To: "Depressed Donkey" <im:eeyore@100akerwood.com>',
        "DateTime: 2000-12-13T13:40:00-08:00",
        "Subject: the weather will be fine today",
        "Subject:;lang=fr beau temps prevu pour aujourd'hui",
        "NS: MyFeatures <mid:MessageFeatures@id.foo.com>",
        "Require: MyFeatures.VitalMessageOption",
        "MyFeatures.VitalMessageOption: Confirmation-requested",
        "MyFeatures.WackyMessageOption: Use-silly-font",
        "",
        "Content-type: text/xml; charset=utf-8",
        "Content-ID: <1234567890@foo.com>",
        "",
        "<body>\r\nHere is the text of my message.\r\n\r\n</body>",
    ]
).encode()

LINPHONE = (
    b"From: <sip:alice@example.org>\r\nTo: <sip:bob@example.org>\r\nDateTime: 2024-05-01T09:41:00Z\r\n"
    b"NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: yHFrhqOKlLHCVCo-\r\n"
    b"imdn.Disposition-Notification: positive-delivery, negative-delivery, display\r\n\r\n"
    b"Content-Type: text/plain;charset=UTF-8\r\nContent-Length: 5\r\n\r\nhello"
)


def test_the_example_of_the_rfc() -> None:
    message = parse(RFC_3862)
    assert message.content_type == "text/xml; charset=utf-8"
    assert message.content_headers == (("Content-ID", "<1234567890@foo.com>"),)
    assert message.body == b"<body>\r\nHere is the text of my message.\r\n\r\n</body>"
    assert [name for name, _ in message.headers] == [
        "From", "To", "DateTime", "Subject", "Subject", "NS", "Require", "MyFeatures.VitalMessageOption",
        "MyFeatures.WackyMessageOption",
    ]  # fmt: skip
    assert message.value("From") == "MR SANDERS <im:piglet@100akerwood.com>"
    assert message.value("Subject") == "the weather will be fine today"
    assert message.headers[4] == ("Subject", "beau temps prevu pour aujourd'hui")
    assert message.value("WackyMessageOption", "mid:MessageFeatures@id.foo.com") == "Use-silly-font"
    assert message.required() == [("mid:MessageFeatures@id.foo.com", "VitalMessageOption")]


def test_a_phone() -> None:
    message = parse(LINPHONE)
    assert message.value("Message-ID", IMDN) == "yHFrhqOKlLHCVCo-"
    assert message.content_header("content-LENGTH") == "5"
    assert message.content_header("Content-Disposition") == ""
    assert (message.content_type, message.body) == ("text/plain;charset=UTF-8", b"hello")
    assert parse(LINPHONE.replace(b"\r\n", b"\n")) == message


ENVELOPES = [
    (b"A: b\r\n\r\nContent-Type: x/y\r\n\r\nz", Cpim((("A", "b"),), "x/y", b"z")),
    (b"A: b\n\nContent-Type: x/y\n\nz\n\n", Cpim((("A", "b"),), "x/y", b"z\n\n")),
    (b"A: b\r\n\r\n\r\nz", Cpim((("A", "b"),), "", b"z")),
    (b"A: b\r\n\r\ncontent-type:x/y\r\n\r\n", Cpim((("A", "b"),), "x/y", b"")),
    (b"\r\nContent-Type: x/y\r\n\r\nz", Cpim((), "x/y", b"z")),
    (b"\r\n\r\nz", Cpim((), "", b"z")),
    (b"\r\nX-1: 1\r\nContent-Type: x/y;\r\n\ta=b\r\n\r\nz", Cpim((), "x/y;\ta=b", b"z", (("X-1", "1"),))),
    (b"A: \r\nB:\r\nC:d\r\nD:  two\r\n\r\n\r\n", Cpim((("A", ""), ("B", ""), ("C", "d"), ("D", " two")), "", b"")),
    (b"A: b\r\n\r\n\r\n\xff\x00\r", Cpim((("A", "b"),), "", b"\xff\x00\r")),
    ("A: grün 🐄\r\n\r\n\r\nz".encode(), Cpim((("A", "grün 🐄"),), "", b"z")),
    (rb"A: \\ \" \' \b\t\n\r \u00fc \uD83D\uDC04" + b"\r\n\r\n\r\n", Cpim((("A", "\\ \" ' \b\t\n\r ü 🐄"),), "", b"")),
    # what is no escape stays; half a pair of surrogates is no character
    (rb"A: \x \u12 \ud83d! \\u00fc" + b"\r\n\r\n\r\n", Cpim((("A", "\\x \\u12 \ufffd! \\u00fc"),), "", b"")),
    (b'A:;lang=fr;x="a;\\"b" c\r\n\r\n\r\n', Cpim((("A", "c"),), "", b"")),
    (b"A:;not a parameter\r\n\r\n\r\n", Cpim((("A", ";not a parameter"),), "", b"")),
]  # fmt: skip


@pytest.mark.parametrize(("octets", "message"), ENVELOPES)
def test_envelopes(octets: bytes, message: Cpim) -> None:
    assert parse(octets) == message


@pytest.mark.parametrize(
    ("headers", "namespace", "name", "value"),
    [
        ([("From", " <sip:a@b>")], CORE, "From", "<sip:a@b>"),
        ([("From", "a"), ("From", "b")], CORE, "From", "a"),
        ([("from", "a"), ("FROM", "b")], CORE, "From", ""),
        ([("imdn.From", "a")], CORE, "From", ""),
        # RFC 5438 §6.1, and a prefix of one's own choice
        ([("NS", "imdn <urn:ietf:params:imdn>"), ("imdn.Message-ID", "1")], IMDN, "Message-ID", "1"),
        ([("NS", "x <urn:ietf:params:imdn>"), ("x.Message-ID", "1")], IMDN, "Message-ID", "1"),
        ([("NS", "x<urn:ietf:params:imdn> "), ("x.Message-ID", "1")], IMDN, "Message-ID", "1"),
        ([("NS", "<urn:ietf:params:imdn>"), ("Message-ID", "1")], IMDN, "Message-ID", "1"),
        ([("imdn.Message-ID", "1")], IMDN, "Message-ID", "1"),
        ([("imdn.message-id", "1")], IMDN, "Message-ID", ""),
        ([("Message-ID", "1")], IMDN, "Message-ID", ""),
        ([("x.Message-ID", "1")], IMDN, "Message-ID", ""),
        # a prefix means what was declared last
        ([("NS", "imdn <other>"), ("imdn.Message-ID", "1")], IMDN, "Message-ID", ""),
        ([("x.Message-ID", "1"), ("NS", "x <urn:ietf:params:imdn>"), ("x.Message-ID", "2")], IMDN, "Message-ID", "2"),
        ([("NS", "<other>"), ("From", "1")], CORE, "From", ""),
        ([("From", "1"), ("NS", "<other>"), ("From", "2")], CORE, "From", "1"),
        ([("NS", "nonsense"), ("NS", ""), ("From", "1")], CORE, "From", "1"),
    ],
)
def test_namespaces(headers: list[tuple[str, str]], namespace: str, name: str, value: str) -> None:
    assert Cpim(tuple(headers), "", b"").value(name, namespace) == value


@pytest.mark.parametrize(
    ("headers", "required"),
    [
        ([], []),
        ([("Require", "Subject, imdn.Message-ID,,")], [(CORE, "Subject"), (IMDN, "Message-ID")]),
        ([("NS", "x <y>"), ("Require", "x.A"), ("Require", "z.B")], [("y", "A"), ("", "B")]),
    ],
)
def test_required_headers(headers: list[tuple[str, str]], required: list[tuple[str, str]]) -> None:
    assert Cpim(tuple(headers), "", b"").required() == required


@pytest.mark.parametrize(
    "octets",
    [
        b"", b"hello", b"A: b", b"A: b\r\n", b"A: b\r\n\r\n", b"A: b\r\n\r\nContent-Type: x/y\r\n", b"\r\n",
        b"no header\r\n\r\n\r\n", b": b\r\n\r\n\r\n", b"A b: c\r\n\r\n\r\n", b"A.b.c: d\r\n\r\n\r\n",
        b".a: b\r\n\r\n\r\n",
        b"A: b\r\n folded\r\n\r\n\r\n", b"A: \x00\r\n\r\n\r\n", b"A: b\tc\r\n\r\n\r\n", b"A: b\rc\r\n\r\n\r\n",
        b"A: \xff\r\n\r\n\r\n", b"A: \xed\xa0\x80\r\n\r\n\r\n", b"(A): b\r\n\r\n\r\n", "Ä: b\r\n\r\n\r\n".encode(),
        b"A: b\r\n\r\nhello\r\n\r\n", b"A: b\r\n\r\nContent-Type: x/\x00y\r\n\r\n", b"A: b\r\n\r\n x: y\r\n\r\n",
        b"A: b\r\n\r\nX: \xff\r\n\r\n", b"A: b\r\n\r\nX: a\rb\r\n\r\n",
    ],
)  # fmt: skip
def test_no_envelopes(octets: bytes) -> None:
    with pytest.raises(BadRequest) as error:
        parse(octets)
    assert error.value.reason.isprintable()


def test_too_large() -> None:
    with pytest.raises(BodyTooLarge):
        parse(LINPHONE + b"x" * MAX_BODY)


def test_what_is_written() -> None:
    headers = (("From", '"Ünal \\ x" <sip:a@b>'), ("imdn.Message-ID", "1"))
    message = Cpim(headers, "text/plain;charset=utf-8", b"hi\n", (("Content-Disposition", "notification"),))
    assert (
        build(message)
        == (
            'From: "Ünal \\\\ x" <sip:a@b>\r\nimdn.Message-ID: 1\r\n\r\n'
            "Content-Type: text/plain;charset=utf-8\r\nContent-Disposition: notification\r\n\r\nhi\n"
        ).encode()
    )


@pytest.mark.parametrize(
    "message",
    [
        Cpim((("", "b"),), "", b""),
        Cpim((("A b", "c"),), "", b""),
        Cpim((("A:", "c"),), "", b""),
        Cpim((("A.b.c", "d"),), "", b""),
        Cpim((("A\r\nB", "c"),), "", b""),
        *(Cpim((("A", f"b{bad}c"),), "", b"") for bad in "\r\n\t\x00\x7f\x85\u2028\ud800"),
        Cpim((), "text/plain\r\nX: y", b""),
        Cpim((), "", b"", (("X", "y\nz"),)),
        Cpim((), "", b"", (("X y", "z"),)),
    ],
)
def test_what_is_not_written(message: Cpim) -> None:
    with pytest.raises(BadRequest):
        build(message)


NAMES = st.from_regex(r"\A(?:[A-Za-z0-9-]{1,9}\.)?[A-Za-z0-9!#$%&'*+^_`|~-]{1,9}\Z")
VALUES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]))
MIME_NAMES = st.from_regex(r"\AX-[A-Za-z]{1,9}\Z")


@settings(deadline=None)
@given(
    st.lists(st.tuples(NAMES, VALUES | st.just(r"\u0041 \\ ;x=y"))).map(tuple),
    st.sampled_from(["", "text/plain", "text/plain;charset=utf-8"]),
    st.binary() | st.just(b"\r\n\r\n"),
    st.lists(st.tuples(MIME_NAMES, VALUES.map(str.strip))).map(tuple),
)
def test_what_is_written_is_read(
    headers: tuple[tuple[str, str], ...], content_type: str, body: bytes, about: tuple[tuple[str, str], ...]
) -> None:
    message = Cpim(headers, content_type, body, about)
    assert parse(build(message)) == message


PIECES = st.sampled_from(
    [b"From: x", b"NS: a <b>", b":", b" ", b"\r\n", b"\n", b"\r", b"\\", b"\\u12", b"\\ud800", b";a=", b'"']
)


@settings(deadline=None)
@given(st.lists(PIECES | st.binary(max_size=5)).map(b"".join))
def test_nothing_else_is_raised(octets: bytes) -> None:
    try:
        message = parse(octets)
        message.required()
    except BadRequest as error:
        assert error.reason.isprintable()


@pytest.mark.parametrize(
    "seed", [b"a", b"A: b\n", b"NS: a <b>\n", b"\n", b" ", b"\\u0041", b'A:;a="', b";a=", b"a.", b"\r", b"\\"]
)
def test_hostile_envelopes_take_linear_time(seed: bytes) -> None:
    start = time.perf_counter()
    for octets in (seed * (60_000 // len(seed)), b"A:" + seed * (60_000 // len(seed)) + b"\n\n\n"):
        try:
            parse(octets).value("Message-ID", IMDN)
        except BadRequest:
            continue
    assert time.perf_counter() - start < 2.0
