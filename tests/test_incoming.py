"""What a phone's MESSAGE says, in every type it may have, in and out of CPIM; and which status answers the rest."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purple_bridge.bodies import composing, imdn
from purple_bridge.bodies.content import ACCEPTED, MAX_BODY
from purple_bridge.bodies.incoming import Receipt, Said, Text, Typing, read
from purple_bridge.errors import BadRequest, BodyTooLarge, GatewayError, UnsupportedBody

CPIM = "message/cpim"
TYPING = composing.build(True, 90)
RECEIPT = imdn.build("17", "2024-05-01T09:41:00Z", "sip:a@b", "sip:a@b", "displayed", "display-notification")
READ = Receipt("17", "displayed", "sip:a@b", "display-notification")

HEADERS = (
    b"From: <sip:alice@example.org>\r\nTo: <sip:bob@example.org>\r\nDateTime: 2024-05-01T09:41:00Z\r\n"
    b"NS: imdn <urn:ietf:params:imdn>\r\n"
)
ASKS = HEADERS + b"imdn.Message-ID: 17\r\nimdn.Disposition-Notification: positive-delivery, negative-delivery\r\n"
OTHER_PREFIX = ASKS.replace(b"imdn", b"q").replace(b"params:q", b"params:imdn")
BOTH = frozenset({"positive-delivery", "negative-delivery"})
ENCODING = "Content-Transfer-Encoding"
AT = "2024-05-01T09:41:00Z"


def wrapped(content_type: str, body: bytes, headers: bytes = HEADERS, more: str = "") -> bytes:
    return headers + f"\r\nContent-Type: {content_type}\r\n{more}\r\n".encode() + body


MESSAGES: list[tuple[str | None, bytes, Said]] = [
    (None, b"hello", Text("hello")),
    ("", b"hello", Text("hello")),
    ("text/plain", "grüß\t<b>\r\n".encode(), Text("grüß\t<b>\r\n")),
    ("Text/Plain;charset=iso-8859-1", b"\xfc", Text("ü")),
    ("text/html", b"<p>a <b>b</b></p>", Text("a b", "a <b>b</b>")),
    ("text/html;charset=utf-16", "<i>ü</i>".encode("utf-16"), Text("ü", "<i>ü</i>")),
    ("text/html", b"a &lt; b", Text("a < b", "a &lt; b")),
    ("application/im-iscomposing+xml", TYPING, Typing(True, 90)),
    ("application/im-iscomposing+xml;charset=utf-8", composing.build(False), Typing(False, 120)),
    # RFC 3862
    (CPIM, wrapped("text/plain", b"hello"), Text("hello", cpim=True)),
    ("Message/CPIM;x=y", wrapped("text/plain", b"hello"), Text("hello", cpim=True)),
    (CPIM, wrapped("text/plain;charset=iso-8859-1", b"\xfc"), Text("ü", cpim=True)),
    (CPIM, HEADERS + b"\r\n\r\nhello", Text("hello", cpim=True)),
    (CPIM, HEADERS.replace(b"\r", b"") + b"\nContent-type: text/plain\n\nhello", Text("hello", cpim=True)),
    (CPIM, wrapped("text/html", b"<u>x</u>"), Text("x", "<u>x</u>", cpim=True)),
    (CPIM, wrapped("application/im-iscomposing+xml", TYPING), Typing(True, 90)),
    (CPIM, wrapped("text/plain", b"aGVs\r\nbG8=", more=f"{ENCODING}: BASE64\r\n"), Text("hello", cpim=True)),
    (CPIM, wrapped("text/plain", b"h=65", more=f"{ENCODING.lower()}: quoted-printable\r\n"), Text("he", cpim=True)),
    (CPIM, wrapped("text/plain", b"hello", more="Content-Transfer-Encoding: 8bit\r\n"), Text("hello", cpim=True)),
    # RFC 5438
    (CPIM, wrapped("text/plain", b"x", ASKS), Text("x", "", "17", BOTH, True, AT)),
    (CPIM, wrapped("text/html", b"<b>x</b>", ASKS), Text("x", "<b>x</b>", "17", BOTH, True, AT)),
    (CPIM, wrapped("text/plain", b"x", OTHER_PREFIX), Text("x", "", "17", BOTH, True, AT)),
    (CPIM, wrapped("text/plain", b"x", ASKS.replace(b"imdn.Message-ID: 17\r\n", b"")), Text("x", cpim=True)),
    (CPIM, wrapped("message/imdn+xml", RECEIPT), READ),
    ("message/imdn+xml", RECEIPT, READ),  # without an envelope: Linphone
    (CPIM, wrapped("message/imdn+xml", RECEIPT, more="Content-Disposition: notification\r\n"), READ),
    (CPIM, wrapped("message/imdn+xml", RECEIPT, ASKS), READ),
    (CPIM, wrapped("text/plain", b"x", HEADERS + b"Require: Subject,imdn.Message-ID\r\n"), Text("x", cpim=True)),
]  # fmt: skip


@pytest.mark.parametrize(("content_type", "body", "said"), MESSAGES)
def test_messages(content_type: str | None, body: bytes, said: Said) -> None:
    assert read(content_type, body) == said


BAD_REQUESTS: list[tuple[str | None, bytes]] = [
    (None, b""),
    ("text", b"x"),
    ("text/plain;charset", b"x"),
    ("text/plain;charset=nonsense", b"x"),
    ("text/plain", b"\xff"),
    ("text/plain", b"\xef\xbb\xbf"),
    ("text/plain", b"a\x00b"),
    ("text/html", b"\xff"),
    ("text/html", b"<p></p>"),
    ("text/html", b"<script>x</script>"),
    ("text/html", b"a\x0bb"),
    ("text/html", b"a&#12;b"),
    ("application/im-iscomposing+xml", b"active"),
    ("application/im-iscomposing+xml;charset=nonsense", TYPING),
    (CPIM, b"hello"),
    (CPIM, HEADERS),
    (CPIM, wrapped("text/plain", b"")),
    (CPIM, wrapped("text/plain", b"\xff")),
    (CPIM, wrapped("text/plain", b"\x01")),
    (CPIM, wrapped("text", b"x")),
    (CPIM, wrapped("text/plain", b"a", more="Content-Transfer-Encoding: base64\r\n")),
    (CPIM, wrapped("message/imdn+xml", b"<imdn/>")),
    (CPIM, wrapped("application/im-iscomposing+xml", b"<x/>")),
    (CPIM, wrapped("text/plain", b"x", HEADERS + b"Require: Secret\r\n")),
    (CPIM, wrapped("text/plain", b"x", HEADERS + b"Require: imdn.Subject\r\n")),
    (CPIM, wrapped("text/plain", b"x", HEADERS + b"Require: other.Subject\r\n")),
]


@pytest.mark.parametrize(("content_type", "body"), BAD_REQUESTS)
def test_bad_requests(content_type: str | None, body: bytes) -> None:
    with pytest.raises(BadRequest) as error:
        read(content_type, body)
    assert error.value.status == 400
    assert error.value.reason.isprintable()


UNSUPPORTED = [
    ("multipart/mixed;boundary=x", b"x"),
    ("application/octet-stream", b"x"),
    (CPIM, wrapped(CPIM, wrapped("text/plain", b"x"))),
    (CPIM, wrapped("image/png", b"x")),
    (CPIM, wrapped("text/plain", b"x", more="Content-Transfer-Encoding: x-uuencode\r\n")),
]


@pytest.mark.parametrize(("content_type", "body"), UNSUPPORTED)
def test_unsupported_types(content_type: str, body: bytes) -> None:
    with pytest.raises(UnsupportedBody) as error:
        read(content_type, body)
    assert error.value.status == 415
    assert error.value.reason.isprintable()


def test_the_answer_to_another_type_names_those_that_are_read() -> None:
    with pytest.raises(UnsupportedBody) as error:
        read("image/png", b"x")
    assert all(media_type in error.value.reason for media_type in ACCEPTED)


@pytest.mark.parametrize("content_type", ACCEPTED)
def test_every_accepted_type_is_read(content_type: str) -> None:
    bodies = {CPIM: wrapped("text/plain", b"x"), composing.MEDIA_TYPE: TYPING, imdn.MEDIA_TYPE: RECEIPT}
    read(content_type, bodies.get(content_type, b"x"))


@pytest.mark.parametrize("content_type", [*ACCEPTED, "image/png", "nonsense"])
def test_too_large(content_type: str) -> None:
    with pytest.raises(BodyTooLarge) as error:
        read(content_type, b"x" * (MAX_BODY + 1))
    assert error.value.status == 413


@settings(deadline=None)
@given(
    st.none() | st.sampled_from([*ACCEPTED, "text/html;charset=utf-16"]) | st.text(max_size=20),
    st.binary(max_size=60)
    | st.builds(
        wrapped, st.sampled_from(["text/plain", "text/html", "message/imdn+xml", CPIM]), st.binary(max_size=40)
    ),
)
def test_nothing_else_is_raised(content_type: str | None, body: bytes) -> None:
    try:
        said = read(content_type, body)
    except GatewayError as error:
        assert error.status in {400, 415}
        assert error.reason.isprintable()
    else:
        assert not isinstance(said, Text) or said.text
