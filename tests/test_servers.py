"""Proves that the servers and agents of the other tests work; the gateway is one more SIP server here."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, make_url, text

from tests.agents.inbox import Inbox
from tests.agents.irc import IrcUser
from tests.agents.phone import Headers, Phone, Request, Response, parse_notify, pidf
from tests.agents.sip import challenge, host_port, parameter, parse, split_list, split_stream, uri_of
from tests.agents.wire import Address, UdpWire
from tests.agents.xmpp import XmppUser
from tests.gateway import Gateway
from tests.servers.base import Server, group_members
from tests.servers.mariadb import MariaDB
from tests.servers.ngircd import Ngircd
from tests.servers.postgres import Postgres
from tests.servers.prosody import Prosody
from tests.waiting import free_ports, wait_until

DRIVERS = {"mysql": "mysql+mysqldb", "postgres": "postgresql+psycopg"}


# ---- waiting and ports


def test_wait_until_names_what_was_missing() -> None:
    with pytest.raises(AssertionError, match=r"a cow \(last value: 0\)"):
        wait_until(lambda: 0, 0.05, "a cow")


def test_ports_differ_and_lie_outside_the_ephemeral_range() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert all(10000 <= port < 32000 for port in ports)


# ---- life of a server


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    class Broken(Server):
        def command(self) -> list[str]:
            return ["sh", "-c", "echo no such cow; exit 3"]

    with pytest.raises(AssertionError, match="ended with code 3") as caught:
        Broken(tmp_path).start()
    assert "no such cow" in "".join(caught.value.__notes__)


def test_stop_ends_the_whole_process_group(tmp_path: Path) -> None:
    class Family(Ngircd):
        def command(self) -> list[str]:
            ngircd = " ".join(super().command())
            return ["sh", "-c", f"trap '' TERM; sleep 1000 & exec {ngircd}"]

    with Family(tmp_path) as server:
        group = server.pid
        assert len(group_members(group)) >= 2  # and for a moment the child that looks up the name of who has connected
    assert group_members(group) == []


def test_a_paused_server_answers_again_after_resume(tmp_path: Path) -> None:
    with Ngircd(tmp_path) as server:
        server.pause()
        assert not server.probe()
        server.resume()
        assert server.probe()
        server.pause()
    assert not server.running


@pytest.mark.parametrize("kind", ["ngircd.Ngircd", "postgres.Postgres"])
def test_a_server_dies_with_the_process_that_started_it(tmp_path: Path, kind: str) -> None:
    module, name = kind.split(".")
    program = f"""
import pathlib, sys
from tests.servers.{module} import {name}
server = {name}(pathlib.Path(sys.argv[1])).start()
print(server.pid, flush=True)
sys.stdin.read()
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with parent:
        assert parent.stdout is not None
        group = int(parent.stdout.readline())
        assert group_members(group)
        os.kill(parent.pid, signal.SIGKILL)
    wait_until(lambda: not group_members(group), 10, "end of the orphaned server")


# ---- XMPP


def test_xmpp_users_talk_and_again_after_the_server_was_killed(tmp_path: Path) -> None:
    with Prosody(tmp_path, {"alice": "secret", "bob": "secret"}) as server:
        address = (server.host, server.port)
        alice = XmppUser("alice@localhost", "secret", address)
        bob = XmppUser("bob@localhost", "secret", address)
        with alice, bob:
            _talk(alice, bob)
            server.kill()
            wait_until(lambda: not alice.connected and not bob.connected, 10, "lost connections")
            server.start()
            alice.connect()
            bob.connect()
            _talk(alice, bob)
            assert len(alice.messages) == len(bob.messages) == 2


def _talk(alice: XmppUser, bob: XmppUser) -> None:
    alice.send(bob.jid, "hello & <b>bob</b>", thread="t1")
    heard = bob.wait_message()
    assert (heard.from_bare, heard.body, heard.thread) == (alice.jid, "hello & <b>bob</b>", "t1")
    bob.send_chat_state(alice.jid, "composing")
    alice.wait_chat_state("composing")
    bob.send(heard.from_jid, "grüß dich")
    assert alice.wait_message().body == "grüß dich"


def test_xmpp_presence_after_subscription(prosody: Prosody) -> None:
    address = (prosody.host, prosody.port)
    with (
        XmppUser("carol@localhost", "secret", address) as carol,
        XmppUser("dave@localhost", "secret", address, auto_approve=True) as dave,
    ):
        carol.subscribe(dave.jid)
        carol.wait_presence(lambda p: p.type == "subscribed" and p.from_bare == dave.jid)
        dave.presence(show="away", status="lunch")
        seen = carol.wait_presence(lambda p: p.show == "away")
        assert (seen.from_bare, seen.type, seen.status) == (dave.jid, "available", "lunch")
        dave.subscribe(carol.jid)
        carol.wait_presence(lambda p: p.type == "subscribe")
        carol.approve(dave.jid)
        dave.wait_presence(lambda p: p.type == "subscribed")
    assert [p for p in dave.presences if p.type == "unavailable"]


def test_an_account_can_be_added_while_prosody_runs(prosody: Prosody) -> None:
    address = (prosody.host, prosody.port)
    erin = XmppUser("e.rin@localhost", 'p"w\\ü', address)
    try:
        with pytest.raises(ConnectionError):
            erin.connect()
        prosody.add_user("e.rin", 'p"w\\ü')
        assert erin.connect().connected
    finally:
        erin.close()


def test_a_message_to_nobody_comes_back_as_an_error(prosody: Prosody) -> None:
    with XmppUser("alice@localhost", "secret", (prosody.host, prosody.port)) as alice:
        alice.send("nobody@localhost", "anyone?")
        assert alice.wait_error().from_bare == "nobody@localhost"
        assert alice.messages == []


def test_prosody_with_tls_has_a_certificate_of_its_authority(tmp_path: Path) -> None:
    with Prosody(tmp_path, {"alice": "secret"}, domain="im.example.org", tls=True) as server:
        address = (server.host, server.port)
        with XmppUser("alice@im.example.org", "secret", address, tls=True) as alice:
            alice.send(alice.jid, "note to self")
            alice.wait_message(lambda message: message.body == "note to self")
        checked = subprocess.run(
            [
                *("openssl", "s_client", "-connect", f"{server.host}:{server.port}", "-starttls", "xmpp"),
                *("-xmpphost", server.domain, "-verify_hostname", server.domain, "-verify_return_error"),
                *("-CAfile", str(server.ca_file)),
            ],
            input="",
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Verify return code: 0 (ok)" in checked.stdout, checked.stderr


# ---- IRC


def test_irc_users_talk(ngircd: Ngircd) -> None:
    address = (ngircd.host, ngircd.port)
    with IrcUser("alice", address) as alice, IrcUser("bob", address) as bob:
        alice.privmsg("bob", "hello :bob")
        heard = bob.wait_message()
        assert (heard.sender, heard.target, heard.text) == ("alice", "bob", "hello :bob")
        bob.join("#cows")
        alice.join("#cows")
        alice.privmsg("#cows", "moo")
        assert bob.wait_message().target == "#cows"
        alice.privmsg("nobody", "anyone?")
        assert alice.wait_line(lambda line: line.command == "401").parameters[1] == "nobody"
        ngircd.pause()
        ngircd.resume()
        assert bob.connected
    assert not bob.connected


# ---- databases


def test_mariadb_answers_through_sqlalchemy(mariadb: MariaDB) -> None:
    _store_and_restart(mariadb, mariadb.create_database("probe"))


def test_postgres_answers_through_sqlalchemy(postgres: Postgres) -> None:
    _store_and_restart(postgres, postgres.create_database("probe"))


def _store_and_restart(server: MariaDB | Postgres, url: str) -> None:
    engine = create_engine(_sqlalchemy_url(url))
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
        connection.execute(text("CREATE TABLE cows (name VARCHAR(20))"))
        connection.execute(text("INSERT INTO cows VALUES ('Grüße 🐄')"))
    engine.dispose()
    server.restart()
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT name FROM cows")) == "Grüße 🐄"
    engine.dispose()


def _sqlalchemy_url(url: str) -> URL:
    scheme, _, rest = url.partition("://")
    return make_url(f"{DRIVERS[scheme]}://{rest}")


# ---- phones


@pytest.fixture(params=["udp", "tcp"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Phone, Phone]]:
    """Two phones, each the other's proxy."""
    with (
        Phone("sip:alice@example.org", transport=request.param) as alice,
        Phone("sip:bob@example.org", transport=request.param, proxy=alice.address) as bob,
    ):
        alice.proxy = bob.address
        yield alice, bob


def test_phones_exchange_messages(pair: tuple[Phone, Phone]) -> None:
    alice, bob = pair
    response = alice.message(bob.aor, "hello, grüß dich\r\n", headers={"Subject": "cows"})
    assert response.status == 200
    heard = bob.wait_message()
    assert (heard.text, heard.from_uri, heard.request_uri) == ("hello, grüß dich\r\n", alice.aor, bob.aor)
    assert heard.headers["subject"] == "cows"
    assert "Contact" not in heard.headers  # RFC 3428 §4
    assert bob.message(alice.aor, "hi").status == 200
    assert alice.wait_message(lambda message: message.text == "hi").answered == 200


def test_a_phone_answers_as_told(pair: tuple[Phone, Phone]) -> None:
    alice, bob = pair
    bob.answer, bob.answer_headers = (503, "Busy Cow"), {"Retry-After": "7"}
    response = alice.message(bob.aor, "moo", from_uri="sip:mallory@example.org")
    assert (response.status, response.reason, response.headers["Retry-After"]) == (503, "Busy Cow", "7")
    assert bob.wait_message().from_uri == "sip:mallory@example.org"
    assert alice.request("INVITE", bob.aor).status == 405
    assert "MESSAGE" in alice.options(bob.aor).headers.values("Allow")[0]


def test_silence_is_retransmitted_to_and_then_a_timeout() -> None:
    """RFC 3261 §17.1.2.2: timer E doubles from T1, timer F is 64 * T1."""
    with Phone("sip:bob@example.org") as bob, Phone("sip:alice@example.org", proxy=bob.address) as alice:
        alice.t1, bob.answer = 0.01, None
        with pytest.raises(TimeoutError, match=r"within 0\.64 s"):
            alice.message(bob.aor, "anyone?")
        assert len(bob.messages) == 1
        # at 0.01, 0.03, 0.07, 0.15 and 0.31 s; the one at 0.63 s may come too late
        assert bob.retransmissions in (5, 6)


def test_a_retransmitted_request_is_counted_once_and_answered_each_time() -> None:
    with Phone("sip:bob@example.org") as bob, Phone("sip:alice@example.org", proxy=bob.address) as alice:
        raw = _raw_message(alice, "moo")
        for _ in range(3):
            alice.send_raw(raw)
        wait_until(lambda: len(alice.stray_responses) == 3, 5, "three answers")
        assert len({response.headers["To"] for response in alice.stray_responses}) == 1
        assert [message.text for message in bob.messages] == ["moo"]
        assert bob.retransmissions == 2


def _raw_message(phone: Phone, body: str) -> bytes:
    host, port = phone.address
    fields = [
        ("v", f"SIP/2.0/UDP {host}:{port};branch=z9hG4bKcow"),
        ("f", f"{phone.aor};tag=1"),
        ("t", "<sip:bob@example.org>"),
        ("i", "cow"),
        ("CSeq", "1 MESSAGE"),
    ]
    return Request("MESSAGE", "sip:bob@example.org", Headers(fields), body.encode()).encode()


def test_nonsense_is_traced_and_survived(pair: tuple[Phone, Phone]) -> None:
    alice, bob = pair
    alice.send_raw(b"MESSAGE moo\r\nContent-Length: 0\r\n\r\n")
    assert alice.message(bob.aor, "still there?").status == 200
    assert any(line.startswith("!! ValueError") for line in bob.trace)


class Notifier:
    """A raw SIP peer that shows the phone what Kamailio does seldom: two hops, NOTIFY out of order, after the end."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self._inbox: Inbox[Response] = Inbox("answer")
        self.wire = UdpWire(self._receive, "127.0.0.1")

    def notify(self, phone: Phone, cseq: int, state: str, body: bytes = b"") -> Response:
        """Send a NOTIFY in the dialog of the first SUBSCRIBE; the phone's answer."""
        subscribe = next(r for r in self.requests if r.method == "SUBSCRIBE")
        fields = [
            ("Via", f"SIP/2.0/UDP {self._host};branch=z9hG4bK{cseq}"),
            ("From", f"{subscribe.headers['To']};tag=notifier"),
            ("To", subscribe.headers["From"]),
            ("Call-ID", subscribe.headers["Call-ID"]),
            ("CSeq", f"{cseq} NOTIFY"),
            ("Contact", f"<sip:{self._host};target=1>"),
            ("Subscription-State", state),
        ]
        self.wire.send(Request("NOTIFY", phone.contact, Headers(fields), body).encode(), phone.address)
        return self._inbox.wait(None, 5)

    @property
    def address(self) -> Address:
        return self.wire.address

    @property
    def _host(self) -> str:
        return f"127.0.0.1:{self.address[1]}"

    def _receive(self, data: bytes, reply: object) -> None:
        message = parse(data)
        if isinstance(message, Response):
            self._inbox.put(message)
            return
        assert callable(reply)
        self.requests.append(message)
        reply(self._answer(message).encode())

    def _answer(self, request: Request) -> Response:
        names = ("Via", "From", "To", "Call-ID", "CSeq")
        fields = [(name, request.headers[name]) for name in names]
        if "Authorization" not in request.headers:
            asked = 'Digest realm="example.org", nonce="n,1", qop="auth,auth-int", algorithm=MD5'
            return Response(401, "Unauthorized", Headers([*fields, ("WWW-Authenticate", asked)]))
        fields = [(n, f"{v};tag=notifier" if n == "To" and ";tag" not in v else v) for n, v in fields]
        extra = [
            ("Contact", f"<sip:{self._host};target=1>"),
            ("Record-Route", f"<sip:{self._host};lr;hop=1>, <sip:{self._host};lr;hop=2>"),
            ("SIP-ETag", f"e{len(self.requests)}"),
        ]
        return Response(200, "OK", Headers([*fields, *extra]))


@pytest.fixture
def notifier() -> Iterator[Notifier]:
    notifier = Notifier()
    yield notifier
    notifier.wire.close()


def test_a_challenge_is_answered_with_the_next_cseq(notifier: Notifier) -> None:
    with Phone("sip:alice@example.org", "secret", proxy=notifier.address) as alice:
        assert alice.register().status == 200
        assert alice.unregister().status == 200
    numbers = [request.headers["CSeq"] for request in notifier.requests]
    assert numbers == [f"{number} REGISTER" for number in (1, 2, 3, 4)]
    assert len({request.headers["Call-ID"] for request in notifier.requests}) == 1
    credentials = notifier.requests[1].headers["Authorization"]
    assert 'username="alice"' in credentials and 'nonce="n,1"' in credentials and "qop=auth" in credentials


def test_without_a_password_the_challenge_is_the_answer(notifier: Notifier) -> None:
    with Phone("sip:alice@example.org", proxy=notifier.address) as alice:
        assert alice.options().status == 401


def test_a_phone_remembers_the_etag(notifier: Notifier) -> None:
    with Phone("sip:alice@example.org", "secret", proxy=notifier.address) as alice:
        alice.publish(pidf(alice.aor))
        first = alice.etag
        assert first == "e2"
        alice.publish(None)
        assert notifier.requests[-1].headers["SIP-If-Match"] == first
        assert alice.etag == "e4"
        alice.publish(None, expires=0)
        assert alice.etag is None


def test_a_subscription_is_a_dialog(notifier: Notifier) -> None:
    """RFC 3261 §12.2.1.1: remote target in the request URI, the route set backwards, growing CSeq."""
    with Phone("sip:alice@example.org", "secret", proxy=notifier.address) as alice:
        subscription = alice.subscribe("sip:bob@example.org")
        assert subscription.status == 200
        notifier.notify(alice, 1, "active;expires=3600", pidf("sip:bob@example.org", "open", "moo", "away"))
        seen = subscription.wait_notify(lambda notify: notify.state == "active")
        assert seen.expires == 3600
        assert seen.presence is not None
        assert (seen.presence.basic, seen.presence.note) == ("open", "moo")
        assert seen.presence.activities == ("away",)
        subscription.refresh()
        refresh = notifier.requests[-1]
        assert refresh.uri.endswith(";target=1")
        assert [uri_of(route)[-5:] for route in refresh.headers.values("Route")] == ["hop=2", "hop=1"]
        assert parameter(refresh.headers["To"], "tag") == "notifier"
        subscription.unsubscribe()
        notifier.notify(alice, 2, "terminated;reason=timeout")
        assert subscription.wait_notify().reason == "timeout"
        cseqs = [int(request.headers["CSeq"].split()[0]) for request in notifier.requests]
        assert cseqs == sorted(set(cseqs))


def test_notifies_out_of_order_or_after_the_end_are_refused(notifier: Notifier) -> None:
    """RFC 3261 §12.2.2: 500 for a lower CSeq; RFC 6665 §4.1.3: 481 without a subscription."""
    with Phone("sip:alice@example.org", "secret", proxy=notifier.address) as alice:
        subscription = alice.subscribe("sip:bob@example.org")
        told = ((5, "active"), (4, "active"), (6, "terminated"), (7, "active"))
        answers = [notifier.notify(alice, cseq, state) for cseq, state in told]
        assert [answer.status for answer in answers] == [200, 500, 200, 481]
        assert [notify.state for notify in subscription.notifies] == ["active", "terminated"]


def test_phones_register_publish_and_watch_at_kamailio(own_gateway: Gateway) -> None:
    alice, bob = own_gateway.phone("alice"), own_gateway.phone("bob")  # both answer Kamailio's challenge
    assert alice.publish(pidf(alice.aor, "open", "at my desk")).status == 200
    first = alice.etag
    subscription = bob.subscribe(alice.aor)
    assert 200 <= subscription.status < 300
    seen = subscription.wait_notify(lambda notify: bool(notify.body))
    assert seen.presence is not None
    assert (seen.presence.basic, seen.presence.note) == ("open", "at my desk")
    assert alice.publish(pidf(alice.aor, "open", "moo", "away")).status == 200
    assert alice.etag != first
    changed = subscription.wait_notify(lambda notify: b"moo" in notify.body)
    assert changed.presence is not None
    assert changed.presence.activities == ("away",)
    assert 200 <= subscription.refresh().status < 300
    assert 200 <= subscription.unsubscribe().status < 300
    subscription.wait_notify(lambda notify: notify.state == "terminated")
    assert alice.publish(None, etag="a.1.2.3.4").status == 412
    assert alice.etag is None


def test_a_wrong_password_is_tried_once(own_gateway: Gateway) -> None:
    with Phone("sip:alice@example.org", "wrong", ("127.0.0.1", own_gateway.kamailio.port), "tcp") as mallory:
        assert mallory.register().status == 401
        assert sum(line.startswith("-> ") for line in mallory.trace) == 2


# ---- reading and writing


def test_headers_are_case_insensitive_and_compact_names_are_known() -> None:
    message = parse(b"SIP/2.0 200 OK\r\ni: 1@x\r\nVIA: a,\r\n b\r\nv: c\r\nl: 2\r\n\r\nmoo")
    assert isinstance(message, Response)
    assert message.headers["call-id"] == "1@x"
    assert message.headers.values("Via") == ["a", "b", "c"]
    assert message.body == b"mo"


@pytest.mark.parametrize("data", [b"", b"MESSAGE sip:a SIP/2.0\r\n", b"moo\r\n\r\n", b"A b SIP/3.0\r\n\r\n"])
def test_what_is_no_sip_message_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse(data)


def test_a_stream_is_cut_by_content_length() -> None:
    whole = b"\r\n\r\nA b SIP/2.0\r\nl: 3\r\n\r\nmooB c SIP/2.0\r\nContent-Length: 0\r\n\r\n"
    for cut in range(len(whole)):
        buffer = bytearray(whole[:cut])
        messages = split_stream(buffer)
        buffer += whole[cut:]
        messages += split_stream(buffer)
        assert [message[:1] for message in messages] == [b"A", b"B"]
        assert buffer == b""


def test_addresses_are_read() -> None:
    value = '"A <b>, c" <sip:a@example.org;tag=inner>;tag=outer'
    assert uri_of(value) == "sip:a@example.org;tag=inner"
    assert parameter(value, "tag") == "outer"
    assert uri_of("sip:a@b;tag=1") == "sip:a@b"
    assert split_list(f"{value}, <sip:x,y@z>") == [value, "<sip:x,y@z>"]
    assert host_port("sip:a@10.0.0.1:5070;transport=tcp") == ("10.0.0.1", 5070)


def test_digest_is_that_of_the_specification() -> None:
    """RFC 2617 §3.5, with the quality of protection left out: RFC 2069's form, as corrected there."""
    found = challenge(['Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093"'])
    assert found is not None
    answer = found.answer("Mufasa", "Circle Of Life", "GET", "/dir/index.html")
    assert 'response="670fd8c2df070c60b045671b8b24ff02"' in answer
    assert challenge(['Digest realm="x", nonce="y", algorithm=SHA-256']) is None


def test_pidf_escapes_and_is_read_back() -> None:
    presence = parse_notify(pidf('sip:"a"&b@example.org', "closed", "<moo> & co", "on-the-phone"))
    assert presence.entity == presence.tuples[0].contact == 'sip:"a"&b@example.org'
    assert (presence.basic, presence.note) == ("closed", "<moo> & co")
    assert presence.activities == ("on-the-phone",)


def test_a_udp_phone_port_can_be_reached() -> None:
    with Phone("sip:bob@example.org") as bob, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.sendto(_raw_message(bob, "moo"), bob.address)
        assert client.recv(4096).startswith(b"SIP/2.0 200 OK\r\n")
