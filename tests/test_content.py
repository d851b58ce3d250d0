"""MESSAGE bodies: which types, charsets and characters are taken, and which status answers the others."""

from __future__ import annotations

import gzip
import time
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purple_bridge.bodies.content import ACCEPTED, MAX_BODY, decode, decompressed, parse_content_type
from purple_bridge.bodies.incoming import Text, read
from purple_bridge.errors import BadRequest, BodyTooLarge, UnsupportedBody, UnsupportedEncoding


def text_of(content_type: str | None, body: bytes) -> str:
    """The text of a MESSAGE that is no notice."""
    said = read(content_type, body)
    return said.text if isinstance(said, Text) else "a notice"


def short(value: object) -> str:
    """A parameter as a test id that fits on a line."""
    return ascii(value)[:40]


TYPES = [
    ("text/plain", "text/plain", {}),
    ("TEXT/Plain", "text/plain", {}),
    (" text / plain ", "text/plain", {}),
    ("text/plain;charset=UTF-8", "text/plain", {"charset": "UTF-8"}),
    ("text/plain; Charset=utf-8", "text/plain", {"charset": "utf-8"}),
    ("text/plain ; charset = utf-8 ; format=flowed", "text/plain", {"charset": "utf-8", "format": "flowed"}),
    ('text/plain;charset="utf-8"', "text/plain", {"charset": "utf-8"}),
    ('text/plain;x="a;b=\\"c\\\\"', "text/plain", {"x": 'a;b="c\\'}),
    ('text/plain;x=""', "text/plain", {"x": ""}),
    ("text/plain;", "text/plain", {}),
    ("text/plain;;a=b;", "text/plain", {"a": "b"}),
    ("text/plain;a=1;A=2", "text/plain", {"a": "1"}),
    ("application/pidf+xml", "application/pidf+xml", {}),
    ("application/im-iscomposing+xml;charset=us-ascii", "application/im-iscomposing+xml", {"charset": "us-ascii"}),
    ("multipart/mixed;boundary=--x", "multipart/mixed", {"boundary": "--x"}),
    ("x-a.b/y_c!#$&^", "x-a.b/y_c!#$&^", {}),
]


@pytest.mark.parametrize(("value", "media_type", "parameters"), TYPES)
def test_content_type(value: str, media_type: str, parameters: dict[str, str]) -> None:
    parsed = parse_content_type(value)
    assert (parsed.media_type, dict(parsed.parameters)) == (media_type, parameters)
    assert (parsed.type, parsed.subtype) == tuple(media_type.split("/"))


NO_TYPES = [
    "", " ", "text", "text/", "/plain", "text plain", "text//plain", "text/plain/x", "text/plain charset=utf-8",
    "text/plain, text/html", "text/plain;charset", "text/plain;charset=", "text/plain;=utf-8", "té/plain",
    'text/plain;charset="utf-8', 'text/plain;charset="utf-8"x', "text/plain;charset=a b", "text/pl(x)ain", "\x00",
]  # fmt: skip


@pytest.mark.parametrize("value", NO_TYPES)
def test_no_content_type(value: str) -> None:
    with pytest.raises(BadRequest) as error:
        parse_content_type(value)
    assert error.value.reason.isprintable()


TEXTS = [
    (None, b"hello", "hello"),
    ("", b"hello", "hello"),
    (None, "grüß 你好 😀".encode(), "grüß 你好 😀"),
    ("text/plain", "grüß".encode(), "grüß"),
    ("Text/PLAIN", b"x", "x"),
    ("text/plain;charset=utf-8", "ü".encode(), "ü"),
    ('text/plain; charset="UTF-8"', "ü".encode(), "ü"),
    ("text/plain;charset=utf8", "ü".encode(), "ü"),
    ("text/plain;charset=iso-8859-1", b"\xfc", "ü"),
    ("text/plain;charset=ISO-8859-15", b"\xa4", "€"),
    ("text/plain;charset=windows-1252", b"\x80", "€"),
    ("text/plain;charset=us-ascii", b"x", "x"),
    ("text/plain;charset=utf-16", "ü".encode("utf-16"), "ü"),
    ("text/plain;charset=utf-16be", "ü".encode("utf-16be"), "ü"),
    ("text/plain;charset=shift_jis", "日本".encode("shift_jis"), "日本"),
    ("text/plain;charset=GB18030", "你".encode("gb18030"), "你"),
    ("text/plain;charset=koi8-r", "да".encode("koi8-r"), "да"),
    ("text/plain;charset=koi8-u", "є".encode("koi8-u"), "є"),
    ("text/plain", b"\xef\xbb\xbfx", "x"),
    ("text/plain", b"a\tb\r\nc\nd\re", "a\tb\r\nc\nd\re"),
    ("text/plain", b"<b>&amp;</b>", "<b>&amp;</b>"),
    ("text/plain", b" ", " "),
    ("text/plain", "\x7f\u202e\ufdd0".encode(), "\x7f\u202e\ufdd0"),
    ("text/plain", b"x" * MAX_BODY, "x" * MAX_BODY),
]


@pytest.mark.parametrize(("content_type", "body", "text"), TEXTS, ids=short)
def test_text(content_type: str | None, body: bytes, text: str) -> None:
    assert text_of(content_type, body) == text


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (None, b""),
        ("text/plain", b""),
        ("text/html", b""),
        ("text/plain", b"\xef\xbb\xbf"),
        ("text/plain", b"\xff"),
        ("text/plain", b"\xed\xa0\x80"),
        ("text/plain", "ü".encode("latin-1")),
        ("text/plain;charset=us-ascii", "ü".encode()),
        ("text/plain;charset=utf-16", b"x"),
        ("text/plain;charset=utf-7", b"+2AA-"),
        ("text/plain;charset=shift_jis", b"\x81"),
        ("text", b"x"),
        ("text/plain;charset", b"x"),
    ],
)
def test_bad_requests(content_type: str | None, body: bytes) -> None:
    with pytest.raises(BadRequest) as error:
        text_of(content_type, body)
    assert error.value.status == 400


NOT_CHARSETS = [
    "", "nonsense", "utf-99", "ü", "\x00", "../../x", "idna", "punycode", "unicode_escape", "raw-unicode-escape",
    "undefined", "base64", "hex", "zlib", "bz2", "rot13", "quopri", "uu", "mbcs", "oem", "palmos", "x" * 10_000,
]  # fmt: skip


@pytest.mark.parametrize("charset", NOT_CHARSETS, ids=short)
def test_codecs_that_are_no_charsets(charset: str) -> None:
    start = time.perf_counter()
    with pytest.raises(BadRequest) as error:
        decode(b"x" * MAX_BODY, charset)
    assert error.value.reason.isprintable()
    assert time.perf_counter() - start < 1.0


@pytest.mark.parametrize("code", [*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0xFFFE, 0xFFFF])
def test_characters_no_network_can_carry(code: int) -> None:
    with pytest.raises(BadRequest, match=f"U\\+{code:04X}"):
        text_of(None, f"a{chr(code)}b".encode())


def test_what_a_message_may_be() -> None:
    others = ("message/cpim", "message/imdn+xml", "application/im-iscomposing+xml")
    assert set(ACCEPTED) == {"text/plain", "text/html", *others}


@pytest.mark.parametrize(
    "content_type",
    ["text/x-markdown", "application/json", "multipart/mixed;boundary=x", "text/plain2"],
)
def test_other_types_are_refused(content_type: str) -> None:
    with pytest.raises(UnsupportedBody) as error:
        text_of(content_type, b"x")
    assert error.value.status == 415
    assert "text/plain" in error.value.reason


def test_too_large() -> None:
    assert MAX_BODY == 64_000
    with pytest.raises(BodyTooLarge) as error:
        text_of("text/html", b"x" * (MAX_BODY + 1))
    assert error.value.status == 413


@settings(deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufeff\ufffe\uffff"), min_size=1),
    st.sampled_from(["utf-8", "utf-16", "utf-16-le", "utf-32", "gb18030"]),
)
def test_every_text_arrives(text: str, charset: str) -> None:
    assert text_of(f"text/plain;charset={charset}", text.encode(charset)) == text


@settings(deadline=None)
@given(st.none() | st.text(max_size=40), st.binary(max_size=40))
def test_nothing_else_is_raised(content_type: str | None, body: bytes) -> None:
    try:
        assert text_of(content_type, body)
    except (BadRequest, UnsupportedBody) as error:
        assert error.reason.isprintable()


TEXT = "Grüße\n".encode() * 100
CODED = [
    ("", TEXT),
    ("identity", TEXT),
    (" Deflate", zlib.compress(TEXT)),
    ("gzip", gzip.compress(TEXT, mtime=0)),
    ("x-gzip", gzip.compress(TEXT, mtime=0)),
    ("deflate", zlib.compress(b"x" * MAX_BODY).ljust(100)),
]


@pytest.mark.parametrize(("coding", "body"), CODED, ids=short)
def test_content_encodings(coding: str, body: bytes) -> None:
    assert decompressed(body, coding) in (TEXT, b"x" * MAX_BODY)


BROKEN = [
    ("br", TEXT, UnsupportedEncoding),
    ("deflate, gzip", TEXT, UnsupportedEncoding),
    ("deflate", TEXT, BadRequest),
    ("gzip", gzip.compress(TEXT, mtime=0)[:-9], BadRequest),
    ("deflate", b"", BadRequest),
    ("deflate", zlib.compress(bytes(MAX_BODY + 1)), BodyTooLarge),
    ("gzip", gzip.compress(bytes(100_000_000), mtime=0), BodyTooLarge),
]


@pytest.mark.parametrize(("coding", "body", "error"), BROKEN, ids=short)
def test_bad_content_encodings(coding: str, body: bytes, error: type[Exception]) -> None:
    """What is short can be long: no more than MAX_BODY octets are ever made of it."""
    with pytest.raises(error):
        decompressed(body, coding)
