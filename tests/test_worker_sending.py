"""What a worker was sending when it died is known to the next one."""

from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
import pytest

from purple_bridge.commands import SendMessage
from purple_bridge.worker.sending import LENGTH, SIZE, Sending

fork = multiprocessing.get_context("fork")

MESSAGE = SendMessage(
    id=7,
    protocol="prpl-jabber",
    ext_user="alice@example.org",
    contact="bob@example.org",
    text="😀" * 16_000,
    sip_user="alice@example.org",
    call_id="call",
    wants=frozenset({"negative-delivery"}),
)


def _send_and_wait(path: Path, ready: Connection) -> None:
    Sending(path).start(MESSAGE)
    ready.send(True)
    signal.pause()


def test_a_killed_process_leaves_the_message_behind(tmp_path: Path) -> None:
    ours, theirs = fork.Pipe()
    process = fork.Process(target=_send_and_wait, args=(tmp_path / "sending", theirs))
    process.start()
    assert ours.recv()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    after = Sending(tmp_path / "sending")
    assert after.left_behind() == MESSAGE
    assert after.left_behind() is None


def test_nothing_is_left_behind_of_what_went_well(tmp_path: Path) -> None:
    sending = Sending(tmp_path / "sending")
    assert sending.left_behind() is None
    sending.start(MESSAGE)
    sending.end()
    assert Sending(tmp_path / "sending").left_behind() is None


def test_what_the_network_has_is_not_left_behind(tmp_path: Path) -> None:
    sending = Sending(tmp_path / "sending")
    sending.start(MESSAGE)
    sending.settled(["another"])
    assert Sending(tmp_path / "sending").left_behind() == MESSAGE
    sending.start(MESSAGE)
    sending.settled(["another", MESSAGE.ident])
    assert Sending(tmp_path / "sending").left_behind() is None


def test_an_earlier_message_that_the_network_has_is_not_the_one_left_behind(tmp_path: Path) -> None:
    sending, later = Sending(tmp_path / "sending"), msgspec.structs.replace(MESSAGE, id=8)
    sending.start(MESSAGE)
    sending.start(later)
    sending.settled([MESSAGE.ident])
    assert Sending(tmp_path / "sending").left_behind() == later


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xffabc", (5).to_bytes(LENGTH) + b"\xc1\xc1\xc1\xc1\xc1"])
def test_garbage_is_nothing(tmp_path: Path, garbage: bytes) -> None:
    (tmp_path / "sending").write_bytes(garbage)
    assert Sending(tmp_path / "sending").left_behind() is None


def test_the_file_is_private(tmp_path: Path) -> None:
    Sending(tmp_path / "sending")
    assert (tmp_path / "sending").stat().st_mode & 0o777 == 0o600


def test_a_disk_that_fills_up_does_not_matter(tmp_path: Path) -> None:
    Sending(tmp_path / "sending")
    assert (tmp_path / "sending").stat().st_blocks * 512 >= SIZE
