"""What IM contacts show while the database cannot be written is shown when it can, on a real gateway."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from purple_bridge.addresses import GATEWAY_SENDER
from purple_bridge.db.engine import make_engine
from purple_bridge.db.tables import presentity
from tests.databases import frozen
from tests.gateway import PASSWORD, Gateway, sip
from tests.pairs import make_pair, shows
from tests.servers.mariadb import MariaDB
from tests.servers.prosody import Prosody
from tests.waiting import wait_until

TIMEOUT = 30.0


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("database"), users={}) as running:
        yield running


@contextmanager
def locked(gateway: Gateway) -> Iterator[None]:
    """Another program writes to the file, and the gateway has seen that."""
    before = len(gateway.kamailio.log)
    with closing(sqlite3.connect(Path(gateway.kamailio.db_url.partition("://")[2]), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        wait_until(lambda: "the database cannot be written" in gateway.kamailio.log[before:], TIMEOUT, "it is seen")
        yield


def published(gateway: Gateway) -> list[bytes]:
    """The gateway's own documents."""
    engine = make_engine(gateway.kamailio.db_url)
    with engine.connect() as connection:
        own = select(presentity.c.body).where(presentity.c.sender == GATEWAY_SENDER)
        found = [bytes(body) for body in connection.execute(own).scalars()]
    engine.dispose()
    return found


def test_a_contact_that_leaves_while_the_database_is_locked(gateway: Gateway, prosody: Prosody) -> None:
    """The presence server refuses what is published then, and what was true before must not stay beside it."""
    pair = make_pair(gateway, prosody)
    watch = pair.watch_allowed()
    with locked(gateway):
        before = len(gateway.kamailio.log)
        pair.contact.presence(type="unavailable")
        wait_until(
            lambda: any("PUBLISH" in line and "503" in line for line in gateway.kamailio.log[before:].splitlines()),
            TIMEOUT,
            "it is refused",
        )
    watch.wait_notify(shows("closed"), TIMEOUT)
    wait_until(lambda: len(published(gateway)) == 1, TIMEOUT, "one document is left")
    assert b"closed" in published(gateway)[0]
    assert shows("closed")(watch.notifies[-1])
    pair.contact.presence()
    watch.wait_notify(shows("open"), TIMEOUT)


def test_a_database_that_begins_to_hang(tmp_path: Path) -> None:
    """Who needs it has an answer before the workers are sure, and who does not need it goes on."""
    with MariaDB(tmp_path / "db") as database:
        options = {"db_url": database.create_database("hangs"), "users": {"alice": PASSWORD, "bob": PASSWORD}}
        with Gateway(tmp_path / "gw", **options) as gateway:
            alice, bob = gateway.phone("alice"), gateway.phone("bob")
            assert alice.message(sip("bob"), "whose rows are looked up").status == 200
            with frozen(database):
                assert alice.register().status == 503
                log = gateway.kamailio.log
                assert "the database has not answered within" in log
                assert "the database does not answer" not in log, "the workers knew, and the request waited for them"
                assert alice.message(sip("bob"), "without it").status == 200
                bob.wait_message(lambda message: message.text == "without it", TIMEOUT)
                assert alice.message(sip("nobody"), "who needs it").status == 503
            wait_until(lambda: alice.register().status == 200, TIMEOUT, "the database is used again")
            wait_until(lambda: alice.message(sip("nobody"), "?").status == 404, TIMEOUT, "and by who needs rows")


def test_one_table_is_locked(tmp_path: Path) -> None:
    """Only the first request waits until Kamailio's module gives up; everybody else would wait behind each one."""
    with MariaDB(tmp_path / "db") as database:
        options = {"db_url": database.create_database("locked"), "users": {"alice": PASSWORD}}
        with Gateway(tmp_path / "gw", **options) as gateway:
            alice, engine = gateway.phone("alice"), make_engine(gateway.kamailio.db_url)
            with engine.connect() as connection:
                connection.exec_driver_sql("LOCK TABLES location WRITE")
                assert alice.register().status == 500
                wait_until(lambda: "waited for the database" in gateway.kamailio.log, TIMEOUT, "it is seen")
                assert [alice.register().status for _ in range(3)] == [503, 503, 503]
                assert gateway.kamailio.log.count("updating database failed") == 1
                connection.invalidate()
            engine.dispose()
            wait_until(lambda: alice.register().status == 200, TIMEOUT, "the table is used again")
