"""SIP and IM addresses: every form phones send, the two-way mapping of IM contacts, RFC 7247."""

from __future__ import annotations

import re
import time
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from purple_bridge.addresses import (
    GatewayDomain,
    ImContact,
    SipAddress,
    _contact_uri,
    _normal_name,
    jid_of,
    name_as_account,
    name_as_contact,
    normal_host,
    normalize_im_name,
    protocol_label,
    protocol_of_label,
)
from purple_bridge.errors import BadRequest, ConfigurationError
from purple_bridge.functions.request import _parsed, parsed

LONG = "x" * 1_000
DOMAIN = GatewayDomain("im.example.org")

# What a name can be: every character but controls (Cc) and surrogates (Cs).
NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40)
HOSTS = st.sampled_from(["example.org", "h", "10.0.0.1", "[2001:db8::1]", "xn--bcher-kva.example"])


def short(value: object) -> str:
    """A parameter as a test id that fits on a line."""
    return ascii(value)[:40]


PARSED = [
    # text, canonical URI, key
    ("sip:alice@example.org", "sip:alice@example.org", "alice@example.org"),
    ("sip:Alice@example.org", "sip:Alice@example.org", "alice@example.org"),
    ("sip:alice@Example.ORG", "sip:alice@example.org", "alice@example.org"),
    ("SIP:alice@example.org", "sip:alice@example.org", "alice@example.org"),
    ("sips:alice@example.org", "sips:alice@example.org", "alice@example.org"),
    ("SIPS:alice@example.org:5061", "sips:alice@example.org", "alice@example.org"),
    ("sip:alice@example.org:5060", "sip:alice@example.org", "alice@example.org"),
    ("sip:alice@example.org.", "sip:alice@example.org", "alice@example.org"),
    ("sip:alice@example.org;transport=udp", "sip:alice@example.org", "alice@example.org"),
    ("sip:alice@example.org:5060;transport=tcp;lr", "sip:alice@example.org", "alice@example.org"),
    ("sip:alice@example.org;proto=purple", "sip:alice@example.org", "alice@example.org"),
    ("sip:alice@example.org?subject=hi&priority=urgent", "sip:alice@example.org", "alice@example.org"),
    ("sip:alice@example.org;a=b?c=d", "sip:alice@example.org", "alice@example.org"),
    ("sip:alice:secret@example.org", "sip:alice@example.org", "alice@example.org"),
    ("sip:alice:@example.org", "sip:alice@example.org", "alice@example.org"),
    ("<sip:alice@example.org>", "sip:alice@example.org", "alice@example.org"),
    ("<sip:alice@example.org;lr>;tag=1", "sip:alice@example.org", "alice@example.org"),
    ("<sip:alice@example.org> ; tag=1", "sip:alice@example.org", "alice@example.org"),
    ('"Al" <sip:alice@example.org;x>;tag=1', "sip:alice@example.org", "alice@example.org"),
    ('"Al"<sip:alice@example.org>', "sip:alice@example.org", "alice@example.org"),
    (' "Al" <sip:alice@example.org> ', "sip:alice@example.org", "alice@example.org"),
    ('"" <sip:alice@example.org>', "sip:alice@example.org", "alice@example.org"),
    ('"A \\"the\\" L" <sip:alice@example.org>', "sip:alice@example.org", "alice@example.org"),
    ('"back\\\\" <sip:alice@example.org>', "sip:alice@example.org", "alice@example.org"),
    ('"<sip:eve@evil.example>" <sip:alice@example.org>', "sip:alice@example.org", "alice@example.org"),
    ('"a < b" <sip:alice@example.org>', "sip:alice@example.org", "alice@example.org"),
    ("Al <sip:alice@example.org>", "sip:alice@example.org", "alice@example.org"),
    ("Dr. Müller <sip:alice@example.org>", "sip:alice@example.org", "alice@example.org"),
    ('<sip:alice@example.org>;x="a>b"', "sip:alice@example.org", "alice@example.org"),
    (" sip:alice@example.org ", "sip:alice@example.org", "alice@example.org"),
    ("sip:al%69ce@example.org", "sip:alice@example.org", "alice@example.org"),
    ("sip:%41lice@example.org", "sip:Alice@example.org", "alice@example.org"),
    ("sip:m%c3%BCller@example.org", "sip:m%C3%BCller@example.org", "müller@example.org"),
    ("sip:müller@example.org", "sip:m%C3%BCller@example.org", "müller@example.org"),
    ("sip:M%C3%9CLLER@example.org", "sip:M%C3%9CLLER@example.org", "müller@example.org"),
    ("sip:a%20b@example.org", "sip:a%20b@example.org", "a b@example.org"),
    ("sip:a%40b@example.org", "sip:a%40b@example.org", "a@b@example.org"),
    ("sip:a%25b@example.org", "sip:a%25b@example.org", "a%b@example.org"),
    ("sip:nick[away]@example.org", "sip:nick%5Baway%5D@example.org", "nick[away]@example.org"),
    ("sip:{a|b}^`\\#@example.org", "sip:%7Ba%7Cb%7D%5E%60%5C%23@example.org", "{a|b}^`\\#@example.org"),
    ("sip:o'malley@example.org", "sip:o'malley@example.org", "o'malley@example.org"),
    ("sip:a;b=c?d/e&f=$,@example.org", "sip:a;b=c?d/e&f=$,@example.org", "a;b=c?d/e&f=$,@example.org"),
    ("sip:*@x", "sip:*@x", "*@x"),
    ("sip:%2a@x", "sip:%2A@x", "*@x"),
    ("sip:a%2Ab*c@x", "sip:a%2Ab*c@x", "a*b*c@x"),
    ("sip:+4930123@example.org;user=phone", "sip:+4930123@example.org", "+4930123@example.org"),
    ("sip:alice@10.1.2.3:5062", "sip:alice@10.1.2.3", "alice@10.1.2.3"),
    ("sip:alice@my_host-1", "sip:alice@my_host-1", "alice@my_host-1"),
    ("sip:alice@[2001:DB8::1]", "sip:alice@[2001:db8::1]", "alice@[2001:db8::1]"),
    ("sip:alice@[2001:db8:0:0:0:0:0:1]:5060;lr", "sip:alice@[2001:db8::1]", "alice@[2001:db8::1]"),
    ("sip:[::1]", "sip:[::1]", "[::1]"),
    ("sip:example.org", "sip:example.org", "example.org"),
    ("sip:example.org:5060;transport=udp", "sip:example.org", "example.org"),
    (f"sip:{LONG}@example.org", f"sip:{LONG}@example.org", f"{LONG}@example.org"),
    (f"sip:alice@example.org;p={LONG}", "sip:alice@example.org", "alice@example.org"),
    (f'"{LONG}" <sip:alice@example.org>;{LONG}', "sip:alice@example.org", "alice@example.org"),
]


@pytest.mark.parametrize(("text", "uri", "key"), PARSED, ids=short)
def test_accepted(text: str, uri: str, key: str) -> None:
    address = SipAddress.parse(text)
    assert (address.uri, address.key) == (uri, key)


REFUSED = [
    "",
    " ",
    "alice",
    "alice@example.org",
    "sip:",
    "sip:@",
    "sip:@example.org",
    "sip:alice@",
    "sip::secret@example.org",
    "sip:alice@example.org:port",
    "sip:alice@example.org:123456",
    "sip:alice@@example.org",
    "sip:a@b@c",
    "sip:a b@example.org",
    "sip:alice@exa mple.org",
    "sip:alice@-..org",
    "sip:alice@.org",
    "sip:alice@example.org..",
    "sip:alice@bücher.example",
    "sip:alice@[::1",
    "sip:alice@::1",
    "sip:alice@[1:2]",
    "sip:alice@[fe80::1%25eth0]",
    "sip:alice@[]",
    f"sip:alice@{LONG}",
    "sip:alice@" + "a." * 126 + "aa",
    "tel:+4930123",
    "mailto:alice@example.org",
    "im:alice@example.org",
    "xmpp:alice@example.org",
    "http://example.org",
    "sip:al%ice@example.org",
    "sip:alice%@example.org",
    "sip:alice%4@example.org",
    "sip:%ff@example.org",
    "sip:%C3@example.org",
    "sip:%ED%A0%80@example.org",
    "sip:%00@example.org",
    "sip:a%0D%0Ab@example.org",
    "sip:%7F@example.org",
    "sip:%C2%85@example.org",
    "sip:alice@example.org\r\nVia: x",
    "sip:alice@example.org\n",
    "sip:alice@example.org\r",
    "sip:ali\x00ce@example.org",
    "sip:alice\t@example.org",
    "sip:\x85@example.org",
    "sip:\ud800@example.org",
    '"Al\r\nX: y" <sip:alice@example.org>',
    '"Al <sip:alice@example.org>',
    'Al" <sip:alice@example.org>',
    '"Al" sip:alice@example.org',
    "<sip:alice@example.org",
    "sip:alice@example.org>",
    "<<sip:alice@example.org>>",
    "< sip:alice@example.org>",
    "<sip:alice@example.org> tag=1",
    "<sip:alice@example.org>, <sip:bob@example.org>",
    "sip:alice@example.org, sip:bob@example.org",
    "<>",
    "*",
    "sip:alice@example.org;gr=%ff",
    "sip:alice@example.org;gr=a%0Ab",
]


@pytest.mark.parametrize("text", REFUSED, ids=short)
def test_refused_with_a_reason_fit_for_a_status_line(text: str) -> None:
    with pytest.raises(BadRequest) as error:
        SipAddress.parse(text)
    assert error.value.status == 400
    assert error.value.reason.isprintable()
    assert error.value.reason.isascii()
    assert len(error.value.reason) < 120


def test_fields() -> None:
    address = SipAddress.parse('"Al" <sips:m%C3%BCller@Example.org:5061;gr=a%20b;lr>;tag=1')
    assert address == SipAddress("müller", "example.org", secure=True, resource="a b")
    assert address.encoded_user == "m%C3%BCller"


@pytest.mark.parametrize(
    ("text", "resource"),
    [
        ("sip:a@h;gr=bar", "bar"),
        ("sip:a@h;lr;GR=bar;x=y", "bar"),
        ("sip:a@h;gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"),
        ("sip:a@h;gr=f%C3%BC", "fü"),
        ("sip:a@h;gr", None),
        ("sip:a@h;gr=", None),
        ("sip:a@h;grx=bar", None),
        ("sip:a@h?gr=bar", None),
        ("<sip:a@h>;gr=bar", None),
        ("sip:a@h", None),
    ],
)
def test_resource_is_the_gr_parameter(text: str, resource: str | None) -> None:
    assert SipAddress.parse(text).resource == resource


def test_only_the_gruu_names_the_phone() -> None:
    phone = SipAddress.parse("sip:alice@example.org;gr=f%c3%bc;lr")
    assert phone.uri == "sip:alice@example.org"
    assert phone.gruu == "sip:alice@example.org;gr=f%C3%BC"
    assert SipAddress.parse("sip:alice@example.org").gruu == "sip:alice@example.org"


def test_two_spellings_are_one_address_and_one_dictionary_key() -> None:
    spellings = ["sip:al%69ce@Example.org:5060;lr", "<sip:alice@example.org>", "sip:alice@example.org."]
    assert {SipAddress.parse(text) for text in spellings} == {SipAddress("alice", "example.org")}


@pytest.mark.parametrize(
    ("user", "host"), [("a\r\nb", "h"), ("a\x00", "h"), ("a", "h\r\nX: y"), ("a", ""), ("a", "h i"), ("\ud800", "h")]
)
def test_an_address_made_by_hand_is_checked_too(user: str, host: str) -> None:
    with pytest.raises(BadRequest):
        SipAddress(user, host)


def test_resource_made_by_hand_is_checked_too() -> None:
    with pytest.raises(BadRequest):
        SipAddress("a", "h", resource="x\r\ny")


@settings(deadline=None)
@given(NAMES, HOSTS, st.booleans(), st.none() | NAMES)
@example("%2A", "h", False, "%")
@example("@:/;?<>\"'", "h", True, ";=?@/")
def test_every_address_survives_its_uri(user: str, host: str, secure: bool, resource: str | None) -> None:
    address = SipAddress(user, host, secure, resource)
    assert SipAddress.parse(address.gruu) == address
    assert SipAddress.parse(f'"x" <{address.gruu}>;tag=1') == address
    assert address.gruu.isascii()
    assert address.gruu.isprintable()


@settings(deadline=None)
@given(st.text(st.sampled_from('ab%2A*@:;<>" sip.[]\\\r'), max_size=30))
def test_what_is_accepted_is_stable(text: str) -> None:
    try:
        address = SipAddress.parse("sip:" + text)
    except BadRequest:
        return
    assert SipAddress.parse(address.gruu) == address


@pytest.mark.parametrize(
    "hostile",
    [" " * 60_000, '"' * 60_001, "sip:" + ":" * 60_000, "sip:" + "a" * 60_000, '"\\' * 30_000, "<" * 60_000],
    ids=short,
)
def test_hostile_text_is_refused_in_linear_time(hostile: str) -> None:
    start = time.perf_counter()
    with pytest.raises(BadRequest):
        SipAddress.parse(hostile)
    assert time.perf_counter() - start < 1.0


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("Example.ORG.", "example.org"),
        ("10.0.0.1", "10.0.0.1"),
        ("[::0:1]", "[::1]"),
        ("a" * 63, "a" * 63),
        ("a." * 126 + "a", "a." * 126 + "a"),
    ],
)
def test_normal_host(host: str, expected: str) -> None:
    assert normal_host(host) == expected


@pytest.mark.parametrize(
    "host", ["", ".", "a..b", "a" * 64, "a/b", "[x]", "[::1%eth0]", "x::1]", "[::1x", "1:2", "ä", "a\n"]
)
def test_no_host(host: str) -> None:
    with pytest.raises(BadRequest):
        normal_host(host)


# --- RFC 7247 --------------------------------------------------------------------------------------------

JIDS = [
    # the examples of RFC 7247 §6.4
    ("fü@x.example", None, "fü@x.example"),
    ("o'malley@x.example", None, "o\\27malley@x.example"),
    ("foo@x.example", "bar", "foo@x.example/bar"),
    ("m&m@x.example", None, "m\\26m@x.example"),
    ("a/b@x.example", None, "a\\2fb@x.example"),
    ("a/b'@x.example", "c/d @e", "a\\2fb\\27@x.example/c/d @e"),
    ("o\\27malley@x.example", None, "o\\27malley@x.example"),
    ("a\\5c27b@x.example", None, "a\\5c27b@x.example"),
    ("room@x.example/nick's", None, "room@x.example/nick's"),
    ("room@x.example/nick", "other", "room@x.example/nick"),
    ("x.example", "r", "x.example/r"),
    ("x.example/r", None, "x.example/r"),
    ("x.example", "", "x.example"),
]


@pytest.mark.parametrize(("name", "resource", "jid"), JIDS)
def test_the_jid_of_a_name(name: str, resource: str | None, jid: str) -> None:
    assert jid_of(name, resource) == jid


@settings(deadline=None)
@given(NAMES, HOSTS)
def test_a_jid_stays_what_it_is(local: str, host: str) -> None:
    jid = jid_of(f"{local.replace('@', '')}@{host}")
    assert jid_of(jid) == jid
    assert DOMAIN.contact_of(DOMAIN.contact_uri("prpl-jabber", jid)) == ImContact("prpl-jabber", jid)
    assert normalize_im_name("prpl-jabber", jid).endswith(f"@{host}")


# --- gateway addresses -----------------------------------------------------------------------------------

LABELS = [
    ("prpl-jabber", "xmpp"),
    ("gtalk", "gtalk"),
    ("prpl-irc", "irc"),
    ("prpl-simple", "simple"),
    ("prpl-bonjour", "bonjour"),
    ("prpl-gg", "gg"),
    ("prpl-novell", "novell"),
    ("prpl-meanwhile", "sametime"),
    ("prpl-zephyr", "zephyr"),
    ("prpl-silc", "silc"),
    ("prpl-eionrobb-discord", "eionrobb-discord"),
    ("prpl-2x", "2x"),
    ("prpl-xmpp", "id-prpl-2dxmpp"),
    ("prpl-gtalk", "id-prpl-2dgtalk"),
    ("prpl-sametime", "id-prpl-2dsametime"),
    ("prpl-id-x", "id-prpl-2did-2dx"),
    ("prpl-Foo", "id-prpl-2d-46oo"),
    ("prpl-a_b", "id-prpl-2da-5fb"),
    ("prpl-a.b", "id-prpl-2da-2eb"),
    ("prpl--a", "id-prpl-2d-2da"),
    ("prpl-", "id-prpl-2d"),
    ("hehoe-whatsmeow", "id-hehoe-2dwhatsmeow"),
    ("irc", "id-irc"),
    ("protokoll-ä", "id-protokoll-2d-c3-a4"),
]


@pytest.mark.parametrize(("protocol", "label"), LABELS)
def test_labels(protocol: str, label: str) -> None:
    assert protocol_label(protocol) == label
    assert protocol_of_label(label) == protocol


@pytest.mark.parametrize(
    "label",
    [
        "",
        "-",
        "a-",
        "-a",
        "jabber",
        "meanwhile",
        "a_b",
        "XMPP",
        "id-",
        "id--2",
        "id--zz",
        "id--ff",
        "id--61",
        "id-prpl-2dirc",
        "a" * 64,
    ],
)
def test_labels_of_nothing(label: str) -> None:
    assert protocol_of_label(label) is None


@pytest.mark.parametrize("protocol", ["", "prpl-" + "a" * 64, "x" * 61, "ä" * 11])
def test_no_label(protocol: str) -> None:
    with pytest.raises(BadRequest):
        protocol_label(protocol)


@settings(deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10)
    | st.from_regex("prpl-[a-z0-9-]{1,60}", fullmatch=True)
)
def test_every_label_is_a_dns_label_and_leads_back(protocol: str) -> None:
    try:
        label = protocol_label(protocol)
    except BadRequest:
        assert len(protocol.encode()) > 20
        return
    assert protocol_of_label(label) == protocol
    assert normal_host(label) == label
    assert not label.startswith("-")
    assert not label.endswith("-")


CONTACTS = [
    ("prpl-jabber", "carol@jabber.org", "sip:carol*jabber.org@xmpp.im.example.org"),
    ("gtalk", "bob@gmail.com", "sip:bob*gmail.com@gtalk.im.example.org"),
    ("prpl-irc", "nick", "sip:nick@irc.im.example.org"),
    ("prpl-irc", "[nick]^", "sip:%5Bnick%5D%5E@irc.im.example.org"),
    ("prpl-irc", "#chan", "sip:%23chan@irc.im.example.org"),
    ("prpl-jabber", "a*b@c", "sip:a%2Ab*c@xmpp.im.example.org"),
    ("prpl-jabber", "*", "sip:%2A@xmpp.im.example.org"),
    ("prpl-jabber", "@", "sip:*@xmpp.im.example.org"),
    ("prpl-jabber", "%2A", "sip:%252A@xmpp.im.example.org"),
    ("prpl-jabber", "a@b@c", "sip:a*b*c@xmpp.im.example.org"),
    ("prpl-jabber", "o\\27malley@c", "sip:o%5C27malley*c@xmpp.im.example.org"),
    ("prpl-jabber", "müller@c", "sip:m%C3%BCller*c@xmpp.im.example.org"),
    ("prpl-jabber", "room@c/nick name", "sip:room*c/nick%20name@xmpp.im.example.org"),
    ("prpl-gg", "12345", "sip:12345@gg.im.example.org"),
    ("prpl-jabber", "Carol@Jabber.org", "sip:Carol*Jabber.org@xmpp.im.example.org"),
    ("hehoe-x", "+49", "sip:+49@id-hehoe-2dx.im.example.org"),
    ("prpl-jabber", LONG, f"sip:{LONG}@xmpp.im.example.org"),
]


@pytest.mark.parametrize(("protocol", "name", "uri"), CONTACTS, ids=short)
def test_contacts_have_addresses_and_back(protocol: str, name: str, uri: str) -> None:
    address = DOMAIN.contact_uri(protocol, name)
    assert address.uri == uri
    assert DOMAIN.contact_of(address) == ImContact(protocol, name)
    assert DOMAIN.contact_of(uri) == ImContact(protocol, name)


@settings(deadline=None)
@given(NAMES | st.text(st.sampled_from("*@%2Aa"), min_size=1))
def test_every_contact_survives_the_wire(name: str) -> None:
    address = DOMAIN.contact_uri("prpl-jabber", name)
    assert SipAddress.parse(address.uri) == address
    assert DOMAIN.contact_of(f'"x" <{address.uri};transport=udp>;tag=1') == ImContact("prpl-jabber", name)


@pytest.mark.parametrize("name", ["", "a\r\nb", "a\x00", "\x7f", "\x85", "\ud800", "x" * 2048, "\u0301" * 1024])
def test_names_without_an_address(name: str) -> None:
    with pytest.raises(BadRequest):
        DOMAIN.contact_uri("prpl-jabber", name)


@pytest.mark.parametrize(
    ("uri", "contact"),
    [
        ("sip:carol%2ajabber.org@xmpp.im.example.org", ImContact("prpl-jabber", "carol*jabber.org")),
        ("sip:carol%40jabber.org@xmpp.im.example.org", ImContact("prpl-jabber", "carol@jabber.org")),
        ("sip:carol*jabber.org@XMPP.IM.example.org:5060;lr", ImContact("prpl-jabber", "carol@jabber.org")),
        ("sip:carol*jabber.org@xmpp.im.example.org.", ImContact("prpl-jabber", "carol@jabber.org")),
        ("sip:carol@im.example.org", None),
        ("sip:carol@a.xmpp.im.example.org", None),
        ("sip:carol@xmpp.example.org", None),
        ("sip:carol@xmppim.example.org", None),
        ("sip:carol@jabber.im.example.org", None),
        ("sip:xmpp.im.example.org", None),
        ("sip:carol@[::1]", None),
    ],
)
def test_contact_of_other_spellings_and_hosts(uri: str, contact: ImContact | None) -> None:
    assert DOMAIN.contact_of(uri) == contact


def test_contact_of_no_address() -> None:
    with pytest.raises(BadRequest):
        DOMAIN.contact_of("carol")


def test_contact_of_a_name_that_no_network_has() -> None:
    assert DOMAIN.contact_of(f"sip:{'x' * 2047}@xmpp.im.example.org") == ImContact("prpl-jabber", "x" * 2047)
    with pytest.raises(BadRequest, match="too long"):
        DOMAIN.contact_of(f"sip:{'x' * 2048}@xmpp.im.example.org")


def test_gateway_domain_is_normal() -> None:
    assert GatewayDomain("IM.Example.org.") == DOMAIN


@pytest.mark.parametrize("domain", ["", "im example.org", "[::1]", "bücher.example", "a..b", "x\r\ny"])
def test_no_gateway_domain(domain: str) -> None:
    with pytest.raises(ConfigurationError, match=r"purple\.gateway_domain"):
        GatewayDomain(domain)


@pytest.mark.parametrize(
    ("protocol", "name", "expected"),
    [
        ("prpl-jabber", "Carol@Jabber.org/Home", "carol@jabber.org"),
        ("prpl-jabber", " carol@jabber.org ", "carol@jabber.org"),
        ("prpl-jabber", "room@c/Nick/x@y", "room@c"),
        ("prpl-jabber", "carol@jabber.org /Home", "carol@jabber.org"),
        ("prpl-jabber", "Jabber.org", "jabber.org"),
        ("prpl-jabber", "MÜLLER@c", "müller@c"),
        ("prpl-jabber", "mu\u0308ller@c", "müller@c"),
        ("gtalk", "Bob@Gmail.com/x", "bob@gmail.com"),
        ("prpl-irc", "Nick", "nick"),
        ("prpl-irc", "Nick@IRC.example.org", "nick@irc.example.org"),
        ("prpl-irc", "a/b", "a/b"),
        ("prpl-gg", " 12345 ", "12345"),
        ("prpl-novell", "Carol/X", "Carol/X"),
        ("", "", ""),
    ],
)
def test_normalize_im_name(protocol: str, name: str, expected: str) -> None:
    assert normalize_im_name(protocol, name) == expected


def test_long_names_take_neither_time_nor_memory() -> None:
    """A row of combining marks takes the square of the time: 1,000,000 of them some hours."""
    row = "\u0301" * 500_000 + "\u0316" * 500_000
    begin, kept = time.monotonic(), _normal_name.cache_info().currsize + _contact_uri.cache_info().currsize
    assert normalize_im_name("prpl-jabber", f"Carol{row}@c") == f"carol{row}@c"
    assert normalize_im_name("prpl-jabber", f"{'X' * 300}u\u0308@c") == f"{'x' * 300}ü@c"
    assert DOMAIN.contact_uri("prpl-jabber", "x" * 300).user == "x" * 300
    assert time.monotonic() - begin < 2
    assert _normal_name.cache_info().currsize + _contact_uri.cache_info().currsize == kept


def test_long_uris_of_requests_take_no_memory() -> None:
    """65,536 of them, each as long as a datagram, would be 4 GB."""
    kept = _parsed.cache_info().currsize
    assert parsed(f"sip:{'x' * 60_000}@sip.example.org").user == "x" * 60_000
    assert _parsed.cache_info().currsize == kept
    assert parsed("sip:short-and-kept@sip.example.org") is parsed("sip:short-and-kept@sip.example.org")


@settings(deadline=None)
@given(st.sampled_from(["prpl-jabber", "gtalk", "prpl-irc", "prpl-gg"]), st.text())
def test_a_normal_name_stays(protocol: str, name: str) -> None:
    normal = normalize_im_name(protocol, name)
    assert normalize_im_name(protocol, normal) == normal


@pytest.mark.parametrize(
    ("protocol", "account", "name", "contact"),
    [
        ("prpl-irc", "alice@irc.example", "bob@IRC.example", "bob"),
        ("prpl-irc", "alice@irc.example", "bob@irc.other", None),
        ("prpl-irc", "alice@irc.example", "bob", "bob"),
        ("prpl-irc", "alice@irc.example", "#room", "#room"),
        ("prpl-jabber", "alice@xmpp.example", "bob@xmpp.other", "bob@xmpp.other"),
    ],
)
def test_an_account_as_a_contact(protocol: str, account: str, name: str, contact: str | None) -> None:
    assert name_as_contact(protocol, account, name) == contact


@pytest.mark.parametrize(
    ("protocol", "contact", "name"),
    [
        ("prpl-irc", "bob", "bob@irc.example"),
        ("prpl-irc", "bob@irc.other", "bob@irc.other"),
        ("prpl-jabber", "bob@xmpp.example", "bob@xmpp.example"),
        ("prpl-oscar", "12345", "12345"),
    ],
)
def test_a_contact_as_an_account(protocol: str, contact: str, name: str) -> None:
    assert name_as_account(protocol, "alice@irc.example", contact) == name


# ---- what one watcher sees of a contact


BOB = DOMAIN.contact_uri("prpl-jabber", "bob@xmpp.example")


def test_a_presentity_is_short_and_below_no_label() -> None:
    """The tables of Kamailio's presence server have room for 64 characters of a user and of a domain."""
    made = DOMAIN.presentity(DOMAIN.contact_uri("prpl-jabber", "b" * 1000 + "@xmpp.example"), "alice@example.org")
    assert re.fullmatch(r"[0-9a-f]{32}", made.encoded_user)
    assert made.host == DOMAIN.domain
    assert DOMAIN.is_presentity(made)
    assert SipAddress.parse(made.uri) == made


def test_a_presentity_stays_the_same_over_versions() -> None:
    """The presence server keeps subscriptions under it."""
    made = GatewayDomain("im.example.org").presentity(
        SipAddress.parse("sip:bob*xmpp.example@xmpp.im.example.org"), "alice@example.org"
    )
    assert made.uri == "sip:7ec6170a1ec73b93298f995702b43e36@im.example.org"


@pytest.mark.parametrize("spelling", [BOB.uri, BOB.uri.upper().replace("SIP:", "sip:"), f"{BOB.uri};transport=tcp"])
def test_every_spelling_of_a_contact_has_the_same_presentity(spelling: str) -> None:
    expected = DOMAIN.presentity(BOB, "alice@example.org")
    assert DOMAIN.presentity(SipAddress.parse(spelling), "alice@example.org") == expected


@given(st.lists(st.tuples(NAMES, st.text(max_size=20)), min_size=2, max_size=2))
def test_no_two_watchers_or_contacts_share_one(pairs: list[tuple[str, str]]) -> None:
    seen = [
        (SipAddress(name, "xmpp.im.example.org", encoded_user=quote(name, safe="")), watcher) for name, watcher in pairs
    ]
    different = {(address.uri.lower(), watcher) for address, watcher in seen}
    assert len({DOMAIN.presentity(*pair).uri for pair in seen}) == len(different)


@pytest.mark.parametrize("uri", [BOB.uri, "sip:alice@example.org", f"sip:x@im.{DOMAIN.domain}"])
def test_nobody_else_has_the_address_of_a_presentity(uri: str) -> None:
    assert not DOMAIN.is_presentity(SipAddress.parse(uri))
