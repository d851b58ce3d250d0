"""The table by which retransmissions are known: for at least 64 seconds, in every process."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from purple_bridge import accepted as module
from purple_bridge.accepted import Accepted, fingerprint
from tests.clock import Clock

START = 1_700_000_000.0

fork = multiprocessing.get_context("fork")


@pytest.mark.parametrize("seconds", [0, 6, 20, 31, 64])
def test_known_for_as_long_as_a_phone_may_repeat_itself(seconds: int) -> None:
    clock = Clock(START)
    table = Accepted(clock)
    mark = fingerprint("call", "1", "tag")
    assert mark not in table
    table.add(mark)
    clock.now += seconds
    assert mark in table
    assert fingerprint("call", "2", "tag") not in table


def test_forgotten_in_the_end() -> None:
    clock = Clock(START)
    table = Accepted(clock)
    table.add(fingerprint("call", "1", "tag"))
    clock.now += module.SECONDS + 1
    assert fingerprint("call", "1", "tag") not in table


@given(st.tuples(st.text(), st.text(), st.text()), st.tuples(st.text(), st.text(), st.text()))
def test_each_part_counts(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    same = [part.replace("\0", "") for part in one] == [part.replace("\0", "") for part in other]
    assert one != other or fingerprint(*one) == fingerprint(*other)
    assert same or fingerprint(*one) != fingerprint(*other)


def test_many_are_kept() -> None:
    table = Accepted(Clock(START))
    marks = [fingerprint(f"call-{number}", "1", "tag") for number in range(50_000)]
    for mark in marks:
        table.add(mark)
    assert all(mark in table for mark in marks)


def test_the_oldest_neighbour_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLOTS", 16)
    clock = Clock(START)
    table = Accepted(clock)
    marks = [(number * 16 + 3).to_bytes(8) for number in range(1, module.REACH + 2)]
    for mark in marks:
        table.add(mark)
        clock.now += 1
    assert [mark in table for mark in marks] == [False, *[True] * module.REACH]


def _add(table: Accepted, ready: Connection) -> None:
    table.add(fingerprint("call", "1", "tag"))
    ready.send(True)


def test_shared_by_all_processes() -> None:
    table = Accepted()
    ours, theirs = fork.Pipe()
    process = fork.Process(target=_add, args=(table, theirs))
    process.start()
    assert ours.recv()
    process.join()
    assert fingerprint("call", "1", "tag") in table


def test_one_process_at_a_time_handles_a_request() -> None:
    table = Accepted()
    mark = fingerprint("call", "1", "tag")
    ours, theirs = fork.Pipe()

    def handle() -> None:
        with table.turn(mark):
            theirs.send("begun")
            assert theirs.recv() == "go on"
            table.add(mark)

    process = fork.Process(target=handle)
    process.start()
    assert ours.recv() == "begun"
    assert not table.turn(mark).acquire(block=False)
    ours.send("go on")
    with table.turn(mark):
        assert mark in table
    process.join()
