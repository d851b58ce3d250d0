"""Presence rules: every condition of RFC 4745, how values combine, documents of phones, and hostile ones."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from xml.etree.ElementTree import fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from purple_bridge.bodies.presence_rules import MAX_DOCUMENT, Handling, decide, for_everybody
from purple_bridge.errors import BadRequest, BodyTooLarge

BOB = "sip:bob@example.org"
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)

HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?><ruleset xmlns="urn:ietf:params:xml:ns:common-policy"'
    ' xmlns:pr="urn:ietf:params:xml:ns:pres-rules" xmlns:ocp="urn:oma:xml:xdm:common-policy">'
)


def rule(conditions: str, handling: str = "allow") -> str:
    actions = f"<actions><pr:sub-handling>{handling}</pr:sub-handling></actions>"
    return f'<rule id="r"><conditions>{conditions}</conditions>{actions}<transformations/></rule>'


def identity(children: str, handling: str = "allow") -> str:
    return rule(f"<identity>{children}</identity>", handling)


def rules(*parts: str) -> bytes:
    return f"{HEAD}{''.join(parts)}</ruleset>".encode()


# --- who is meant (RFC 4745 §7.1) -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("children", "watcher", "matches"),
    [
        ('<one id="sip:bob@example.org"/>', BOB, True),
        ('<one id="sip:carol@example.org"/>', BOB, False),
        ('<one id="sip:carol@example.org"/><one id="sip:bob@example.org"/>', BOB, True),
        ('<one id="sip:Bob@EXAMPLE.org"/>', BOB, True),
        ('<one id=" sip:bob@example.org "/>', BOB, True),
        ('<one id="sip:%62ob@example.org"/>', BOB, True),
        ('<one id="sip:bob@example.org;transport=tcp"/>', BOB, True),
        ('<one id="sip:bob@example.org"/>', "<sip:bob@example.org:5062>;tag=1", True),
        ('<one id="sips:bob@example.org"/>', BOB, False),  # RFC 5025 §3.1.1.2: schemes are never equivalent
        ('<one id="sip:+12125551234@example.org"/>', "sip:+12125551234@example.org", True),
        ('<one id="tel:+12125551234"/>', "sip:+12125551234@example.org", False),
        ('<one id="pres:bob@example.org"/>', BOB, False),
        ("<one/>", BOB, False),
        ('<one id=""/>', BOB, False),
        # Two contacts of an IM network: "a@b" and "a*b".
        ('<one id="sip:a%2Ab@irc.im.example.org"/>', "sip:a*b@irc.im.example.org", False),
        ('<one id="sip:a%2ab@irc.im.example.org"/>', "sip:a%2Ab@irc.im.example.org", True),
        ("<many/>", BOB, True),
        ('<many domain="example.org"/>', BOB, True),
        ('<many domain="Example.ORG."/>', BOB, True),
        ('<many domain="%65xample.org"/>', BOB, True),
        ('<many domain="example.com"/>', BOB, False),
        ('<many domain="ample.org"/>', BOB, False),
        ('<many domain=""/>', BOB, False),
        ('<many domain="bücher.example"/>', "sip:bob@xn--bcher-kva.example", True),
        (f'<many domain="{"ü" * 300}.example"/>', BOB, False),
        ('<many domain="not a name"/>', BOB, False),
        ('<many><except id="sip:bob@example.org"/></many>', BOB, False),
        ('<many><except id="sip:Bob@example.org"/></many>', BOB, False),
        ('<many><except id="sip:carol@example.org"/></many>', BOB, True),
        ('<many><except domain="example.org"/></many>', BOB, False),
        ('<many><except domain="example.com"/><except id="tel:+1"/></many>', BOB, True),
        ('<many domain="example.org"><except id="sip:bob@example.org"/></many>', BOB, False),
        ('<many domain="example.org"><except id="sip:carol@example.org"/></many>', BOB, True),
        ("<many><except/></many>", BOB, True),
        ("<many><ocp:except-in-other-words/></many>", BOB, False),
        ('<many><except id="sip:bob@example.org"/></many><one id="sip:bob@example.org"/>', BOB, True),
        ("", BOB, False),
        ("<ocp:someone-else/>", BOB, False),
        ('<ocp:someone-else/><one id="sip:bob@example.org"/>', BOB, True),
        ('<one xmlns="urn:x" id="sip:bob@example.org"/>', BOB, False),
    ],
)
def test_identity(children: str, watcher: str, matches: bool) -> None:
    assert decide(rules(identity(children)), watcher) == (Handling.ALLOW if matches else None)


# --- the other conditions (RFC 4745 §7.3, §7.4) -----------------------------------------------------------

EVERYBODY = "<identity><many/></identity>"


def span(start: str, end: str) -> str:
    return f"<from>{start}</from><until>{end}</until>"


@pytest.mark.parametrize(
    ("conditions", "matches"),
    [
        ("", True),  # §10.1: there is none that is false
        (EVERYBODY, True),
        (f"{EVERYBODY}<!-- the whole world -->", True),
        (f"{EVERYBODY}<sphere value='work'/>", False),
        ("<sphere value='work'/>", False),
        ("<ocp:other-identity/>", False),
        ('<ocp:external-list><ocp:entry anc="http://xcap.example.org/x"/></ocp:external-list>', False),
        ("<ocp:anonymous-request/>", False),
        (f"{EVERYBODY}<ocp:other-identity/>", False),
        ('<identity xmlns="urn:x"><many/></identity>', False),
        (f'{EVERYBODY}<identity><one id="sip:carol@example.org"/></identity>', False),
        (f"<validity>{span('2024-05-01T11:00:00Z', '2024-05-01T13:00:00Z')}</validity>", True),
        (f"<validity>{span('2024-05-01T12:00:00Z', '2024-05-01T13:00:00Z')}</validity>", True),  # "or equal to"
        (f"<validity>{span('2024-05-01T11:00:00Z', '2024-05-01T12:00:00Z')}</validity>", False),  # "but less than"
        (f"<validity>{span('2024-05-01T13:00:00Z', '2024-05-01T14:00:00Z')}</validity>", False),
        (f"<validity>{span('2024-05-01T06:30:00.000-05:00', '2024-05-01T07:30:00.000-05:00')}</validity>", True),
        (f"<validity>{span('2024-05-01T11:00:00', '2024-05-01T13:00:00')}</validity>", True),
        (f"<validity>{span(' 2024-05-01T11:00:00Z ', chr(10) + '2024-05-01T13:00:00Z')}</validity>", True),
        (
            f"<validity>{span('2024-04-01T00:00:00Z', '2024-04-02T00:00:00Z')}"
            f"{span('2024-05-01T00:00:00Z', '2024-05-02T00:00:00Z')}</validity>",
            True,
        ),
        (f"<validity>{span('yesterday', '2024-05-01T13:00:00Z')}</validity>", False),
        (f"<validity>{span('2024-05-01T11:00:00Z', 'tomorrow')}</validity>", False),
        (f"<validity>{span('2024-05-01', '2024-05-02')}</validity>", False),
        (f"<validity>{span('', '')}</validity>", False),
        (f"<validity>{span('0001-01-01T00:00:00+14:00', '9999-12-31T23:59:59-14:00')}</validity>", True),
        ("<validity><from>2024-05-01T11:00:00Z</from></validity>", False),
        ("<validity><until>2024-05-01T13:00:00Z</until></validity>", False),
        ("<validity/>", False),
        (f"{EVERYBODY}<validity>{span('2024-05-01T11:00:00Z', '2024-05-01T13:00:00Z')}</validity>", True),
        (
            '<identity><one id="sip:carol@example.org"/></identity>'
            f"<validity>{span('2024-05-01T11:00:00Z', '2024-05-01T13:00:00Z')}</validity>",
            False,
        ),
    ],
)
def test_conditions(conditions: str, matches: bool) -> None:
    assert decide(rules(rule(conditions)), BOB, NOON) == (Handling.ALLOW if matches else None)


def test_a_rule_without_conditions_matches_everybody() -> None:
    assert decide(rules("<rule id='r'><actions><pr:sub-handling>allow</pr:sub-handling></actions></rule>"), BOB)


# --- how values combine (RFC 4745 §10.2, RFC 5025 §3.2.1) -------------------------------------------------


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], None),
        (["block"], Handling.BLOCK),
        (["confirm"], Handling.CONFIRM),
        (["polite-block"], Handling.POLITE_BLOCK),
        (["allow"], Handling.ALLOW),
        (["allow", "block"], Handling.ALLOW),
        (["block", "allow"], Handling.ALLOW),
        (["block", "confirm"], Handling.CONFIRM),
        (["confirm", "polite-block", "block"], Handling.POLITE_BLOCK),
        (["polite-block", "allow", "confirm"], Handling.ALLOW),
        (["\n allow \n"], Handling.ALLOW),
        (["ALLOW"], Handling.BLOCK),
        (["perhaps"], Handling.BLOCK),
        ([""], Handling.BLOCK),
        (["perhaps", "confirm"], Handling.CONFIRM),
    ],
)
def test_the_highest_value_counts(found: list[str], expected: Handling | None) -> None:
    others = identity('<one id="sip:carol@example.org"/>')
    assert decide(rules(others, *(identity("<many/>", value) for value in found), others), BOB) is expected


def test_a_matching_rule_that_says_nothing_about_subscriptions_has_the_lowest_value() -> None:
    silent = f"<rule id='r'><conditions>{EVERYBODY}</conditions><transformations/></rule>"
    assert decide(rules(silent), BOB) is Handling.BLOCK
    assert decide(rules(silent, identity("<many/>", "polite-block")), BOB) is Handling.POLITE_BLOCK


def test_a_value_outside_its_place_is_none() -> None:
    loose = f"<rule id='r'><conditions>{EVERYBODY}</conditions><pr:sub-handling>allow</pr:sub-handling></rule>"
    other = (
        f"<rule id='r'><conditions>{EVERYBODY}</conditions><actions><sub-handling>allow</sub-handling></actions></rule>"
    )
    assert decide(rules(loose), BOB) is decide(rules(other), BOB) is Handling.BLOCK


# --- documents in the shape of phones ---------------------------------------------------------------------

OMA = b"""<?xml version="1.0" encoding="utf-8"?>
<cp:ruleset xmlns:cp="urn:ietf:params:xml:ns:common-policy" xmlns:pres="urn:ietf:params:xml:ns:pres-rules"
 xmlns:op="urn:oma:xml:prs:pres-rules" xmlns:ocp="urn:oma:xml:xdm:common-policy">
 <cp:rule id="wp_prs_unlisted"><cp:conditions><ocp:other-identity/></cp:conditions>
  <cp:actions><pres:sub-handling>confirm</pres:sub-handling></cp:actions></cp:rule>
 <cp:rule id="wp_prs_grantedcontacts"><cp:conditions><ocp:external-list>
   <ocp:entry anc="http://xcap.example.org/resource-lists/users/sip:alice@example.org/index/~~/resource-lists"/>
  </ocp:external-list></cp:conditions><cp:actions><pres:sub-handling>allow</pres:sub-handling></cp:actions></cp:rule>
 <!-- whom Alice has refused -->
 <cp:rule id="wp_prs_block_one"><cp:conditions><cp:identity><cp:one id="sip:mallory@example.net"/></cp:identity>
  </cp:conditions><cp:actions><pres:sub-handling>block</pres:sub-handling></cp:actions></cp:rule>
 <cp:rule id="wp_prs_allow_own"><cp:conditions><cp:identity><cp:one id="sip:alice@example.org"/></cp:identity>
  </cp:conditions><cp:actions><pres:sub-handling>allow</pres:sub-handling></cp:actions>
  <cp:transformations><pres:provide-services><pres:all-services/></pres:provide-services></cp:transformations></cp:rule>
</cp:ruleset>"""

ONE_RULE_FOR_EACH_VALUE = b"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<ruleset xmlns="urn:ietf:params:xml:ns:common-policy">
 <rule id="presence_allow"><conditions><identity><one id="sip:bob@example.org"/><one id="sip:carol@example.net"/>
 </identity></conditions><actions><sub-handling xmlns="urn:ietf:params:xml:ns:pres-rules">allow</sub-handling></actions>
 <transformations><provide-devices xmlns="urn:ietf:params:xml:ns:pres-rules"><all-devices/></provide-devices>
 </transformations></rule>
 <rule id="presence_polite-block"><conditions><identity><one id="sip:dave@example.org"/></identity></conditions>
 <actions><sub-handling xmlns="urn:ietf:params:xml:ns:pres-rules">polite-block</sub-handling></actions>
 <transformations/></rule></ruleset>"""


@pytest.mark.parametrize(
    ("document", "watcher", "expected"),
    [
        (OMA, "sip:mallory@example.net", Handling.BLOCK),
        (OMA, "sip:alice@example.org", Handling.ALLOW),
        (OMA, BOB, None),
        (ONE_RULE_FOR_EACH_VALUE, BOB, Handling.ALLOW),
        (ONE_RULE_FOR_EACH_VALUE, "sip:dave@example.org", Handling.POLITE_BLOCK),
        (ONE_RULE_FOR_EACH_VALUE, "sip:mallory@example.net", None),
        (b'<ruleset xmlns="urn:ietf:params:xml:ns:common-policy"/>', BOB, None),
    ],
)
def test_documents_of_phones(document: bytes, watcher: str, expected: Handling | None) -> None:
    assert decide(document, watcher) is expected


# --- what the gateway writes ------------------------------------------------------------------------------


@pytest.mark.parametrize("handling", Handling)
def test_rules_for_everybody(handling: Handling) -> None:
    assert for_everybody(handling) == for_everybody(handling)
    for watcher in (BOB, "sip:carol*jabber.org@xmpp.im.example.org", "sip:192.0.2.1"):
        assert decide(for_everybody(handling), watcher) is handling


@pytest.mark.parametrize("handling", Handling)
def test_rules_for_everybody_have_what_kamailio_reads(handling: Handling) -> None:
    """Only elements within ruleset, each rule with conditions and identity; a value without white space."""
    root = fromstring(for_everybody(handling))
    policy = "{urn:ietf:params:xml:ns:common-policy}"
    assert [child.tag for child in root] == [f"{policy}rule"]
    many = root.find(f"{policy}rule/{policy}conditions/{policy}identity/{policy}many")
    assert many is not None and not list(many) and not many.attrib and not many.text
    value = root.find(f"{policy}rule/{policy}actions/{{urn:ietf:params:xml:ns:pres-rules}}sub-handling")
    assert value is not None and value.text == handling.value
    assert root.find(f".//{policy}transformations") is None


# --- bad input --------------------------------------------------------------------------------------------

BOMB = (
    '<!DOCTYPE ruleset [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><ruleset xmlns="urn:ietf:params:xml:ns:common-policy"/>'
)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"allow",
        b"<ruleset/>",
        b'<presence xmlns="urn:ietf:params:xml:ns:pidf"/>',
        rules(identity("<many/>"))[:-5],
        rules(identity("<many/>")).replace(b"<many/>", b"\xff"),
        BOMB.encode(),
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><ruleset xmlns="urn:ietf:params:xml:ns:common-policy"/>',
    ],
)
def test_what_is_no_such_document(document: bytes) -> None:
    with pytest.raises(BadRequest):
        decide(document, BOB)


@pytest.mark.parametrize("watcher", ["", "bob", "tel:+12125551234", "sip:b\nob@example.org"])
def test_a_watcher_without_a_sip_uri(watcher: str) -> None:
    with pytest.raises(BadRequest):
        decide(for_everybody(Handling.ALLOW), watcher)


def test_the_size_limit() -> None:
    document = rules(identity("<many/>"))
    assert decide(document + b" " * (MAX_DOCUMENT - len(document)), BOB) is Handling.ALLOW
    with pytest.raises(BodyTooLarge):
        decide(document + b" " * (MAX_DOCUMENT - len(document) + 1), BOB)


PIECES = [b"<", b">", b"/", b'"', b"\0", b"\xff", b"&amp;", b"<many/>", b"<from>", b"2024-05-01T12:00:00Z", b"xmlns"]


@given(
    st.sampled_from(
        [OMA, ONE_RULE_FOR_EACH_VALUE, rules(rule(f"<validity>{span('2024-05-01T11:00:00Z', 'x')}</validity>"))]
    ),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 12), st.sampled_from(PIECES) | st.binary(max_size=4))),
)
def test_a_mutated_document_is_read_or_refused(document: bytes, changes: list[tuple[int, int, bytes]]) -> None:
    for at, length, piece in changes:
        document = document[:at] + piece + document[at + length :]
    with contextlib.suppress(BadRequest):
        assert decide(document, BOB, NOON) in (None, *Handling)


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_in_a_document(identity_: str, time: str) -> None:
    def attribute(text: str) -> str:
        return "".join(f"&#{ord(char)};" for char in text if char.isprintable())

    conditions = (
        f'<identity><one id="{attribute(identity_)}"/><many domain="{attribute(identity_)}"/></identity>'
        f"<validity>{span(attribute(time), attribute(time))}</validity>"
    )
    assert decide(rules(rule(conditions)), BOB, NOON) is None
