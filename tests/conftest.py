"""Owns the session's real servers as fixtures; each starts when the first test asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.mariadb import MariaDB
from tests.servers.ngircd import Ngircd
from tests.servers.postgres import Postgres
from tests.servers.prosody import Prosody

XMPP_USERS = {"alice": "secret", "bob": "secret", "carol": "secret", "dave": "secret"}


@pytest.fixture(scope="session")
def prosody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prosody]:
    """XMPP without TLS, domain `localhost`, with the accounts of XMPP_USERS."""
    with Prosody(tmp_path_factory.mktemp("prosody"), XMPP_USERS) as server:
        yield server


@pytest.fixture(scope="session")
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
