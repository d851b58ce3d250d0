"""The worker's control socket: one JSON object a line in, one line out."""

from __future__ import annotations

import json
import logging
import socket
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from purple_bridge.control_client import ask
from purple_bridge.libpurple import glib
from purple_bridge.worker.control import LONGEST_REQUEST, ControlServer, socket_path
from tests.loops import run_until

BIG = "x" * 5_000_000

Connect = Callable[[], socket.socket]


def _ping(_request: dict[str, Any]) -> dict[str, Any]:
    return {"ready": True}


def _echo(request: dict[str, Any]) -> dict[str, Any]:
    return {"said": request["text"]}


def _big(_request: dict[str, Any]) -> dict[str, Any]:
    return {"text": BIG}


def _fail(_request: dict[str, Any]) -> dict[str, Any]:
    raise ValueError("the cow is ill")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a server listens."""
    keys: list[int] = []
    watch = glib.watch

    def remembered(*arguments: Any) -> int:
        keys.append(watch(*arguments))
        return keys[-1]

    monkeypatch.setattr(glib, "watch", remembered)
    own = socket_path(str(tmp_path), 1)
    server = ControlServer(own, {"ping": _ping, "echo": _echo, "big": _big, "fail": _fail})
    yield own
    run_until(lambda: glib._functions.keys().isdisjoint(keys[1:]), "the server closes its ends")
    glib.remove(keys[0])
    server._socket.close()


@pytest.fixture
def connect(path: Path) -> Iterator[Connect]:
    """Opens connections that do not block."""
    connections: list[socket.socket] = []

    def make() -> socket.socket:
        connections.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        connections[-1].connect(str(path))
        connections[-1].setblocking(False)
        return connections[-1]

    yield make
    for connection in connections:
        connection.close()


class Lines:
    """What a connection has received."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.data = b""
        self.ended = False

    def read(self, most: int = 1 << 20) -> bool:
        """True when there is a whole line, or the end."""
        try:
            received = self._connection.recv(most)
        except BlockingIOError:
            received = None
        self.ended = received == b""
        self.data += received or b""
        return self.ended or self.data.endswith(b"\n")

    def seen(self) -> bool:
        """True when something has come; most of it stays where it is."""
        self.read(1000)
        return bool(self.data)

    @property
    def answers(self) -> list[Any]:
        return [json.loads(line) for line in self.data.splitlines()]


def _answers(connection: socket.socket, request: bytes) -> list[Any]:
    connection.sendall(request)
    lines = Lines(connection)
    run_until(lines.read, "the answer")
    return lines.answers


def test_ping_is_answered(connect: Connect) -> None:
    assert _answers(connect(), b'{"command": "ping"}\n') == [{"ok": True, "ready": True}]


def test_arguments_reach_the_command(connect: Connect) -> None:
    request = json.dumps({"command": "echo", "text": "Grüße 🐄"}).encode() + b"\n"
    assert _answers(connect(), request) == [{"ok": True, "said": "Grüße 🐄"}]


def test_only_the_owner_may_connect(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "line",
    [b'{"command": "reboot"}', b"{}", b"[]", b"garbage", b"", b"\xff", b'{"command": ["ping"]}', b'{"command": 1}'],
)
def test_an_unknown_command_is_an_answer(connect: Connect, line: bytes) -> None:
    connection = connect()
    assert _answers(connection, line + b"\n") == [{"ok": False, "error": "unknown command"}]
    assert _answers(connection, b'{"command": "ping"}\n')[0]["ok"]


@pytest.mark.parametrize("line", [b'{"command": "fail"}\n', b'{"command": "echo"}\n'])
def test_a_command_that_fails_is_an_answer_and_logged(
    connect: Connect, line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    connection = connect()
    with caplog.at_level(logging.ERROR, "purple_bridge"):
        answer = _answers(connection, line)[0]
    assert answer["ok"] is False
    assert "log" in answer["error"]
    assert "Error" in caplog.text
    assert _answers(connection, b'{"command": "ping"}\n')[0]["ok"]


def test_two_clients_get_their_own_answers(connect: Connect) -> None:
    one, two = connect(), connect()
    one.sendall(b'{"command": "echo", "te')
    assert _answers(two, b'{"command": "echo", "text": "two"}\n') == [{"ok": True, "said": "two"}]
    assert _answers(one, b'xt": "one"}\n') == [{"ok": True, "said": "one"}]


def test_several_requests_at_once_are_answered_in_order(connect: Connect) -> None:
    connection, lines = connect(), b"".join(b'{"command": "echo", "text": "%d"}\n' % number for number in range(100))
    connection.sendall(lines)
    received = Lines(connection)
    run_until(lambda: received.read() and len(received.answers) == 100, "100 answers")
    assert [answer["said"] for answer in received.answers] == [str(number) for number in range(100)]


def test_a_big_answer_comes_in_pieces_while_others_are_served(connect: Connect) -> None:
    slow, other = connect(), connect()
    slow.sendall(b'{"command": "big"}\n')
    lines = Lines(slow)
    run_until(lines.seen, "the first piece")
    assert _answers(other, b'{"command": "ping"}\n')[0]["ok"]
    run_until(lines.read, "all of it")
    assert lines.answers == [{"ok": True, "text": BIG}]
    assert _answers(slow, b'{"command": "ping"}\n')[0]["ok"]


def test_a_client_that_only_asks_gets_the_whole_answer(connect: Connect) -> None:
    """As in ``echo … | nc -U``: the client's side ends before the answer is out."""
    connection = connect()
    connection.sendall(b'{"command": "big"}\n')
    connection.shutdown(socket.SHUT_WR)
    lines = Lines(connection)
    run_until(lambda: lines.read() and lines.ended, "the answer and the end")
    assert lines.answers == [{"ok": True, "text": BIG}]


def test_a_client_that_leaves_harms_nobody(connect: Connect) -> None:
    gone, other = connect(), connect()
    gone.sendall(b'{"command": "big"}\n{"command": "big"}\n')
    run_until(Lines(gone).seen, "the first octets")
    gone.close()
    assert _answers(other, b'{"command": "ping"}\n')[0]["ok"]


def test_a_request_without_end_is_cut_off(connect: Connect) -> None:
    connection = connect()
    connection.sendall(b"x" * 40_000)
    lines = Lines(connection)

    def pour() -> bool:
        try:
            connection.send(b"x" * LONGEST_REQUEST)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return False

    run_until(pour, "the server closes")
    assert lines.data == b""


def test_the_client_of_purplectl_understands_the_server(path: Path) -> None:
    with ThreadPoolExecutor(1) as thread:
        answer: Future[dict[str, Any]] = thread.submit(ask, path, "echo", text="Hello")
        run_until(answer.done, "the answer")
    assert answer.result() == {"ok": True, "said": "Hello"}


def test_a_socket_left_by_a_process_that_died_is_replaced(tmp_path: Path) -> None:
    own = socket_path(str(tmp_path), 2)
    own.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as old:
        old.bind(str(own))
    server = ControlServer(own, {"ping": _ping})
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(own))
    server._socket.close()
