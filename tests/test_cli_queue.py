"""``purplectl queue``: what it shows, what it changes, what it tells the workers, and how it fails."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from purple_bridge.cli.queue import IDS_PER_QUESTION, _duration
from purple_bridge.commands import ident_of
from purple_bridge.db import queue
from purple_bridge.db.engine import make_engine
from purple_bridge.db.queue import QueueRow
from purple_bridge.libpurple import glib
from purple_bridge.worker.control import ControlServer, socket_path
from tests.command_line import Purplectl
from tests.databases import create_ours, empty_file, run
from tests.loops import run_until
from tests.purplectl import COMMAND

FIRST = 1_700_000_000_000_000 << 10  # as many digits as an id has: more than a float keeps
MESSAGE = {"type": "message", "text": "Grüße \x1b[2J\x9b2J", "new_field": [1, {"a": None}]}

Question = dict[str, Any]


def row(number: int, **changes: Any) -> QueueRow:
    """Created an hour ago, to expire in a day; ``number`` counts from the first id."""
    now = int(time.time())
    plain = QueueRow(
        id=FIRST + number,
        account="0123456789abcdef",
        ext_prot="prpl-jabber",
        ext_user="alice@example.org",
        sip_user="alice@sip.example.org",
        contact="bob@example.org",
        call_id="abc@192.0.2.1",
        fingerprint="fedcba9876543210",
        created=now - 3600,
        expires=now + 86400 + 1800,
        crashes=0,
        held=0,
        message=json.dumps(MESSAGE).encode(),
    )
    return replace(plain, **changes)


class Queue(Purplectl):
    """``purplectl queue`` on one database and one state directory."""

    def __init__(self, directory: Path) -> None:
        super().__init__(empty_file(directory), directory, "queue")

    def fails(self, code: int, *arguments: str, stdin: str = "") -> str:
        """What it prints on stderr; on stdout there is what was done before."""
        result = self(*arguments, stdin=stdin)
        assert result.exit_code == code, result.output
        return result.stderr

    def listed(self, *arguments: str) -> list[int]:
        return [int(one["id"]) - FIRST for one in json.loads(self.done("list", "--json", *arguments))]

    def process(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The real command, while the loop of the workers runs."""
        with subprocess.Popen(
            [*COMMAND, "queue", *arguments],
            env=os.environ | self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            run_until(lambda: process.poll() is not None, "purplectl ends", 60)
            stdout, stderr = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


@pytest.fixture
def purplectl(tmp_path: Path) -> Queue:
    return Queue(tmp_path)


@pytest.fixture
def engine(purplectl: Queue) -> Iterator[Engine]:
    """With three messages that wait and one that is set aside."""
    engine = make_engine(purplectl.url)
    create_ours(engine)
    queue.insert(engine, [row(1), row(2, crashes=2, held=1), row(3, ext_user="Carol@example.org"), row(4, crashes=1)])
    yield engine
    engine.dispose()


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[Question]]]:
    """Starts the control socket of a worker; the questions it is asked."""
    keys: list[int] = []
    servers: list[ControlServer] = []
    watch = glib.watch

    def remembered(*arguments: Any) -> int:
        keys.append(watch(*arguments))
        return keys[-1]

    def start(number: int, error: str = "") -> list[Question]:
        asked: list[Question] = []

        def answer(question: Question) -> dict[str, Any]:
            asked.append(question)
            return {"ok": False, "error": error} if error else {}

        with monkeypatch.context() as patch:
            patch.setattr(glib, "watch", remembered)
            servers.append(ControlServer(socket_path(str(tmp_path), number), {"queue": answer}))
        return asked

    yield start
    for key, server in zip(keys, servers, strict=True):
        glib.remove(key)
        server._socket.close()


# --- list and show ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("engine")
def test_list_is_for_people_and_has_no_text(purplectl: Queue) -> None:
    lines = [line.split("\t") for line in purplectl.done("list").splitlines()]
    assert [line[0] for line in lines] == [str(FIRST + number) for number in (1, 2, 3, 4)]
    assert lines[0][1:] == [
        ident_of(FIRST + 1),
        "sip:alice@sip.example.org",
        "bob@example.org",
        "prpl-jabber alice@example.org",
        "1h",
        lines[0][6],
        "0",
        "waiting",
    ]
    assert lines[0][6].startswith("1d")
    assert lines[1][6:] == ["never", "2", "set aside"]
    assert not any("Gr" in field for line in lines for field in line)


@pytest.mark.usefixtures("engine")
def test_list_of_some(purplectl: Queue) -> None:
    assert purplectl.listed() == [1, 2, 3, 4]
    assert purplectl.listed("--held") == [2]
    assert purplectl.listed("--waiting") == [1, 3, 4]
    assert purplectl.listed("--account", "carol@EXAMPLE.org") == [3]
    assert purplectl.listed("--held", "--account", "carol@example.org") == []


def test_list_as_json(purplectl: Queue, engine: Engine) -> None:
    stored = queue.get(engine, FIRST + 2)
    assert stored
    assert json.loads(purplectl.done("list", "--json", "--held")) == [
        {
            "id": str(FIRST + 2),
            "ident": ident_of(FIRST + 2),
            "state": "set aside",
            "ext_prot": "prpl-jabber",
            "ext_user": "alice@example.org",
            "sip_user": "sip:alice@sip.example.org",
            "contact": "bob@example.org",
            "call_id": "abc@192.0.2.1",
            "created": stored.created,
            "expires": stored.expires,
            "crashes": 2,
        }
    ]


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("written", [str(FIRST + 1), ident_of(FIRST + 1), ident_of(FIRST + 1).upper()])
def test_show_by_either_id(purplectl: Queue, written: str) -> None:
    shown = json.loads(purplectl.done("show", written, "--json"))
    assert shown["id"] == str(FIRST + 1)
    assert shown["message"] == MESSAGE


@pytest.mark.usefixtures("engine")
def test_show_on_a_terminal_has_no_commands_for_it(purplectl: Queue) -> None:
    shown = purplectl.done("show", str(FIRST + 1))
    assert "Grüße" in shown
    assert '"new_field"' in shown
    assert "bob@example.org" in shown
    assert not {"\x1b", "\x9b"} & set(shown)


def test_show_of_what_is_no_json(purplectl: Queue, engine: Engine) -> None:
    queue.insert(engine, [row(9, message=b"\xff\x00 text")])
    assert "text" in purplectl.done("show", str(FIRST + 9))
    assert json.loads(purplectl.done("show", str(FIRST + 9), "--json"))["message"] == "\ufffd\0 text"


@pytest.mark.usefixtures("engine")
def test_show_of_what_is_not_there(purplectl: Queue) -> None:
    assert "not in the queue: 7 " in purplectl.fails(1, "show", "7")


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(
    "written", ["", "x1", "-1", "p", "p-1", "p_1", "1.5", str(1 << 63), "pzzzzzzzzzzzzz", "\u0661"]
)
def test_what_is_no_id(purplectl: Queue, written: str) -> None:
    assert "Usage" in purplectl.fails(2, "show", "--", written)


def test_durations() -> None:
    seconds = [-5, 0, 59, 60, 3599, 3600, 90_061, 86_400 * 400]
    assert [_duration(one) for one in seconds] == ["0s", "0s", "59s", "1m", "59m 59s", "1h", "1d 1h", "400d"]


# --- retry and drop ---------------------------------------------------------------------------------------


def test_retry_of_one(purplectl: Queue, engine: Engine) -> None:
    assert purplectl.done("retry", ident_of(FIRST + 2)) == "1 message to be sent again\n"
    assert queue.get(engine, FIRST + 2) == replace(queue.load(engine, "0123456789abcdef", FIRST + 1, 1)[0], crashes=0)
    assert purplectl.listed("--held") == []


def test_retry_of_all_is_all_that_are_set_aside(purplectl: Queue, engine: Engine) -> None:
    queue.insert(engine, [row(5, crashes=2, held=1)])
    assert purplectl.done("retry", "--all") == "2 messages to be sent again\n"
    assert purplectl.listed("--waiting") == [1, 2, 3, 4, 5]
    last = queue.get(engine, FIRST + 4)
    assert last and last.crashes == 1  # it was not set aside, and keeps its count


@pytest.mark.usefixtures("engine")
def test_drop_asks_first(purplectl: Queue) -> None:
    assert "nothing was dropped" in purplectl.fails(1, "drop", "--all", stdin="n\n")
    assert "Drop 4 messages for good?" in purplectl.fails(1, "drop", "--all", stdin="")
    assert purplectl.listed() == [1, 2, 3, 4]
    assert purplectl.done("drop", str(FIRST + 1), str(FIRST + 1), stdin="y\n").endswith("1 message dropped\n")
    assert purplectl.listed() == [2, 3, 4]


@pytest.mark.usefixtures("engine")
def test_drop_of_all(purplectl: Queue) -> None:
    assert purplectl.done("drop", "--all", "--yes") == "4 messages dropped\n"
    assert purplectl.listed() == []
    assert purplectl.done("drop", "--all") == "0 messages dropped\n"


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("command", ["retry", "drop"])
def test_those_that_are_gone_are_named(purplectl: Queue, command: str) -> None:
    more = ["--yes"] if command == "drop" else []
    result = purplectl(command, "7", str(FIRST + 2), *more)
    assert result.exit_code == 1
    assert result.stdout.startswith("1 message ")
    assert "not in the queue: 7 (" in result.stderr
    assert purplectl.listed("--held") == []


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("command", ["retry", "drop"])
@pytest.mark.parametrize("arguments", [[], ["--all", "7"]])
def test_ids_or_all(purplectl: Queue, command: str, arguments: list[str]) -> None:
    assert "--all" in purplectl.fails(2, command, *arguments)
    assert purplectl.listed() == [1, 2, 3, 4]


# --- the workers ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("engine")
def test_every_worker_is_told(purplectl: Queue, worker: Callable[..., list[Question]]) -> None:
    one, two = worker(1), worker(2)
    done = purplectl.process("retry", "--all")
    assert (done.returncode, done.stderr) == (0, "")
    done = purplectl.process("drop", "--yes", str(FIRST + 1), ident_of(FIRST + 3))
    assert (done.returncode, done.stderr) == (0, "")
    assert one == two
    assert one == [
        {"command": "queue", "action": "retry", "ids": [FIRST + 2]},
        {"command": "queue", "action": "drop", "ids": [FIRST + 1, FIRST + 3]},
    ]


def test_more_ids_than_one_question_takes(
    purplectl: Queue, engine: Engine, worker: Callable[..., list[Question]]
) -> None:
    queue.insert(engine, [row(number) for number in range(10, 10 + 2 * IDS_PER_QUESTION)])
    asked = worker(1)
    done = purplectl.process("drop", "--all", "--yes")
    assert done.stdout == f"{2 * IDS_PER_QUESTION + 4} messages dropped\n"
    assert [len(question["ids"]) for question in asked] == [IDS_PER_QUESTION, IDS_PER_QUESTION, 4]


@pytest.mark.usefixtures("engine")
def test_a_worker_that_refuses_is_reported(purplectl: Queue, worker: Callable[..., list[Question]]) -> None:
    worker(1, error="not now")
    other = worker(2)
    done = purplectl.process("retry", str(FIRST + 2))
    assert done.returncode == 1
    assert done.stdout == "1 message to be sent again\n"
    assert "worker-1: not now" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert len(other) == 1


@pytest.mark.usefixtures("engine")
def test_a_worker_that_does_not_answer_is_reported(purplectl: Queue) -> None:
    path = socket_path(str(purplectl.state_dir), 1)
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.bind(str(path))
        silent.listen()
        assert "worker-1: timed out" in purplectl.fails(1, "drop", "--yes", str(FIRST + 1))
    assert purplectl.listed() == [2, 3, 4]


@pytest.mark.usefixtures("engine")
def test_a_worker_that_does_not_run_is_no_error(purplectl: Queue) -> None:
    path = socket_path(str(purplectl.state_dir), 1)
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as gone:
        gone.bind(str(path))
    assert purplectl.done("drop", "--yes", str(FIRST + 1)) == "1 message dropped\n"


# --- errors -----------------------------------------------------------------------------------------------


def test_a_database_without_the_table(purplectl: Queue, engine: Engine) -> None:
    run(engine, "DROP TABLE purple_queue")
    for arguments in (["list"], ["show", "1"], ["retry", "--all"], ["drop", "--all"]):
        done = purplectl.process(*arguments)
        assert done.returncode == 1
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
        assert "purplectl db" in done.stderr
