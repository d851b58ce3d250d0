"""The descriptors and timers of many connections behind one descriptor and one timer of GLib's loop."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from purple_bridge.libpurple import c
from purple_bridge.libpurple.eventloop import LONG_TIMERS, Inputs, LongTimers
from tests.clock import Clock
from tests.loops import run_for, run_until

READ, WRITE = c.PURPLE_INPUT_READ, c.PURPLE_INPUT_WRITE


@pytest.fixture
def inputs() -> Inputs:
    inputs = Inputs()
    inputs.install()
    return inputs


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


class Seen(list[tuple[int, int]]):
    """What was told: (descriptor, condition)."""

    def note(self, descriptor: int, happened: int) -> None:
        self.append((descriptor, happened))


def test_a_reader_is_told_again_until_all_is_read(inputs: Inputs, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    seen: list[bytes] = []
    inputs.add(ours.fileno(), READ, lambda _descriptor, _happened: seen.append(ours.recv(1)))
    theirs.send(b"abc")
    run_until(lambda: len(seen) == 3, "three octets")
    assert seen == [b"a", b"b", b"c"]


def test_reader_and_writer_of_one_descriptor(inputs: Inputs, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    reads, writes = Seen(), Seen()
    inputs.add(ours.fileno(), READ, reads.note)
    writer = inputs.add(ours.fileno(), WRITE, writes.note)
    run_until(lambda: writes, "it can be written to")
    assert not reads and set(writes) == {(ours.fileno(), WRITE)}
    assert inputs.remove(writer)
    assert not inputs.remove(writer)
    count = len(writes)
    theirs.send(b"a")
    run_until(lambda: reads, "it can be read")
    assert len(writes) == count and set(reads) == {(ours.fileno(), READ)}


def test_one_watcher_for_both(inputs: Inputs, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    seen = Seen()
    theirs.send(b"a")
    inputs.add(ours.fileno(), READ | WRITE, seen.note)
    run_until(lambda: seen, "it is ready")
    assert seen[0] == (ours.fileno(), READ | WRITE)


@pytest.mark.parametrize("condition", [READ, WRITE])
def test_the_end_of_a_connection_wakes(
    inputs: Inputs, pair: tuple[socket.socket, socket.socket], condition: int
) -> None:
    ours, theirs = pair
    theirs.close()
    seen = Seen()
    inputs.add(ours.fileno(), condition, seen.note)
    run_until(lambda: seen, "the end")
    assert seen[0] == (ours.fileno(), condition)


def test_a_removed_watcher_is_not_told(inputs: Inputs, pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    seen = Seen()
    handle = inputs.add(ours.fileno(), READ, seen.note)
    theirs.send(b"a")
    assert inputs.remove(handle)
    run_for(0.1)
    assert not seen


def test_a_watcher_may_end_another_that_is_ready(inputs: Inputs) -> None:
    """Of two that are ready at once the first one closes the other's connection."""
    pairs = [socket.socketpair() for _ in range(2)]
    handles: list[int] = []
    told: list[int] = []

    def ready(own: int, _descriptor: int, _happened: int) -> None:
        told.append(own)
        for handle in handles:
            inputs.remove(handle)
        for ours, _ in pairs:
            ours.close()

    for number, (ours, theirs) in enumerate(pairs):
        theirs.send(b"a")
        handles.append(inputs.add(ours.fileno(), READ, partial(ready, number)))
    run_for(0.1)
    assert len(told) == 1
    for _, theirs in pairs:
        theirs.close()


def test_a_number_that_is_another_connections_now(inputs: Inputs) -> None:
    """Closed without being removed before, as a library below libpurple may do it."""
    (first, other), (ours, theirs) = socket.socketpair(), socket.socketpair()
    number, stale, seen = first.detach(), Seen(), Seen()
    handle = inputs.add(number, READ, stale.note)
    os.dup2(ours.fileno(), number)  # which closes what it was
    inputs.remove(handle)
    inputs.add(number, READ, seen.note)
    theirs.send(b"a")
    run_until(lambda: seen, "the new connection")
    assert not stale
    os.close(number)
    for one in (other, ours, theirs):
        one.close()


def test_a_file_can_be_watched(inputs: Inputs, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("content")
    seen = Seen()
    with path.open() as file:
        handle = inputs.add(file.fileno(), READ, seen.note)
        run_until(lambda: seen, "the file is ready")
        assert inputs.remove(handle)
    assert seen[0][1] == READ


def ticked(timers: LongTimers, clock: Clock, seconds: int) -> None:
    """So long passes at once; the timer behind comes once a second."""
    clock.now += seconds
    before = timers._looked_at
    run_until(lambda: timers._looked_at > before, "a look at the timers")


def test_a_long_timer_comes_neither_early_nor_twice() -> None:
    clock, seen = Clock(1000.5), list[str]()
    timers = LongTimers(clock)
    handle = timers.add(30, lambda: seen.append("due"))
    assert handle >= LONG_TIMERS
    ticked(timers, clock, 30)
    assert not seen, "29.5 s may have passed"
    ticked(timers, clock, 1)
    assert seen == ["due"]
    assert not timers.remove(handle)
    timers.add(60, lambda: seen.append("second"))
    ticked(timers, clock, 40)
    assert seen == ["due"]


def test_a_long_timer_repeats_until_it_is_removed() -> None:
    clock, seen = Clock(1000.5), list[float]()
    timers = LongTimers(clock)

    def due() -> bool:
        seen.append(clock.now)
        return True

    handle = timers.add(30, due)
    ticked(timers, clock, 31)
    ticked(timers, clock, 31)
    assert len(seen) == 2
    assert timers.remove(handle)
    assert not timers.remove(handle)
    clock.now += 100
    run_for(1.2)
    assert len(seen) == 2


def test_a_long_timer_may_end_itself_and_others() -> None:
    clock, seen = Clock(1000.5), list[str]()
    timers = LongTimers(clock)
    handles: list[int] = []

    def due(name: str) -> bool:
        seen.append(name)
        for handle in handles:
            timers.remove(handle)
        return True

    handles += [timers.add(30, partial(due, name)) for name in ("first", "second")]
    ticked(timers, clock, 31)
    assert len(seen) == 1
    assert not timers._seconds, "no timer is left, so there is no look at them either"


def test_removed_long_timers_take_no_memory() -> None:
    timers = LongTimers()
    for _ in range(1000):
        assert timers.remove(timers.add(120, lambda: None))
    assert not timers._seconds
    assert sum(len(due) for due in timers._due.values()) == 0
