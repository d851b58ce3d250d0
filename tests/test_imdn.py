"""Receipts: what messages ask for, the documents of phones, hostile ones, and what the gateway writes (RFC 5438)."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purple_bridge.bodies.cpim import Cpim
from purple_bridge.bodies.imdn import MAX_MESSAGE_ID, STATUSES, WANTS, Receipt, Request, build, parse, request_of
from purple_bridge.errors import BadRequest

NS = ("NS", "imdn <urn:ietf:params:imdn>")
ID = ("imdn.Message-ID", "34jk324j")
NAMESPACE = "urn:ietf:params:xml:ns:imdn"


def asks(value: str) -> tuple[str, str]:
    return ("imdn.Disposition-Notification", value)


REQUESTS = [
    ([NS, ID, asks("positive-delivery, negative-delivery")], "34jk324j", {"positive-delivery", "negative-delivery"}),
    ([NS, ID, asks("positive-delivery,negative-delivery,processing,display")], "34jk324j", WANTS),
    ([NS, asks("display"), ID], "34jk324j", {"display"}),
    ([NS, ID, asks("Display ; x=y,,unknown")], "34jk324j", {"display"}),
    ([NS, ID, asks("")], "34jk324j", set()),
    ([NS, ID, asks("unknown")], "34jk324j", set()),
    ([NS, ID], "34jk324j", set()),
    ([ID, asks("display")], "34jk324j", {"display"}),
    ([("NS", "d <urn:ietf:params:imdn>"), ("d.Message-ID", "1"), ("d.Disposition-Notification", "display")],
     "1", {"display"}),
    ([NS, ("imdn.Message-ID", " 1 "), asks("display")], "1", {"display"}),
    ([NS, ("imdn.Message-ID", "x" * MAX_MESSAGE_ID), asks("display")], "x" * MAX_MESSAGE_ID, {"display"}),
    # §6.3: nothing without a Message-ID that a receipt can name
    ([NS, asks("positive-delivery")], "", set()),
    ([NS, ("imdn.Message-ID", ""), asks("display")], "", set()),
    ([NS, ("imdn.Message-ID", "a b"), asks("display")], "", set()),
    ([NS, ("imdn.Message-ID", "a\nb"), asks("display")], "", set()),
    ([NS, ("imdn.Message-ID", "a\ufffe"), asks("display")], "", set()),
    ([NS, ("imdn.Message-ID", "x" * (MAX_MESSAGE_ID + 1)), asks("display")], "", set()),
    ([NS, ("Message-ID", "1"), asks("display")], "", set()),
    ([("NS", "imdn <other>"), ID, asks("display")], "", set()),
    ([], "", set()),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "message_id", "wants"), REQUESTS)
def test_requests(headers: list[tuple[str, str]], message_id: str, wants: set[str]) -> None:
    assert request_of(Cpim(tuple(headers), "text/plain", b"x")) == Request(message_id, frozenset(wants))


def test_a_request_keeps_the_time_of_the_message() -> None:
    headers = (("DateTime", "2008-04-04T12:16:49-05:00"), NS, ID)
    assert request_of(Cpim(headers, "", b"")) == Request("34jk324j", frozenset(), "2008-04-04T12:16:49-05:00")


RFC_DELIVERED = f"""<?xml version="1.0" encoding="UTF-8"?>
<imdn xmlns="{NAMESPACE}">
 <message-id>34jk324j</message-id>
 <datetime>2008-04-04T12:16:49-05:00</datetime>
 <recipient-uri>im:bob@example.com</recipient-uri>
 <original-recipient-uri>im:bob@example.com</original-recipient-uri>
 <delivery-notification>
  <status>
   <delivered/>
  </status>
 </delivery-notification>
</imdn>""".encode()

LINPHONE_ERROR = f"""<imdn xmlns="{NAMESPACE}" xmlns:linphoneimdn="http://www.linphone.org/xsds/imdn.xsd">
<message-id>abc~1</message-id><datetime>2024-05-01T09:41:00Z</datetime><delivery-notification><status><error/>
<linphoneimdn:reason code="488">Unable to decrypt</linphoneimdn:reason></status></delivery-notification>
</imdn>""".encode()


def told(kind: str, status: str) -> bytes:
    return (
        f'<i:imdn xmlns:i="{NAMESPACE}"><i:message-id> 1 </i:message-id><i:{kind}><i:status><i:{status}/>'
        f"</i:status></i:{kind}></i:imdn>"
    ).encode()


KINDS = [(kind, status) for kind, statuses in STATUSES.items() for status in statuses]


def test_the_kinds_of_the_rfc() -> None:
    assert {kind: set(statuses) for kind, statuses in STATUSES.items()} == {
        "delivery-notification": {"delivered", "failed", "forbidden", "error"},
        "processing-notification": {"processed", "stored", "forbidden", "error"},
        "display-notification": {"displayed", "forbidden", "error"},
    }


@pytest.mark.parametrize(("kind", "status"), KINDS)
def test_every_kind_is_read(kind: str, status: str) -> None:
    assert parse(told(kind, status)) == Receipt("1", status, "", kind)


def test_receipts_of_phones() -> None:
    assert parse(RFC_DELIVERED) == Receipt("34jk324j", "delivered", "im:bob@example.com")
    assert parse(LINPHONE_ERROR) == Receipt("abc~1", "error")
    assert parse(RFC_DELIVERED.decode().encode("utf-16-be"), "utf-16-be").message_id == "34jk324j"


NO_RECEIPTS = [
    b"", b"delivered", b"<imdn/>", b"<imdn", b"\xff",
    f'<imdn xmlns="{NAMESPACE}"/>'.encode(),
    told("delivery-notification", "delivered").replace(b" 1 ", b"  "),
    told("delivery-notification", "delivered").replace(b" 1 ", b"a b"),
    told("delivery-notification", "delivered").replace(b" 1 ", b"x" * (MAX_MESSAGE_ID + 1)),
    told("delivery-notification", "displayed"),
    told("delivery-notification", "unknown"),
    told("read-notification", "delivered"),
    RFC_DELIVERED.replace(b"<delivered/>", b""),
    RFC_DELIVERED.replace(b"<delivered/>", b"<delivered xmlns='x'/>"),
    RFC_DELIVERED.replace(NAMESPACE.encode(), b"urn:ietf:params:imdn"),
    b'<!DOCTYPE imdn [<!ENTITY a "b">]>' + RFC_DELIVERED.partition(b"?>")[2].replace(b"34jk324j", b"&a;"),
    b'<!DOCTYPE imdn SYSTEM "http://127.0.0.1/">' + RFC_DELIVERED.partition(b"?>")[2],
]  # fmt: skip


@pytest.mark.parametrize("body", NO_RECEIPTS, ids=lambda body: ascii(body)[:40])
def test_no_receipts(body: bytes) -> None:
    with pytest.raises(BadRequest) as error:
        parse(body)
    assert error.value.reason.isprintable()


@pytest.mark.parametrize(("kind", "status"), KINDS)
def test_what_is_written_is_read(kind: str, status: str) -> None:
    body = build("<&1>", "2024-05-01T09:41:00Z", "sip:b*c@xmpp.example.org", "sip:b@example.org", status, kind)
    assert parse(body) == Receipt("<&1>", status, "sip:b*c@xmpp.example.org", kind)
    # §11.1: in this order
    assert [(child.tag.partition("}")[2], child.text) for child in ET.fromstring(body)] == [
        ("message-id", "<&1>"),
        ("datetime", "2024-05-01T09:41:00Z"),
        ("recipient-uri", "sip:b*c@xmpp.example.org"),
        ("original-recipient-uri", "sip:b@example.org"),
        (kind, None),
    ]


@pytest.mark.parametrize("bad", ["\x00", "\x1b", "\ud800", "\ufffe"])
@pytest.mark.parametrize("place", range(4))
def test_control_characters_are_not_written(bad: str, place: int) -> None:
    texts = ["1", "2", "3", "4"]
    texts[place] += bad
    with pytest.raises(BadRequest):
        build(texts[0], texts[1], texts[2], texts[3], "delivered")


@pytest.mark.parametrize(("kind", "status"), [("display-notification", "delivered"), ("delivery-notification", "")])
def test_a_status_of_another_kind(kind: str, status: str) -> None:
    with pytest.raises(ValueError, match="is no status"):
        build("1", "2", "3", "4", status, kind)


@settings(deadline=None)
@given(
    st.binary(max_size=40)
    | st.text(max_size=40).map(lambda text: RFC_DELIVERED.replace(b"34jk324j", text.encode("utf-8", "replace")))
)
def test_nothing_else_is_raised(body: bytes) -> None:
    try:
        assert parse(body).message_id
    except BadRequest as error:
        assert error.reason.isprintable()
