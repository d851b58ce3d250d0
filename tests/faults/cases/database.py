"""Faults of the database: it stands still, dies, is slow, or another program has locked its file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from purple_bridge.db.engine import make_engine
from tests.agents.xcap import XcapClient
from tests.faults.scenario import Context, scenario
from tests.faults.site import Site
from tests.gateway import PASSWORD, sip
from tests.servers.link import TcpLink
from tests.servers.mariadb import MariaDB
from tests.waiting import wait_until


@contextmanager
def _site(context: Context, through: list[TcpLink] | None = None) -> Iterator[tuple[Site, MariaDB]]:
    """A site on MariaDB; with ``through`` by way of a link, which is put there."""
    with ExitStack() as stack:
        database = stack.enter_context(MariaDB(context.directory / "db"))
        url = database.create_database("faults")
        if through is not None:
            link = stack.enter_context(TcpLink((database.host, database.port)))
            through.append(link)
            url = url.replace(f":{urlsplit(url).port}/", f":{link.port}/")
        site = stack.enter_context(Site(context.directory, registers=True, db_url=url))
        site.begin(context.quick, compared=True)
        yield site, database


@scenario(
    "db-stopped",
    "MariaDB is stopped (SIGSTOP) and continued",
    "OPTIONS and messages of accounts that are online go on; what needs the database gets 503 at once",
)
def stopped(context: Context) -> None:
    with _site(context) as (site, database):
        database.pause()
        try:
            site.wait_for(2.5)  # a second and more until it is seen
            _refused_at_once(context, site)
            site.wait_for(2.5 if context.quick else 60)
        finally:
            database.resume()
        _again(context, site)


@scenario(
    "db-killed",
    "MariaDB is killed (SIGKILL), and comes back",
    "The same",
)
def killed(context: Context) -> None:
    with _site(context) as (site, database):
        database.kill()
        site.wait_for(6 if context.quick else 60)
        database.start()
        _again(context, site)


@scenario("db-slow", "MariaDB takes 5 s for each answer", "The same", in_tests=False)
def slow(context: Context) -> None:
    links: list[TcpLink] = []
    with _site(context, links) as (site, _database):
        links[0].delay = 5.0
        site.wait_for(15 if context.quick else 60)
        links[0].delay = 0.0
        _again(context, site)


@scenario(
    "db-locked",
    "MariaDB is locked against writing, as by a backup (FLUSH TABLES WITH READ LOCK)",
    "The same; what is read goes on",
    in_tests=False,
)
def read_only(context: Context) -> None:
    with _site(context) as (site, _database):
        engine = make_engine(site.gateway.kamailio.db_url)
        with engine.connect() as connection:
            connection.exec_driver_sql("FLUSH TABLES WITH READ LOCK")
            site.wait_for(5 if context.quick else 60)
            connection.exec_driver_sql("UNLOCK TABLES")
        engine.dispose()
        _again(context, site)


@scenario("sqlite-locked", "Another program has the SQLite file locked", "The same")
def locked(context: Context) -> None:
    with Site(context.directory, registers=True) as site:
        site.begin(context.quick, compared=True)
        path = Path(site.gateway.kamailio.db_url.removeprefix("sqlite:///"))
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            site.wait_for(5 if context.quick else 60)
            connection.execute("COMMIT")
        _again(context, site)


def _refused_at_once(context: Context, site: Site) -> None:
    """A document over HTTP: the same processes serve the phones over TCP and TLS, which would wait behind it."""
    alice = XcapClient("alice", PASSWORD, ("127.0.0.1", site.gateway.kamailio.port))
    begin = time.monotonic()
    status = alice.get(f"resource-lists/users/{sip('alice')}/index").status
    seconds = time.monotonic() - begin
    context.report.check(status == 503 and seconds < 1, f"XCAP: {status} after {seconds:.1f} s")


def _again(context: Context, site: Site) -> None:
    """It works again: a phone registers, messages are taken."""
    site.phase("after")
    with context.report.timed("s until a phone registers"):
        wait_until(lambda: site.phones["bob"].register().status == 200, 30, "a phone registers")
    site.wait_for(1.5)
    context.report.check(set(site.bob.statuses("after")) == {202}, f"afterwards: {site.bob.statuses('after')}")
    site.finish(context.report)
