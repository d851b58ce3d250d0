"""The tables of Kamailio's presence server, as its own files make them, on all three databases."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, MetaData, Table, delete, insert, select
from sqlalchemy.exc import SQLAlchemyError

from purple_bridge.addresses import GATEWAY_SENDER, GatewayDomain, SipAddress
from purple_bridge.db import presence_server
from purple_bridge.db.engine import make_engine
from purple_bridge.db.presence_server import (
    ACTIVE,
    PRES_RULES,
    RESOURCE_LISTS,
    TERMINATED,
    PublishedDocument,
    Replacement,
    StoredDocument,
    StoredSubscription,
)
from purple_bridge.db.schema import create_all
from purple_bridge.db.tables import watchers, xcap
from tests.databases import KINDS, empty_database

NOW = 1_800_000_000
PENDING, WAITING = 2, 4
ALICE, BOB = SipAddress.parse("sip:alice@example.org"), SipAddress.parse("sip:bob@example.org")
ODD = SipAddress.parse("sip:o'malley%20x@example.org")
CONTACT = SipAddress.parse("sip:carol*xmpp.example@xmpp.im.example.org")
PRESENTITY = GatewayDomain("im.example.org").presentity(CONTACT, "alice@example.org")
TABLES = ("presentity", "active_watchers", "watchers", "xcap")

_numbers = count(1)


class Database:
    """``add`` writes a row as Kamailio does, with values for all columns that have no default."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = make_engine(url)
        metadata = MetaData()
        self.tables = {name: Table(name, metadata, autoload_with=self.engine) for name in TABLES}

    def add(self, name: str, **values: Any) -> None:
        table = self.tables[name]
        row = {column.name: _any(column) for column in table.columns if _is_required(column)}
        with self.engine.begin() as connection:
            connection.execute(insert(table).values({**row, **values}))

    def rows(self, name: str, *columns: str) -> list[tuple[Any, ...]]:
        table = self.tables[name]
        with self.engine.connect() as connection:
            found = connection.execute(select(*(table.c[column] for column in columns)).order_by(table.c.id))
            return [tuple(row) for row in found]

    def clear(self) -> None:
        with self.engine.begin() as connection:
            for table in self.tables.values():
                connection.execute(delete(table))


def _is_required(column: Any) -> bool:
    return not column.nullable and column.server_default is None and column.name != "id"


def _any(column: Any) -> Any:
    """A value that differs from row to row, since several columns are unique together."""
    kind = column.type.python_type
    return next(_numbers) if kind is int else kind(f"x{next(_numbers)}", "ascii") if kind is bytes else "x"


@pytest.fixture(params=KINDS, scope="module")
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    url = empty_database(request.param, request, tmp_path_factory.mktemp("presence"))
    create_all(url)
    database = Database(url)
    yield database
    database.engine.dispose()


@pytest.fixture
def database(made: Database) -> Database:
    made.clear()
    return made


@pytest.fixture
def engine(database: Database) -> Engine:
    return database.engine


# ---- publications


def _publish(database: Database, user: SipAddress = ALICE, **values: Any) -> None:
    row = {
        "username": user.encoded_user,
        "domain": user.host,
        "event": "presence",
        "etag": f"a.{next(_numbers)}",
        "expires": NOW + 60,
        "received_time": NOW,
        "body": b"<presence/>",
        "sender": "",
    }
    database.add("presentity", **{**row, **values})


def test_publications_of_a_users_phones_come_in_their_order(database: Database) -> None:
    _publish(database, body=b"second \xc3\xa4", etag="2", received_time=NOW - 5, expires=NOW + 10)
    _publish(database, body=b"third", etag="3", received_time=NOW - 5)
    _publish(database, body=b"first", etag="1", received_time=NOW - 9)
    assert presence_server.publications(database.engine, ALICE, NOW) == [
        PublishedDocument(b"first", NOW + 60, "1"),
        PublishedDocument(b"second \xc3\xa4", NOW + 10, "2"),
        PublishedDocument(b"third", NOW + 60, "3"),
    ]


@pytest.mark.parametrize(
    "values",
    [
        {"expires": NOW},
        {"expires": NOW - 1},
        {"sender": GATEWAY_SENDER},
        {"event": "dialog"},
        {"username": "bob"},
        {"domain": "example.net"},
    ],
)
def test_what_is_no_publication_of_the_user(database: Database, values: dict[str, Any]) -> None:
    _publish(database, **values)
    assert presence_server.publications(database.engine, ALICE, NOW) == []
    assert presence_server.publications_of(database.engine, [ALICE], NOW) == {ALICE: []}


def test_a_user_is_found_as_the_presence_server_spells_him(database: Database) -> None:
    _publish(database, ODD)
    assert len(presence_server.publications(database.engine, ODD, NOW)) == 1


def test_publications_of_many_users(database: Database) -> None:
    elsewhere = SipAddress("alice", "example.net")
    _publish(database, body=b"second", etag="2", received_time=NOW - 5)
    _publish(database, body=b"first", etag="1", received_time=NOW - 9)
    _publish(database, ODD, body=b"odd", etag="3")
    _publish(database, elsewhere, body=b"another", etag="4")
    found = presence_server.publications_of(database.engine, [ALICE, ODD, BOB], NOW)
    assert {user: [document.body for document in documents] for user, documents in found.items()} == {
        ALICE: [b"first", b"second"],
        ODD: [b"odd"],
        BOB: [],
    }
    assert presence_server.publications_of(database.engine, [], NOW) == {}


def test_only_the_gateways_own_publications_are_forgotten(database: Database) -> None:
    _publish(database, body=b"a phone's")
    _publish(database, sender=GATEWAY_SENDER)
    _publish(database, PRESENTITY, sender=GATEWAY_SENDER)
    presence_server.forget_own_publications(database.engine)
    assert database.rows("presentity", "body") == [(b"a phone's",)]


def test_of_a_contacts_documents_the_last_one_stays(database: Database) -> None:
    for body in (b"id='mine' first", b"id='other'", b"id='mine' second", b"id='mine' third"):
        _publish(database, PRESENTITY, sender=GATEWAY_SENDER, body=body, etag=body.decode())
    _publish(database, PRESENTITY, sender="", body=b"id='mine' a phone's", etag="phone")
    _publish(database, ODD, sender=GATEWAY_SENDER, body=b"id='mine' of another", etag="another")
    assert presence_server.forget_older_publications(database.engine, PRESENTITY, "mine")
    assert not presence_server.forget_older_publications(database.engine, PRESENTITY, "mine")
    left = [b"id='other'", b"id='mine' third", b"id='mine' a phone's", b"id='mine' of another"]
    assert sorted(database.rows("presentity", "body")) == sorted((body,) for body in left)


# ---- subscriptions


def _subscribe(database: Database, **values: Any) -> None:
    row = {
        "presentity_uri": PRESENTITY.uri,
        "watcher_username": "alice",
        "watcher_domain": "example.org",
        "to_user": CONTACT.encoded_user,
        "to_domain": CONTACT.host,
        "event": "presence",
        "from_tag": "tag",
        "callid": f"call-{next(_numbers)}",
        "expires": NOW + 60,
        "status": ACTIVE,
    }
    database.add("active_watchers", **{**row, **values})


@pytest.mark.parametrize(("status", "active"), [(ACTIVE, True), (PENDING, False), (TERMINATED, False)])
def test_a_subscription_that_was_kept(database: Database, status: int, active: bool) -> None:
    _subscribe(database, callid="call-1@host", status=status)
    assert presence_server.subscriptions(database.engine, NOW) == [
        StoredSubscription(
            presentity=PRESENTITY.uri,
            target=CONTACT.uri,
            watcher="sip:alice@example.org",
            dialog="call-1@host;tag",
            expires=NOW + 60,
            active=active,
        )
    ]


@pytest.mark.parametrize("values", [{"expires": NOW}, {"event": "presence.winfo"}])
def test_what_is_no_subscription_any_more_or_to_something_else(database: Database, values: dict[str, Any]) -> None:
    _subscribe(database, **values)
    assert presence_server.subscriptions(database.engine, NOW) == []


# ---- watchers


def _watchers(database: Database) -> list[tuple[Any, ...]]:
    return database.rows("watchers", "presentity_uri", "watcher_username", "watcher_domain", "event", "status")


def _watcher(database: Database, status: int, user: SipAddress = BOB, watcher: SipAddress = ALICE) -> None:
    database.add(
        "watchers",
        presentity_uri=user.uri,
        watcher_username=watcher.encoded_user,
        watcher_domain=watcher.host,
        event="presence",
        status=status,
        reason="giveup",
        inserted_time=NOW,
    )


ADMITTED = [(BOB.uri, "alice", "example.org", "presence", ACTIVE)]


def test_a_watcher_of_a_user_without_rules_is_admitted(database: Database) -> None:
    before = int(time.time())
    presence_server.admit(database.engine, BOB, ALICE)
    presence_server.admit(database.engine, BOB, ALICE)
    assert _watchers(database) == ADMITTED
    ((inserted, reason),) = database.rows("watchers", "inserted_time", "reason")
    assert before <= inserted <= time.time()
    assert reason == ""


@pytest.mark.parametrize("status", [ACTIVE, PENDING, TERMINATED, WAITING])
def test_one_that_was_remembered_otherwise_is_admitted_now(database: Database, status: int) -> None:
    _watcher(database, status)
    presence_server.admit(database.engine, BOB, ALICE)
    assert _watchers(database) == ADMITTED
    assert database.rows("watchers", "reason") == [("giveup" if status == ACTIVE else "",)]


@pytest.mark.parametrize("status", [PENDING, TERMINATED])
def test_rules_decide_themselves(database: Database, status: int) -> None:
    presence_server.save_document(database.engine, BOB, PRES_RULES, "/bob", b"<ruleset/>")
    presence_server.admit(database.engine, BOB, ALICE)
    assert _watchers(database) == []
    _watcher(database, status)
    presence_server.admit(database.engine, BOB, ALICE)
    assert _watchers(database) == [(*ADMITTED[0][:-1], status)]


def test_other_documents_and_other_users_rules_decide_nothing(database: Database) -> None:
    presence_server.save_document(database.engine, BOB, RESOURCE_LISTS, "/bob", b"<resource-lists/>")
    presence_server.save_document(database.engine, ALICE, PRES_RULES, "/alice", b"<ruleset/>")
    presence_server.admit(database.engine, BOB, ALICE)
    assert _watchers(database) == ADMITTED


def test_another_process_may_admit_at_the_same_moment(database: Database) -> None:
    engines = [make_engine(database.url) for _ in range(4)]
    watchers_of_bob = [SipAddress(f"u{number}", "example.org") for number in range(25)]

    def admit_all(engine: Engine) -> None:
        for watcher in watchers_of_bob:
            presence_server.admit(engine, BOB, watcher)

    with ThreadPoolExecutor(len(engines)) as threads:
        list(threads.map(admit_all, engines))
    for engine in engines:
        engine.dispose()
    assert sorted(row[1] for row in _watchers(database)) == sorted(watcher.user for watcher in watchers_of_bob)


def test_a_row_that_came_between_look_and_insert_is_as_good(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert_watcher = presence_server._insert_watcher

    def behind_another(*arguments: Any) -> None:
        _watcher(database, ACTIVE)
        insert_watcher(*arguments)

    monkeypatch.setattr(presence_server, "_insert_watcher", behind_another)
    presence_server.admit(database.engine, BOB, ALICE)
    assert _watchers(database) == ADMITTED


def test_a_watcher_that_has_gone_is_forgotten(database: Database) -> None:
    _watcher(database, PENDING, ALICE, CONTACT)
    _watcher(database, PENDING, BOB, CONTACT)
    _watcher(database, PENDING, ALICE, BOB)
    presence_server.forget_watcher(database.engine, ALICE, CONTACT)
    assert [row[:2] for row in _watchers(database)] == [(BOB.uri, CONTACT.encoded_user), (ALICE.uri, "bob")]


def test_at_a_start_the_gateways_own_watches_are_forgotten(database: Database) -> None:
    contact = {"watcher_username": CONTACT.encoded_user, "watcher_domain": CONTACT.host}
    _watcher(database, PENDING, ALICE, CONTACT)
    _watcher(database, PENDING, BOB, CONTACT)
    _watcher(database, PENDING, ALICE, BOB)
    _subscribe(database, callid="left@purple", presentity_uri=ALICE.uri, status=PENDING, **contact)
    _subscribe(database, callid="phones@host", presentity_uri=BOB.uri, status=PENDING, **contact)
    _subscribe(database, callid="other@purple", presentity_uri=ALICE.uri, event="presence.winfo", **contact)
    presence_server.forget_own_watches(database.engine)
    assert [row[:2] for row in _watchers(database)] == [(BOB.uri, CONTACT.encoded_user), (ALICE.uri, "bob")]
    assert sorted(database.rows("active_watchers", "callid")) == [("other@purple",), ("phones@host",)]


# ---- documents


def test_a_document_is_read_as_it_was_written(engine: Engine) -> None:
    uri = presence_server.document_uri("pres-rules", ODD)
    assert presence_server.load_document(engine, uri) is None
    body = "<a>Grüße 🐄\r\n</a>".encode()
    presence_server.save_document(engine, ODD, PRES_RULES, uri, body)
    found = presence_server.load_document(engine, uri)
    assert found is not None
    assert (found.body, found.is_ours) == (body, True)


def test_large_documents_are_kept_whole(engine: Engine) -> None:
    body = b"<a>" + b"x" * 300_000 + b"</a>"
    presence_server.save_document(engine, ALICE, RESOURCE_LISTS, "/a", body)
    found = presence_server.load_document(engine, "/a")
    assert found is not None
    assert found.body == body


def test_a_document_takes_the_place_of_the_one_before(database: Database) -> None:
    for body in (b"<one/>", b"<two/>", b"<two/>"):
        presence_server.save_document(database.engine, ALICE, PRES_RULES, "/a", body)
    columns = ("username", "domain", "doc_type", "doc_uri", "doc", "source", "port")
    assert database.rows("xcap", *columns) == [("alice", "example.org", PRES_RULES, "/a", b"<two/>", 0, 0)]


def test_every_version_has_an_etag_of_its_own(engine: Engine) -> None:
    etags = []
    for _ in range(3):
        presence_server.save_document(engine, ALICE, PRES_RULES, "/a", b"<same/>")
        found = presence_server.load_document(engine, "/a")
        assert found is not None
        etags.append(found.etag)
    assert len(set(etags)) == 3


def test_what_has_changed_meanwhile_is_not_written_over(database: Database) -> None:
    engine = database.engine

    def put(body: bytes, before: StoredDocument | None, uri: str = "/a") -> bool:
        new = [Replacement(RESOURCE_LISTS, "/b", b"<beside/>", None), Replacement(RESOURCE_LISTS, uri, body, before)]
        return presence_server.replace_documents(engine, ALICE, new[uri == "/a" :])

    assert put(b"<one/>", None)
    before = presence_server.load_document(engine, "/a")
    assert not put(b"<new/>", None)
    assert put(b"<two/>", before)
    assert not put(b"<three/>", before)
    found = presence_server.load_document(engine, "/a")
    assert found is not None
    assert found.body == b"<two/>"
    with engine.begin() as connection:
        connection.execute(delete(xcap))
    assert not put(b"<four/>", found)
    assert not put(b"<five/>", found, "/c")
    assert database.rows("xcap", "doc") == [], "all or none"


def test_a_document_of_a_phone_is_not_ours(database: Database) -> None:
    database.add(
        "xcap", username="alice", domain="example.org", doc=b"<a/>", doc_type=PRES_RULES, etag="sr-1-2", doc_uri="/a"
    )
    found = presence_server.load_document(database.engine, "/a")
    assert found is not None
    assert not found.is_ours


def test_rules_are_found_by_user(engine: Engine) -> None:
    assert presence_server.rules(engine, BOB) == []
    presence_server.save_document(engine, BOB, PRES_RULES, "/one", b"<one/>")
    presence_server.save_document(engine, BOB, PRES_RULES, "/two", b"<two/>")
    presence_server.save_document(engine, BOB, RESOURCE_LISTS, "/three", b"<three/>")
    presence_server.save_document(engine, ALICE, PRES_RULES, "/four", b"<four/>")
    assert sorted(presence_server.rules(engine, BOB)) == [b"<one/>", b"<two/>"]


# ---- the gateway's own presentities


def _own(database: Database, status: int) -> None:
    """With the watcher's rules, and what belongs to others."""
    for address, uri in ((PRESENTITY, "/own"), (BOB, "/bob")):
        _watcher(database, status, address)
        presence_server.save_document(database.engine, address, PRES_RULES, uri, b"<ruleset/>")


OTHERS = [(BOB.uri,)], [("/bob",)]


def _left(database: Database) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    return database.rows("watchers", "presentity_uri"), database.rows("xcap", "doc_uri")


def test_a_presentity_nobody_watches_is_forgotten(database: Database) -> None:
    _own(database, ACTIVE)
    _subscribe(database, presentity_uri=BOB.uri)
    presence_server.forget_presentity(database.engine, PRESENTITY)
    assert _left(database) == OTHERS


def test_but_not_one_that_is_watched_again(database: Database) -> None:
    _own(database, ACTIVE)
    _subscribe(database)
    before = _left(database)
    presence_server.forget_presentity(database.engine, PRESENTITY)
    assert _left(database) == before


def test_a_refusal_is_forgotten_with_the_rules_that_say_it(database: Database) -> None:
    _own(database, TERMINATED)
    presence_server.forget_refusal(database.engine, PRESENTITY)
    assert _left(database) == OTHERS


@pytest.mark.parametrize("status", [ACTIVE, PENDING])
def test_what_is_no_refusal_stays(database: Database, status: int) -> None:
    _own(database, status)
    before = _left(database)
    presence_server.forget_refusal(database.engine, PRESENTITY)
    assert _left(database) == before


def test_tables_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    """A site may keep its presence server elsewhere."""
    sqlite3.connect(tmp_path / "kamailio.db").close()
    engine = make_engine(f"sqlite:///{tmp_path}/kamailio.db")
    with pytest.raises(SQLAlchemyError):
        presence_server.forget_own_publications(engine)
    with pytest.raises(SQLAlchemyError):
        presence_server.admit(engine, BOB, ALICE)
    engine.dispose()


def test_our_view_of_the_tables_has_their_columns(made: Database) -> None:
    """What Kamailio's files call them, on each database."""
    for ours in (watchers, xcap):
        assert {column.name for column in ours.columns} <= {column.name for column in made.tables[ours.name].columns}
