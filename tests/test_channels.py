"""The queues between processes: frames, their order, and what a full one answers."""

from __future__ import annotations

import multiprocessing
import select
import time
from collections.abc import Iterator
from itertools import chain

import pytest

from purple_bridge.channels import FRAME_BYTES, Channels
from purple_bridge.errors import Overloaded

fork = multiprocessing.get_context("fork")

SENDERS = 3
FRAMES = 2_000


@pytest.fixture
def channels() -> Iterator[Channels]:
    """Queues for three workers."""
    made = Channels(3)
    yield made
    for end in chain.from_iterable(made._pairs):
        end.close()


def _receive(channels: Channels, worker: int, count: int) -> list[bytes]:
    frames: list[bytes] = []
    while len(frames) < count:
        readable, _, _ = select.select([channels.descriptor(worker)], [], [], 10)
        assert readable, f"only {len(frames)} of {count} frames arrived"
        frame = channels.receive(worker)
        assert frame is not None
        frames.append(frame)
    return frames


def _send(channels: Channels, sender: int) -> None:
    for number in range(FRAMES):
        channels.send(1, f"{sender} {number}".encode() + b"x" * (number % 50))


def test_frames_of_many_processes_arrive_whole_and_in_order(channels: Channels) -> None:
    senders = [fork.Process(target=_send, args=(channels, sender)) for sender in range(SENDERS)]
    for process in senders:
        process.start()
    frames = _receive(channels, 1, SENDERS * FRAMES)
    for process in senders:
        process.join(10)
        assert process.exitcode == 0
    for sender in range(SENDERS):
        own = [frame for frame in frames if frame.startswith(b"%d " % sender)]
        assert own == [f"{sender} {number}".encode() + b"x" * (number % 50) for number in range(FRAMES)]
    assert channels.receive(1) is None


def test_workers_have_queues_of_their_own(channels: Channels) -> None:
    channels.send(2, b"for the second")
    assert channels.receive(1) is None
    assert channels.receive(3) is None
    assert channels.receive(2) == b"for the second"


def test_a_large_frame_arrives_whole(channels: Channels) -> None:
    frame = bytes(range(256)) * 300  # more than content.MAX_BODY
    channels.send(1, frame)
    assert len(frame) < FRAME_BYTES
    assert channels.receive(1) == frame


def _fill(channels: Channels, frame: bytes) -> tuple[int, Overloaded]:
    for count in range(10_000_000):
        try:
            channels.send(1, frame)
        except Overloaded as error:
            return count, error
    raise AssertionError("the queue has no end")


def test_a_full_queue_is_an_answer_at_once(channels: Channels) -> None:
    count, error = _fill(channels, b"x" * 1000)
    assert count >= 100
    assert (error.status, error.retry_after) == (503, 2)
    assert "1" in error.reason
    started = time.monotonic()
    for _ in range(100):
        with pytest.raises(Overloaded):
            channels.send(1, b"x" * 1000)
    assert time.monotonic() - started < 1.0
    channels.send(2, b"the other queue is not full")


def test_a_queue_that_was_full_takes_frames_again_and_lost_none(channels: Channels) -> None:
    count, _ = _fill(channels, b"x" * 1000)
    assert len(_receive(channels, 1, count)) == count
    assert channels.receive(1) is None
    channels.send(1, b"again")
    assert channels.receive(1) == b"again"


def test_a_frame_the_kernel_cannot_take_is_an_answer_too(channels: Channels) -> None:
    with pytest.raises(Overloaded):
        channels.send(1, b"x" * (64 << 20))
