"""Who may have kept messages: known to every process, never forgotten, and renewed by every store."""

from __future__ import annotations

import multiprocessing

from hypothesis import given
from hypothesis import strategies as st

from purple_bridge.kept_users import KeptUsers, keeper_of

fork = multiprocessing.get_context("fork")


@given(st.text(), st.text())
def test_a_mark_is_seen(username: str, domain: str) -> None:
    users = KeptUsers()
    assert users.stamp(username, domain) == 0
    users.mark(username, domain)
    assert users.stamp(username, domain) != 0


def test_every_mark_is_another_one() -> None:
    users = KeptUsers()
    stamps = set()
    for _ in range(100):
        users.mark("alice", "example.org")
        stamps.add(users.stamp("alice", "example.org"))
    assert len(stamps) == 100


def test_others_are_not_marked() -> None:
    """Nearly: a slot is shared by chance only."""
    users = KeptUsers()
    users.mark("alice", "example.org")
    seen = [number for number in range(1000) if users.stamp(f"user{number}", "example.org")]
    assert len(seen) < 5
    assert users.stamp("ALICE", "example.org") == users.stamp("alice", "example.org")


def test_a_mark_crosses_processes() -> None:
    users = KeptUsers()
    child = fork.Process(target=users.mark, args=("alice", "example.org"))
    child.start()
    child.join(10)
    assert users.stamp("alice", "example.org")


def test_that_rows_are_handed_out_crosses_processes() -> None:
    """Who asks while it goes on is not forgotten at its end."""
    users, alice = KeptUsers(), ("alice", "example.org")
    assert not users.is_handing_out(*alice)
    first = users.ask(*alice)
    child = fork.Process(target=users.ask, args=alice)
    child.start()
    child.join(10)
    users.done(*alice, first)
    assert users.is_handing_out(*alice)
    assert not users.is_handing_out("bob", "example.org")
    users.done(*alice, users.asked(*alice))
    assert not users.is_handing_out(*alice)
    assert users.stamp(*alice) == 0


def test_each_user_has_one_keeper_and_each_worker_some_users() -> None:
    keepers = [keeper_of(f"user{number}@example.org", 4) for number in range(400)]
    assert set(keepers) == {1, 2, 3, 4}
    assert keepers == [keeper_of(f"user{number}@example.org", 4) for number in range(400)]
