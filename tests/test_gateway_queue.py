"""What got its 202 arrives, whatever dies in between; what cannot arrive comes back as words."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from purple_bridge.control_client import ask
from purple_bridge.db import queue
from purple_bridge.db.engine import make_engine
from purple_bridge.db.queue import QueueRow
from purple_bridge.launcher import rpc
from tests.agents.phone import Phone
from tests.faults.sitecustomize import CRASHES
from tests.gateway import Gateway, sip, xmpp_contact
from tests.servers.kamailio import PROJECT
from tests.servers.ngircd import Ngircd
from tests.servers.prosody import Prosody
from tests.waiting import wait_until

ALICE, BOB = "alice@localhost", xmpp_contact("bob@localhost")
FAULTS = PROJECT / "tests" / "faults"


@pytest.fixture
def own_prosody(tmp_path: Path) -> Iterator[Prosody]:
    with Prosody(tmp_path / "prosody", {"alice": "secret", "bob": "secret"}) as prosody:
        yield prosody


def _gateway(directory: Path, **options: Any) -> Gateway:
    return Gateway(directory / "gw", **options)


def _online(gateway: Gateway, prosody: Prosody) -> Phone:
    gateway.add_xmpp_account("alice", prosody)
    return gateway.online_phone("alice", ALICE)


def _rows(gateway: Gateway) -> list[QueueRow]:
    engine = make_engine(gateway.kamailio.db_url)
    try:
        return list(queue.rows(engine))
    finally:
        engine.dispose()


def _texts(rows: list[QueueRow]) -> list[str]:
    return [json.loads(row.message)["text"] for row in rows]


def _send(phone: Phone, *texts: str) -> None:
    for text in texts:
        assert phone.message(BOB, text).status == 202


FIVE = tuple(f"number {number}" for number in range(5))


def test_what_waits_survives_kamailio_and_the_im_server(tmp_path: Path, own_prosody: Prosody) -> None:
    with _gateway(tmp_path) as gateway:
        phone = _online(gateway, own_prosody)
        own_prosody.kill()
        gateway.wait_state(ALICE, "error")
        _send(phone, *FIVE)
        assert _texts(_rows(gateway)) == list(FIVE)
        wait_until(lambda: gateway.account(ALICE)["queued"] == 5, 30, "the worker has counted them")
        gateway.kamailio.kill()
        gateway.kamailio.start()
        _send(phone, "number 5")
        own_prosody.start()
        bob = gateway.xmpp_user(own_prosody, "bob")
        assert [bob.wait_message(timeout=40).body for _ in range(6)] == [*FIVE, "number 5"]
        wait_until(lambda: not _rows(gateway), 30, "no row is left")


def test_a_server_that_does_not_answer(tmp_path: Path, own_prosody: Prosody) -> None:
    """It takes the octets but acknowledges nothing: after a moment the messages are written down."""
    with _gateway(tmp_path) as gateway:
        phone = _online(gateway, own_prosody)
        own_prosody.pause()
        _send(phone, *FIVE)
        wait_until(lambda: _texts(_rows(gateway)) == list(FIVE), 30, "rows of what is not acknowledged")
        _send(phone, "number 5")
        wait_until(lambda: _texts(_rows(gateway)) == [*FIVE, "number 5"], 30, "a row of this one, too")
        gateway.kamailio.kill_worker(gateway.account(ALICE)["worker"])
        wait_until(lambda: not gateway.kamailio.running, 12, "the launcher ends")
        own_prosody.kill()
        gateway.kamailio.start()
        own_prosody.start()
        bob = gateway.xmpp_user(own_prosody, "bob")
        assert [bob.wait_message(timeout=40).body for _ in range(6)] == [*FIVE, "number 5"]


def test_a_stop_writes_down_what_is_under_way(tmp_path: Path, own_prosody: Prosody) -> None:
    with _gateway(tmp_path) as gateway:
        phone = _online(gateway, own_prosody)
        own_prosody.pause()
        _send(phone, *FIVE)
        gateway.kamailio.send_signal(signal.SIGTERM)
        assert gateway.kamailio.wait_end(10) == 0
        assert _texts(_rows(gateway)) == list(FIVE)
        own_prosody.kill()
        own_prosody.start()
        gateway.kamailio.stop()
        gateway.kamailio.start()
        bob = gateway.xmpp_user(own_prosody, "bob")
        assert [bob.wait_message(timeout=40).body for _ in range(5)] == list(FIVE)


def test_a_user_who_is_not_signed_on(tmp_path: Path, own_prosody: Prosody) -> None:
    with _gateway(tmp_path) as gateway:
        gateway.add_xmpp_account("alice", own_prosody)
        phone = gateway.phone("alice")
        _send(phone, *FIVE)
        (shown,) = json.loads(gateway.purplectl_done("status", "--json"))
        assert (shown["state"], shown["queued"]) == ("offline", len(FIVE))
        bob = gateway.xmpp_user(own_prosody, "bob")
        gateway.publish_until_seen(phone, "alice", ALICE)
        assert [bob.wait_message().body for _ in range(5)] == list(FIVE)


def test_irc_lines_without_a_pong(tmp_path: Path) -> None:
    server = Ngircd(tmp_path / "ngircd")
    with server, _gateway(tmp_path) as gateway:
        gateway.add_irc_account("alice", server, "alice")
        phone = gateway.online_phone("alice", f"alice@{server.host}")
        carol = "sip:carol@irc.im.example.org"
        worker = gateway.kamailio.worker_pid(gateway.account(f"alice@{server.host}")["worker"])
        server.pause()
        for text in FIVE:
            assert phone.message(carol, text).status == 202
        server.kill()
        gateway.wait_state(f"alice@{server.host}", "error", timeout=20)
        os.kill(worker, signal.SIGSTOP)  # so that carol is there before it
        try:
            server.start()
            user = gateway.irc_user(server, "carol")
        finally:
            os.kill(worker, signal.SIGCONT)
        assert [user.wait_message(timeout=40).text for _ in range(5)] == list(FIVE)


def test_the_end_of_a_wait_is_told(tmp_path: Path, own_prosody: Prosody) -> None:
    with _gateway(tmp_path, settings={"queue_ttl": 2}) as gateway:
        gateway.add_xmpp_account("alice", own_prosody)
        phone = gateway.phone("alice")
        _send(phone, "never read")
        notice = phone.wait_message()
        assert notice.from_uri == BOB
        assert "bob@localhost" in notice.text
        assert "not delivered" in notice.text
        wait_until(lambda: not _rows(gateway), 30, "no row is left")
        assert phone.message(BOB, "at once or never", headers={"Expires": "0"}).status == 480


def test_a_retransmission_that_tm_does_not_know_any_more(tmp_path: Path, own_prosody: Prosody) -> None:
    with _gateway(tmp_path, auth=False) as gateway:
        phone = _online(gateway, own_prosody)
        bob = gateway.xmpp_user(own_prosody, "bob")
        _send_without_waiting(phone, "once")
        wait_until(lambda: len(phone.stray_responses) == 1, 30, "the answer")
        wait_until(lambda: _transactions(gateway) == 0, 15, "tm has forgotten it")
        _send_without_waiting(phone, "once")
        wait_until(lambda: len(phone.stray_responses) == 2, 30, "the answer again")
        assert [response.status for response in phone.stray_responses] == [202, 202]
        _send(phone, "last")
        assert [bob.wait_message().body for _ in range(2)] == ["once", "last"]


def _send_without_waiting(phone: Phone, text: str, call_id: str = "once@phone") -> None:
    host, port = phone.address
    lines = [
        f"MESSAGE {BOB} SIP/2.0",
        f"Via: SIP/2.0/UDP {host}:{port};rport;branch=z9hG4bK{call_id.partition('@')[0]}",
        "Max-Forwards: 70",
        f"From: <{sip('alice')}>;tag=t1",
        f"To: <{BOB}>",
        f"Call-ID: {call_id}",
        "CSeq: 7 MESSAGE",
        f"Content-Length: {len(text)}",
    ]
    phone.send_raw(("\r\n".join(lines) + f"\r\n\r\n{text}").encode())


def _transactions(gateway: Gateway) -> int:
    return int(rpc.call(gateway.kamailio.rpc_socket, "tm.stats")["current"])


@pytest.mark.parametrize("mode", ["offline", "always"])
def test_a_message_that_crashes_libpurple_twice_is_set_aside(tmp_path: Path, own_prosody: Prosody, mode: str) -> None:
    with _gateway(tmp_path, auth=False, settings={"queue": mode}) as gateway:
        gateway.kamailio.python_path = [FAULTS]
        gateway.kamailio.restart()
        phone = _online(gateway, own_prosody)
        bob = gateway.xmpp_user(own_prosody, "bob")
        _send_without_waiting(phone, CRASHES)
        wait_until(lambda: not gateway.kamailio.running, 20, "the crash takes the server down")
        with contextlib.suppress(AssertionError):  # the second crash may come before the launcher is ready
            gateway.kamailio.start()
        wait_until(lambda: not gateway.kamailio.running, 20, "and once more")
        gateway.kamailio.start()
        gateway.wait_state(ALICE, "online", timeout=20)
        _send(phone, "the next one")
        assert bob.wait_message().body == "the next one"
        assert gateway.kamailio.running
        wait_until(lambda: len(_rows(gateway)) == 1, 30, "the row of the next one is gone")
        (row,) = _rows(gateway)
        assert (row.crashes, row.held) == (2, 1)
        assert f"purplectl queue show {row.id}" in gateway.kamailio.log
        assert "set aside" in gateway.purplectl_done("queue", "list")
        gateway.purplectl_done("queue", "drop", str(row.id), "--yes")
        assert not _rows(gateway)


@pytest.mark.parametrize("mode", ["offline", "always"])
def test_an_acknowledged_message_does_not_come_again(tmp_path: Path, own_prosody: Prosody, mode: str) -> None:
    """The worker dies within the same second, of something else."""
    with _gateway(tmp_path, auth=False, settings={"queue": mode}) as gateway:
        phone = _online(gateway, own_prosody)
        bob = gateway.xmpp_user(own_prosody, "bob")
        worker = gateway.kamailio.worker_pid(gateway.account(ALICE)["worker"])
        _send(phone, "once")
        assert bob.wait_message().body == "once"
        wait_until(lambda: gateway.account(ALICE)["queued"] == 0, 30, "it is acknowledged")
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: not gateway.kamailio.running, 20, "the launcher ends")
        gateway.kamailio.start()
        gateway.wait_state(ALICE, "online", timeout=30)
        _send(phone, "last")
        bob.wait_message(lambda message: message.body == "last")
        assert [message.body for message in bob.messages] == ["once", "last"]
        assert "the worker died while it sent this message" not in gateway.kamailio.log


def test_rows_that_are_read_again_while_messages_are_on_their_way_come_once(
    tmp_path: Path, own_prosody: Prosody
) -> None:
    with _gateway(tmp_path, auth=False, settings={"queue": "always"}) as gateway:
        phone = _online(gateway, own_prosody)
        bob = gateway.xmpp_user(own_prosody, "bob")
        texts = [f"number {number}" for number in range(200)]
        with _asked_again_and_again(gateway):
            _send(phone, *texts)
        _send(phone, "last")
        bob.wait_message(lambda message: message.body == "last", 40)
        assert [message.body for message in bob.messages] == [*texts, "last"]


@contextlib.contextmanager
def _asked_again_and_again(gateway: Gateway) -> Iterator[None]:
    """`purplectl queue retry`, of messages that are not there."""
    end, sockets = Event(), list((gateway.kamailio.state_dir / "run").glob("worker-*.sock"))

    def retry() -> None:
        while not end.is_set():
            for path in sockets:
                ask(path, "queue", action="retry", ids=[])

    with ThreadPoolExecutor(1) as thread:
        asking = thread.submit(retry)
        try:
            yield
        finally:
            end.set()
        asking.result()


def test_purplectl_queue_while_the_gateway_runs(tmp_path: Path, own_prosody: Prosody) -> None:
    with _gateway(tmp_path) as gateway:
        phone = _online(gateway, own_prosody)
        own_prosody.kill()
        gateway.wait_state(ALICE, "error")
        _send(phone, *FIVE)
        rows = _rows(gateway)
        gateway.purplectl_done("queue", "drop", str(rows[1].id), str(rows[3].id), "--yes")
        own_prosody.start()
        bob = gateway.xmpp_user(own_prosody, "bob")
        assert [bob.wait_message(timeout=40).body for _ in range(3)] == [FIVE[0], FIVE[2], FIVE[4]]


def test_a_retried_message_leaves_at_once(tmp_path: Path, own_prosody: Prosody) -> None:
    with _gateway(tmp_path) as gateway:
        phone = _online(gateway, own_prosody)
        bob = gateway.xmpp_user(own_prosody, "bob")
        own_prosody.pause()
        _send(phone, "set aside")
        wait_until(lambda: _rows(gateway), 30, "a row")
        (row,) = _rows(gateway)
        gateway.kamailio.stop()
        own_prosody.kill()
        engine = make_engine(gateway.kamailio.db_url)
        for _ in range(2):
            queue.note_crash(engine, row)
        engine.dispose()
        own_prosody.start()
        gateway.kamailio.start()
        gateway.wait_state(ALICE, "online", timeout=30)
        bob.connect()
        _send(phone, "before")
        assert bob.wait_message().body == "before"
        gateway.purplectl_done("queue", "retry", str(row.id))
        assert bob.wait_message().body == "set aside"
