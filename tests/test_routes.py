"""The route script on the real Kamailio, between phones: who may do what, and how each request is answered."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from sqlalchemy import text

from purple_bridge.db.engine import make_engine
from purple_bridge.launcher import rpc
from tests.agents.dialog import Dialog, new_token
from tests.agents.phone import Phone, Response, pidf
from tests.agents.sip import parse
from tests.servers.kamailio import TABLE_ROW, Kamailio

DOMAIN = "example.org"
OTHER_DOMAIN = "example.net"
NAMES = ("alice", "bob", "carol", "mallory")
CONTACT = "sip:carol*jabber.org@xmpp.im.example.org"

Phones = Callable[..., Phone]


@pytest.fixture(scope="module")
def kamailio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kamailio]:
    users = {name: f"{name}-secret" for name in NAMES}
    with Kamailio(tmp_path_factory.mktemp("kam"), DOMAIN, users=users, options=["--domain", OTHER_DOMAIN]) as server:
        yield server


@pytest.fixture(scope="module")
def open_kamailio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kamailio]:
    with Kamailio(tmp_path_factory.mktemp("open"), DOMAIN, auth=False) as server:
        yield server


@pytest.fixture
def phones() -> Iterator[Phones]:
    made: list[Phone] = []

    def make(server: Kamailio, user: str, password: str | None = None, transport: str = "udp") -> Phone:
        secret = f"{user}-secret" if password is None else password
        made.append(Phone(sip(user), secret, ("127.0.0.1", server.port), transport))
        return made[-1]

    yield make
    for phone in made:
        if phone.etag:
            phone.publish(None, expires=0)
        phone.unregister()
        phone.close()


@pytest.fixture
def alice(kamailio: Kamailio, phones: Phones) -> Phone:
    phone = phones(kamailio, "alice")
    assert phone.register().status == 200
    return phone


@pytest.fixture
def bob(kamailio: Kamailio, phones: Phones) -> Phone:
    phone = phones(kamailio, "bob")
    assert phone.register().status == 200
    return phone


@pytest.fixture
def mallory(kamailio: Kamailio, phones: Phones) -> Phone:
    return phones(kamailio, "mallory")


def sip(user: str, domain: str = DOMAIN) -> str:
    return f"sip:{user}@{domain}"


def send_as(phone: Phone, sender: str, method: str, to: str, uri: str | None = None, body: bytes = b"") -> Response:
    """A request with any From, To and request URI; the credentials are those of the phone."""
    contact = [("Contact", f"<{phone.contact}>")] if method in ("REGISTER", "PUBLISH") else []
    event = [("Event", "presence")] if method in ("PUBLISH", "SUBSCRIBE") else []
    kind = [("Content-Type", "application/pidf+xml" if event else "text/plain")] if body else []
    return phone.send_in_dialog(Dialog(sender, to, uri or to), method, [*contact, *event, *kind], body)


# ---- REGISTER


def test_register_and_unregister(alice: Phone) -> None:
    registered = alice.register()
    assert registered.status == 200
    assert alice.address[1] == int(registered.headers["Contact"].partition(">")[0].rpartition(":")[2])
    assert "Contact" not in alice.unregister().headers


def test_wrong_password_is_challenged_again(kamailio: Kamailio) -> None:
    with Phone(sip("alice"), "wrong", ("127.0.0.1", kamailio.port)) as phone:
        assert phone.register().status == 401
        assert phone.message(sip("bob"), "hello").status == 407
        assert phone.publish(pidf(sip("alice"))).status == 407
        assert phone.subscribe(sip("bob")).status == 407


def test_unknown_user_is_challenged_like_a_known_one(kamailio: Kamailio) -> None:
    with Phone(sip("nobody"), "guess", ("127.0.0.1", kamailio.port)) as phone:
        assert phone.register().status == 401


def test_nobody_registers_somebody_else(mallory: Phone) -> None:
    assert send_as(mallory, sip("alice"), "REGISTER", sip("alice"), f"sip:{DOMAIN}").status == 403
    assert send_as(mallory, sip("mallory"), "REGISTER", sip("alice"), f"sip:{DOMAIN}").status == 403
    assert send_as(mallory, sip("alice"), "REGISTER", sip("mallory"), f"sip:{DOMAIN}").status == 403


# ---- identity


@pytest.mark.parametrize("method", ["MESSAGE", "SUBSCRIBE", "PUBLISH"])
def test_somebody_elses_from_is_refused(mallory: Phone, bob: Phone, method: str) -> None:
    destination = sip("alice") if method == "PUBLISH" else sip("bob")
    assert send_as(mallory, sip("alice"), method, destination, body=b"hello").status == 403
    assert bob.messages == []


def test_from_of_another_domain_is_not_relayed(mallory: Phone) -> None:
    assert send_as(mallory, "sip:mallory@elsewhere.example", "MESSAGE", sip("bob"), body=b"hello").status == 403


def test_user_of_the_same_name_in_another_local_domain_is_somebody_else(kamailio: Kamailio, bob: Phone) -> None:
    """auth_check alone compares user names: alice@example.net has a password of her own."""
    name, secret = f"alice@{OTHER_DOMAIN}", "her own"
    digest = hashlib.md5(f"{name}:{DOMAIN}:{secret}".encode()).hexdigest()
    engine = make_engine(kamailio.db_url)
    with engine.begin() as connection:
        row = {"user": "alice", "domain": OTHER_DOMAIN, "ha1": digest, "ha1b": digest}
        connection.execute(TABLE_ROW, row)
    engine.dispose()
    with Phone(sip("alice"), secret, ("127.0.0.1", kamailio.port), username=name) as phone:
        assert phone.message(sip("bob"), "hello").status == 403
    assert bob.messages == []


def test_two_sets_of_credentials_are_refused(mallory: Phone, bob: Phone) -> None:
    """One could name the user that the other one proves nothing about."""
    decoy = 'Digest username="alice", realm="x", nonce="x", uri="sip:x", response="0123456789abcdef0123456789abcdef"'
    refused = mallory.message(sip("bob"), "hello", headers=[("Proxy-Authorization", decoy)])
    assert refused.status == 400
    assert bob.messages == []
    contact = ("Contact", f"<{mallory.contact}>")
    dialog = Dialog(sip("mallory"), sip("mallory"), f"sip:{DOMAIN}")
    assert mallory.send_in_dialog(dialog, "REGISTER", [contact, ("Proxy-Authorization", decoy)]).status == 400


def test_presence_of_another_user_cannot_be_published(mallory: Phone) -> None:
    refused = send_as(mallory, sip("mallory"), "PUBLISH", sip("mallory"), sip("alice"), pidf(sip("alice")))
    assert refused.status == 403


def test_domains_are_compared_without_case(bob: Phone, kamailio: Kamailio) -> None:
    with Phone("sip:alice@EXAMPLE.org", "alice-secret", ("127.0.0.1", kamailio.port)) as phone:
        assert phone.message("sip:bob@Example.ORG", "hello").status == 200
    assert bob.wait_message().text == "hello"


# ---- MESSAGE


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_message_from_phone_to_phone(kamailio: Kamailio, phones: Phones, transport: str) -> None:
    sender, receiver = phones(kamailio, "alice", transport=transport), phones(kamailio, "bob", transport=transport)
    assert receiver.register().status == 200
    assert sender.message(sip("bob"), "Grüße").status == 200
    received = receiver.wait_message()
    assert received.text == "Grüße"
    assert received.from_uri == sip("alice")
    assert "Proxy-Authorization" not in received.headers


def test_every_phone_of_the_user_gets_it(kamailio: Kamailio, phones: Phones, alice: Phone) -> None:
    desk, mobile = phones(kamailio, "bob"), phones(kamailio, "bob")
    assert [desk.register().status, mobile.register().status] == [200, 200]
    assert alice.message(sip("bob"), "to both").status == 200
    assert [desk.wait_message().text, mobile.wait_message().text] == ["to both", "to both"]


def test_answer_of_the_phone_comes_back(alice: Phone, bob: Phone) -> None:
    bob.answer = (415, "Unsupported Media Type")
    assert alice.message(sip("bob"), "hello").status == 415


def test_user_without_a_phone_is_unavailable_and_nobody_is_not_found(alice: Phone) -> None:
    assert alice.message(sip("carol"), "hello").status == 480
    assert alice.message(sip("nobody"), "hello").status == 404


def test_foreign_destination_is_not_relayed(alice: Phone) -> None:
    assert alice.message("sip:bob@elsewhere.example", "hello").status == 404


def test_contact_on_a_network_where_the_sender_has_no_account(alice: Phone) -> None:
    assert alice.message(CONTACT, "hello").status == 403


def test_proto_purple_from_outside_gives_no_privilege(mallory: Phone, kamailio: Kamailio, bob: Phone) -> None:
    with Phone(sip("alice"), "", ("127.0.0.1", kamailio.port)) as stranger:
        assert stranger.message(f"{sip('bob')};proto=purple", "hello").status == 407
    assert send_as(mallory, sip("alice"), "MESSAGE", f"{sip('bob')};proto=purple", body=b"hello").status == 403
    assert bob.messages == []


# ---- the internal listener


@pytest.mark.parametrize("method", ["MESSAGE", "PUBLISH", "SUBSCRIBE", "REGISTER"])
def test_internal_listener_believes_only_kamailio(kamailio: Kamailio, bob: Phone, method: str) -> None:
    with Phone(sip("bob"), "bob-secret", ("127.0.0.1", kamailio.internal_port)) as stranger:
        assert send_as(stranger, sip("bob"), method, f"{sip('bob')};proto=purple", body=b"hello").status == 403
    assert bob.messages == []


def test_gateways_own_message_reaches_the_phones(kamailio: Kamailio, bob: Phone) -> None:
    headers = f"From: <{CONTACT}>;tag={new_token()}\r\nTo: <{sip('bob')}>\r\nContent-Type: text/plain\r\n"
    next_hop = f"sip:127.0.0.1:{kamailio.internal_port}"
    parameters = ["MESSAGE", f"{sip('bob')};proto=purple", next_hop, ".", headers, "from the network"]
    rpc.call(kamailio.rpc_socket, "tm.t_uac_start", *parameters)
    received = bob.wait_message()
    assert received.text == "from the network"
    assert received.from_uri == CONTACT
    assert "proto=purple" not in received.request_uri


def test_gateways_own_publication_reaches_the_watchers(kamailio: Kamailio, bob: Phone) -> None:
    watched = bob.subscribe(sip("alice"))
    assert watched.status == 200
    document = pidf(sip("alice"), note="on the train").decode()
    parameters = [sip("alice"), "3600", "presence", "application/pidf+xml", "id-1", ".", ".", "."]
    rpc.call(kamailio.rpc_socket, "pua.send_publish", *parameters, document)
    notify = watched.wait_notify(lambda notify: notify.presence is not None)
    assert notify.presence is not None
    assert notify.presence.notes == ("on the train",)


# ---- presence


def test_presence_from_phone_to_phone(alice: Phone, bob: Phone) -> None:
    watched = alice.subscribe(sip("bob"))
    assert watched.status == 200
    assert watched.wait_notify().state == "active"
    assert bob.publish(pidf(sip("bob"), note="at work")).status == 200
    notify = watched.wait_notify(lambda notify: notify.presence is not None)
    assert notify.presence is not None
    assert (notify.presence.basic, notify.presence.notes) == ("open", ("at work",))
    assert bob.publish(None, expires=0).status == 200
    assert watched.unsubscribe().status == 200
    assert watched.wait_notify(lambda notify: notify.state == "terminated").reason == "timeout"


def test_refresh_keeps_the_document(alice: Phone, bob: Phone) -> None:
    """RFC 3903 section 4.1: a refresh has no body. Kamailio 5.6's presence in memory alone would lose the document."""
    assert bob.publish(pidf(sip("bob"), note="still here")).status == 200
    assert bob.publish(None).status == 200
    notify = alice.subscribe(sip("bob")).wait_notify()
    assert notify.presence is not None
    assert notify.presence.notes == ("still here",)


def test_unknown_entity_tag(bob: Phone) -> None:
    assert bob.publish(pidf(sip("bob")), etag="a.1.2.3.4").status == 412


def test_broken_document_is_refused_before_it_is_published(alice: Phone, bob: Phone) -> None:
    assert bob.publish(b"<presence").status == 400
    assert alice.subscribe(sip("bob")).wait_notify().presence is None


def test_unknown_event_package(alice: Phone) -> None:
    refused = alice.subscribe(sip("bob"), event="weather")
    assert refused.status == 489
    assert refused.response is not None
    assert "presence" in refused.response.headers["Allow-Events"]


def test_watchers_are_shown_to_the_user_alone(alice: Phone) -> None:
    assert alice.subscribe(sip("alice"), event="presence.winfo").status == 200
    assert alice.subscribe(sip("bob"), event="presence.winfo").status == 403


def test_foreign_presentity_is_not_found_and_a_contact_needs_an_account(alice: Phone) -> None:
    assert alice.subscribe("sip:bob@elsewhere.example").status == 404
    assert alice.subscribe(CONTACT).status == 403


def test_subscription_that_does_not_exist(alice: Phone) -> None:
    dialog = Dialog(sip("alice"), sip("bob"), sip("bob"), remote_tag="gone")
    assert alice.send_in_dialog(dialog, "SUBSCRIBE", [("Event", "presence")]).status in (404, 481)


def test_writers_wait_for_each_other(kamailio: Kamailio, phones: Phones) -> None:
    """Kamailio's db_sqlite alone answers 500 while another process writes the file."""
    several = [phones(kamailio, name) for name in NAMES]

    def publish_often(phone: Phone) -> set[int]:
        return {phone.publish(pidf(phone.aor, note=str(number))).status for number in range(40)}

    with ThreadPoolExecutor(len(several)) as pool:
        statuses = list(pool.map(publish_often, several))
    assert statuses == [{200}] * len(several)
    assert "database is locked" not in kamailio.log


# ---- everything else


def test_options_for_the_server(alice: Phone) -> None:
    answer = alice.options()
    assert answer.status == 200
    assert "MESSAGE" in answer.headers["Allow"]


@pytest.mark.parametrize("method", ["INVITE", "REFER", "NOTIFY", "INFO"])
def test_method_that_is_not_served(alice: Phone, method: str) -> None:
    answer = alice.request(method, sip("bob"))
    assert answer.status == 405
    assert "SUBSCRIBE" in answer.headers["Allow"]


@pytest.mark.parametrize("method", ["BYE", "NOTIFY", "INFO"])
def test_dialog_that_is_not_here(alice: Phone, method: str) -> None:
    assert alice.send_in_dialog(Dialog(sip("alice"), sip("bob"), sip("bob"), remote_tag="x"), method, []).status == 481


def test_cancel_of_nothing(alice: Phone) -> None:
    assert alice.request("CANCEL", sip("bob")).status == 481


def test_outbound_proxy_in_route_is_fine_and_a_foreign_hop_is_not(kamailio: Kamailio, alice: Phone, bob: Phone) -> None:
    own = ("Route", f"<sip:127.0.0.1:{kamailio.port};lr>")
    assert alice.message(sip("bob"), "by route", headers=[own]).status == 200
    assert "Route" not in bob.wait_message().headers
    foreign = ("Route", f"<sip:127.0.0.1:{bob.address[1]};lr>")
    assert alice.message(sip("bob"), "by route", headers=[own, foreign]).status == 403
    assert alice.message(sip("bob"), "by route", headers=[foreign]).status == 403


# ---- without authentication, where a datagram can be written by hand


def datagram(method: str, uri: str, branch: str, call_id: str, **replaced: str) -> bytes:
    headers = {
        "Via": f"SIP/2.0/UDP 127.0.0.1:9;rport;branch=z9hG4bK{branch}",
        "Max-Forwards": "70",
        "From": f"<{sip('alice')}>;tag=1",
        "To": f"<{uri}>",
        "Call-ID": call_id,
        "CSeq": f"1 {method}",
        "Content-Type": "text/plain",
        "Content-Length": "5",
        **{name.replace("_", "-"): value for name, value in replaced.items()},
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} {uri} SIP/2.0\r\n{lines}\r\nhello".encode("latin-1")


@pytest.fixture
def wire(open_kamailio: Kamailio) -> Iterator[Callable[[bytes], int]]:
    """Sends bytes as they are; returns the status of the next answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.connect(("127.0.0.1", open_kamailio.port))
        connection.settimeout(5)

        def exchange(data: bytes) -> int:
            connection.send(data)
            answer = parse(connection.recv(65535))
            assert isinstance(answer, Response)
            return answer.status

        yield exchange


def test_from_is_believed_without_authentication(open_kamailio: Kamailio, phones: Phones) -> None:
    alice, bob = phones(open_kamailio, "alice", ""), phones(open_kamailio, "bob", "")
    assert bob.register().status == 200
    assert alice.message(sip("bob"), "hello").status == 200
    assert bob.wait_message().text == "hello"
    assert send_as(alice, sip("alice"), "PUBLISH", sip("bob"), body=pidf(sip("bob"))).status == 403
    assert send_as(alice, sip("alice"), "REGISTER", sip("bob"), f"sip:{DOMAIN}").status == 403


def test_retransmission_is_answered_again_and_delivered_once(
    open_kamailio: Kamailio, phones: Phones, wire: Callable[[bytes], int]
) -> None:
    bob = phones(open_kamailio, "bob", "")
    assert bob.register().status == 200
    data = datagram("MESSAGE", sip("bob"), new_token(), new_token())
    assert [wire(data), wire(data), wire(data)] == [200, 200, 200]
    assert len(bob.messages) == 1


def test_loop_ends(wire: Callable[[bytes], int]) -> None:
    assert wire(datagram("MESSAGE", sip("bob"), new_token(), new_token(), Max_Forwards="0")) == 483


@pytest.mark.parametrize(
    "replaced",
    [{"Content_Length": "600"}, {"CSeq": "1 REGISTER"}, {"CSeq": "one MESSAGE"}, {"Via": "SIP/3.0/UDP 127.0.0.1:9"}],
)
def test_garbage_does_no_harm(open_kamailio: Kamailio, wire: Callable[[bytes], int], replaced: dict[str, str]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        data = datagram("MESSAGE", sip("bob"), new_token(), new_token(), **replaced)
        connection.sendto(data, ("127.0.0.1", open_kamailio.port))
    assert wire(datagram("OPTIONS", "sip:127.0.0.1", new_token(), new_token())) == 200


@pytest.mark.parametrize(
    ("uri", "replaced"),
    [
        (sip("b\xf6b"), {}),
        (sip("bob"), {"From": "<sip:al\xf6@example.org>;tag=1"}),
        (sip("bob"), {"Event": "pr\xe9sence"}),
    ],
)
@pytest.mark.parametrize("method", ["MESSAGE", "PUBLISH", "SUBSCRIBE"])
def test_headers_that_are_not_utf8_are_answered(
    wire: Callable[[bytes], int], method: str, uri: str, replaced: dict[str, str]
) -> None:
    """An exception that leaves a route would only be logged: the sender would wait for ever."""
    assert 400 <= wire(datagram(method, uri, new_token(), new_token(), **replaced)) < 500


def test_call_id_that_is_not_utf8_is_answered(wire: Callable[[bytes], int]) -> None:
    assert 400 <= wire(datagram("MESSAGE", sip("nobody"), new_token(), "caf\xe9")) < 500


def test_digest_needs_no_password_in_the_table(kamailio: Kamailio) -> None:
    """The table holds no password (RFC 2617 section 3.2.2.2: H(A1) is enough)."""
    engine = make_engine(kamailio.db_url)
    with engine.connect() as connection:
        passwords = connection.execute(text("SELECT DISTINCT password FROM subscriber")).scalars().all()
    engine.dispose()
    assert passwords == [""]


@pytest.mark.parametrize("database", ["mariadb", "postgres"])
def test_other_databases(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, database: str
) -> None:
    """A PUBLISH right after the answer to the one before finds what that one wrote."""
    url = request.getfixturevalue(database).create_database("routes")
    users = {name: f"{name}-secret" for name in NAMES}
    with ExitStack() as stack:
        server = stack.enter_context(Kamailio(tmp_path_factory.mktemp(database), DOMAIN, users=users, db_url=url))
        proxy = ("127.0.0.1", server.port)
        alice, bob = (stack.enter_context(Phone(sip(name), users[name], proxy)) for name in ("alice", "bob"))
        assert bob.register().status == 200
        assert alice.message(sip("bob"), "hello").status == 200
        assert bob.wait_message().text == "hello"
        watched = alice.subscribe(sip("bob"))
        assert {bob.publish(pidf(sip("bob"), note=str(number))).status for number in range(60)} == {200}
        last = watched.wait_notify(lambda notify: notify.presence is not None and notify.presence.notes == ("59",))
        assert last.state == "active"
        assert "app_python3" not in server.log, "each function of KSR took the arguments of its call"
