"""Which worker owns an account: stable, even, and the same for every spelling."""

from __future__ import annotations

from collections import Counter

import pytest

from purple_bridge.ownership import account_digest, owner_of, plugin_of

ACCOUNTS = [("prpl-jabber", f"user{number}@example.org") for number in range(10_000)]


def _owners(workers: int) -> list[int]:
    return [owner_of(protocol, user, workers) for protocol, user in ACCOUNTS]


def test_owners_stay_the_same_over_versions_and_processes() -> None:
    """A change here moves accounts between running workers of two versions."""
    assert account_digest("prpl-jabber", "alice@example.org").hex() == "5a54c0d123fe7fa5"
    assert [owner_of("prpl-irc", f"nick{number}@irc.example.org", 4) for number in range(8)] == [2, 1, 1, 4, 1, 3, 2, 2]


@pytest.mark.parametrize("workers", [1, 2, 4, 64])
def test_every_worker_owns_about_the_same(workers: int) -> None:
    counts, share = Counter(_owners(workers)), len(ACCOUNTS) / workers
    assert set(counts) == set(range(1, workers + 1))
    tolerance = 0.2 if workers <= 4 else 0.5
    assert all(abs(count - share) < tolerance * share for count in counts.values())


def test_one_more_worker_takes_its_share_and_moves_nothing_else() -> None:
    before, after = _owners(4), _owners(5)
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {5}
    assert 0.8 * len(ACCOUNTS) / 5 < len(moved) < 1.2 * len(ACCOUNTS) / 5


@pytest.mark.parametrize(
    ("protocol", "user", "same_protocol", "same_user"),
    [
        ("prpl-jabber", "alice@host", "prpl-jabber", "Alice@Host/res"),
        ("prpl-jabber", "alice@host", "gtalk", "alice@host"),
        ("prpl-jabber", "alice@host", "gtalk", " ALICE@HOST/x/y "),
        ("prpl-irc", "nick@irc.example.org", "prpl-irc", "Nick@IRC.example.org"),
    ],
)
def test_spellings_of_one_account_have_one_owner(protocol: str, user: str, same_protocol: str, same_user: str) -> None:
    assert account_digest(protocol, user) == account_digest(same_protocol, same_user)
    assert owner_of(protocol, user, 64) == owner_of(same_protocol, same_user, 64)


@pytest.mark.parametrize(
    ("protocol", "user"),
    [
        ("prpl-irc", "alice@host"),
        ("prpl-jabber", "alice@host2"),
        ("prpl-jabber", "bob@host"),
        ("prpl-simple", "alice@host"),
    ],
)
def test_other_accounts_are_others(protocol: str, user: str) -> None:
    assert account_digest("prpl-jabber", "alice@host") != account_digest(protocol, user)


def test_only_gtalk_hides_another_plugin() -> None:
    assert plugin_of("gtalk") == "prpl-jabber"
    assert plugin_of("prpl-irc") == "prpl-irc"


def test_a_digest_is_never_that_of_an_empty_slot() -> None:
    digests = {account_digest(*account) for account in ACCOUNTS}
    assert len(digests) == len(ACCOUNTS)
    assert b"\0" * 8 not in digests
