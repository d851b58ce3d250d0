"""Contact lists: read, brought up to date without touching what is not ours, offered to a resource list server."""

from __future__ import annotations

import contextlib
from xml.etree.ElementTree import canonicalize, fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from purple_bridge.bodies.resource_lists import MAX_DOCUMENT, TITLE, Entry, clean, diff, merge, read, services
from purple_bridge.errors import BadRequest, BodyTooLarge

NS = "urn:ietf:params:xml:ns:resource-lists"
CAROL = "sip:carol*jabber.org@xmpp.im.example.org"
DAVE = "sip:dave*jabber.org@xmpp.im.example.org"
ERIN = "sip:erin@irc.im.example.org"
BOB = "sip:bob@example.org"


def is_ours(uri: str) -> bool:
    return ".im.example.org" in uri


def lists(content: str) -> bytes:
    return f'<resource-lists xmlns="{NS}">{content}</resource-lists>'.encode()


def ours(document: bytes) -> list[Entry]:
    return [entry for entry in read(document) if is_ours(entry.uri)]


# --- reading ----------------------------------------------------------------------------------------------

RFC_EXAMPLE = b"""<?xml version="1.0" encoding="UTF-8"?>
<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
 <list name="friends">
  <entry uri="sip:bill@example.com"><display-name>Bill Doe</display-name></entry>
  <entry-ref ref="resource-lists/users/sip:bill@example.com/index/~~/resource-lists/list%5b@name=%22list1%22%5d"/>
  <list name="close-friends">
   <display-name>Close Friends</display-name>
   <entry uri="sip:joe@example.com"><display-name>Joe Smith</display-name></entry>
   <entry uri="sip:nancy@example.com"><display-name>Nancy Gross</display-name></entry>
   <external anchor="http://xcap.example.org/resource-lists/users/sip:a@example.org/index/~~/resource-lists">
    <display-name>Marketing</display-name></external>
  </list>
 </list>
</resource-lists>"""

OMA = b"""<?xml version="1.0" encoding="utf-8"?>
<rl:resource-lists xmlns:rl="urn:ietf:params:xml:ns:resource-lists" xmlns:xd="urn:oma:xml:xdm:xcap-directory">
 <!-- made by a phone -->
 <rl:list name="rcs"><rl:display-name>My contacts</rl:display-name>
  <rl:entry uri="sip:bob@example.org"><rl:display-name xml:lang="en">Bob</rl:display-name></rl:entry>
  <xd:list><rl:entry uri="sip:not-a-contact@example.org"/></xd:list>
 </rl:list>
 <rl:list name="oma_blockedcontacts"/>
</rl:resource-lists>"""


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (lists(""), []),
        (lists("<list/>"), []),
        (lists(f'<list><entry uri="{BOB}"/></list>'), [Entry(BOB)]),
        (lists(f'<list name=""><entry uri="{BOB}"/></list>'), [Entry(BOB)]),
        (lists(f'<list name="A"><entry uri="{BOB}"/></list>'), [Entry(BOB, "", ("A",))]),
        (lists(f'<list name=" A&#10;  b "><entry uri="{BOB}"/></list>'), [Entry(BOB, "", ("A b",))]),
        (lists(f'<list name="{TITLE}"><entry uri="{BOB}"/></list>'), [Entry(BOB)]),
        (
            lists(f'<list name="{TITLE}"><entry uri="{BOB}"/></list><list name="A"><entry uri="{BOB}"/></list>'),
            [Entry(BOB, "", ("A",))],
        ),
        (
            lists(
                f'<list name="A"><entry uri="{BOB}"/><list name="B"><entry uri="{CAROL}"/><entry uri="{BOB}">'
                "<display-name>Bob</display-name></entry></list></list>"
            ),
            [Entry(BOB, "Bob", ("A", "B")), Entry(CAROL, "", ("B",))],
        ),
        (lists(f'<list name="A"><list><entry uri="{BOB}"/></list></list>'), [Entry(BOB)]),
        (
            lists(f'<list><entry uri="{BOB}"><display-name> B &amp;\n <![CDATA[<b>]]></display-name></entry></list>'),
            [Entry(BOB, "B & <b>")],
        ),
        (
            lists(
                f'<list><entry uri="{BOB}"><display-name/><display-name>B</display-name></entry></list>'
                f'<list name="A"><entry uri="{BOB}"><display-name>Robert</display-name></entry></list>'
            ),
            [Entry(BOB, "Robert", ("A",))],
        ),
        (lists('<list><entry/><entry uri=""/><entry-ref ref="x"/><external anchor="http://x"/></list>'), []),
        (lists(f'<entry uri="{BOB}"/><list xmlns="urn:x"><entry uri="{BOB}"/></list>'), []),
        (lists(f'<list><entry uri="{CAROL}"><entry uri="{BOB}"/></entry></list>'), [Entry(CAROL)]),
        (lists(f'<resource-lists><list><entry uri="{BOB}"/></list></resource-lists>'), []),
        (
            lists('<list><entry uri="tel:+1"/><entry uri="sip:&quot;a&quot;@b"/></list>'),
            [Entry("tel:+1"), Entry('sip:"a"@b')],
        ),
        (
            RFC_EXAMPLE,
            [
                Entry("sip:bill@example.com", "Bill Doe", ("friends",)),
                Entry("sip:joe@example.com", "Joe Smith", ("close-friends",)),
                Entry("sip:nancy@example.com", "Nancy Gross", ("close-friends",)),
            ],
        ),
        (OMA, [Entry(BOB, "Bob", ("rcs",))]),
        (b"\xef\xbb\xbf" + lists(f'<list><entry uri="{BOB}"/></list>'), [Entry(BOB)]),
    ],
)
def test_read(document: bytes, expected: list[Entry]) -> None:
    assert read(document) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Carol", "Carol"),
        ("  Carol \t\n Jones ", "Carol Jones"),
        ("a\0b\x1bc\ufffed\ud800e", "a b c d e"),
        ("<b>Carol</b> & 'co'", "<b>Carol</b> & 'co'"),
        ("", ""),
        ("\x07", ""),
        ("Ünal 😀", "Ünal 😀"),
    ],
)
def test_clean(text: str, expected: str) -> None:
    assert clean(text) == expected


# --- a new document ---------------------------------------------------------------------------------------


def test_a_new_document() -> None:
    entries = [Entry(CAROL, "Carol & <Co>", ('The "A"', "B")), Entry(DAVE, "", ("B",)), Entry(ERIN, "Erin Ü")]
    assert merge(None, entries, is_ours).decode() == (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists">\n'
        '  <list name="The &quot;A&quot;">\n'
        f'    <entry uri="{CAROL}"><display-name>Carol &amp; &lt;Co&gt;</display-name></entry>\n'
        "  </list>\n"
        '  <list name="B">\n'
        f'    <entry uri="{CAROL}"><display-name>Carol &amp; &lt;Co&gt;</display-name></entry>\n'
        f'    <entry uri="{DAVE}"/>\n'
        "  </list>\n"
        '  <list name="Contacts">\n'
        f'    <entry uri="{ERIN}"><display-name>Erin Ü</display-name></entry>\n'
        "  </list>\n"
        "</resource-lists>\n"
    )


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([], []),
        ([Entry(CAROL)], [Entry(CAROL)]),
        ([Entry(CAROL, "C"), Entry(CAROL, "D", ("A",))], [Entry(CAROL, "C", ("A",))]),
        ([Entry(CAROL, "", ("A", "A", " A "))], [Entry(CAROL, "", ("A",))]),
        ([Entry(CAROL, "", ("", "\0", " "))], [Entry(CAROL)]),
        ([Entry(CAROL, "", ("a\0b",))], [Entry(CAROL, "", ("a b",))]),
        ([Entry(CAROL, "a\x1b[31m\ufffeb")], [Entry(CAROL, "a [31m b")]),
        (
            [Entry(CAROL, "</display-name><entry uri='sip:x@y'/>")],
            [Entry(CAROL, "</display-name><entry uri='sip:x@y'/>")],
        ),
        ([Entry(CAROL, "", ("'/><x y=\"", "]]>"))], [Entry(CAROL, "", ("'/><x y=\"", "]]>"))]),
        ([Entry("sip:a&b<c>\"'@xmpp.im.example.org")], [Entry("sip:a&b<c>\"'@xmpp.im.example.org")]),
        ([Entry(f"{CAROL}\0"), Entry(f"{CAROL}\n"), Entry(f" {CAROL}"), Entry(f"\ud800{CAROL}")], []),
        ([Entry(BOB, "Bob")], []),
        ([Entry(CAROL, "", (TITLE,))], [Entry(CAROL)]),
    ],
)
def test_what_gets_into_a_new_document(entries: list[Entry], expected: list[Entry]) -> None:
    document = merge(None, entries, is_ours)
    assert read(document) == expected
    assert merge(document, entries, is_ours) == document


def test_the_title_is_a_parameter() -> None:
    document = merge(None, [Entry(CAROL), Entry(DAVE, "", (TITLE,))], is_ours, "IM")
    assert b'<list name="IM">' in document
    assert read(document, "IM") == [Entry(CAROL), Entry(DAVE, "", (TITLE,))]


# --- changes to a document of a phone ---------------------------------------------------------------------

PHONE = f"""<?xml version='1.0' encoding='UTF-8' standalone="yes" ?>
<!-- before -->
<?keep this?>
<resource-lists xmlns='{NS}' xmlns:x="urn:x" x:version = "7">
\t<list name='Family' x:colour="red"><display-name>Our family</display-name>
\t\t<entry uri='{BOB}'><display-name>Bob</display-name></entry><!-- the best -->
\t\t<entry x:rank="1" uri="{CAROL}" ><display-name xml:lang="en">Carol</display-name><x:phone>1 > 2</x:phone></entry>
\t\t<x:extension><entry uri="{DAVE}"/></x:extension>
\t</list>
\t<list name="Empty"/>
</resource-lists>
<!-- after -->
""".encode()

CAROL_AS_SHE_IS = Entry(CAROL, "Carol", ("Family",))


@pytest.mark.parametrize(
    ("entries", "before", "after"),
    [
        ([CAROL_AS_SHE_IS], "", ""),
        ([Entry(CAROL, " Carol\n", ("Family", " Family"))], "", ""),
        ([Entry(CAROL, "Carol J.", ("Family",))], 'xml:lang="en">Carol<', 'xml:lang="en">Carol J.<'),
        ([Entry(CAROL, "", ("Family",))], '<display-name xml:lang="en">Carol</display-name>', ""),
        (
            [],
            f'\n\t\t<entry x:rank="1" uri="{CAROL}" ><display-name xml:lang="en">Carol</display-name>'
            "<x:phone>1 > 2</x:phone></entry>",
            "",
        ),
        (
            [CAROL_AS_SHE_IS, Entry(DAVE, "D", ("Family",))],
            "\n\t\t<x:extension>",
            f'\n    <entry uri="{DAVE}"><display-name>D</display-name></entry>\n\t\t<x:extension>',
        ),
        (
            [CAROL_AS_SHE_IS, Entry(DAVE, "D", ("Empty",))],
            '<list name="Empty"/>',
            f'<list name="Empty">\n    <entry uri="{DAVE}"><display-name>D</display-name></entry>\n  </list>',
        ),
        (
            [CAROL_AS_SHE_IS, Entry(ERIN)],
            "\n</resource-lists>",
            f'\n  <list name="Contacts">\n    <entry uri="{ERIN}"/>\n  </list>\n</resource-lists>',
        ),
        (
            [Entry(CAROL, "Carol", ("Family", "Work"))],
            "\n</resource-lists>",
            f'\n  <list name="Work">\n    <entry uri="{CAROL}"><display-name>Carol</display-name></entry>\n  </list>'
            "\n</resource-lists>",
        ),
        ([CAROL_AS_SHE_IS, Entry(BOB, "Robert", ("Other",))], "", ""),
    ],
)
def test_only_what_must_change_changes(entries: list[Entry], before: str, after: str) -> None:
    document = merge(PHONE, entries, is_ours)
    assert document.decode() == PHONE.decode().replace(before, after, 1)
    assert merge(document, entries, is_ours) == document
    assert {e.uri for e in ours(document)} == {e.uri for e in entries if is_ours(e.uri)}


@pytest.mark.parametrize(
    ("before", "entries", "after"),
    [
        # A list that was there for ours alone goes with them, and no other.
        (f'<list name="A"><entry uri="{CAROL}"/></list>', [], ""),
        (f'<list name="A"><display-name>A</display-name><entry uri="{CAROL}"/></list>', [], ""),
        (f'<list name="A"><entry uri="{CAROL}"/>\n<entry uri="{DAVE}"/></list>', [], ""),
        (f'<list><entry uri="{CAROL}"/></list>', [], ""),
        ('<list name="A"/><list/>', [], '<list name="A"/><list/>'),
        (f'<list name="A"><entry uri="{CAROL}"/><list/></list>', [], '<list name="A"><list/></list>'),
        (f'<list name="A"><entry uri="{CAROL}"/><x/></list>', [], '<list name="A"><x/></list>'),
        (
            f'<list name="A"><entry uri="{CAROL}"/><entry-ref ref="x"/></list>',
            [],
            '<list name="A"><entry-ref ref="x"/></list>',
        ),
        (
            f'<list name="A"><entry uri="{CAROL}"/><entry uri="{BOB}"/></list>',
            [],
            f'<list name="A"><entry uri="{BOB}"/></list>',
        ),
        (f'<list name="A"><list name="B"><entry uri="{CAROL}"/></list></list>', [], '<list name="A"></list>'),
        (
            f'<list name="A"><entry uri="{CAROL}"/></list>',
            [Entry(DAVE, "", ("A",))],
            f'<list name="A">\n    <entry uri="{DAVE}"/></list>',
        ),
        (
            f'<list name="A"><entry uri="{CAROL}"/></list>',
            [Entry(CAROL, "", ("B",))],
            f'\n  <list name="B">\n    <entry uri="{CAROL}"/>\n  </list>',
        ),
        # Nested lists are groups like others.
        (
            f'<list name="A"><list name="B"><entry uri="{BOB}"/></list></list>',
            [Entry(CAROL, "", ("B",))],
            f'<list name="A"><list name="B"><entry uri="{BOB}"/>\n      <entry uri="{CAROL}"/></list></list>',
        ),
        # Of two lists with one name the first one takes what comes; what is in either stays.
        (
            f'<list name="A"/><list name="A"><entry uri="{CAROL}"/></list>',
            [Entry(CAROL, "", ("A",)), Entry(DAVE, "", ("A",))],
            f'<list name="A">\n    <entry uri="{DAVE}"/>\n  </list><list name="A"><entry uri="{CAROL}"/></list>',
        ),
        # RFC 4826 §3.1: a URI is unique within its list.
        (
            f'<list name="A"><entry uri="{CAROL}"/><entry uri="{CAROL}"/></list>',
            [Entry(CAROL, "", ("A",))],
            f'<list name="A"><entry uri="{CAROL}"/></list>',
        ),
        # A list without a name holds those without a group, as does the one called Contacts.
        (
            f'<list><entry uri="{CAROL}"/></list>',
            [Entry(CAROL), Entry(DAVE)],
            f'<list><entry uri="{CAROL}"/></list>\n  <list name="Contacts">\n    <entry uri="{DAVE}"/>\n  </list>',
        ),
        (
            f'<list name="Contacts"><entry uri="{CAROL}"/></list>',
            [Entry(CAROL, "C"), Entry(DAVE)],
            f'<list name="Contacts"><entry uri="{CAROL}"><display-name>C</display-name></entry>'
            f'\n    <entry uri="{DAVE}"/></list>',
        ),
        # Display names.
        (
            f'<list><entry uri="{CAROL}"></entry></list>',
            [Entry(CAROL, "<C>")],
            f'<list><entry uri="{CAROL}"><display-name>&lt;C&gt;</display-name></entry></list>',
        ),
        (
            f'<list><entry uri="{CAROL}"><display-name/></entry></list>',
            [Entry(CAROL, "C")],
            f'<list><entry uri="{CAROL}"><display-name>C</display-name></entry></list>',
        ),
        (
            f'<list><entry uri="{CAROL}"><display-name>A<![CDATA[ B]]></display-name></entry></list>',
            [Entry(CAROL, "C")],
            f'<list><entry uri="{CAROL}"><display-name>C</display-name></entry></list>',
        ),
        # White space that is no white space between elements stays.
        (
            f'<list>text <entry uri="{CAROL}"/><entry uri="{BOB}"/></list>',
            [],
            f'<list>text <entry uri="{BOB}"/></list>',
        ),
        # Spellings are compared as they are (RFC 4826 §3.1).
        (
            f'<list name="A"><entry uri="{CAROL.upper()}"/><entry uri="{CAROL.replace("carol", "Carol")}"/></list>',
            [Entry(CAROL, "", ("A",))],
            f'<list name="A"><entry uri="{CAROL.upper()}"/>\n    <entry uri="{CAROL}"/></list>',
        ),
    ],
)
def test_lists(before: str, entries: list[Entry], after: str) -> None:
    document = merge(lists(before), entries, is_ours)
    assert document.decode() == lists(after).decode()
    assert merge(document, entries, is_ours) == document


def test_new_elements_have_the_prefix_of_those_around_them() -> None:
    document = merge(
        OMA, [Entry(CAROL, "C", ("rcs",)), Entry(DAVE, "", ("oma_blockedcontacts",)), Entry(ERIN)], is_ours
    )
    assert b'</rl:entry>\n    <rl:entry uri="sip:carol' in document
    assert b"<rl:display-name>C</rl:display-name>" in document
    assert b'<rl:list name="oma_blockedcontacts">\n    <rl:entry uri="sip:dave' in document
    assert b'<rl:list name="Contacts">' in document
    assert {(e.uri, e.groups) for e in ours(document)} == {
        (CAROL, ("rcs",)), (DAVE, ("oma_blockedcontacts",)), (ERIN, ()),
    }  # fmt: skip


def test_a_root_without_content() -> None:
    document = merge(f'<r:resource-lists xmlns:r="{NS}"/>'.encode(), [Entry(CAROL)], is_ours)
    assert document.decode() == (
        f'<r:resource-lists xmlns:r="{NS}">\n  <r:list name="Contacts">\n    <r:entry uri="{CAROL}"/>\n  </r:list>\n'
        "</r:resource-lists>"
    )


def test_what_leaves_and_comes_back_leaves_no_trace() -> None:
    entries = [Entry(CAROL, "C", ("A",)), Entry(DAVE, "D", ("B",)), Entry(ERIN)]
    document = merge(None, entries, is_ours)
    emptied = merge(document, [], is_ours)
    assert emptied == merge(None, [], is_ours)
    assert merge(emptied, entries, is_ours) == document


# --- differences ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "added", "changed", "removed"),
    [
        ([], [], [], [], []),
        ([Entry(CAROL)], [Entry(CAROL)], [], [], []),
        ([], [Entry(CAROL)], [Entry(CAROL)], [], []),
        ([Entry(CAROL)], [], [], [], [Entry(CAROL)]),
        ([Entry(CAROL)], [Entry(CAROL, "C")], [], [Entry(CAROL, "C")], []),
        ([Entry(CAROL, "C")], [Entry(CAROL, " C ")], [], [], []),
        ([Entry(CAROL, "", ("A",))], [Entry(CAROL, "", ("B",))], [], [Entry(CAROL, "", ("B",))], []),
        ([Entry(CAROL, "", ("A",))], [Entry(CAROL)], [], [Entry(CAROL)], []),
        ([Entry(CAROL, "", ("A", "B"))], [Entry(CAROL, "", ("B", "A"))], [], [], []),
        ([Entry(CAROL, "", (TITLE,))], [Entry(CAROL)], [], [], []),
        (
            [Entry(CAROL), Entry(DAVE)],
            [Entry(ERIN), Entry(DAVE, "D")],
            [Entry(ERIN)],
            [Entry(DAVE, "D")],
            [Entry(CAROL)],
        ),
    ],
)
def test_diff(
    before: list[Entry], after: list[Entry], added: list[Entry], changed: list[Entry], removed: list[Entry]
) -> None:
    assert diff(before, after) == (added, changed, removed)


def test_what_merge_has_written_is_no_difference() -> None:
    entries = [Entry(CAROL, " C\0", ("A ", "B", TITLE)), Entry(DAVE), Entry(ERIN, "E", (TITLE,))]
    assert diff(entries, read(merge(None, entries, is_ours))) == ([], [], [])


# --- resource list services -------------------------------------------------------------------------------

LIST_URI = "sip:alice-contacts@example.org"


def test_services() -> None:
    entries = [Entry(CAROL, "Carol <C>", ("A", "B")), Entry(DAVE), Entry(CAROL, "Again"), Entry(BOB, "Bob\0")]
    assert canonicalize(services(entries, LIST_URI).decode()) == canonicalize(
        '<rls-services xmlns="urn:ietf:params:xml:ns:rls-services" xmlns:rl="urn:ietf:params:xml:ns:resource-lists">'
        f'<service uri="{LIST_URI}"><list><rl:entry uri="{CAROL}"><rl:display-name>Carol &lt;C&gt;</rl:display-name>'
        f'</rl:entry><rl:entry uri="{DAVE}"/>'
        f'<rl:entry uri="{BOB}"><rl:display-name>Bob</rl:display-name></rl:entry></list>'
        "<packages><package>presence</package></packages></service></rls-services>"
    )


@pytest.mark.parametrize(
    ("uri", "written"),
    [
        (CAROL, CAROL),
        ("sip:a%20b@irc.im.example.org", "sip:a%2520b@irc.im.example.org"),
        ("sip:%C3%BC@irc.im.example.org", "sip:%25C3%25BC@irc.im.example.org"),
        ("sip:%2Aa@irc.im.example.org", "sip:%252Aa@irc.im.example.org"),
        ("SIP:bob@example.org:5070;transport=tcp", "SIP:bob@example.org:5070;transport=tcp"),
        ("sip:a&b'c@example.org", "sip:a&b'c@example.org"),
        (f"sip:{'a' * 239}@example.org", f"sip:{'a' * 239}@example.org"),
        (f"sip:{'a' * 240}@example.org", None),
        ("sips:bob@example.org", None),
        ("tel:+12125551234", None),
        ("pres:bob@example.org", None),
        ("sip:example.org", None),
        ("sip:a%2@example.org", None),
        ("sip:ü@example.org", None),
        ("sip:a@b@example.org", None),
        ("sip:bob@exa mple.org", None),
        ("sip:bob@", None),
        ("sip:bob@example.org?Subject=x", None),
        ('"Bob" <sip:bob@example.org>', None),
        ("sip:x <sip:bob@example.org>", None),
        ("sip:bob@example.org\0", None),
        ("bob", None),
        ("", None),
    ],
)
def test_a_uri_that_stops_kamailio_is_left_out(uri: str, written: str | None) -> None:
    root = fromstring(services([Entry(uri), Entry(BOB)], LIST_URI))
    found = [entry.get("uri") for entry in root.iter(f"{{{NS}}}entry")]
    assert found == ([BOB] if written is None else [written, BOB])


def test_services_for_nobody() -> None:
    root = fromstring(services([], LIST_URI))
    assert root[0].get("uri") == LIST_URI and not list(root[0][0])


@pytest.mark.parametrize("uri", ["sip:a\0@example.org", "sip:a b@example.org", "sip:a@example.org\n", "\ud800"])
def test_a_service_uri_that_is_none(uri: str) -> None:
    with pytest.raises(BadRequest):
        services([], uri)


# --- bad input --------------------------------------------------------------------------------------------

BAD = [
    b"",
    b"contacts",
    b"<resource-lists/>",
    f'<list xmlns="{NS}"/>'.encode(),
    f'<entry xmlns="{NS}" uri="{BOB}"/>'.encode(),
    b'<presence xmlns="urn:ietf:params:xml:ns:pidf"/>',
    lists("")[:-1],
    lists("<list>"),
    lists("<list name='a' name='b'/>"),
    lists("<list name='&a;'/>"),
    lists("").replace(b"></", b">\xff</"),
    f'<!DOCTYPE x [<!ENTITY a "b">]><resource-lists xmlns="{NS}"/>'.encode(),
    f'<!DOCTYPE x SYSTEM "file:///etc/passwd"><resource-lists xmlns="{NS}"/>'.encode(),
    f'<?xml version="1.0"?><resource-lists xmlns="{NS}"/>'.encode("utf-16"),
    f'<?xml version="1.0" encoding="UTF-16"?><resource-lists xmlns="{NS}"/>'.encode("utf-16-le"),
    f'<?xml version="1.0" encoding="ISO-8859-1"?><resource-lists xmlns="{NS}"/>'.encode(),
]


@pytest.mark.parametrize("document", BAD)
def test_what_is_no_such_document(document: bytes) -> None:
    with pytest.raises(BadRequest):
        read(document)
    with pytest.raises(BadRequest):
        merge(document, [Entry(CAROL)], is_ours)


def test_the_size_limit() -> None:
    document = lists(f'<list><entry uri="{BOB}"/></list>')
    assert read(document + b" " * (MAX_DOCUMENT - len(document))) == [Entry(BOB)]
    with pytest.raises(BodyTooLarge):
        read(document + b" " * (MAX_DOCUMENT - len(document) + 1))


def test_a_deep_document() -> None:
    deep = lists("<list>" * 50_000 + f'<entry uri="{CAROL}"/>' + "</list>" * 50_000)
    assert read(deep) == [Entry(CAROL)]
    assert read(merge(deep, [Entry(CAROL, "C")], is_ours)) == [Entry(CAROL, "C")]


# --- whatever comes ---------------------------------------------------------------------------------------

NAMES = st.sampled_from(["", "A", "B", TITLE, " A ", "<&'\">", "a\0b", "Ü"]) | st.text(max_size=8)
OURS = st.builds("sip:{}@xmpp.im.example.org".format, st.sampled_from("abcd%&<") | st.text(max_size=4))
ENTRIES = st.lists(
    st.builds(Entry, OURS | st.text(max_size=8), NAMES, st.lists(NAMES, max_size=3).map(tuple)), max_size=6
)
PIECES = [
    b"<", b">", b"/", b"/>", b'"', b"'", b"\0", b"\xff", b"&amp;", b"&#10;", b"<!-- -->", b"]]>", b"<![CDATA[x]]>",
    b"<list>", b"</list>", b'<list name="A"/>', b'<entry uri="sip:a@xmpp.im.example.org"/>', b"<?x y?>",
    b'xmlns="urn:x"', b"<display-name>", b"</display-name>", b"rl:", b"\xc3\xbc", b" ",
]  # fmt: skip
CHANGES = st.lists(
    st.tuples(st.integers(0, 1300), st.integers(0, 12), st.sampled_from(PIECES) | st.binary(max_size=3)), max_size=4
)
DOCUMENTS = st.sampled_from([RFC_EXAMPLE, OMA, PHONE, lists(""), merge(None, [CAROL_AS_SHE_IS, Entry(DAVE)], is_ours)])


def mutated(document: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    for at, length, piece in changes:
        document = document[: at % len(document)] + piece + document[at % len(document) + length :] or b" "
    return document


@given(DOCUMENTS, CHANGES, ENTRIES)
def test_a_mutated_document_is_merged_or_refused(
    document: bytes, changes: list[tuple[int, int, bytes]], entries: list[Entry]
) -> None:
    document = mutated(document, changes)
    with contextlib.suppress(BadRequest):
        others = [entry for entry in read(document) if not is_ours(entry.uri)]
        once = merge(document, entries, is_ours)
        assert merge(once, entries, is_ours) == once
        assert [entry for entry in read(once) if not is_ours(entry.uri)] == others


@given(DOCUMENTS, ENTRIES, ENTRIES)
def test_exactly_the_entries_are_ours_afterwards(document: bytes, first: list[Entry], second: list[Entry]) -> None:
    wanted = [entry for entry in read(merge(None, second, is_ours)) if is_ours(entry.uri)]
    merged = merge(merge(document, first, is_ours), second, is_ours)
    assert diff(ours(merged), wanted) == ([], [], [])
    assert merge(merged, second, is_ours) == merged


@given(ENTRIES)
def test_services_are_always_well_formed(entries: list[Entry]) -> None:
    root = fromstring(services(entries, LIST_URI))
    uris = [entry.get("uri") for entry in root.iter(f"{{{NS}}}entry")]
    assert len(uris) == len(set(uris))
