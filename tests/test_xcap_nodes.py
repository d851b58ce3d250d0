"""Parts of XML documents by XCAP node selectors (RFC 4825 §6.3, §8.2)."""

from __future__ import annotations

import pytest

from purple_bridge.xcap_nodes import NotPossible, Selector, delete, put, read

NAMESPACE = "urn:ietf:params:xml:ns:resource-lists"
DOCUMENT = f"""<?xml version="1.0" encoding="UTF-8"?>
<l:resource-lists xmlns:l="{NAMESPACE}" xmlns:x="urn:x"><!-- <l:list name="no"/> -->
  <l:list name="a > b"><l:entry uri='sip:one@example.org'/><l:entry uri="sip:two@example.org">
    <l:display-name>Zwei ü</l:display-name></l:entry></l:list>
  <l:list name="empty" x:y="1"/>
  <x:other/>
</l:resource-lists>
""".encode()


def selector(text: str, query: str = "xmlns(x=urn:x)") -> Selector:
    return Selector.parse(text, query, NAMESPACE)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("resource-lists/list[1]/entry[1]", b"<l:entry uri='sip:one@example.org'/>"),
        (
            "resource-lists/list[@name=\"a > b\"]/entry[@uri='sip:one@example.org']",
            b"<l:entry uri='sip:one@example.org'/>",
        ),
        ("resource-lists/list[1]/entry[2]/display-name", "<l:display-name>Zwei ü</l:display-name>".encode()),
        ('resource-lists/*[2][@name="empty"]', b'<l:list name="empty" x:y="1"/>'),
        ("resource-lists/x:other", b"<x:other/>"),
        ("resource-lists/*[3]", b"<x:other/>"),
        ("resource-lists/list[2]/@name", b"empty"),
        ("resource-lists/list[2]/@x:y", b"1"),
        ("resource-lists/list[1]/@name", b"a > b"),
        ("resource-lists/list", None),  # two
        ("resource-lists/list[3]", None),
        ("resource-lists/other", None),
        ("resource-lists/list[1]/@x:y", None),
        ('resource-lists/list[1][@name="empty"]', None),
    ],
)
def test_what_a_selector_finds(text: str, wanted: bytes | None) -> None:
    assert read(DOCUMENT, selector(text)) == wanted


@pytest.mark.parametrize(
    "text", ["", "/a", "a//b", "a[0]", "a[b]", "a[@b]", "@a", "a/@b/c", "y:a", "a[@b='c", "a]", "a b"]
)
def test_what_is_no_selector(text: str) -> None:
    with pytest.raises(ValueError):
        selector(text)


def test_other_expressions_in_the_query_are_ignored() -> None:
    """RFC 4825 §6.4."""
    assert (
        read(DOCUMENT, selector("q:resource-lists/x:other", f"xmlns(q={NAMESPACE})other(1)xmlns(x=urn:x)")) is not None
    )


@pytest.mark.parametrize(
    ("text", "content", "is_new", "now"),
    [
        ("resource-lists/list[1]/entry[1]", b" <l:entry/> ", False, b'"a > b"><l:entry/><l:entry uri="sip:two'),
        ('resource-lists/list[2]/entry[@uri="x"]', b'<l:entry uri="x"/>', True, b'y="1"><l:entry uri="x"/></l:list>'),
        ("resource-lists/list[1]/entry[3]", b"<l:entry/>", True, b"</l:entry><l:entry/></l:list>"),
        ("resource-lists/x:new", b"<x:new/>", True, b"<x:other/>\n<x:new/></l:resource-lists>"),
        ("resource-lists/list[2]/@name", b'"full"', False, b'<l:list name="&quot;full&quot;" x:y="1"/>'),
        ("resource-lists/list[2]/@new", b"&lt;", True, b'<l:list name="empty" x:y="1" new="&lt;"/>'),
        ("resource-lists/x:other/@new", b"", True, b'<x:other new=""/>'),
    ],
)
def test_put(text: str, content: bytes, is_new: bool, now: bytes) -> None:
    changed, created = put(DOCUMENT, selector(text), content)
    assert created == is_new
    assert now in changed
    assert len(DOCUMENT) - 60 < len(changed) < len(DOCUMENT) + 60


@pytest.mark.parametrize(
    ("text", "content", "condition"),
    [
        ("resource-lists/list[3]/entry", b"<l:entry/>", "no-parent"),
        ("resource-lists/list/entry", b"<l:entry/>", "no-parent"),
        ("list", b"<l:list/>", "no-parent"),
        ("resource-lists/list[9]/@a", b"", "no-parent"),
        ("resource-lists/list[4]", b"<l:list/>", "cannot-insert"),  # it would be the third
        ("resource-lists/list[1]", b'<l:list name="other"/><l:list/>', "not-xml-frag"),
        ("resource-lists/list[1]", b"<l:list>", "not-xml-frag"),
        ("resource-lists/list[1]", b"<z:list/>", "not-xml-frag"),
        ("resource-lists/list[1]", b"<list/>", "cannot-insert"),  # in no namespace
        ('resource-lists/list[@name="new"]', b"<l:list/>", "cannot-insert"),
        ('resource-lists/list[@name="empty"]/@name', b"other", "cannot-insert"),
        ("resource-lists/list[1]/@name", b"a<b", "not-xml-att-value"),
        ("resource-lists/list[1]/@name", b"a & b", "not-xml-att-value"),
        ("resource-lists/list[1]/@name", b"\xff", "not-utf-8"),
        ("resource-lists/list[1]/@x:new", b"", "cannot-insert"),
    ],
)
def test_what_cannot_be_put(text: str, content: bytes, condition: str) -> None:
    with pytest.raises(NotPossible, match=f"^{condition}$"):
        put(DOCUMENT, selector(text), content)


def test_delete() -> None:
    changed = delete(DOCUMENT, selector("resource-lists/x:other"))
    assert changed == DOCUMENT.replace(b"<x:other/>", b"")
    assert delete(DOCUMENT, selector("resource-lists/list[2]/@name")) == DOCUMENT.replace(b' name="empty"', b"")
    assert delete(DOCUMENT, selector("resource-lists/list[3]")) is None
    assert delete(DOCUMENT, selector("resource-lists/x:other/@name")) is None


@pytest.mark.parametrize("text", ["resource-lists", "resource-lists/list[1]", "resource-lists/list[2]/@x:y"])
def test_what_cannot_be_deleted(text: str) -> None:
    """RFC 4825 §8.4: the root, what another takes the place of, and here also what has a prefix."""
    with pytest.raises(NotPossible):
        delete(DOCUMENT, selector(text))


def test_a_deeply_nested_document() -> None:
    deep = b"<a>" * 5000 + b"</a>" * 5000
    assert read(deep, Selector.parse("a/a/a/@b", "", "")) is None


LONG = {
    "white space": " " * 250_000,
    "white space in a name": "xmlns(a" + " " * 250_000,
    "white space in a value": "xmlns(a=" + " " * 250_000,
    "beginnings": "xmlns(" * 40_000,
}


@pytest.mark.parametrize("query", LONG.values(), ids=LONG)
def test_a_long_query_is_read_in_one_pass(query: str) -> None:
    """Before anybody has proved who he is; more than linear time would be minutes, and an end by the time limit."""
    assert Selector.parse("resource-lists", query, NAMESPACE).steps


def test_white_space_in_a_tag_is_read_in_one_pass() -> None:
    document = f'<a{" " * 150_000}b="c"{" " * 150_000}/>'.encode()
    assert delete(document, Selector.parse("a/@b", "", "")) == b"<a" + b" " * 150_000 + b"/>"
