"""Header lines: what they look like, and that nothing given to them can start a new line."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purple_bridge.addresses import SipAddress
from purple_bridge.errors import BadRequest
from purple_bridge.sip_headers import MAX_DISPLAY, clean_display, header_block, name_addr

ALICE = SipAddress("alice", "example.org")

# RFC 3261 §7.3.1 and §25.1: a name, a colon, one line of text.
HEADER_LINE = re.compile("[A-Za-z0-9.!%*_+`'~-]+: [^\x00-\x1f\x7f]*")


def test_header_block() -> None:
    assert header_block([]) == ""
    assert header_block([("Subject", "héllo")]) == "Subject: héllo\r\n"
    pairs = [("Content-Type", "text/plain"), ("Expires", "0"), ("X-Empty", "")]
    assert header_block(pairs) == "Content-Type: text/plain\r\nExpires: 0\r\nX-Empty: \r\n"


def short(value: object) -> str:
    """A parameter as a test id that fits on a line."""
    return ascii(value)[:40]


CONTROLS = ["\r\n", "\r", "\n", "\x00", "\t", "\x0b", "\x1b", "\x7f", "\x85", "\x9f", "\u2028", "\u2029", "\ud800"]


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("value", ["{}", "a{}Via: x", "{}a", "a{}"])
def test_values_with_controls_are_refused(control: str, value: str) -> None:
    with pytest.raises(BadRequest) as error:
        header_block([("From", "x"), ("Subject", value.format(control))])
    assert error.value.reason == "control character in the header Subject"


@pytest.mark.parametrize("name", ["", " ", "Sub ject", "Subject:", "a\r\nb", "Ü", "a\x00", "a;b", '"a"', "a\n"])
def test_names_that_are_no_tokens_are_refused(name: str) -> None:
    with pytest.raises(BadRequest) as error:
        header_block([(name, "x")])
    assert error.value.reason.isprintable()


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(max_size=10), st.text(max_size=20)), max_size=3))
def test_a_block_has_exactly_the_lines_asked_for(pairs: list[tuple[str, str]]) -> None:
    try:
        block = header_block(pairs)
    except BadRequest:
        return
    lines = block.split("\r\n")
    assert lines.pop() == ""
    assert len(lines) == len(pairs)
    assert all(HEADER_LINE.fullmatch(line) for line in lines)


NAME_ADDRS = [
    (None, "<sip:alice@example.org>"),
    ("", "<sip:alice@example.org>"),
    ("  ", "<sip:alice@example.org>"),
    ("\u200b\u202e\r\n", "<sip:alice@example.org>"),
    ("Al", '"Al" <sip:alice@example.org>'),
    ("Al Ice", '"Al Ice" <sip:alice@example.org>'),
    ("Müller 你好", '"Müller 你好" <sip:alice@example.org>'),
    ('A "the" L', '"A \\"the\\" L" <sip:alice@example.org>'),
    ("back\\slash", '"back\\\\slash" <sip:alice@example.org>'),
    ('\\"', '"\\\\\\"" <sip:alice@example.org>'),
    ("<sip:eve@evil>", '"<sip:eve@evil>" <sip:alice@example.org>'),
    ("a, b;c", '"a, b;c" <sip:alice@example.org>'),
    ("Al\r\nVia: evil", '"Al Via: evil" <sip:alice@example.org>'),
]


@pytest.mark.parametrize(("display", "expected"), NAME_ADDRS)
def test_name_addr(display: str | None, expected: str) -> None:
    assert name_addr(ALICE, display) == expected
    assert name_addr("sip:alice@example.org", display) == expected


def test_name_addr_with_parameters() -> None:
    params = [("tag", "a.1-x"), ("lr", None), ("q", "a b"), ("w", '"\\')]
    assert name_addr(ALICE, None, params) == '<sip:alice@example.org>;tag=a.1-x;lr;q="a b";w="\\"\\\\"'


def test_name_addr_keeps_the_phone_and_uri_parameters() -> None:
    phone = SipAddress("bob", "example.org", secure=True, resource="a b")
    assert name_addr(phone) == "<sips:bob@example.org;gr=a%20b>"
    assert name_addr("sip:bob@10.0.0.1:5060;proto=purple?x=y") == "<sip:bob@10.0.0.1:5060;proto=purple?x=y>"
    assert name_addr(SipAddress("a", "[::1]")) == "<sip:a@[::1]>"


@pytest.mark.parametrize(
    "uri",
    ["", "sip:", "alice@example.org", "tel:1", "sip:a b@h", "sip:a@h>", "<sip:a@h>", 'sip:"@h', "sip:ü@h"],
)
def test_name_addr_refuses_what_is_no_uri(uri: str) -> None:
    with pytest.raises(BadRequest) as error:
        name_addr(uri)
    assert error.value.reason.isprintable()


@pytest.mark.parametrize("control", CONTROLS)
def test_name_addr_refuses_controls_in_a_uri(control: str) -> None:
    for uri in (f"sip:a{control}@h", f"sip:a@h{control}", f"{control}sip:a@h"):
        with pytest.raises(BadRequest):
            name_addr(uri)


@pytest.mark.parametrize(
    ("name", "value"), [("t g", "x"), ("", "x"), ("tag", "a\r\nb"), ("tag", "\x00"), ("a\n", None)]
)
def test_name_addr_refuses_hostile_parameters(name: str, value: str | None) -> None:
    with pytest.raises(BadRequest):
        name_addr(ALICE, None, [(name, value)])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("Al", "Al"),
        ("  Al \t\r\n Ice ", "Al Ice"),
        ("A\x00l\x1b[31m", "Al[31m"),
        ("A\x85B\x9fC", "A BC"),
        ("A\u2028B\u00a0C", "A B C"),
        ("\u202egro.live\u202c", "gro.live"),
        ("\u2066Al\u2069\u200e\u200f\u061c", "Al"),
        ("A\u200bl\u200c\u200d\u2060\ufeff", "Al"),
        ("A \u200b B", "A B"),
        ("A\ud800l", "Al"),
        ("שלום", "שלום"),
        ("x" * 500, "x" * 100),
        ("x" * (MAX_DISPLAY - 1) + " y", "x" * (MAX_DISPLAY - 1)),
    ],
    ids=short,
)
def test_clean_display(text: str, expected: str) -> None:
    assert clean_display(text) == expected


@settings(deadline=None)
@given(st.text())
def test_a_display_name_never_leaves_its_quotes(text: str) -> None:
    shown = name_addr(ALICE, text)
    assert re.fullmatch(r'(?:"(?:[^"\\]|\\.)+" )?<sip:alice@example\.org>', shown)
    assert not any(unicodedata.category(char) in {"Cc", "Cf", "Cs"} for char in shown)
    assert SipAddress.parse(shown) == ALICE
    assert header_block([("From", shown)]) == f"From: {shown}\r\n"
    assert clean_display(clean_display(text)) == clean_display(text)
