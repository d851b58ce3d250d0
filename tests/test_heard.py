"""To which of a user's accounts a contact wrote last: the last one counts, for every process, and the oldest goes."""

from __future__ import annotations

import multiprocessing

import pytest

from purple_bridge import heard
from purple_bridge.heard import Heard
from tests.clock import Clock

fork = multiprocessing.get_context("fork")

ALICE, CAROL = "alice@example.org", "carol@xmpp.example"
HOME, WORK = ("prpl-jabber", "alice@home.example"), ("prpl-jabber", "alice@work.example")


@pytest.fixture
def table(clock: Clock) -> Heard:
    clock.now = 100.0
    return Heard(clock)


def test_who_has_written_to_none(table: Heard) -> None:
    assert table.when(ALICE, *HOME, CAROL) == 0.0


def test_the_last_account_counts(table: Heard, clock: Clock) -> None:
    for account, other in ((WORK, HOME), (HOME, WORK), (WORK, HOME)):
        clock.now += 1
        table.note(ALICE, *account, CAROL)
        assert table.when(ALICE, *account, CAROL) == clock.now
        assert table.when(ALICE, *other, CAROL) == 0.0


def test_another_contact_or_user_is_another(table: Heard) -> None:
    table.note(ALICE, *WORK, CAROL)
    assert table.when(ALICE, *WORK, "dave@xmpp.example") == 0.0
    assert table.when("bob@example.org", *WORK, CAROL) == 0.0


def test_any_spelling(table: Heard) -> None:
    table.note(ALICE, *WORK, "Carol@XMPP.example/phone")
    assert table.when(ALICE, "gtalk", "Alice@work.example", CAROL) > 0


def test_a_nick_on_another_irc_server_is_somebody_else(table: Heard) -> None:
    table.note(ALICE, "prpl-irc", "alice@irc.one.example", "bob")
    table.note(ALICE, "prpl-irc", "alice@irc.two.example", "bob")
    assert table.when(ALICE, "prpl-irc", "alice@irc.one.example", "bob") > 0
    assert table.when(ALICE, "prpl-irc", "alice@irc.two.example", "bob") > 0


def test_a_full_table_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr(heard, "SLOTS", 1)
    heard._mark.cache_clear()
    table = Heard(clock)
    names = [f"c{number}@xmpp.example" for number in range(heard.REACH + 1)]
    for name in names:
        clock.now += 1
        table.note(ALICE, *WORK, name)
    heard._mark.cache_clear()
    assert [table.when(ALICE, *WORK, name) > 0 for name in names] == [False] + [True] * heard.REACH
    heard._mark.cache_clear()


def test_another_process_knows() -> None:
    table = Heard()
    child = fork.Process(target=table.note, args=(ALICE, *WORK, CAROL))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert table.when(ALICE, *WORK, CAROL) > 0
