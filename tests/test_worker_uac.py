"""The worker's SIP client against a real UDP socket: RFC 3261 §17.1.2, and what is and is not a response to it."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from purple_bridge.errors import BadRequest
from purple_bridge.worker import uac
from purple_bridge.worker.uac import UserAgentClient, open_socket, parse_request, parse_response
from tests.agents.sip import Response, parse
from tests.loops import run_for, run_until
from tests.sip_listener import Listener, sip_client

ALICE = "sip:alice@example.org;proto=purple"
HEADERS = [
    ("From", "<sip:bob@xmpp.im.example.org>;tag=1"),
    ("To", "<sip:alice@example.org>"),
    ("Content-Type", "text/plain;charset=utf-8"),
]


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as made:
        yield made


@pytest.fixture
def opened(listener: Listener) -> Iterator[socket.socket]:
    with open_socket(listener.address) as made:
        yield made


@pytest.fixture
def client(opened: socket.socket) -> Iterator[UserAgentClient]:
    with sip_client(opened) as made:
        yield made


class Answers(list[tuple[int, str]]):
    """What ``done`` was told."""

    def done(self, status: int, reason: str) -> None:
        self.append((status, reason))


def test_the_request(client: UserAgentClient, listener: Listener, opened: socket.socket) -> None:
    answers = Answers()
    client.send(ALICE, HEADERS, "Grüße 🐄\r\n\r\nx".encode(), answers.done)
    (request,) = listener.wait(1)
    assert (request.method, request.uri) == ("MESSAGE", ALICE)
    assert request.body == "Grüße 🐄\r\n\r\nx".encode()
    assert request.headers["Content-Length"] == str(len(request.body))
    assert request.headers["CSeq"] == "1 MESSAGE"
    assert request.headers["Max-Forwards"] == "70"
    assert "Contact" not in request.headers  # RFC 3428 §4
    port = opened.getsockname()[1]
    assert re.fullmatch(rf"SIP/2\.0/UDP 127\.0\.0\.1:{port};rport;branch=z9hG4bK\w{{20,}}", request.headers["Via"])
    assert client.size(ALICE, HEADERS, request.body) == len(listener.datagrams[0])
    assert client.waiting == 1
    listener.answer(request, 202, "Accepted by Bob")
    run_until(lambda: answers, "the answer")
    assert answers == [(202, "Accepted by Bob")]
    assert client.waiting == 0


def test_every_request_has_a_branch_and_a_call_id_of_its_own(client: UserAgentClient, listener: Listener) -> None:
    for _ in range(20):
        client.send(ALICE, HEADERS, b"x", Answers().done)
    requests = listener.wait(20)
    for name in ("Via", "Call-ID"):
        assert len({request.headers[name] for request in requests}) == 20


@pytest.mark.parametrize("name", ["From", "Subject", "Content-Type"])
def test_no_header_can_be_injected(client: UserAgentClient, name: str) -> None:
    with pytest.raises(BadRequest):
        client.send(ALICE, [*HEADERS, (name, "x\r\nRoute: <sip:evil.example>")], b"x", Answers().done)
    assert client.waiting == 0


@pytest.mark.parametrize("uri", ["sip:a@b SIP/2.0\r\nX: y", "sip:a b@c", "tel:1", "sip:<a>@b"])
def test_no_request_uri_that_is_none(client: UserAgentClient, uri: str) -> None:
    with pytest.raises(BadRequest):
        client.send(uri, HEADERS, b"x", Answers().done)


def test_unanswered_it_is_sent_again_in_growing_steps(client: UserAgentClient, listener: Listener) -> None:
    """RFC 3261 §17.1.2.2, timer E: 500 ms, 1 s, 2 s, 4 s, the same octets each time."""
    client.send(ALICE, HEADERS, b"x", Answers().done)
    listener.wait(4)
    steps = [later - earlier for earlier, later in zip(listener.times, listener.times[1:], strict=False)]
    assert [round(step, 1) for step in steps] == pytest.approx([0.5, 1.0, 2.0], abs=0.2)
    assert len(set(listener.datagrams)) == 1


def test_a_provisional_response_slows_it_down(client: UserAgentClient, listener: Listener) -> None:
    """§17.1.2.2, Proceeding: timer E is T2 from its next firing on."""
    answers = Answers()
    client.send(ALICE, HEADERS, b"x", answers.done)
    (request,) = listener.wait(1)
    listener.answer(request, 100, "Trying")
    listener.wait(2)
    run_for(2.0)
    assert len(listener.read()) == 2
    assert answers == []
    listener.answer(request, 200)
    run_until(lambda: answers, "the answer")


def test_without_any_answer_it_is_408(
    client: UserAgentClient, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uac, "TIMER_F", 1.2)
    answers = Answers()
    started = time.monotonic()
    client.send(ALICE, HEADERS, b"x", answers.done)
    run_until(lambda: answers, "timer F")
    assert answers == [(408, "Request Timeout")]
    assert time.monotonic() - started == pytest.approx(1.2, abs=0.3)
    run_for(1.0)
    sent = len(listener.read())
    run_for(1.0)
    assert len(listener.read()) == sent == 2
    assert client.waiting == 0


def test_nobody_listens(client: UserAgentClient, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel says so by an error of the next call: nothing but timer F ends the transaction."""
    monkeypatch.setattr(uac, "TIMER_F", 1.2)
    listener.close()
    answers = Answers()
    for _ in range(3):
        client.send(ALICE, HEADERS, b"x", answers.done)
    run_until(lambda: len(answers) == 3, "timer F")
    assert set(answers) == {(408, "Request Timeout")}


def test_a_response_is_matched_by_branch_and_method(client: UserAgentClient, listener: Listener) -> None:
    first, second = Answers(), Answers()
    client.send(ALICE, HEADERS, b"1", first.done)
    client.send(ALICE, HEADERS, b"2", second.done)
    one, two = listener.wait(2)
    listener.answer(one, 500, "no", method="OPTIONS")
    listener.answer(two, 404, "Not Found")
    run_until(lambda: second, "the answer")
    assert (first, second) == ([], [(404, "Not Found")])
    listener.answer(two, 200)
    listener.answer(one, 200)
    run_until(lambda: first, "the answer")
    assert second == [(404, "Not Found")]


def test_another_method(client: UserAgentClient, listener: Listener) -> None:
    answers = Answers()
    client.send(ALICE, HEADERS[:2], b"", answers.done, "OPTIONS")
    (request,) = listener.wait(1)
    assert (request.method, request.headers["CSeq"]) == ("OPTIONS", "1 OPTIONS")
    listener.answer(request, 480)
    run_until(lambda: answers, "the answer")


@pytest.mark.parametrize(
    "datagram",
    [b"", b"\0\xff", b"SIP/2.0 200\r\n\r\n", b"SIP/2.0 999 x\r\nVia: ;branch=a\r\nCSeq: 1 MESSAGE\r\n\r\n", b"MESSAGE"],
)
def test_malformed_datagrams_are_ignored(client: UserAgentClient, listener: Listener, datagram: bytes) -> None:
    answers = Answers()
    client.send(ALICE, HEADERS, b"x", answers.done)
    (request,) = listener.wait(1)
    listener.send(datagram)
    listener.answer(request, 200)
    run_until(lambda: answers, "the answer")
    assert answers == [(200, "OK")]


def test_another_socket_is_not_heard(client: UserAgentClient, listener: Listener) -> None:
    answers = Answers()
    client.send(ALICE, HEADERS, b"x", answers.done)
    (request,) = listener.wait(1)
    stranger = Listener()
    stranger.client = listener.client
    stranger.answer(request, 200)
    run_for(0.2)
    assert answers == []
    stranger.close()


def test_compact_and_folded_forms() -> None:
    response = parse_response(
        b"SIP/2.0 200 \xc3\xa4\r\nv: SIP/2.0/UDP 1.2.3.4:5;rport=6; Branch = z9hG4bKx;received=1.2.3.4\r\n"
        b"cseq :  7   MESSAGE\r\n\r\nVia: SIP/2.0/UDP h;branch=other"
    )
    assert response == uac.Response(200, "ä", "z9hG4bKx", "MESSAGE")


@pytest.mark.parametrize(
    ("head", "method"),
    [
        (b"Via: SIP/2.0/UDP 1.2.3.4:5;received=1.2.3.4;rport=6;branch=z9hG4bKx\r\nCSeq: 1 MESSAGE\r\n", "MESSAGE"),
        (b"Via: SIP/2.0/UDP [::1]:5;rport=6;branch=z9hG4bKx\r\nCSeq: 23 OPTIONS\r\n", "OPTIONS"),
        (b"Via: SIP/2.0/UDP 1.2.3.4:5;branch=z9hG4bKx, SIP/2.0/UDP h;branch=z\r\nCSeq: 1 MESSAGE\r\n", "MESSAGE"),
        (b"CSeq: 1 MESSAGE\r\nVia: SIP/2.0/UDP 1.2.3.4:5;branch=z9hG4bKx\r\n", "MESSAGE"),
    ],
)
def test_usual_and_unusual_forms(head: bytes, method: str) -> None:
    response = parse_response(
        b"SIP/2.0 404 Not here\r\n" + head + b"Content-Length: 20\r\n\r\n\r\nCSeq: 9 NOTIFY\r\n\r\n"
    )
    assert response == uac.Response(404, "Not here", "z9hG4bKx", method)


@pytest.mark.parametrize(
    ("status", "contact", "reason"),
    [
        (302, 'Contact: "A, <sip:no@x>" <sip:a@new.example;user=phone>;expires=60, <sip:b@new.example>\r\n',
         "Moved <sip:a@new.example;user=phone>"),
        (301, "m:sip:a@new.example;expires=60\r\n", "Moved <sip:a@new.example>"),
        (302, "", "Moved"),
        (302, "Contact: *\r\n", "Moved"),
        (302, "Contact: <tel:+49301234>\r\n", "Moved"),
        (302, "Contact: <sip:a b@new.example>\r\n", "Moved"),
        (404, "Contact: <sip:a@new.example>\r\n", "Moved"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("via", ["Via: SIP/2.0/UDP 1.2.3.4:5;branch=z9hG4bKx", "v : SIP/2.0/UDP h ; branch=z9hG4bKx"])
def test_who_has_moved_names_the_new_address(status: int, contact: str, reason: str, via: str) -> None:
    """RFC 3261 §8.1.3.4, §21.3"""
    head = f"SIP/2.0 {status} Moved\r\n{via}\r\n{contact}CSeq: 1 MESSAGE\r\n"
    response = parse_response(f"{head}\r\nContact: <sip:body@x>\r\n".encode())
    assert response == uac.Response(status, reason, "z9hG4bKx", "MESSAGE")


def test_a_response_without_cseq_is_none() -> None:
    head = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 1.2.3.4:5;branch=z9hG4bKx\r\n"
    assert parse_response(head + b"\r\n\r\nCSeq: 1 MESSAGE\r\n") is None


# ---- requests that come


NOTIFY = """\
NOTIFY sip:carol@127.0.0.1:{port} SIP/2.0
Via: SIP/2.0/UDP 127.0.0.1:5070;branch=z9hG4bKfirst
Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKsecond
Max-Forwards: 70
f: "Alice ;tag=no" <sip:alice@example.org>;tag=theirs
TO  :  <sip:carol@xmpp.im.example.org> ; Tag = ours
i:call-1@purple
CSeq: 7 NOTIFY
m: <sip:server@127.0.0.1:5070;transport=udp>;expires=60
Event: presence
Subscription-State: active;expires=3600
Content-Length: 4

a: b""".replace("\n", "\r\n")


def test_a_request_is_read() -> None:
    """Compact names (RFC 3261 §7.3.3), names in any case, white space around the colon (§7.3.1)."""
    request = parse_request(NOTIFY.encode())
    assert request is not None
    assert request.method == "NOTIFY"
    assert request.header("Call-ID") == request.header("call-id") == "call-1@purple"
    assert request.header("subscription-state") == "active;expires=3600"
    assert request.tag("to") == "ours"
    assert request.target == "sip:server@127.0.0.1:5070;transport=udp"
    assert (request.header("a"), request.header("Subject"), request.tag("cseq")) == ("", "", "")


@pytest.mark.parametrize(
    ("contact", "target"),
    [
        ("sip:a@b;expires=60", "sip:a@b"),
        ('"A" <sip:a@b;lr>;expires=60', "sip:a@b;lr"),
        ("*", "*"),
        ("", ""),
    ],
)
def test_the_remote_target(contact: str, target: str) -> None:
    request = parse_request(f"NOTIFY sip:a SIP/2.0\r\nContact: {contact}\r\n\r\n".encode())
    assert request is not None
    assert request.target == target


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\r\n\r\n",
        b"SIP/2.0 200 OK\r\nVia: x\r\n\r\n",
        b"NOTIFY sip:a@b SIP/3.0\r\n\r\n",
        b"notify sip:a@b SIP/2.0\r\n\r\n",
        b"NOTIFY SIP/2.0\r\n\r\n",
        b"\0NOTIFY sip:a@b SIP/2.0\r\n\r\n",
    ],
)
def test_what_is_no_request(datagram: bytes) -> None:
    assert parse_request(datagram) is None


def _answers(listener: Listener) -> list[Response]:
    listener.read()
    return [read for read in map(parse, listener.datagrams) if isinstance(read, Response)]


def _asked(listener: Listener, opened: socket.socket, *changes: tuple[str, str]) -> Response:
    """The answer to NOTIFY with ``changes``."""
    text = NOTIFY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    before = len(_answers(listener))
    listener.client = opened.getsockname()
    listener.send(text.encode())
    run_until(lambda: len(_answers(listener)) > before, "the answer")
    return _answers(listener)[-1]


@pytest.mark.usefixtures("client")
def test_a_request_in_an_unknown_dialog_is_481(listener: Listener, opened: socket.socket) -> None:
    answer = _asked(listener, opened)
    assert (answer.status, answer.reason) == (481, "Call/Transaction Does Not Exist")


def test_an_answer_brings_back_what_belongs_to_the_transaction(
    client: UserAgentClient, listener: Listener, opened: socket.socket
) -> None:
    """RFC 3261 §8.2.6.2: all Via in their order, From, To, Call-ID and CSeq."""
    seen: list[uac.Request] = []

    def notified(request: uac.Request) -> tuple[int, str]:
        seen.append(request)
        return 200, "OK"

    client.expect("call-1@purple", notified)
    answer = _asked(listener, opened)
    assert (answer.status, answer.reason, answer.body) == (200, "OK", b"")
    assert [via.rpartition("=")[2] for via in answer.headers.get_all("Via")] == ["z9hG4bKfirst", "z9hG4bKsecond"]
    assert answer.headers["From"] == '"Alice ;tag=no" <sip:alice@example.org>;tag=theirs'
    assert answer.headers["To"] == "<sip:carol@xmpp.im.example.org> ; Tag = ours"
    assert (answer.headers["Call-ID"], answer.headers["CSeq"]) == ("call-1@purple", "7 NOTIFY")
    assert "Event" not in answer.headers
    assert _asked(listener, opened).status == 200, "one that comes again is answered again"
    assert len(seen) == 2
    client.forget("call-1@purple")
    client.forget("call-1@purple")
    assert _asked(listener, opened).status == 481


def test_a_failure_of_our_own_is_500_and_logged(
    client: UserAgentClient, listener: Listener, opened: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_request: uac.Request) -> tuple[int, str]:
        raise ValueError("the cow is ill")

    client.expect("call-1@purple", fail)
    assert _asked(listener, opened).status == 500
    assert "the cow is ill" in caplog.text


def test_ack_is_never_answered(client: UserAgentClient, listener: Listener, opened: socket.socket) -> None:
    listener.client = opened.getsockname()
    listener.send(NOTIFY.replace("NOTIFY", "ACK").encode())
    assert _asked(listener, opened).headers["CSeq"] == "7 NOTIFY"
    assert len(_answers(listener)) == 1
    assert client.waiting == 0


def test_a_request_in_a_dialog_brings_its_call_id_along(client: UserAgentClient, listener: Listener) -> None:
    """RFC 3261 §12.2.1.1"""
    dialog = [("Call-ID", "call-1@purple"), ("CSeq", "7 SUBSCRIBE")]
    client.send(ALICE, [*HEADERS[:2], *dialog], b"", Answers().done, method="SUBSCRIBE")
    (request,) = listener.wait(1)
    assert request.headers.get_all("Call-ID") == ["call-1@purple"]
    assert request.headers.get_all("CSeq") == ["7 SUBSCRIBE"]


def test_what_the_receiver_has_no_room_for_waits(client: UserAgentClient, listener: Listener) -> None:
    """Kamailio's socket holds 212,992 octets; what it cannot hold would be lost until timer E."""
    answers = Answers()
    for number in range(500):
        client.send(ALICE, HEADERS, str(number).encode() * 300, answers.done)
    run_for(0.1)
    assert 40 < len(listener.read()) < 100
    answered: set[str] = set()

    def answer_all() -> bool:
        for request in listener.read():
            if request.headers["Via"] not in answered:
                answered.add(request.headers["Via"])
                listener.answer(request, 200)
        return len(answers) == 500

    run_until(answer_all, "all answers")
    assert len(listener.datagrams) == 500, "something was sent twice"
    bodies = [request.body for request in listener.read()]
    assert bodies == [str(number).encode() * 300 for number in range(500)]


def test_silent_phones_do_not_stop_the_others(client: UserAgentClient, listener: Listener) -> None:
    """A request that is unanswered for 500 ms is with Kamailio, no longer in its buffer."""
    for _ in range(150):
        client.send(ALICE, HEADERS, b"x" * 1000, Answers().done)
    assert len(listener.read()) < 150
    run_until(lambda: len({request.headers["Via"] for request in listener.read()}) == 150, "all requests", 3)


def test_more_than_a_datagram_holds_is_513(client: UserAgentClient) -> None:
    answers = Answers()
    client.send(ALICE, HEADERS, b"x" * 70_000, answers.done)
    assert answers == [], "done is never called from within send"
    run_until(lambda: answers, "the answer")
    assert answers == [(513, "Message Too Large")]


def test_a_full_socket_is_waited_for(listener: Listener, opened: socket.socket) -> None:
    """A socket that takes nothing for a while: a Unix pair stands in, since UDP on loopback never blocks."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    near.setblocking(False)
    far.setblocking(False)
    with sip_client(_Sending(opened, near)) as client:  # type: ignore[arg-type]
        for number in range(60):
            client.send(ALICE, HEADERS, str(number).encode(), Answers().done)
        run_for(0.1)
        received: list[bytes] = []

        def read() -> bool:
            with suppress(BlockingIOError):
                while True:
                    received.append(far.recv(65536))
            return len(received) >= 60

        read()
        assert 0 < len(received) < 60, "the pair took all at once, or this tests nothing"
        run_until(read, "the others", 3)
        assert [datagram.rpartition(b"\r\n\r\n")[2] for datagram in received[:60]] == [b"%d" % n for n in range(60)]
    near.close()
    far.close()


class _Sending:
    """A UDP socket whose datagrams go into a Unix socket pair, which blocks after a few."""

    def __init__(self, opened: socket.socket, near: socket.socket) -> None:
        self.getsockname = opened.getsockname
        self.fileno, self.send, self.recv = near.fileno, near.send, near.recv
