"""The worker's end of Kamailio's RPC against a real datagram socket: order, and nothing lost.

What Kamailio itself does with the calls is for the end-to-end tests.
"""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from purple_bridge.libpurple import glib
from purple_bridge.worker.rpc import RpcClient
from purple_bridge.worker.sip_out import _last_expiry
from tests.loops import run_for, run_until

CALLS = 2_000


class Receiver:
    """The other end: a bound Unix datagram socket, read when a test wants it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.received: list[dict[str, Any]] = []
        self.open()

    def open(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(str(self._path))

    def close(self) -> None:
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def read(self, answer: dict[str, Any] | None = None) -> int:
        """Take all that waits, and answer each call; returns how many there were in all."""
        with suppress(BlockingIOError):
            while True:
                datagram, sender = self._socket.recvfrom(65536)
                call = json.loads(datagram)
                self.received.append(call)
                if answer is not None:
                    self._socket.sendto(json.dumps({"jsonrpc": "2.0", "id": call["id"], **answer}).encode(), sender)
        return len(self.received)

    def send(self, datagram: bytes, path: Path) -> None:
        self._socket.sendto(datagram, str(path))

    @property
    def numbers(self) -> list[int]:
        return [int(call["params"][0]) for call in self.received]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Receiver]:
    receiver = Receiver(tmp_path / "server.sock")
    yield receiver
    receiver.close()


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "own.sock"


@pytest.fixture
def client(server: Receiver, tmp_path: Path, own: Path) -> Iterator[RpcClient]:
    made = RpcClient(str(tmp_path / "server.sock"), own)
    yield made
    glib.remove(made._watch)
    if made._socket is not None:
        made._socket.close()


def _call(client: RpcClient, numbers: range) -> None:
    for number in numbers:
        client.call("the.method", [str(number), "x" * 500], f"call {number}")


def _has_read(server: Receiver, calls: int) -> bool:
    return server.read(answer={"result": "x" * 1000}) == calls


def test_a_call_is_json_rpc(client: RpcClient, server: Receiver) -> None:
    client.call("tm.t_uac_start", ["MESSAGE", "sip:bob@example.org", "Grüße 🐄\r\n"], "MESSAGE")
    run_until(server.read, "the call")
    assert server.received == [
        {
            "jsonrpc": "2.0",
            "method": "tm.t_uac_start",
            "params": ["MESSAGE", "sip:bob@example.org", "Grüße 🐄\r\n"],
            "id": 1,
        }
    ]


def test_calls_arrive_in_order(client: RpcClient, server: Receiver) -> None:
    _call(client, range(CALLS))
    run_until(lambda: server.read(answer={"result": {}}) == CALLS, "all calls")
    assert server.numbers == list(range(CALLS))
    assert client.waiting == 0


def test_a_full_queue_blocks_nothing_and_loses_nothing(client: RpcClient, server: Receiver) -> None:
    _call(client, range(CALLS))
    run_for(0.2)
    assert client.waiting > CALLS / 2, "the kernel queues a few datagrams only, or this tests nothing"
    run_until(lambda: server.read(answer={"result": {}}) == CALLS, "all calls")
    assert server.numbers == list(range(CALLS))


def test_answers_that_are_not_awaited_do_not_fill_the_sockets(client: RpcClient, server: Receiver) -> None:
    for first in range(0, CALLS, 100):
        _call(client, range(first, first + 100))
        run_until(partial(_has_read, server, first + 100), "the calls")
    run_until(lambda: not client._asked, "the answers")


def test_calls_wait_for_a_server_that_is_not_there_yet(tmp_path: Path, own: Path) -> None:
    client = RpcClient(str(tmp_path / "server.sock"), own)
    _call(client, range(10))
    run_for(0.1)
    assert client.waiting == 10
    server = Receiver(tmp_path / "server.sock")
    run_until(lambda: server.read() == 10, "the calls that waited")
    assert server.numbers == list(range(10))
    server.close()
    glib.remove(client._watch)
    assert client._socket is not None
    client._socket.close()


def test_a_restarted_server_gets_all_that_it_had_not_taken(client: RpcClient, server: Receiver) -> None:
    _call(client, range(10))
    run_until(lambda: server.read() == 10, "the calls before")
    server.close()
    _call(client, range(10, CALLS))
    run_for(0.1)
    server.open()
    run_until(lambda: server.read(answer={"result": {}}) == CALLS, "the calls after")
    assert server.numbers == list(range(CALLS))


def test_a_server_that_goes_while_its_queue_is_full(client: RpcClient, server: Receiver) -> None:
    """What the kernel had queued dies with the server; everything behind it arrives, in order."""
    _call(client, range(CALLS))
    run_for(0.1)
    taken = CALLS - client.waiting
    server.close()
    server.open()
    run_until(lambda: server.read(answer={"result": {}}) == CALLS - taken, "the calls that waited")
    assert server.numbers == list(range(taken, CALLS))


def test_a_refusal_is_logged_with_what_it_was_about(
    client: RpcClient, server: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    client.call("tm.t_uac_start", ["MESSAGE"], "MESSAGE abc to sip:bob@example.org")
    with caplog.at_level(logging.WARNING, "purple_bridge"):
        run_until(lambda: server.read(answer={"error": {"code": 500, "message": "no memory"}}), "the call")
        run_until(lambda: caplog.text, "the log")
    assert "MESSAGE abc to sip:bob@example.org: Kamailio refused it: 500 no memory" in caplog.text


def test_numbers_stay_numbers(client: RpcClient, server: Receiver) -> None:
    """presence.refreshWatchers takes its last parameter as nothing else."""
    client.call("presence.refreshWatchers", ["sip:bob@example.org", "presence", 0], "watchers")
    run_until(server.read, "the call")
    assert server.received[0]["params"] == ["sip:bob@example.org", "presence", 0]


@pytest.mark.parametrize("answer", [{"result": {}}, {"error": {"code": 500, "message": "no memory"}}])
def test_done_comes_with_the_answer_whatever_it_is(client: RpcClient, server: Receiver, answer: dict[str, Any]) -> None:
    done: list[str] = []
    for name in ("first", "second"):
        client.call("the.method", [name], name, partial(done.append, name))
    run_until(lambda: server.read() == 2, "the calls")
    assert done == [], "Kamailio has not answered yet"
    client.call("the.method", ["third"], "third")
    run_until(lambda: server.read(answer=answer) == 3, "the third call")
    run_for(0.05)
    assert done == [], "that was the answer to another call"
    for call in server.received[:2]:
        server.send(json.dumps({"jsonrpc": "2.0", "id": call["id"], **answer}).encode(), client._own)
    run_until(lambda: len(done) == 2, "both answers")
    assert done == ["first", "second"]


@pytest.mark.parametrize(
    ("answer", "result"),
    [({"result": {"a": [1]}}, {"a": [1]}), ({"error": {"code": 404, "message": "Not found"}}, None)],
)
def test_a_question_gets_the_result(
    client: RpcClient, server: Receiver, answer: dict[str, Any], result: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """That there is none is an answer, too, and no error for the log."""
    told: list[Any] = []
    client.ask("the.method", ["x"], told.append)
    run_until(lambda: server.read(answer), "the call")
    run_until(lambda: told, "the answer")
    assert (told, caplog.records) == ([result], [])


def _record(*expires: object) -> dict[str, Any]:
    """As ul.lookup has it (modules/usrloc/ul_rpc.c)."""
    return {
        "AoR": "alice@example.org",
        "Contacts": [{"Contact": {"Address": "sip:a", "Expires": one}} for one in expires],
    }


@pytest.mark.parametrize(
    ("record", "seconds"),
    [
        (_record(60), 60),
        (_record(60, 3600, "expired"), 3600),
        (_record("expired", "deleted"), None),
        (_record(), None),
        (_record(0), None),
        (_record(60, "permanent"), float("inf")),
        (None, None),
        ({"AoR": "x"}, None),
    ],
)
def test_until_when_a_phone_is_registered(record: Any, seconds: float | None) -> None:
    until = _last_expiry(record)
    assert until == (pytest.approx(time.time() + seconds, abs=5) if seconds else 0.0)


@pytest.mark.parametrize("datagram", [b"garbage", b"[]", b'{"id": "x"}', b"", b"\xff"])
def test_an_answer_that_cannot_be_read_harms_nothing(
    client: RpcClient, server: Receiver, own: Path, datagram: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    _call(client, range(1))
    run_until(server.read, "the call")
    with caplog.at_level(logging.WARNING, "purple_bridge"):
        server.send(datagram, own)
        run_until(lambda: "cannot be read" in caplog.text, "the log")
    _call(client, range(1, 2))
    run_until(lambda: server.read() == 2, "the next call")
