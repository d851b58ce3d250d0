"""Each account's contact list on all three databases: a list takes the place of the one before, and of no other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, delete, update
from sqlalchemy.exc import SQLAlchemyError

from purple_bridge.db.contacts import CHUNK, LONGEST_NAME, ListedContact, load, on_list, save
from purple_bridge.db.tables import purple_contact
from purple_bridge.ownership import account_digest
from tests.databases import KINDS, create_ours, open_empty, run, statements_of

ALICE = account_digest("prpl-jabber", "alice@xmpp.example").hex()
CAROL = account_digest("prpl-jabber", "carol@xmpp.example").hex()
BOB = ListedContact("bob@xmpp.example", "Bob", ("Friends", "Work"), "both")
DAVE = ListedContact("dave@xmpp.example", asked=True)
SMILE = "\N{SMILING FACE WITH SUNGLASSES}"


@pytest.fixture(params=KINDS, scope="module")
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_empty(request.param, request, tmp_path_factory.mktemp("contacts")) as engine:
        create_ours(engine)
        yield engine


@pytest.fixture
def engine(made: Engine) -> Engine:
    """With nobody's list."""
    with made.begin() as connection:
        connection.execute(delete(purple_contact))
    return made


def _list(engine: Engine, account: str = ALICE) -> list[ListedContact]:
    return load(engine, [account])[account]


# ---- what comes back


def test_a_list_comes_back_as_it_was_told(engine: Engine) -> None:
    assert save(engine, ALICE, [DAVE, BOB])
    assert _list(engine) == [BOB, DAVE]


@pytest.mark.parametrize("contact", [
    ListedContact("jürgen@xmpp.example", f"Jürgen {SMILE}", ("Büro", SMILE), "from"),
    ListedContact("it's \\ \"%s\" ; --", "a\nb\t' \\ \"", ("it's", "a, b", '["x"]', "")),
    ListedContact("名字@xmpp.example", "名字", (), "to", asked=True),
    ListedContact("x" * LONGEST_NAME, "ü" * LONGEST_NAME),
], ids=["unicode", "quotes", "asked", "long"])  # fmt: skip
def test_any_name_comes_back(engine: Engine, contact: ListedContact) -> None:
    save(engine, ALICE, [contact])
    assert _list(engine) == [contact]


@pytest.mark.parametrize("names", [("Bob", "bob"), ("bob", "böb"), ("strasse", "straße"), ("\u00e9", "e\u0301")])
def test_names_that_a_collation_holds_equal_are_two_contacts(engine: Engine, names: tuple[str, str]) -> None:
    """What makes two names one is the network's affair, and decided before."""
    contacts = [ListedContact(name, name) for name in names]
    save(engine, ALICE, contacts)
    assert sorted(_list(engine), key=lambda one: names.index(one.contact)) == contacts
    save(engine, ALICE, contacts[:1])
    assert _list(engine) == contacts[:1]


def test_accounts_without_a_list_have_an_empty_one(engine: Engine) -> None:
    save(engine, ALICE, [BOB])
    assert load(engine, [CAROL, ALICE]) == {CAROL: [], ALICE: [BOB]}
    assert load(engine, []) == {}


# ---- what takes whose place


def test_a_list_takes_the_place_of_the_one_before(engine: Engine) -> None:
    save(engine, ALICE, [BOB, DAVE])
    erin = ListedContact("erin@xmpp.example")
    assert save(engine, ALICE, [erin, BOB])
    assert _list(engine) == [BOB, erin]
    assert save(engine, ALICE, [])
    assert _list(engine) == []


def test_lists_of_others_stay(engine: Engine) -> None:
    save(engine, CAROL, [BOB, DAVE])
    save(engine, ALICE, [BOB])
    save(engine, ALICE, [])
    assert _list(engine, CAROL) == [BOB, DAVE]


@pytest.mark.parametrize("changed", [
    ListedContact("bob@xmpp.example", "Robert", ("Friends", "Work"), "both"),
    ListedContact("bob@xmpp.example", "Bob", ("Friends",), "both"),
    ListedContact("bob@xmpp.example", "Bob", ("Work", "Friends"), "both"),
    ListedContact("bob@xmpp.example", "Bob", ("Friends", "Work"), "from"),
    ListedContact("bob@xmpp.example", "Bob", ("Friends", "Work"), "both", asked=True),
], ids=["alias", "group", "order", "subscription", "asked"])  # fmt: skip
def test_any_difference_is_a_change(engine: Engine, changed: ListedContact) -> None:
    save(engine, ALICE, [BOB, DAVE])
    assert save(engine, ALICE, [changed, DAVE])
    assert _list(engine) == [changed, DAVE]


def test_the_same_list_is_no_change_and_writes_nothing(engine: Engine) -> None:
    """Who watches it is told of changes only."""
    long = ListedContact("long@xmpp.example", "x" * (LONGEST_NAME + 1), ("A", "A"))
    save(engine, ALICE, [BOB, DAVE, long])
    with statements_of(engine) as seen:
        assert not save(engine, ALICE, [long, DAVE, BOB])
    assert [text for text, _ in seen if not text.lstrip().upper().startswith("SELECT")] == []
    assert not save(engine, CAROL, [])


def test_only_what_differs_is_written(engine: Engine) -> None:
    save(engine, ALICE, [BOB, DAVE])
    with statements_of(engine) as seen:
        save(engine, ALICE, [BOB, ListedContact("dave@xmpp.example", "David")])
    assert not any("bob@xmpp.example" in str(parameters) for _, parameters in seen)
    assert any("David" in str(parameters) for _, parameters in seen)


def test_a_long_list(engine: Engine) -> None:
    contacts = [ListedContact(f"{number:05d}@xmpp.example", f"{number}") for number in range(2 * CHUNK + 3)]
    assert save(engine, ALICE, contacts)
    assert _list(engine) == contacts
    assert save(engine, ALICE, contacts[:1])
    assert _list(engine) == contacts[:1]


# ---- what the columns cannot hold


def test_what_is_too_long_is_cut_or_left_out(engine: Engine) -> None:
    """An alias is for people; half a name would be another contact."""
    named = ListedContact("bob@xmpp.example", SMILE * (LONGEST_NAME + 5))
    save(engine, ALICE, [named, ListedContact("x" * (LONGEST_NAME + 1))])
    assert _list(engine) == [ListedContact("bob@xmpp.example", SMILE * LONGEST_NAME)]


def test_a_group_told_twice_is_one(engine: Engine) -> None:
    save(engine, ALICE, [ListedContact("bob@xmpp.example", groups=("B", "A", "B"))])
    assert _list(engine) == [ListedContact("bob@xmpp.example", groups=("B", "A"))]


def test_a_contact_told_twice_is_one(engine: Engine) -> None:
    save(engine, ALICE, [BOB, ListedContact("bob@xmpp.example", "Robert")])
    assert _list(engine) == [ListedContact("bob@xmpp.example", "Robert")]


@pytest.mark.parametrize("text", ["", "no JSON", "null", "3"])
def test_groups_that_cannot_be_read_are_none(engine: Engine, text: str) -> None:
    save(engine, ALICE, [BOB, DAVE])
    with engine.begin() as connection:
        mine = purple_contact.c.contact == BOB.contact
        connection.execute(update(purple_contact).where(mine).values(contact_groups=text))
    assert _list(engine) == [ListedContact("bob@xmpp.example", "Bob", (), "both"), DAVE]


# ---- who is on a list


def test_who_is_on_a_list(engine: Engine) -> None:
    save(engine, ALICE, [BOB])
    save(engine, CAROL, [DAVE])
    keys = [(ALICE, BOB.contact), (ALICE, DAVE.contact), (CAROL, BOB.contact), (CAROL, DAVE.contact)]
    assert on_list(engine, keys) == {(ALICE, BOB.contact), (CAROL, DAVE.contact)}
    assert on_list(engine, []) == set()


def test_a_list_that_cannot_be_written_stays_as_it_was(engine: Engine) -> None:
    """All of it or nothing: the deletion of the row before goes back with it."""
    save(engine, ALICE, [BOB])
    nothing: Any = None
    with pytest.raises(SQLAlchemyError):
        save(engine, ALICE, [ListedContact(BOB.contact, subscription=nothing)])
    assert _list(engine) == [BOB]


def test_a_database_without_the_table(engine: Engine) -> None:
    run(engine, "ALTER TABLE purple_contact RENAME TO gone")
    try:
        with pytest.raises(SQLAlchemyError):
            save(engine, ALICE, [BOB])
        with pytest.raises(SQLAlchemyError):
            load(engine, [ALICE])
        with pytest.raises(SQLAlchemyError):
            on_list(engine, [(ALICE, BOB.contact)])
    finally:
        run(engine, "ALTER TABLE gone RENAME TO purple_contact")
