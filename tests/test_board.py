"""The table of states in shared memory: written by one process, read by all."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection

import pytest

from purple_bridge import board as board_module
from purple_bridge.board import AccountBoard, BoardFull, State, Way
from purple_bridge.ownership import owner_of

fork = multiprocessing.get_context("fork")

XMPP = "prpl-jabber"


def test_an_unknown_account_is_offline() -> None:
    assert AccountBoard(2).state(XMPP, "nobody@example.org") is State.OFFLINE


@pytest.mark.parametrize("state", State)
def test_every_state_is_kept(state: State) -> None:
    board = AccountBoard(3)
    board.set_state(XMPP, "alice@example.org", State.ONLINE)
    board.set_state(XMPP, "alice@example.org", state)
    assert board.state(XMPP, "Alice@example.org/phone") is state
    assert board.state(XMPP, "bob@example.org") is State.OFFLINE
    assert state.word == state.name.lower()


@pytest.mark.parametrize("way", Way)
def test_every_way_is_kept(way: Way) -> None:
    board = AccountBoard(2)
    assert board.way(XMPP, "alice@example.org") is Way.QUEUE
    board.set_state(XMPP, "alice@example.org", State.ONLINE, way)
    assert board.way(XMPP, "alice@example.org") is way
    assert board.way(XMPP, "bob@example.org") is Way.QUEUE


def test_a_reload_is_requested_once() -> None:
    board = AccountBoard(2)
    board.request_reload(2)
    assert not board.reload_requested(1)
    assert board.reload_requested(2)
    assert not board.reload_requested(2)


def _write(board: AccountBoard, orders: Connection) -> None:
    """A worker: sets what it is told, then says so."""
    while True:
        state = orders.recv()
        if state is None:
            return
        board.set_state(XMPP, "alice@example.org", State(state))
        board.set_ready(1, state == State.ONLINE)
        orders.send("done")


def test_states_are_seen_in_other_processes_at_once() -> None:
    board = AccountBoard(1)
    ours, theirs = fork.Pipe()
    worker = fork.Process(target=_write, args=(board, theirs))
    worker.start()
    for state in (State.CONNECTING, State.ONLINE, State.ERROR, State.OFFLINE):
        ours.send(state.value)
        assert ours.recv() == "done"
        assert board.state(XMPP, "alice@example.org") is state
        assert board.ready(1) is (state is State.ONLINE)
    ours.send(None)
    worker.join(10)
    assert worker.exitcode == 0


def test_workers_are_ready_one_by_one() -> None:
    board = AccountBoard(3)
    assert [board.ready(worker) for worker in (1, 2, 3)] == [False, False, False]
    board.set_ready(2, True)
    assert [board.ready(worker) for worker in (1, 2, 3)] == [False, True, False]
    board.set_ready(2, False)
    assert not board.ready(2)


def test_many_accounts_keep_their_own_state() -> None:
    board, states = AccountBoard(4), list(State)
    accounts = {f"user{number}@example.org": states[number % 4] for number in range(20_000)}
    for name, state in accounts.items():
        board.set_state(XMPP, name, state)
    board.set_ready(1, True)
    assert {name: board.state(XMPP, name) for name in accounts} == accounts


def test_a_full_board_says_so_and_keeps_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "SLOTS", 8)
    board = AccountBoard(2)
    names = [name for name in (f"user{number}" for number in range(100)) if owner_of(XMPP, name, 2) == 1]
    other = next(name for name in (f"user{number}" for number in range(100)) if owner_of(XMPP, name, 2) == 2)
    for name in names[:8]:
        board.set_state(XMPP, name, State.ONLINE)
    with pytest.raises(BoardFull, match="workers"):
        board.set_state(XMPP, names[8], State.ONLINE)
    assert board.state(XMPP, names[8]) is State.OFFLINE
    assert all(board.state(XMPP, name) is State.ONLINE for name in names[:8])
    board.set_state(XMPP, names[0], State.ERROR)
    board.set_state(XMPP, other, State.ONLINE)
    assert board.state(XMPP, names[0]) is State.ERROR
    assert board.state(XMPP, other) is State.ONLINE
