"""Owns the real servers as fixtures; each starts when the first test asks for it.

Those in which tests leave accounts and messages are of one module, which no other can disturb then; a database server,
which starts slowly, gets another database for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.clock import Clock
from tests.databases import KINDS, empty_database, open_empty
from tests.gateway import Gateway
from tests.pairs import Pair, make_pair
from tests.servers.mariadb import MariaDB
from tests.servers.ngircd import Ngircd
from tests.servers.postgres import Postgres
from tests.servers.prosody import Prosody

XMPP_USERS = {"alice": "secret", "bob": "secret", "carol": "secret", "dave": "secret"}
SIP_USERS = ("alice", "bob", "carol", "dave", "erin", "frank", "grace")


@pytest.fixture(scope="module")
def prosody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prosody]:
    """XMPP without TLS, domain `localhost`, with the accounts of XMPP_USERS."""
    with Prosody(tmp_path_factory.mktemp("prosody"), XMPP_USERS) as server:
        yield server


@pytest.fixture(scope="module")
def ngircd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ngircd]:
    with Ngircd(tmp_path_factory.mktemp("ngircd")) as server:
        yield server


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    with MariaDB(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    """A clock that goes on when the test says so."""
    return Clock()


@pytest.fixture(params=KINDS)
def any_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database of each kind in turn, without tables."""
    with open_empty(request.param, request, tmp_path) as engine:
        yield engine


@pytest.fixture(scope="module", params=KINDS)
def any_gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway on each database in turn."""
    directory = tmp_path_factory.mktemp("gw")
    url = None if request.param == "sqlite" else empty_database(request.param, request, directory)
    with Gateway(directory, db_url=url) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway on SQLite that many tests share; each adds its own accounts."""
    with Gateway(tmp_path_factory.mktemp("gw"), users=dict.fromkeys(SIP_USERS, "secret")) as shared:
        yield shared


@pytest.fixture
def pair(gateway: Gateway, prosody: Prosody) -> Pair:
    return make_pair(gateway, prosody)


@pytest.fixture
def own_gateway(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway on SQLite for one test alone."""
    with Gateway(tmp_path) as own:
        yield own


@pytest.fixture(autouse=True)
def _chat_clients_end_with_the_test() -> Iterator[None]:
    yield
    for running in Gateway.running:
        if not running.keeps_chat_clients:
            running.close_chat_clients()
