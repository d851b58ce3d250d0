"""Who guesses a SIP user's password has to wait soon, by SIP and by HTTP; nobody else does."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from purple_bridge.guesses import AT_ONCE, SECONDS, Guesses
from purple_bridge.rates import Buckets, size
from tests.clock import Clock
from tests.network import PUBLIC, run_in_network

DOMAIN = "example.org"


@pytest.fixture
def guesses(clock: Clock) -> Guesses:
    return Guesses(Buckets(bytearray(size()), clock))


def guess(guesses: Guesses, name: str, times: int, address: str = PUBLIC) -> None:
    for _ in range(times):
        guesses.count(name, DOMAIN, address)


def wait(guesses: Guesses, name: str = "alice", address: str = PUBLIC) -> int:
    return guesses.wait(name, DOMAIN, address)


def test_after_so_many_wrong_ones_the_next_has_to_wait(guesses: Guesses, clock: Clock) -> None:
    guess(guesses, "alice", AT_ONCE - 1)
    assert wait(guesses) == 0
    guess(guesses, "alice", 1)
    seconds = wait(guesses)
    assert 0 < seconds <= SECONDS / AT_ONCE
    clock.now += seconds
    assert wait(guesses) == 0


def test_others_need_not_wait(guesses: Guesses) -> None:
    guess(guesses, "alice", AT_ONCE)
    assert wait(guesses, "bob") == wait(guesses, "alice", "2001:db8::1") == 0
    assert guesses.wait("alice", "example.net", PUBLIC) == 0


@pytest.mark.parametrize(
    "spelling", ["ALICE", "alice  ", "alice" + 500 * " ", "\u00e1lice", "\uff21lice", "al\u200bice"]
)
def test_what_a_database_takes_for_the_same_name_is_the_same_one(guesses: Guesses, spelling: str) -> None:
    guess(guesses, spelling, AT_ONCE)
    assert wait(guesses) > 0


def test_who_has_a_network_of_ipv6_is_one(guesses: Guesses) -> None:
    guess(guesses, "alice", AT_ONCE, "2001:db8::1")
    assert wait(guesses, "alice", "[2001:db8::2]") > 0
    assert wait(guesses, "alice", "2001:db8:0:1::1") == 0


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "[::1]"])
def test_loopback_has_no_limit(guesses: Guesses, address: str) -> None:
    guess(guesses, "alice", AT_ONCE, address)
    assert wait(guesses, "alice", address) == 0


def test_a_name_of_a_whole_request_takes_no_longer_than_one_of_a_person(guesses: Guesses) -> None:
    """Marks in the wrong order are sorted in quadratic time: 60 KB of them would take a second and more."""
    begin = time.process_time()
    for number in range(100):
        wait(guesses, f"{number}" + 16_000 * "\u0300" + 16_000 * "\u0316")
    assert time.process_time() - begin < 5  # in quadratic time 40 s and more


def test_who_guesses_at_a_gateway_has_to_wait(tmp_path: Path) -> None:
    result = run_in_network("tests.guessing", tmp_path)
    assert result["guesses"] == [401] * AT_ONCE + [503] * 2
    assert (result["right"], result["other spelling"], result["document"]) == (503, 503, 429)
    status, retry_after = result["message"]
    assert status == 503 and 0 < int(retry_after) <= SECONDS / AT_ONCE
    assert (result["elsewhere"], result["somebody else"]) == (200, 200)
    assert result["documents"] == [401] * AT_ONCE + [429]
    assert result["unknown"] == [401] * AT_ONCE + [503]
    assert result["limited"] == 8
    assert f"wrong password of alice@example.org from {PUBLIC}" in result["log"]
