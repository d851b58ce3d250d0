"""XCAP end to end (RFC 4825): documents and their parts, who may have them, and what a change of rules does at once."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import quote
from xml.etree import ElementTree as ET

import pytest

from tests.agents.pidf import pidf
from tests.agents.xcap import Answer, XcapClient
from tests.gateway import PASSWORD, Gateway, sip

USERS = ("alice", "bob", "dave", "erin", "frank")
LISTS_NAMESPACE = "urn:ietf:params:xml:ns:resource-lists"
ELEMENT, ATTRIBUTE = "application/xcap-el+xml", "application/xcap-att+xml"
LISTS_TYPE, RULES_TYPE = "application/resource-lists+xml", "application/auth-policy+xml"
DOCTYPE = '<!DOCTYPE a [<!ENTITY x "y">]>'


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("xcap"), users=dict.fromkeys(USERS, PASSWORD)) as running:
        yield running


@pytest.fixture
def alice(gateway: Gateway) -> XcapClient:
    return client(gateway, "alice")


def client(gateway: Gateway, user: str, password: str = PASSWORD) -> XcapClient:
    return XcapClient(user, password, ("127.0.0.1", gateway.kamailio.port))


def lists(*contacts: str, name: str = "friends") -> str:
    entries = "".join(f'<entry uri="{contact}"/>' for contact in contacts)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<resource-lists xmlns="{LISTS_NAMESPACE}"><list name="{name}">{entries}</list></resource-lists>'
    )


def rules(handling: dict[str, str]) -> str:
    """RFC 5025: user -> allow, block, polite-block or confirm."""
    written = "".join(
        f'<rule id="{user}"><conditions><identity><one id="{sip(user)}"/></identity></conditions>'
        f"<actions><pr:sub-handling>{action}</pr:sub-handling></actions><transformations/></rule>"
        for user, action in handling.items()
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ruleset xmlns="urn:ietf:params:xml:ns:common-policy" '
        f'xmlns:pr="urn:ietf:params:xml:ns:pres-rules">{written}</ruleset>'
    )


def lists_of(user: str, name: str = "index") -> str:
    return f"resource-lists/users/{sip(user)}/{name}"


def rules_of(user: str) -> str:
    return f"pres-rules/users/{sip(user)}/index"


def entry_of(user: str, contact: str, document: str = "index") -> str:
    selector = f'resource-lists/list[@name="friends"]/entry[@uri="{contact}"]'
    return f"{lists_of(user, document)}/~~/{quote(selector, safe='/@=:')}"


def condition(answer: Answer) -> str:
    """The element of an error document (RFC 4825 §11.2)."""
    assert (answer.status, answer.media_type) == (409, "application/xcap-error+xml")
    return ET.fromstring(answer.body)[0].tag.rpartition("}")[2]


# ---- documents


def test_a_document_is_put_got_changed_and_deleted(alice: XcapClient) -> None:
    path = lists_of("alice", "whole")
    assert alice.get(path).status == 404
    assert alice.delete(path).status == 404
    put = alice.put(path, lists(sip("bob")), LISTS_TYPE)
    assert put.status in (200, 201)
    got = alice.get(path)
    assert (got.status, got.media_type, got.etag) == (200, LISTS_TYPE, put.etag)
    assert got.body.decode() == lists(sip("bob"))
    changed = alice.put(path, lists(sip("dave")), LISTS_TYPE)
    assert changed.etag != put.etag
    assert alice.get(path).body.decode() == lists(sip("dave"))
    assert alice.delete(path).status == 200
    assert alice.get(path).status == 404


def test_conditions(alice: XcapClient) -> None:
    """RFC 4825 §7.11: nobody overwrites what somebody else has changed."""
    path = lists_of("alice", "conditions")
    assert alice.put(path, lists(), If_Match='"x"').status == 412
    first = alice.put(path, lists(), If_None_Match="*").etag
    assert alice.put(path, lists(), If_None_Match="*").status == 412
    assert alice.get(path, If_None_Match=first).status == 304
    assert alice.get(path, If_Match='"x"').status == 412
    second = alice.put(path, lists(sip("bob")), If_Match=first)
    assert second.status == 200
    assert alice.put(path, lists(), If_Match=first).status == 412
    assert alice.delete(path, If_Match=first).status == 412
    assert alice.delete(path, If_Match=second.etag).status == 200


def test_letters_of_all_languages_come_back_as_they_were(alice: XcapClient) -> None:
    path = lists_of("alice", "letters")
    document = lists(name="Grüße, 友達, it's 100% & more".replace("&", "&amp;"))
    assert alice.put(path, document).status in (200, 201)
    assert alice.get(path).body.decode() == document


def test_a_large_document(alice: XcapClient) -> None:
    path = lists_of("alice", "large")
    document = lists(*(f"sip:user{number:05}@example.org" for number in range(4850)))
    assert 190_000 < len(document) < 200_000
    assert alice.put(path, document).status in (200, 201)
    assert alice.get(path).body.decode() == document
    assert alice.put(path, document + " " * 12_000).status == 413
    assert alice.get(path).body.decode() == document


# ---- parts of documents


def test_an_element_is_put_got_and_deleted(alice: XcapClient) -> None:
    document, bob = lists_of("alice", "parts"), sip("bob")
    path = entry_of("alice", bob, "parts")
    assert condition(alice.put(path, f'<entry uri="{bob}"/>', ELEMENT)) == "no-parent"
    before = alice.put(document, lists(sip("dave"))).etag
    assert alice.get(path).status == 404
    assert alice.delete(path).status == 404
    put = alice.put(path, f'<entry uri="{bob}"><display-name>Bob</display-name></entry>', ELEMENT)
    assert put.status in (200, 201)
    assert put.etag != before
    got = alice.get(path)
    assert (got.status, got.media_type, got.etag) == (200, ELEMENT, put.etag)
    assert got.body == f'<entry uri="{bob}"><display-name>Bob</display-name></entry>'.encode()
    assert f'<entry uri="{sip("dave")}"/>' in alice.get(document).body.decode()
    assert alice.put(path, f'<entry uri="{bob}"/>', ELEMENT, If_Match=before).status == 412
    assert alice.delete(path).status == 200
    assert alice.get(document).body.decode() == lists(sip("dave"))


def test_an_attribute_is_put_got_and_deleted(alice: XcapClient) -> None:
    document = lists_of("alice", "attributes")
    alice.put(document, lists())
    path = f"{document}/~~/a:resource-lists/a:list/@name?xmlns(a={LISTS_NAMESPACE})"
    got = alice.get(path)
    assert (got.media_type, got.body) == (ATTRIBUTE, b"friends")
    assert alice.put(path, "R&amp;D", ATTRIBUTE).status in (200, 201)
    assert alice.get(document).body.decode() == lists(name="R&amp;D")
    assert condition(alice.put(path, "a<b", ATTRIBUTE)) == "not-xml-att-value"
    assert alice.delete(path).status == 200
    assert alice.get(path).status == 404


def test_a_selector_that_is_none_is_refused(alice: XcapClient) -> None:
    alice.put(lists_of("alice"), lists())
    for selector in ("//list", "list[position()=1]", "list[", "x:list", "list[0]", "id('a')", "list/@name/x"):
        assert alice.get(f"{lists_of('alice')}/~~/{quote(selector)}").status == 400, selector


def test_an_element_that_would_not_be_found_again_is_refused(alice: XcapClient) -> None:
    """RFC 4825 §8.2.3."""
    alice.put(lists_of("alice"), lists())
    path = entry_of("alice", sip("bob"))
    assert condition(alice.put(path, f'<entry uri="{sip("dave")}"/>', ELEMENT)) == "cannot-insert"
    assert condition(alice.put(path, f'<entry uri="{sip("bob")}">', ELEMENT)) == "not-xml-frag"
    assert condition(alice.put(path, f'<entry uri="{sip("bob")}"/><entry uri="sip:x@y"/>', ELEMENT)) == "not-xml-frag"
    assert alice.get(lists_of("alice")).body.decode() == lists()


# ---- who may have what


def test_documents_are_their_owners_alone(gateway: Gateway, alice: XcapClient) -> None:
    path = lists_of("alice", "private")
    alice.put(path, lists())
    bob = client(gateway, "bob")
    assert [bob.get(path).status, bob.put(path, lists()).status, bob.delete(path).status] == [403, 403, 403]
    assert client(gateway, "alice", "").get(path).status == 401
    assert client(gateway, "alice", "wrong").get(path).status == 401
    assert client(gateway, "nobody").get(path).status == 401
    assert client(gateway, "alice' OR '1'='1").get(path).status == 401
    assert alice.get(path).status == 200


def test_credentials_are_for_one_address_only(gateway: Gateway) -> None:
    """RFC 7616 §3.4.6: what proved one request proves no other."""
    with closing(socket.create_connection(("127.0.0.1", gateway.kamailio.port))) as connection:
        connection.sendall(
            b"GET /xcap-root/resource-lists/users/sip:alice@example.org/index HTTP/1.1\r\nHost: x\r\n"
            b'Authorization: Digest username="alice", realm="example.org", nonce="1.2", uri="/other", '
            b'response="0"\r\n\r\n'
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")


def test_the_users_name_may_be_written_in_several_ways(alice: XcapClient) -> None:
    alice.put(lists_of("alice", "names"), lists())
    for user in ("sip:alice@example.org", "sip%3Aalice%40example.org", "alice@example.org", "sip:alice@EXAMPLE.org"):
        assert alice.get(f"resource-lists/users/{user}/names").status == 200, user
    absolute = f"http://example.org/xcap-root/{lists_of('alice', 'names')}"
    assert alice.request("GET", absolute, {}).status == 200


def test_what_the_server_can_do_is_for_everybody(gateway: Gateway) -> None:
    answer = client(gateway, "nobody", "").get("xcap-caps/global/index")
    assert (answer.status, answer.media_type) == (200, "application/xcap-caps+xml")
    namespace = "{urn:ietf:params:xml:ns:xcap-caps}"
    auids = {element.text for element in ET.fromstring(answer.body).iter(f"{namespace}auid")}
    assert {"xcap-caps", "resource-lists", "rls-services", "pres-rules", "pidf-manipulation"} <= auids


def test_what_is_not_there(alice: XcapClient) -> None:
    for path in (
        "/",
        "/other",
        "resource-lists/global/index",
        "unknown/users/sip:alice@example.org/index",
        "resource-lists/users/sip:alice@elsewhere.example/index",
        "resource-lists/users/sip:alice@example.org/",
        "resource-lists/users/sip:alice@example.org/../sip:bob@example.org/index",
        "pres-rules/users/sip:alice@example.org/second",
    ):
        assert alice.put(path, lists()).status == 404, path
    assert alice.put("xcap-caps/global/index", "<a/>").status == 405
    answer = alice.request("POST", lists_of("alice"), {}, b"x")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, PUT, DELETE")


# ---- bad documents


@pytest.mark.parametrize(
    ("document", "wanted"),
    [
        ("<a>", "not-well-formed"),
        ("no XML", "not-well-formed"),
        (f"{DOCTYPE}<a>&x;</a>", "not-well-formed"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "not-well-formed"),
        (b"<a>\xe4</a>", "not-utf-8"),
        ('<?xml version="1.0" encoding="ISO-8859-1"?><a/>', "not-utf-8"),
        ("<a/>", "schema-validation-error"),
        ("<resource-lists/>", "schema-validation-error"),
    ],
)
def test_a_bad_document_is_refused(alice: XcapClient, document: str | bytes, wanted: str) -> None:
    path = lists_of("alice", "bad")
    assert condition(alice.put(path, document)) == wanted
    assert alice.get(path).status == 404


def test_a_bad_document_changes_nothing(alice: XcapClient) -> None:
    path = lists_of("alice", "kept")
    etag = alice.put(path, lists(sip("bob"))).etag
    assert alice.put(path, lists(), "image/png").status == 415
    assert alice.put(path, lists(), ELEMENT).status == 415
    assert condition(alice.put(path, "<a>")) == "not-well-formed"
    got = alice.get(path)
    assert (got.etag, got.body.decode()) == (etag, lists(sip("bob")))


def test_an_exception_that_would_not_be_seen_is_refused(alice: XcapClient) -> None:
    """Kamailio's presence server reads <except id=…/> wrong: the user's presence would be shown to whom he excludes."""
    document = rules({}).replace(
        "</ruleset>",
        f'<rule id="r"><conditions><identity><many><except id="{sip("bob")}"/></many></identity></conditions>'
        "<actions><pr:sub-handling>allow</pr:sub-handling></actions></rule></ruleset>",
    )
    assert condition(alice.put(rules_of("alice"), document, RULES_TYPE)) == "constraint-failure"


# ---- what changes do


def test_rules_decide_at_once(gateway: Gateway) -> None:
    """RFC 5025 §3.2.1, §6: watchers learn of the new rules, not of the next refresh."""
    phone, watcher = gateway.phone("erin"), gateway.phone("bob")
    rules_client = client(gateway, "erin")
    assert phone.publish(pidf(sip("erin"), note="here")).status == 200
    assert rules_client.put(rules_of("erin"), rules({"bob": "confirm"}), RULES_TYPE).status in (200, 201)
    watch = watcher.subscribe(sip("erin"))
    assert watch.status == 200
    assert watch.wait_notify().state == "pending"
    assert rules_client.put(rules_of("erin"), rules({"bob": "allow"}), RULES_TYPE).status == 200
    shown = watch.wait_notify(lambda notify: notify.state == "active" and bool(notify.body))
    assert shown.presence is not None
    assert shown.presence.note == "here"
    assert rules_client.put(rules_of("erin"), rules({"bob": "block"}), RULES_TYPE).status == 200
    ended = watch.wait_notify(lambda notify: notify.state == "terminated")
    assert ended.reason == "rejected"


def test_both_kinds_of_rules_are_one_document(gateway: Gateway) -> None:
    """Two would be one too many for Kamailio's presence server, which takes either."""
    frank = client(gateway, "frank")
    path = f"org.openmobilealliance.pres-rules/users/{sip('frank')}/pres-rules"
    put = frank.put(path, rules({"bob": "block"}), RULES_TYPE)
    assert put.status in (200, 201)
    assert frank.get(rules_of("frank")).etag == put.etag
    phone, watcher = gateway.phone("frank"), gateway.phone("bob")
    assert phone.publish(pidf(sip("frank"))).status == 200
    watch = watcher.subscribe(sip("frank"))
    assert watch.wait_notify().state == "terminated"
    assert frank.delete(path).status == 200
    assert frank.get(rules_of("frank")).status == 404
