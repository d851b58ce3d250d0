"""Typing notices in the shapes phones send them, hostile ones, and what the gateway writes (RFC 3994)."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purple_bridge.bodies.composing import Composing, build, parse
from purple_bridge.bodies.content import MAX_BODY
from purple_bridge.errors import BadRequest, BodyTooLarge

NAMESPACE = "urn:ietf:params:xml:ns:im-iscomposing"


def notice(content: str) -> bytes:
    return f'<isComposing xmlns="{NAMESPACE}">{content}</isComposing>'.encode()


RFC_ACTIVE = f"""<?xml version="1.0" encoding="UTF-8"?>
<isComposing xmlns="{NAMESPACE}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xsi:schemaLocation="{NAMESPACE} iscomposing.xsd">
 <state>active</state>
 <contenttype>text/plain</contenttype>
 <refresh>90</refresh>
</isComposing>""".encode()

LINPHONE = (
    b'<?xml version="1.0" encoding="UTF-8" standalone="no" ?>\n'
    b'<isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing" xmlns:xs="http://www.w3.org/2001/XMLSchema-instance">'
    b"<state>active</state><refresh>60</refresh></isComposing>"
)

NOTICES = [
    (RFC_ACTIVE, True, 90),
    (LINPHONE, True, 60),
    (notice("<state>idle</state><lastactive>2003-01-27T10:43:00Z</lastactive>"), False, 120),
    (notice("<state>idle</state><contenttype>audio</contenttype>"), False, 120),
    (notice("<state> active\n</state>"), True, 120),
    (notice("<refresh>300</refresh><state>active</state>"), True, 300),
    (f'<c:isComposing xmlns:x="y" xmlns:c="{NAMESPACE}"><c:state>active</c:state></c:isComposing>'.encode(), True, 120),
    (notice(f'<s:state xmlns:s="{NAMESPACE}">active</s:state>'), True, 120),
    # §3.5: other states are idle
    (notice("<state>paused</state>"), False, 120),
    (notice("<state>ACTIVE</state>"), False, 120),
    (notice("<state/>"), False, 120),
    (notice(""), False, 120),
    (notice("<state xmlns='other'>active</state>"), False, 120),
    (notice("<state>active</state><x xmlns='other'><refresh>99</refresh></x>"), True, 120),
    # §3.2: at least 60 seconds
    (notice("<state>active</state><refresh>59</refresh>"), True, 60),
    (notice("<state>active</state><refresh>0</refresh>"), True, 60),
    (notice("<state>active</state><refresh>-5</refresh>"), True, 120),
    (notice("<state>active</state><refresh>ten</refresh>"), True, 120),
    (notice("<state>active</state><refresh/>"), True, 120),
    (notice("<state>active</state><refresh>" + "9" * 5000 + "</refresh>"), True, 120),
    (notice("<state>active</state><refresh>٩٩</refresh>"), True, 120),
    (RFC_ACTIVE.decode().replace("UTF-8", "UTF-16").encode("utf-16"), True, 90),
    (b"\xef\xbb\xbf" + RFC_ACTIVE, True, 90),
]  # fmt: skip


@pytest.mark.parametrize(("body", "active", "refresh"), NOTICES)
def test_notices(body: bytes, active: bool, refresh: int) -> None:
    assert parse(body) == Composing(active, refresh)


def test_the_charset_parameter_comes_before_the_declaration() -> None:
    assert parse(RFC_ACTIVE.decode().encode("utf-16-le"), "utf-16-le") == Composing(True, 90)
    with pytest.raises(BadRequest):
        parse(RFC_ACTIVE, "nonsense")


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'

NO_NOTICES = [
    b"", b" ", b"active", b"<", b"<isComposing>", b"<isComposing/>", b"\x00", b"\xff\xfe",
    b'<isComposing xmlns="urn:ietf:params:xml:ns:pidf"><state>active</state></isComposing>',
    f'<state xmlns="{NAMESPACE}">active</state>'.encode(),
    notice("<state>active</state>") * 2,
    notice("<state>&unknown;</state>"),
    notice("<state>\x01</state>"),
    BOMB.encode() + notice("<state>&b;</state>"),
    b'<!DOCTYPE x SYSTEM "file:///etc/passwd">' + notice("<state>active</state>"),
    b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + notice("<state>&e;</state>"),
    b"<!DOCTYPE isComposing>" + notice("<state>active</state>"),
    b'<?xml version="1.0" encoding="nonsense"?>' + notice("<state>active</state>"),
    b"<a>" * 20_000,
]  # fmt: skip


@pytest.mark.parametrize("body", NO_NOTICES, ids=lambda body: ascii(body)[:40])
def test_no_notices(body: bytes) -> None:
    with pytest.raises(BadRequest) as error:
        parse(body)
    assert error.value.reason.isprintable()


def test_too_large() -> None:
    with pytest.raises(BodyTooLarge):
        parse(RFC_ACTIVE + b" " * MAX_BODY)


def test_what_is_written() -> None:
    root = ET.fromstring(build(True))
    assert root.tag == f"{{{NAMESPACE}}}isComposing"
    assert [(child.tag.partition("}")[2], child.text) for child in root] == [
        ("state", "active"),
        ("contenttype", "text/plain"),
        ("refresh", "90"),
    ]
    root = ET.fromstring(build(False, content_type="text/html;a=<&>"))
    assert [(child.tag.partition("}")[2], child.text) for child in root] == [
        ("state", "idle"),
        ("contenttype", "text/html;a=<&>"),
    ]


def test_control_characters_are_not_written() -> None:
    with pytest.raises(BadRequest):
        build(True, content_type="text/\x00plain")


@settings(deadline=None)
@given(st.booleans(), st.integers(0, 10**9 - 1))
def test_what_is_written_is_read(active: bool, refresh: int) -> None:
    assert parse(build(active, refresh)) == Composing(active, max(refresh, 60) if active else 120)


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: notice(text.encode("utf-8", "replace").decode())))
def test_nothing_else_is_raised(body: bytes) -> None:
    try:
        assert parse(body).refresh >= 60
    except BadRequest as error:
        assert error.reason.isprintable()
