"""What is shown of accounts: filters, pages of many, and workers that do not answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from purple_bridge.addresses import SipAddress
from purple_bridge.db.engine import make_engine
from purple_bridge.db.mapping import Mapping
from purple_bridge.db.provision import add_account
from purple_bridge.db.schema import create_all
from purple_bridge.web.accounts import PAGE_SIZE, Accounts, Entry, Filter, page_of
from tests.clock import Clock


def entry(number: int, state: str = "online", error: str = "") -> Entry:
    return Entry(number, f"user{number}@example.org", "prpl-jabber", f"u{number}@x", state, error, 1, 1, 0, 0)


MANY = [
    entry(number, "error" if number % 10 == 0 else "online", "no route" if number == 10 else "")
    for number in range(5000)
]


def test_many_accounts_come_in_pages() -> None:
    first, last, beyond = (page_of(MANY, Filter(page=number)) for number in (1, 100, 101))
    assert len(first.entries) == PAGE_SIZE and (first.pages, first.total) == (100, 5000)
    assert last.entries[-1].id == 4999 and beyond == last


@pytest.mark.parametrize(
    ("wanted", "total"),
    [
        (Filter("USER123"), 11),
        (Filter("no route"), 1),
        (Filter("prpl-jabber"), 5000),
        (Filter(state="error"), 500),
        (Filter("user10", "error"), 12),
        (Filter("nobody"), 0),
    ],
)
def test_filters(wanted: Filter, total: int) -> None:
    assert page_of(MANY, wanted).total == total


def test_counts_are_of_what_fits_the_text() -> None:
    assert page_of(MANY, Filter("user10", "online")).counts == {
        "": 111,
        "online": 99,
        "connecting": 0,
        "offline": 0,
        "error": 12,
        "disabled": 0,
    }


def test_rows_are_remembered_and_a_change_ends_it(tmp_path: Path) -> None:
    url, clock = f"sqlite:///{tmp_path}/db", Clock(0.0)
    create_all(url)
    engine = make_engine(url)
    accounts = Accounts(Mapping(engine), tmp_path, 1, clock=clock)

    def names() -> list[str]:
        return [one.ext_user for one in accounts.look().entries]

    assert names() == []
    add_account(engine, SipAddress("a", "b.c"), "prpl-irc", "a@x", None, {"enabled": False})
    assert names() == []
    clock.now = 4.9
    assert names() == [], "the rows are remembered for longer than what the workers say"
    clock.now = 6.0
    assert names() == ["a@x"] and accounts.look().entries[0].state == "disabled"
    add_account(engine, SipAddress("a", "b.c"), "prpl-irc", "b@x", None, {})
    accounts.forget()
    assert names() == ["a@x", "b@x"] and accounts.look().entries[1].state == "offline"
    assert (accounts.look().answering, accounts.look().workers) == (0, 1)
    engine.dispose()
