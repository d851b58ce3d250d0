"""Nobody acts under another's name, and nothing is relayed to other places: hand-written requests, a real gateway."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Self

import pytest

from purple_bridge.addresses import SipAddress
from purple_bridge.db import peers, subscribers
from purple_bridge.db.engine import make_engine
from tests.agents.dialog import new_token
from tests.agents.phone import Phone, pidf
from tests.agents.sip import Digest, Response, challenge, ha1, parse
from tests.network import run_in_network
from tests.servers.kamailio import Kamailio

DOMAIN, OTHER = "127.0.0.1", "example.net"
NAMES = ("alice", "bob", "mallory")
MALLORY, ALICE, BOB = (f"sip:{name}@{DOMAIN}" for name in ("mallory", "alice", "bob"))


@pytest.fixture(scope="module")
def kamailio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kamailio]:
    users = {name: f"{name}-secret" for name in NAMES}
    with Kamailio(tmp_path_factory.mktemp("kam"), DOMAIN, users=users, options=["--domain", OTHER]) as server:
        yield server


@pytest.fixture(scope="module")
def bob(kamailio: Kamailio) -> Iterator[Phone]:
    with Phone(BOB, "bob-secret", ("127.0.0.1", kamailio.port)) as phone:
        assert phone.register().status == 200
        yield phone


@pytest.fixture(scope="module")
def alice(kamailio: Kamailio) -> Iterator[Phone]:
    with Phone(ALICE, "alice-secret", ("127.0.0.1", kamailio.port)) as phone:
        assert phone.register().status == 200
        yield phone


class Wire:
    """Sends requests as they are written, with Mallory's own correct credentials unless others are given."""

    def __init__(self, port: int, source: str = "127.0.0.1") -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((source, 0))
        self._socket.connect(("127.0.0.1", port))
        self._socket.settimeout(10)
        self.digest: Digest | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def exchange(self, data: bytes) -> Response:
        self._socket.send(data)
        answer = parse(self._socket.recv(65535))
        assert isinstance(answer, Response)
        return answer

    def send_only(self, data: bytes) -> None:
        self._socket.send(data)

    def credentials(self, method: str, uri: str, user: str = "mallory") -> str:
        if self.digest is None:
            asked = self.exchange(written("MESSAGE", BOB, {}))
            self.digest = challenge(asked.headers.get_all("Proxy-Authenticate"))
        assert self.digest is not None
        name = "Authorization" if method == "REGISTER" else "Proxy-Authorization"
        return f"{name}: {self.digest.answer(user, f'{user}-secret', method, uri)}\r\n"

    def send(self, method: str, uri: str, more: str = "", body: str = "hello", **replaced: str) -> Response:
        return self.exchange(written(method, uri, replaced, self.credentials(method, uri) + more, body))


def written(method: str, uri: str, replaced: dict[str, str], more: str = "", body: str = "hello") -> bytes:
    """``replaced``: whole header lines by name; empty: left out."""
    kind = "application/pidf+xml" if method == "PUBLISH" else "text/plain"
    event = {"Event": "Event: presence"} if method in ("PUBLISH", "SUBSCRIBE") else {}
    lines = {
        "Via": f"Via: SIP/2.0/UDP 127.0.0.1:9;rport;branch=z9hG4bK{new_token()}",
        "MaxForwards": "Max-Forwards: 70",
        "From": f"From: <{MALLORY}>;tag={new_token()}",
        "To": f"To: <{uri}>",
        "CallID": f"Call-ID: {new_token()}",
        "CSeq": f"CSeq: 1 {method}",
        "Contact": "Contact: <sip:mallory@127.0.0.1:9>",
        **event,
        "ContentType": f"Content-Type: {kind}",
        "ContentLength": f"Content-Length: {len(body.encode())}",
        **replaced,
    }
    block = "".join(f"{line}\r\n" for line in lines.values() if line)
    return f"{method} {uri} SIP/2.0\r\n{block}{more}\r\n{body}".encode()


@pytest.fixture
def wire(kamailio: Kamailio) -> Iterator[Wire]:
    with Wire(kamailio.port) as opened:
        yield opened


# ---- From is the authenticated user

FORGED = {
    "name": f"From: <{ALICE}>;tag=1",
    "case": "From: <sip:Alice@127.0.0.1>;tag=1",
    "escapes": "From: <sip:%61lice@127.0.0.1>;tag=1",
    "port": "From: <sip:alice@127.0.0.1:5060>;tag=1",
    "other local domain": f"From: <sip:mallory@{OTHER}>;tag=1",
    "password": "From: <sip:alice:mallory@127.0.0.1>;tag=1",
    "at in the name": "From: <sip:mallory%40127.0.0.1@127.0.0.1>;tag=1",
    "two at": "From: <sip:mallory@alice@127.0.0.1>;tag=1",
    "maddr": "From: <sip:mallory@elsewhere.example;maddr=127.0.0.1>;tag=1",
    "display": f'From: "<{MALLORY}>" <{ALICE}>;tag=1',
    "no brackets": f"From: {ALICE};tag=1",
    "sips": "From: <sips:alice@127.0.0.1>;tag=1",
    "tel": "From: <tel:+15551234;phone-context=127.0.0.1>;tag=1",
    "compact": f"f: <{ALICE}>;tag=1",
    "folded": f"From:\r\n <{ALICE}>;tag=1",
    "list": f"From: <{MALLORY}>;tag=1, <{ALICE}>;tag=2",
    "two addresses": f"From: <{MALLORY}> <{ALICE}>;tag=1",
}


@pytest.mark.parametrize("method", ["MESSAGE", "SUBSCRIBE", "PUBLISH", "REGISTER"])
@pytest.mark.parametrize("forged", FORGED)
def test_from_is_the_authenticated_user(wire: Wire, bob: Phone, method: str, forged: str) -> None:
    before = len(bob.messages)
    line = FORGED[forged]
    uri = {"PUBLISH": ALICE, "REGISTER": f"sip:{DOMAIN}"}.get(method, BOB)
    body = pidf(ALICE).decode() if method == "PUBLISH" else "hello"
    to = {"To": f"To: <{ALICE}>"} if method in ("REGISTER", "PUBLISH") else {}
    answer = wire.send(method, uri, body=body, From=line, **to)
    assert 400 <= answer.status < 500, (answer.status, answer.reason)
    assert bob.messages[before:] == []


TWICE = {
    "From": f"From: <{MALLORY}>;tag=1\r\nFrom: <{ALICE}>;tag=2",
    "From, the other first": f"From: <{ALICE}>;tag=1\r\nf: <{MALLORY}>;tag=2",
    "To": f"To: <{BOB}>\r\nt: <{ALICE}>",
    "Call-ID": "Call-ID: one\r\ni: another",
    "CSeq": "CSeq: 1 MESSAGE\r\nCSeq: 2 MESSAGE",
    "Content-Length": "Content-Length: 5\r\nl: 5",
}


@pytest.mark.parametrize("name", TWICE)
def test_what_may_be_there_once_is_not_there_twice(wire: Wire, bob: Phone, name: str) -> None:
    """One reader could take the first and another the last: Kamailio drops the request, so nothing follows from it."""
    before = len(bob.messages)
    header = name.partition(",")[0].replace("-", "")
    line = {header: TWICE[name]}
    wire.send_only(written("MESSAGE", BOB, line, wire.credentials("MESSAGE", BOB)))
    assert wire.exchange(written("OPTIONS", "sip:127.0.0.1", {})).headers["CSeq"] == "1 OPTIONS"
    assert bob.messages[before:] == []


# ---- credentials


def test_the_same_name_in_another_domain_is_somebody_else(kamailio: Kamailio, wire: Wire, bob: Phone) -> None:
    """auth_db looks for the user in the domain that the name in the credentials has, whatever realm and From are."""
    before, password = len(bob.messages), "other-secret"
    engine = make_engine(kamailio.db_url)
    assert subscribers.add_user(engine, SipAddress("alice", OTHER), password)
    engine.dispose()
    wire.credentials("MESSAGE", BOB)
    assert wire.digest is not None
    for user, proof in (
        (f"alice@{OTHER}", ha1(f"alice@{OTHER}", OTHER, password)),
        ("alice", ha1("alice", OTHER, password)),  # what could have been remembered of the first one
    ):
        line = f"Proxy-Authorization: {wire.digest.answer_by(user, proof, 'MESSAGE', BOB)}\r\n"
        answer = wire.exchange(written("MESSAGE", BOB, {"From": f"From: <{ALICE}>;tag={new_token()}"}, line))
        assert answer.status in (403, 407), (answer.status, answer.reason)
    assert bob.messages[before:] == []


def test_a_user_may_write_his_name_with_the_domain(wire: Wire, bob: Phone) -> None:
    """For such there is ``ha1b``; the second MESSAGE is checked by what was remembered of the first."""
    wire.credentials("MESSAGE", BOB)
    assert wire.digest is not None
    for _ in range(2):
        line = f"Proxy-Authorization: {wire.digest.answer(f'mallory@{DOMAIN}', 'mallory-secret', 'MESSAGE', BOB)}\r\n"
        assert wire.exchange(written("MESSAGE", BOB, {}, line)).status == 200


def test_credentials_of_another_method_or_user(wire: Wire, bob: Phone) -> None:
    """RFC 7616 section 3.4: the method is in the digest; the name in it must be that in From."""
    before = len(bob.messages)
    for line in (
        wire.credentials("SUBSCRIBE", BOB),
        wire.credentials("MESSAGE", BOB).replace('username="mallory"', 'username="alice"'),
        wire.credentials("MESSAGE", BOB).replace('realm="127.0.0.1"', f'realm="{OTHER}"'),
        wire.credentials("MESSAGE", BOB).replace("Proxy-Authorization", "Authorization"),
        wire.credentials("MESSAGE", BOB).replace('username="mallory"', 'username="mallory@example.net"'),
        wire.credentials("MESSAGE", BOB) + wire.credentials("MESSAGE", BOB, "alice"),
        wire.credentials("MESSAGE", BOB, "alice"),
    ):
        answer = wire.exchange(written("MESSAGE", BOB, {}, line))
        assert answer.status in (400, 403, 407)
    for names in ('username="alice", username="mallory"', 'username="mallory", username="alice"'):
        line = wire.credentials("MESSAGE", BOB).replace('username="mallory"', names)
        answer = wire.exchange(written("MESSAGE", BOB, {"From": f"From: <{ALICE}>;tag=1"}, line))
        assert answer.status in (400, 403, 407)
    assert bob.messages[before:] == []


@pytest.mark.parametrize(
    "more",
    [
        f"P-Asserted-Identity: <{ALICE}>\r\n",
        f"P-Preferred-Identity: <{ALICE}>\r\n",
        f"Remote-Party-ID: <{ALICE}>;party=calling\r\n",
        f"X-3GPP-Asserted-Identity: <{ALICE}>\r\nP-Served-User: <{ALICE}>\r\n",
        f"Diversion: <{ALICE}>\r\n",
    ],
)
def test_other_headers_name_nobody(wire: Wire, bob: Phone, more: str) -> None:
    """RFC 3325 section 5: what a phone asserts is not passed on, since the next one believes its own server."""
    assert wire.exchange(written("MESSAGE", BOB, {"From": f"From: <{ALICE}>;tag=1"}, more)).status == 407
    assert wire.send("MESSAGE", BOB, more).status == 200
    received = bob.wait_message()
    assert received.from_uri == MALLORY
    assert ALICE not in repr(received.headers)


# ---- no relay

ELSEWHERE = {
    "foreign domain": "sip:bob@elsewhere.example",
    "address": "sip:bob@127.0.0.1:{bob}",
    "maddr": "sip:bob@elsewhere.example;maddr=127.0.0.1:{bob}",
    "gateway's name without a contact": "sip:bob@im.127.0.0.1",
    "foreign gateway": "sip:bob*elsewhere.example@xmpp.im.elsewhere.example",
    "tel": "tel:+15551234",
    "sips": "sips:bob@elsewhere.example",
    "password": "sip:127.0.0.1:5060@127.0.0.1:{bob}",
    "no user": "sip:127.0.0.1:{bob}",
}


@pytest.mark.parametrize("method", ["MESSAGE", "SUBSCRIBE", "OPTIONS", "NOTIFY", "REGISTER", "INVITE"])
@pytest.mark.parametrize("form", ELSEWHERE)
def test_nothing_goes_to_a_foreign_request_uri(wire: Wire, bob: Phone, method: str, form: str) -> None:
    before = len(bob.trace)
    to = {"To": f"To: <{MALLORY}>"} if method == "REGISTER" else {}
    answer = wire.send(method, ELSEWHERE[form].format(bob=bob.address[1]), **to)
    assert answer.status in (200, 400, 403, 404, 405, 416) and (answer.status != 200 or method == "REGISTER")
    assert bob.trace[before:] == []


ROUTES = {
    "foreign": "Route: <sip:127.0.0.1:{bob};lr>\r\n",
    "own, then foreign": "Route: <sip:127.0.0.1:{own};lr>, <sip:127.0.0.1:{bob};lr>\r\n",
    "own, then foreign, in two lines": "Route: <sip:127.0.0.1:{own};lr>\r\nRoute: <sip:127.0.0.1:{bob};lr>\r\n",
    "strict": "Route: <sip:127.0.0.1:{bob}>\r\n",
    "own, then strict": "Route: <sip:127.0.0.1:{own};lr>, <sip:127.0.0.1:{bob}>\r\n",
    "internal": "Route: <sip:127.0.0.1:{internal};lr>\r\n",
    "own, then internal": "Route: <sip:127.0.0.1:{own};lr>, <sip:127.0.0.1:{internal};lr>\r\n",
    "double": "Route: <sip:127.0.0.1:{own};lr;r2=on>, <sip:127.0.0.1:{own};lr;r2=on>, <sip:127.0.0.1:{bob};lr>\r\n",
}


@pytest.mark.parametrize("method", ["MESSAGE", "SUBSCRIBE"])
@pytest.mark.parametrize("form", ROUTES)
@pytest.mark.parametrize("tag", ["", ";tag=x"])
def test_nothing_goes_where_route_says(
    kamailio: Kamailio, wire: Wire, bob: Phone, alice: Phone, method: str, form: str, tag: str
) -> None:
    before = len(bob.trace)
    ports = {"bob": bob.address[1], "own": kamailio.port, "internal": kamailio.internal_port}
    for uri in (ALICE, f"sip:127.0.0.1:{kamailio.port};lr"):
        wire.send(method, uri, ROUTES[form].format(**ports), To=f"To: <{uri}>{tag}")
    assert bob.trace[before:] == []


def test_answers_go_to_whom_asked(wire: Wire, bob: Phone) -> None:
    """RFC 3581; not where Via points, which is anybody's word (RFC 3261 section 18.2.2)."""
    before = len(bob.trace)
    host, port = bob.address
    for via in (f"{host}:{port}", f"127.0.0.1:9;maddr={host}:{port}", f"127.0.0.1:{port};received={host};rport={port}"):
        line = f"Via: SIP/2.0/UDP {via};branch=z9hG4bK{new_token()}"
        assert wire.exchange(written("OPTIONS", "sip:127.0.0.1", {"Via": line})).status == 200
        assert wire.exchange(written("MESSAGE", BOB, {"Via": line})).status == 407
    assert bob.trace[before:] == []


def test_an_answer_that_nobody_waits_for_goes_nowhere(kamailio: Kamailio, wire: Wire, bob: Phone) -> None:
    """RFC 6026 section 8.9: else anybody could have this server send what he likes to any address, also on loopback."""
    before = len(bob.trace)
    host, port = bob.address
    wire.send_only(
        f"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:{kamailio.port};branch=z9hG4bKaaaa\r\n"
        f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bKbbbb\r\nFrom: <{ALICE}>;tag=1\r\nTo: <{BOB}>;tag=2\r\n"
        f"Call-ID: x\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n".encode()
    )
    assert wire.exchange(written("OPTIONS", "sip:127.0.0.1", {})).status == 200
    assert wire.send("MESSAGE", BOB).status == 200  # what came before it has been dealt with
    bob.wait_message()
    assert "SIP/2.0 200 OK" not in "".join(text for text in bob.trace[before:] if text.startswith("<-"))


# ---- the internal listener


@pytest.mark.parametrize("method", ["MESSAGE", "PUBLISH", "SUBSCRIBE", "NOTIFY", "OPTIONS", "REGISTER", "CANCEL"])
@pytest.mark.parametrize(
    "via", ["127.0.0.1:{own}", "127.0.0.1:{internal}", "127.0.0.1:9;received=127.0.0.1;rport={own}"]
)
def test_the_internal_listener_looks_at_the_source_not_at_headers(
    kamailio: Kamailio, bob: Phone, method: str, via: str
) -> None:
    before = len(bob.messages)
    named = via.format(own=kamailio.port, internal=kamailio.internal_port)
    line = {
        "Via": f"Via: SIP/2.0/UDP {named};branch=z9hG4bK{new_token()}",
        "From": f"From: <{ALICE}>;tag=1",
    }
    with Wire(kamailio.internal_port) as inside:
        answer = inside.exchange(written(method, f"{BOB};proto=purple", line))
    assert answer.status in (403, 481)
    assert bob.messages[before:] == []


def test_the_internal_listener_has_no_tcp(kamailio: Kamailio) -> None:
    with socket.socket() as stream, pytest.raises(ConnectionRefusedError):
        stream.connect(("127.0.0.1", kamailio.internal_port))


def register(wire: Wire, *contacts: str) -> None:
    """In the place of all that Mallory had registered."""
    for place, contact in enumerate(["*", *contacts], start=int(time.time() * 100) % 10**8):
        lines = {
            "To": f"To: <{MALLORY}>",
            "CallID": "Call-ID: mallory-registers",
            "CSeq": f"CSeq: {place} REGISTER",
            "Contact": f"Contact: {contact}",
            "Expires": f"Expires: {0 if contact == '*' else 600}",
            "ContentType": "",
        }
        assert wire.send("REGISTER", f"sip:{DOMAIN}", body="", **lines).status == 200


def test_a_contact_that_is_the_internal_listener_gives_no_privilege(kamailio: Kamailio, wire: Wire, bob: Phone) -> None:
    """What is relayed there comes from one of Kamailio's own sockets."""
    before = len(bob.messages)
    register(wire, f"<sip:bob@{DOMAIN}:{kamailio.internal_port};proto=purple>")
    assert wire.send("MESSAGE", MALLORY).status == 482
    register(wire)
    assert bob.messages[before:] == []


def test_contacts_that_lead_back_here_do_not_multiply(kamailio: Kamailio, wire: Wire) -> None:
    """RFC 5393: two contacts, each looked up again 70 times, would be 2 to the power of 70 requests."""
    for port, statuses in ((kamailio.internal_port, (482,)), (kamailio.port, (407, 482))):
        register(wire, *(f"<sip:mallory@{DOMAIN}:{port};x={number}>" for number in range(5)))
        assert wire.send("MESSAGE", MALLORY).status in statuses
    register(wire)
    assert wire.send("MESSAGE", MALLORY).status == 480


# ---- dialogs of others


def test_nobody_refreshes_the_subscription_of_another(kamailio: Kamailio, wire: Wire, alice: Phone, bob: Phone) -> None:
    """Whoever has seen Call-ID and tags could else have the NOTIFYs sent to himself."""
    watched = alice.subscribe(BOB)
    assert watched.status == 200
    watched.wait_notify()
    dialog = watched.dialog
    names = {
        "From": f"From: <{MALLORY}>;tag={dialog.local_tag}",
        "To": f"To: <{BOB}>;tag={dialog.remote_tag}",
        "CallID": f"Call-ID: {dialog.call_id}",
        "CSeq": "CSeq: 99 SUBSCRIBE",
        "Contact": f"Contact: <sip:mallory@127.0.0.1:{bob.address[1]}>",
        "ContentType": "",
    }
    before = len(bob.requests)
    assert 400 <= wire.send("SUBSCRIBE", dialog.remote_target, body="", **names).status < 500
    assert bob.publish(pidf(BOB, note="for alice alone")).status == 200
    found = watched.wait_notify(lambda notify: notify.presence is not None and bool(notify.presence.notes))
    assert found.presence is not None and found.presence.notes == ("for alice alone",)
    assert bob.requests[before:] == []
    assert watched.unsubscribe().status == 200


# ---- other methods


@pytest.mark.parametrize("method", ["INVITE", "BYE", "REFER", "INFO", "UPDATE", "PRACK", "message", "FOO", "register"])
def test_methods_that_are_not_served(wire: Wire, bob: Phone, method: str) -> None:
    before = len(bob.trace)
    assert wire.send(method, BOB).status in (400, 403, 405, 481)
    assert bob.trace[before:] == []


def test_a_cancel_of_others_changes_nothing(wire: Wire, bob: Phone) -> None:
    assert wire.send("CANCEL", BOB).status == 481
    wire.send_only(written("ACK", BOB, {}))
    assert wire.send("MESSAGE", BOB).status == 200
    assert bob.wait_message().text == "hello"


def test_watchers_of_others_are_not_told(wire: Wire) -> None:
    for event in ("presence.winfo", "presence.winfo;id=1", " PRESENCE.WINFO", "presence.winfo "):
        for uri in (BOB, "sip:%62ob@127.0.0.1", "sip:bob@127.0.0.1:5060;transport=udp"):
            answer = wire.send("SUBSCRIBE", uri, body="", Event=f"Event: {event}", ContentType="")
            assert answer.status in (403, 404)  # another port is another server


def test_the_compact_event_header_is_read(wire: Wire) -> None:
    assert wire.send("SUBSCRIBE", BOB, body="", Event="o: presence.winfo", ContentType="").status == 403
    two = "Event: presence\r\nEvent: presence.winfo"
    assert wire.send("SUBSCRIBE", BOB, body="", Event=two, ContentType="").status != 500


def test_rows_of_peers_mean_nothing_without_the_option(kamailio: Kamailio) -> None:
    engine = make_engine(kamailio.db_url)
    assert peers.add(engine, peers.Peer(ip_network("127.0.0.2")))
    engine.dispose()
    with Wire(kamailio.port, "127.0.0.2") as wire:
        assert wire.exchange(written("MESSAGE", BOB, {})).status == 407


def test_an_address_of_the_domain_is_not_one_of_its_sockets(tmp_path: Path) -> None:
    """`--domain ADDRESS`: phones behind a router name it; who takes a port of it on this machine is not believed."""
    result = run_in_network("tests.behind_router", tmp_path)
    assert (result["registered"], result["message"], result["watch"]) == ([200, 200], 200, 200)
    assert result["stranger"] == 403
    assert result["messages"] == ["to bob"]
    assert result["notes"] == ["at home"]
