"""Look-ups in the mapping: what matches, what they cost, what happens while the database fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, insert

from purple_bridge.db.cache import TtlCache
from purple_bridge.db.engine import make_engine
from purple_bridge.db.mapping import CHUNK, PAGE, PAUSE, Account, DatabaseUnavailable, Mapping
from purple_bridge.db.tables import purplemap_table
from purple_bridge.errors import ConfigurationError
from tests.clock import Clock
from tests.databases import create_old_table, create_ours, open_empty, run, statements_of
from tests.servers.base import Server

TTL = 3.0
JABBER = "prpl-jabber"


@pytest.fixture
def engine(any_database: Engine) -> Engine:
    """A database with the gateway's tables."""
    create_ours(any_database)
    return any_database


@pytest.fixture
def mapping(engine: Engine, clock: Clock) -> Mapping:
    return Mapping(engine, ttl=TTL, clock=clock)


def _add(engine: Engine, sip_user: str, ext_user: str, protocol: str = JABBER, **more: Any) -> None:
    row = {"sip_user": sip_user, "ext_user": ext_user, "ext_prot": protocol, **more}
    with engine.begin() as connection:
        connection.execute(insert(purplemap_table("purplemap", engine.dialect.name)).values(row))


def _add_many(engine: Engine, count: int) -> None:
    rows = [
        {"sip_user": f"sip:user{n}@example.org", "ext_user": f"user{n}@xmpp.example", "ext_prot": JABBER}
        for n in range(count)
    ]
    with engine.begin() as connection:
        connection.execute(insert(purplemap_table("purplemap", engine.dialect.name)), rows)


def _names(accounts: tuple[Account, ...]) -> list[str]:
    return [account.ext_user for account in accounts]


# --- what matches -----------------------------------------------------------------------------------------


def test_a_row_as_an_account(engine: Engine, mapping: Mapping) -> None:
    options = '{"connect_server": "127.0.0.1", "port": 5222, "require_tls": true}'
    _add(engine, "sip:Alice@Example.org", "alice@x", "gtalk", ext_pass="pw", ext_options=options)
    (account,) = mapping.accounts_of("alice@example.org")
    assert (account.sip_user, account.protocol, account.ext_user) == ("alice@example.org", "gtalk", "alice@x")
    assert account.password == "pw"
    assert account.options == (("connect_server", "127.0.0.1"), ("port", 5222), ("require_tls", True))
    assert account.error is None
    assert "pw" not in repr(account)
    hash(account)


@pytest.mark.parametrize(
    "stored",
    [
        "sip:alice@example.org",
        "sip:ALICE@Example.ORG",
        "alice@example.org",
        "Alice@example.org",
        "SIP:alice@example.org",
    ],
)
def test_spellings_of_a_sip_user(stored: str, engine: Engine, mapping: Mapping) -> None:
    _add(engine, stored, "alice@x")
    assert _names(mapping.accounts_of("alice@example.org")) == ["alice@x"]


def test_a_percent_encoded_sip_user(engine: Engine, mapping: Mapping) -> None:
    _add(engine, "sip:al%C3%ADce%20b@example.org", "alice@x")
    assert _names(mapping.accounts_of("alíce b@example.org")) == ["alice@x"]


@pytest.mark.parametrize("stored", ["sip:álice@example.org", "sip:alice@example.org.evil", "sip:bob@example.org"])
def test_somebody_elses_row(stored: str, engine: Engine, mapping: Mapping) -> None:
    """MariaDB's collation takes á for a; we do not."""
    _add(engine, stored, "other@x")
    assert mapping.accounts_of("alice@example.org") == ()


def test_several_accounts_in_the_order_of_the_rows(engine: Engine, mapping: Mapping) -> None:
    for ext_user, protocol in (("b@x", JABBER), ("a@irc", "prpl-irc"), ("c@g", "gtalk")):
        _add(engine, "sip:alice@example.org", ext_user, protocol)
    assert _names(mapping.accounts_of("alice@example.org")) == ["b@x", "a@irc", "c@g"]


@pytest.mark.parametrize(
    ("protocol", "stored", "asked", "found"),
    [
        (JABBER, "Bob@X.example", "bob@x.example", True),
        (JABBER, "bob@x.example", "BOB@x.example/phone", True),
        (JABBER, "bob@x.example/phone", "bob@x.example/phone", True),
        ("gtalk", "bob@x.example", "Bob@x.example", True),
        ("prpl-irc", "Bob@irc.example", "bob@irc.example", True),
        ("prpl-novell", "Bob", "bob", False),
        ("prpl-novell", "Bob", "Bob", True),
        (JABBER, "bób@x.example", "bob@x.example", False),
    ],
)
def test_owners_of(protocol: str, stored: str, asked: str, found: bool, engine: Engine, mapping: Mapping) -> None:
    _add(engine, "sip:bob@example.org", stored, protocol)
    assert _names(mapping.owners_of(protocol, asked)) == ([stored] if found else [])


def test_owners_are_of_one_protocol_and_may_be_several(engine: Engine, mapping: Mapping) -> None:
    _add(engine, "sip:alice@example.org", "team@x")
    _add(engine, "sip:bob@example.org", "team@x")
    _add(engine, "sip:carol@example.org", "team@x", "gtalk")
    owners = mapping.owners_of(JABBER, "team@x")
    assert [account.sip_user for account in owners] == ["alice@example.org", "bob@example.org"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ("{broken", "is not JSON"),
        ("[" * 10_000, "is not JSON"),
        ("[1]", "not a JSON object"),
        ('{"port": null}', "port is neither"),
        ('{"port": [1]}', "port is neither"),
        ('{"port": 1.5}', "port is neither"),
    ],
)
def test_broken_options(options: str, error: str, engine: Engine, mapping: Mapping) -> None:
    _add(engine, "sip:alice@example.org", "alice@x", ext_pass="verysecret", ext_options=options)
    (account,) = mapping.accounts_of("alice@example.org")
    assert account.options == ()
    assert account.error
    assert error in account.error
    assert f"row {account.id}" in account.error
    assert "verysecret" not in account.error


@pytest.mark.parametrize("options", [None, "", "  ", "{}"])
def test_no_options(options: str | None, engine: Engine, mapping: Mapping) -> None:
    _add(engine, "sip:alice@example.org", "alice@x", ext_options=options)
    (account,) = mapping.accounts_of("alice@example.org")
    assert (account.options, account.error) == ((), None)


def test_a_row_without_a_sip_address_is_listed_with_its_error(engine: Engine, mapping: Mapping) -> None:
    _add(engine, "sip:a b@@", "alice@x")
    (account,) = mapping.all_accounts()
    assert account.error
    assert "sip_user" in account.error


def test_a_table_of_the_old_module(any_database: Engine) -> None:
    with any_database.begin() as connection:
        create_old_table(connection)
    run(
        any_database,
        "INSERT INTO purplemap (sip_user, ext_user, ext_prot, ext_pass) "
        "VALUES ('sip:alice@domain', 'alice@gmail.com', 'gtalk', 'password')",
    )
    mapping = Mapping(any_database)
    (account,) = mapping.accounts_of("alice@domain")
    assert (account.protocol, account.password, account.options) == ("gtalk", "password", ())
    assert mapping.owners_of("gtalk", "alice@gmail.com") == (account,)
    assert list(mapping.all_accounts()) == [account]


# --- what it costs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sip_user", ["alice@example.org", "nobody@example.org"])
def test_a_repeated_look_up_costs_no_query(sip_user: str, engine: Engine, mapping: Mapping, clock: Clock) -> None:
    _add(engine, "sip:alice@example.org", "alice@x")
    first = mapping.accounts_of(sip_user)
    with statements_of(engine) as statements:
        clock.now += TTL - 0.1
        assert mapping.accounts_of(sip_user) == first
        assert not statements
        clock.now += 0.2
        assert mapping.accounts_of(sip_user) == first
        assert mapping.accounts_of(sip_user) == first
        assert len(statements) == 1


@pytest.mark.parametrize("name", ["alice@x", "nobody@x"])
def test_a_repeated_question_for_owners_costs_no_query(
    name: str, engine: Engine, mapping: Mapping, clock: Clock
) -> None:
    _add(engine, "sip:alice@example.org", "alice@x")
    first = mapping.owners_of(JABBER, name)
    with statements_of(engine) as statements:
        assert mapping.owners_of(JABBER, name.upper()) == first
        assert not statements
        clock.now += TTL + 0.1
        assert mapping.owners_of(JABBER, name) == first
        assert len(statements) == 1


def test_a_change_is_seen_after_the_ttl(engine: Engine, mapping: Mapping, clock: Clock) -> None:
    assert mapping.accounts_of("alice@example.org") == ()
    _add(engine, "sip:alice@example.org", "alice@x")
    assert mapping.accounts_of("alice@example.org") == ()
    clock.now += TTL
    assert _names(mapping.accounts_of("alice@example.org")) == ["alice@x"]


def test_a_peek_never_asks_the_database(engine: Engine, mapping: Mapping, clock: Clock) -> None:
    _add(engine, "sip:alice@example.org", "alice@x")
    with statements_of(engine) as statements:
        assert mapping.cached_accounts_of("alice@example.org") is None
        assert mapping.cached_owners_of(JABBER, "alice@x") is None
        assert not statements
    mapping.refresh(["alice@example.org", "nobody@example.org"])
    mapping.accounts_for_pairs([(JABBER, "alice@x")])
    with statements_of(engine) as statements:
        assert _names(mapping.cached_accounts_of("alice@example.org") or ()) == ["alice@x"]
        assert mapping.cached_accounts_of("nobody@example.org") == ()
        assert _names(mapping.cached_owners_of(JABBER, "ALICE@x") or ()) == ["alice@x"]
        clock.now += TTL
        assert mapping.cached_accounts_of("alice@example.org") is None
        assert not statements


def _plan(engine: Engine, look_up: Callable[[], object]) -> str:
    """How the database says it would run the statement of this look-up."""
    with statements_of(engine) as statements:
        look_up()
    statement, parameters = statements[-1]
    explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
    with engine.connect() as connection:
        return str(connection.exec_driver_sql(f"{explain} {statement}", parameters).all())


def test_look_ups_use_the_indexes(engine: Engine, mapping: Mapping) -> None:
    _add_many(engine, 3000)
    analyze = {"mysql": "ANALYZE TABLE purplemap"}.get(engine.dialect.name, "ANALYZE")
    with engine.connect() as connection:
        connection.exec_driver_sql(analyze).close()
    keys = [f"user{n}@example.org" for n in range(5)]
    pairs = [(JABBER, f"user{n}@xmpp.example") for n in range(5)]
    plans = [
        (_plan(engine, lambda: mapping.accounts_of("user77@example.org")), "purplemap_sip_user_idx"),
        (_plan(engine, lambda: mapping.refresh(keys)), "purplemap_sip_user_idx"),
        (_plan(engine, lambda: mapping.owners_of(JABBER, "user77@xmpp.example")), "purplemap_ext_user_idx"),
        (_plan(engine, lambda: mapping.accounts_for_pairs(pairs)), "purplemap_ext_user_idx"),
    ]
    for plan, index in plans:
        assert index in plan, plan


def test_many_pairs_are_read_in_chunks(engine: Engine, mapping: Mapping) -> None:
    _add_many(engine, CHUNK + 20)
    _add(engine, "sip:user1@example.org", "user1", "prpl-irc")
    pairs = [(JABBER, f"User{n}@xmpp.example") for n in range(CHUNK + 30)] + [("prpl-irc", "user1")]
    mapping.accounts_of("warm@up")
    with statements_of(engine) as statements:
        found = mapping.accounts_for_pairs(pairs)
    assert len(statements) == 3
    assert list(found) == pairs
    assert [len(accounts) for accounts in found.values()] == [1] * (CHUNK + 20) + [0] * 10 + [1]


def test_many_sip_users_are_read_in_chunks(engine: Engine, mapping: Mapping) -> None:
    _add_many(engine, CHUNK + 20)
    keys = [f"user{n}@example.org" for n in range(CHUNK + 30)]
    mapping.accounts_of("warm@up")
    with statements_of(engine) as statements:
        found = mapping.refresh(keys)
        assert len(statements) == 2
        assert mapping.accounts_of(keys[0]) == found[keys[0]]
        assert len(statements) == 2
    assert [len(accounts) for accounts in found.values()] == [1] * (CHUNK + 20) + [0] * 10


def test_all_accounts_come_in_pages(engine: Engine, mapping: Mapping) -> None:
    _add_many(engine, PAGE + 5)
    with statements_of(engine) as statements:
        accounts = mapping.all_accounts()
        next(accounts)
        before = len(statements)
        rest = list(accounts)
        assert len(statements) > before
    assert len({account.id for account in rest}) == PAGE + 4


def test_nothing_asked_is_nothing_read(engine: Engine, mapping: Mapping) -> None:
    with statements_of(engine) as statements:
        assert mapping.refresh([]) == {}
        assert mapping.accounts_for_pairs([]) == {}
        assert not statements


# --- while the database fails -----------------------------------------------------------------------------


def _break(engine: Engine) -> None:
    run(engine, "ALTER TABLE purplemap RENAME TO elsewhere")


def _repair(engine: Engine) -> None:
    run(engine, "ALTER TABLE elsewhere RENAME TO purplemap")


def test_what_was_known_is_used_while_the_database_fails(
    engine: Engine, mapping: Mapping, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "purple_bridge.db")
    _add(engine, "sip:alice@example.org", "alice@x")
    known, owners = mapping.accounts_of("alice@example.org"), mapping.owners_of(JABBER, "alice@x")
    _break(engine)
    for _ in range(3):
        clock.now += 100
        assert mapping.accounts_of("alice@example.org") == known
        assert mapping.owners_of(JABBER, "alice@x") == owners
        with pytest.raises(DatabaseUnavailable):
            mapping.accounts_of("bob@example.org")
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    _repair(engine)
    clock.now += 100
    assert mapping.accounts_of("bob@example.org") == ()
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


def test_the_error_is_an_answer_for_sip(engine: Engine, mapping: Mapping) -> None:
    _break(engine)
    with pytest.raises(DatabaseUnavailable) as caught:
        mapping.accounts_of("alice@example.org")
    assert (caught.value.status, caught.value.retry_after) == (503, 5)
    assert "purplemap" not in caught.value.reason
    for call in (lambda: list(mapping.all_accounts()), lambda: mapping.accounts_for_pairs([(JABBER, "a")])):
        with pytest.raises(DatabaseUnavailable):
            call()


def test_a_dead_database_is_not_asked_every_time(engine: Engine, mapping: Mapping, clock: Clock) -> None:
    _break(engine)
    with pytest.raises(DatabaseUnavailable):
        mapping.accounts_of("alice@example.org")
    _repair(engine)
    with statements_of(engine) as statements:
        with pytest.raises(DatabaseUnavailable):
            mapping.accounts_of("alice@example.org")
        assert not statements
        clock.now += PAUSE
        assert mapping.accounts_of("alice@example.org") == ()


def test_a_table_that_comes_later(any_database: Engine, clock: Clock) -> None:
    mapping = Mapping(any_database, clock=clock)
    with pytest.raises(DatabaseUnavailable):
        mapping.accounts_of("alice@example.org")
    create_ours(any_database)
    _add(any_database, "sip:alice@example.org", "alice@x", ext_options='{"port": 1}')
    clock.now += PAUSE
    (account,) = mapping.accounts_of("alice@example.org")
    assert account.options == (("port", 1),)


@pytest.mark.parametrize("kind", ["mariadb", "postgres"])
def test_a_server_that_comes_back(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    server = request.getfixturevalue(kind)
    assert isinstance(server, Server)
    with open_empty(kind, request, tmp_path) as engine:
        create_ours(engine)
        _add(engine, "sip:alice@example.org", "alice@x")
        clock = Clock()
        mapping = Mapping(engine, clock=clock)
        known = mapping.accounts_of("alice@example.org")
        server.stop()
        try:
            clock.now += 100
            assert mapping.accounts_of("alice@example.org") == known
            with pytest.raises(DatabaseUnavailable):
                mapping.accounts_of("bob@example.org")
        finally:
            server.start()
        clock.now += 100
        assert mapping.accounts_of("bob@example.org") == ()


def test_a_bad_table_name(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path / 'k.db'}")
    with pytest.raises(ConfigurationError, match=r"purple\.db_table"):
        Mapping(engine, "a b")


# --- the cache --------------------------------------------------------------------------------------------


def test_the_cache_forgets_what_was_not_used_for_longest(clock: Clock) -> None:
    cache: TtlCache[int, str] = TtlCache(TTL, 3, clock)
    for number in (1, 2, 3):
        cache.put(number, str(number))
    assert cache.use(1) == "1"
    cache.put(4, "4")
    assert [cache.aged(number) for number in (1, 2, 3, 4)] == ["1", None, "3", "4"]
    assert cache.peek(3) == "3"  # a peek is no use
    cache.put(5, "5")
    assert cache.aged(3) is None
    assert len(cache) == 3


def test_the_cache_ages(clock: Clock) -> None:
    cache: TtlCache[str, tuple[()]] = TtlCache(TTL, 3, clock)
    cache.put("nobody", ())
    assert cache.use("nobody") == ()
    clock.now += TTL
    assert cache.use("nobody") is None
    assert cache.peek("nobody") is None
    assert cache.aged("nobody") == ()


def test_the_cache_does_not_age_where_the_source_is_watched(clock: Clock) -> None:
    generation = 1
    cache: TtlCache[str, str] = TtlCache(TTL, 3, clock, lambda: generation)
    cache.put("alice", "a row", generation)
    clock.now += 1000 * TTL
    assert cache.use("alice") == "a row"
    generation = 2
    assert cache.use("alice") is None
    assert cache.aged("alice") == "a row"
