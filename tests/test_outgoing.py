"""What the gateway writes for phones: text, text that asks for receipts, and receipts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purple_bridge.bodies import cpim, imdn, incoming
from purple_bridge.bodies.imdn import Receipt
from purple_bridge.bodies.incoming import Text
from purple_bridge.bodies.outgoing import (
    call_id,
    cpim_message,
    ident_of_message_id,
    imdn_message,
    message_id_of_ident,
    text_body,
)
from purple_bridge.errors import BadRequest

BOB, ALICE = "sip:bob*example.net@xmpp.im.example.org", "sip:alice@example.org"
NOON = 1_714_564_800
TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufeff\ufffe\uffff"), min_size=1)


@settings(deadline=None)
@given(TEXT)
def test_a_text_is_read_as_it_was_written(text: str) -> None:
    assert incoming.read(*text_body(text)) == Text(text)


def test_a_text_with_a_request() -> None:
    content_type, body = cpim_message(BOB, ALICE, "grüß\nx", NOON, "17", ["positive-delivery", "display"])
    assert content_type == "message/cpim"
    assert body.decode().split("\r\n") == [
        f"From: <{BOB}>",
        f"To: <{ALICE}>",
        "DateTime: 2024-05-01T12:00:00Z",
        "NS: imdn <urn:ietf:params:imdn>",
        "imdn.Message-ID: 17",
        "imdn.Disposition-Notification: display, positive-delivery",
        "",
        "Content-Type: text/plain;charset=utf-8",
        "",
        "grüß\nx",
    ]
    wants = frozenset({"positive-delivery", "display"})
    assert incoming.read(content_type, body) == Text("grüß\nx", "", "17", wants, True, "2024-05-01T12:00:00Z")


def test_a_text_without_a_request() -> None:
    for message in (
        cpim_message(BOB, ALICE, "x", NOON),
        cpim_message(BOB, ALICE, "x", NOON, "", ["display"]),  # RFC 5438 §6.3: not without a Message-ID
    ):
        assert b"imdn" not in message[1]
        assert incoming.read(*message) == Text("x", cpim=True)
    assert b"Disposition" not in cpim_message(BOB, ALICE, "x", NOON, "17")[1]


KIND = {
    "delivered": "delivery-notification",
    "failed": "delivery-notification",
    "forbidden": "delivery-notification",
    "error": "delivery-notification",
    "displayed": "display-notification",
    "processed": "processing-notification",
    "stored": "processing-notification",
}


@pytest.mark.parametrize(("status", "kind"), KIND.items())
def test_a_receipt(status: str, kind: str) -> None:
    content_type, body = imdn_message(BOB, ALICE, "18", "17", status, NOON)
    assert content_type == "message/cpim"
    assert incoming.read(content_type, body) == Receipt("17", status, BOB, kind)
    envelope = cpim.parse(body)
    assert dict(envelope.headers) == {
        "From": f"<{BOB}>",
        "To": f"<{ALICE}>",
        "DateTime": "2024-05-01T12:00:00Z",
        "NS": "imdn <urn:ietf:params:imdn>",
        "imdn.Message-ID": "18",
    }
    assert envelope.content_type == imdn.MEDIA_TYPE
    assert envelope.content_headers == (("Content-Disposition", "notification"),)
    assert imdn.request_of(envelope).wants == frozenset()


def test_every_status_has_a_kind() -> None:
    assert set(KIND) == {status for statuses in imdn.STATUSES.values() for status in statuses}
    with pytest.raises(KeyError):
        imdn_message(BOB, ALICE, "18", "17", "read", NOON)


def test_a_receipt_repeats_the_time_of_the_message() -> None:
    written = "2024-04-30T08:00:00+02:00"
    assert f"<datetime>{written}<".encode() in imdn_message(BOB, ALICE, "18", "17", "failed", NOON, written)[1]
    assert b"<datetime>2024-05-01T12:00:00Z<" in imdn_message(BOB, ALICE, "18", "17", "failed", NOON)[1]


@pytest.mark.parametrize("bad", ["\r\n", "\n", "\x00", "\u2028"])
def test_control_characters_are_refused(bad: str) -> None:
    for sender, recipient, message_id in ((BOB + bad, ALICE, "1"), (BOB, ALICE + bad, "1"), (BOB, ALICE, "1" + bad)):
        with pytest.raises(BadRequest):
            cpim_message(sender, recipient, "x", NOON, message_id)
        with pytest.raises(BadRequest):
            imdn_message(sender, recipient, message_id, "17", "failed", NOON)


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50))
def test_an_ident_comes_back_in_a_receipt(ident: str) -> None:
    message_id = message_id_of_ident(ident)
    assert message_id.isascii()
    said = incoming.read(*cpim_message(BOB, ALICE, "x", NOON, message_id, ["positive-delivery"]))
    assert isinstance(said, Text)
    receipt = incoming.read(*imdn_message(ALICE, BOB, "1", said.message_id, "delivered", NOON))
    assert isinstance(receipt, Receipt)
    assert ident_of_message_id(receipt.message_id) == ident


@pytest.mark.parametrize(
    ("ident", "message_id"),
    [("", ""), ("x" * 997, "im-" + "x" * 997), ("x" * 998, ""), ("a b/<ü>", "im-a%20b%2F%3C%C3%BC%3E")],
)
def test_message_ids(ident: str, message_id: str) -> None:
    assert message_id_of_ident(ident) == message_id


@pytest.mark.parametrize("message_id", ["", "17", "p1x2", "IM-1"])
def test_message_ids_of_others(message_id: str) -> None:
    assert ident_of_message_id(message_id) == ""


@pytest.mark.parametrize("ident", ["17", "a b", "x@y.z", "ü.<>", "im-1"])
def test_a_call_id_tells_the_ident(ident: str) -> None:
    """For phones whose receipts name a message by it."""
    named = call_id("0123", message_id_of_ident(ident))
    assert named.isascii()
    assert not set(named) & set(' \t\r\n;,"')
    assert ident_of_message_id(named) == ident


def test_a_call_id_without_an_ident() -> None:
    assert call_id("0123") == "0123@purple"
    assert call_id("0123", message_id_of_ident("x" * 200)) == "0123@purple"
    assert ident_of_message_id("0123@purple") == ""
