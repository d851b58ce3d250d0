"""Tables: made, kept, upgraded, the same in SQL files and in tables.py, on each database."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, inspect, select, text

from purple_bridge.addresses import SipAddress
from purple_bridge.db.engine import make_engine
from purple_bridge.db.mapping import Mapping
from purple_bridge.db.provision import add_account
from purple_bridge.db.schema import create_all, upgrade
from purple_bridge.db.scripts import KAMAILIO_SHARES, kamailio_scripts
from purple_bridge.db.tables import (
    purple_contact,
    purple_presence,
    purple_queue,
    purplemap_table,
    silo,
    subscriber,
    version,
)
from purple_bridge.errors import ConfigurationError
from tests.databases import KINDS, create_old_table, empty_database, run

ALICE = SipAddress.parse("sip:alice@example.org")
SQL = Path(__file__).parents[1] / "sql"
FOLDERS = {"sqlite": "sqlite", "mysql": "mysql", "postgresql": "postgres"}


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without tables."""
    return empty_database(request.param, request, tmp_path)


@pytest.fixture
def engine(url: str, tmp_path: Path) -> Iterator[Engine]:
    if url.startswith("sqlite"):
        (tmp_path / "kamailio.db").touch()
    engine = make_engine(url)
    yield engine
    engine.dispose()


def _versions(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        statement = select(version.c.table_name, version.c.table_version)
        return {row.table_name: row.table_version for row in connection.execute(statement)}


def _shape(engine: Engine, table: str) -> dict[str, Any]:
    """Columns and indexes as the database reports them."""
    inspector = inspect(engine)
    return {
        "columns": [
            (column["name"], str(column["type"].compile(engine.dialect)), column["nullable"])
            for column in inspector.get_columns(table)
        ],
        "key": inspector.get_pk_constraint(table)["constrained_columns"],
        "indexes": _index_definitions(engine, table),
    }


def _index_definitions(engine: Engine, table: str) -> list[str]:
    """What the database keeps of CREATE INDEX: columns with their collations and expressions."""
    queries = {
        "sqlite": f"SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name = '{table}'",
        "postgresql": f"SELECT indexdef FROM pg_indexes WHERE tablename = '{table}' AND indexname NOT LIKE '%%_pkey'",
        "mysql": "SELECT concat_ws(' ', index_name, seq_in_index, column_name) FROM information_schema.statistics "
        f"WHERE table_schema = database() AND table_name = '{table}' AND index_name <> 'PRIMARY'",
    }
    with engine.connect() as connection:
        found = connection.exec_driver_sql(queries[engine.dialect.name]).scalars()
        return sorted(" ".join(text.replace("IF NOT EXISTS ", "").replace('"', "").split()) for text in found)


def test_creates_what_kamailios_modules_and_the_gateway_need(url: str) -> None:
    lines: list[str] = []
    report = create_all(url, progress=lines.append)
    engine = make_engine(url)
    versions = _versions(engine)
    tables = set(inspect(engine).get_table_names())
    engine.dispose()
    wanted = {script.table: script.version for script in kamailio_scripts(engine.dialect.name)}
    assert {"subscriber", "location", "presentity", "active_watchers", "pua", "silo"} < set(wanted)
    assert versions == wanted | {"purplemap": 2, "purple_presence": 1, "purple_queue": 1, "purple_contact": 1}
    assert set(versions) <= tables
    assert set(report.created) == set(versions)
    assert not report.kept
    assert not report.warnings
    assert len(lines) == len(report.created)


def test_a_second_time_changes_nothing(url: str) -> None:
    create_all(url)
    engine = make_engine(url)
    add_account(engine, ALICE, "prpl-jabber", "alice@x", "pw", {})
    before = _versions(engine)
    report = create_all(url)
    assert not report.created
    assert not report.warnings
    assert _versions(engine) == before
    assert len(Mapping(engine).accounts_of(ALICE.key)) == 1
    upgraded = upgrade(url)
    engine.dispose()
    assert not upgraded.created
    assert not upgraded.changed


def test_a_database_made_by_kamdbctl_gets_what_is_missing(url: str, engine: Engine) -> None:
    for script in kamailio_scripts(engine.dialect.name, ("standard", "auth_db")):
        run(engine, *script.statements)
    report = create_all(url)
    assert {"version", "subscriber"} <= set(report.kept)
    assert {"presentity", "purplemap"} <= set(report.created)


def test_another_version_of_a_table_is_kept_and_reported(url: str, engine: Engine) -> None:
    create_all(url)
    run(engine, "UPDATE version SET table_version = 3 WHERE table_name = 'subscriber'")
    assert create_all(url).warnings == ["subscriber has version 3, where version 7 is expected"]


def test_the_old_modules_table_is_upgraded_and_keeps_its_rows(url: str, engine: Engine) -> None:
    with engine.begin() as connection:
        create_old_table(connection)
    run(
        engine,
        "INSERT INTO purplemap (sip_user, ext_user, ext_prot, ext_pass) "
        "VALUES ('sip:alice@example.org', 'alice@live.com', 'prpl-msn', 'password')",
    )
    assert "purplemap has no version, where version 2 is expected" in create_all(url).warnings
    report = upgrade(url)
    assert "added purplemap.ext_options" in report.changed
    (row,) = Mapping(engine).accounts_of(ALICE.key)
    assert (row.ext_user, row.protocol, row.password, row.options) == ("alice@live.com", "prpl-msn", "password", ())
    add_account(engine, ALICE, "prpl-" + "x" * 50, "a", "p" * 200, {"port": 5223})
    assert _versions(engine)["purplemap"] == 2
    assert not upgrade(url).changed
    if engine.dialect.name != "sqlite":  # there the old column keeps its declared length, which means nothing
        fresh = purplemap_table("fresh", engine.dialect.name)
        fresh.create(engine)
        assert _shape(engine, "purplemap")["columns"] == _shape(engine, "fresh")["columns"]
    assert len(_index_definitions(engine, "purplemap")) == (3 if engine.dialect.name == "mysql" else 2)


def test_upgrade_makes_our_tables_beside_kamailios(url: str, engine: Engine) -> None:
    for script in kamailio_scripts(engine.dialect.name, ("standard",)):
        run(engine, *script.statements)
    assert set(upgrade(url).created) == {"purplemap", "purple_presence", "purple_queue", "purple_contact"}


def test_upgrade_adds_a_table_that_came_later(url: str, engine: Engine) -> None:
    create_all(url)
    add_account(engine, ALICE, "prpl-jabber", "alice@x", "pw", {})
    run(engine, "DROP TABLE purple_queue", "DELETE FROM version WHERE table_name = 'purple_queue'")
    report = upgrade(url)
    assert (report.created, report.changed, report.warnings) == (["purple_queue"], [], [])
    assert _versions(engine)["purple_queue"] == 1
    assert len(Mapping(engine).accounts_of(ALICE.key)) == 1


def test_upgrade_makes_the_lists_anew_that_would_end_kamailio(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'kamailio.db'}"
    create_all(url)
    kamailios = KAMAILIO_SHARES[0] / "db_sqlite" / "rls-create.sql"
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as connection:
        connection.executescript("DROP TABLE rls_watchers; DROP TABLE rls_presentity")
        connection.execute("DELETE FROM version WHERE table_name LIKE 'rls_%'")
        connection.executescript(kamailios.read_text())
    assert upgrade(url).changed == ["made rls_presentity anew", "made rls_watchers anew"]
    assert upgrade(url).changed == []
    engine = make_engine(url)
    assert {name: _versions(engine)[name] for name in ("rls_presentity", "rls_watchers")} == {
        "rls_presentity": 1,
        "rls_watchers": 3,
    }
    row = text("INSERT INTO rls_presentity VALUES (NULL, 'did', 'uri', 'type', :state, 1, 1, 1, NULL)")
    with engine.begin() as connection:
        for state in ("old", "new"):
            connection.execute(row, {"state": state})
        found = connection.execute(text("SELECT presence_state, reason FROM rls_presentity")).all()
        assert [tuple(each) for each in found] == [("new", "")]
    engine.dispose()


def test_upgrade_without_a_kamailio_database(url: str, engine: Engine) -> None:
    with pytest.raises(ConfigurationError, match="purplectl db create"):
        upgrade(url)


def test_another_table_name(url: str, engine: Engine) -> None:
    create_all(url, "my_map")
    create_all(url, "purplemap")
    add_account(engine, ALICE, "prpl-irc", "alice@irc", None, {}, "my_map")
    assert len(Mapping(engine, "my_map").accounts_of(ALICE.key)) == 1
    assert Mapping(engine).accounts_of(ALICE.key) == ()
    assert _versions(engine)["my_map"] == 2


def test_a_table_name_with_capitals(url: str, engine: Engine) -> None:
    create_all(url, "PurpleMap")
    add_account(engine, ALICE, "prpl-irc", "alice@irc", None, {}, "PurpleMap")
    assert len(Mapping(engine, "PurpleMap").accounts_of(ALICE.key)) == 1
    assert not create_all(url, "PurpleMap").created


@pytest.mark.parametrize("name", ["", "a b", "a;drop", "1a", "a.b", "a" * 33, "ä", "a\n"])
def test_a_bad_table_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"purple\.db_table"):
        create_all(f"sqlite:///{tmp_path / 'k.db'}", name)


WIDENED = {"active_watchers": ("watcher_username", "to_user", "from_user"), "watchers": ("watcher_username",)}


def test_watchers_may_have_long_names(url: str, engine: Engine) -> None:
    """Kamailio's file has room for 64 characters; `db upgrade` widens what was made from it."""
    create_all(url)
    if engine.dialect.name == "sqlite":
        return  # which minds no length
    assert _lengths(engine) == {255}
    kind = "MODIFY to_user VARCHAR(64) NOT NULL" if engine.dialect.name == "mysql" else "ALTER to_user TYPE VARCHAR(64)"
    run(engine, f"ALTER TABLE active_watchers {kind}")
    assert upgrade(url).changed == ["widened active_watchers.to_user"]
    assert _lengths(engine) == {255}


def _lengths(engine: Engine) -> set[int | None]:
    found = {name: inspect(engine).get_columns(name) for name in WIDENED}
    columns = ((name, column) for name, all_columns in found.items() for column in all_columns)
    return {getattr(column["type"], "length", None) for name, column in columns if column["name"] in WIDENED[name]}


def test_tables_and_sql_agree(url: str, engine: Engine, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The same shape from the SQL file and from tables.py, each in a database of its own."""
    create_all(url)
    other = tmp_path / "other"
    other.mkdir()
    (other / "kamailio.db").touch()
    kind = {"mysql": "mariadb", "postgresql": "postgres"}.get(engine.dialect.name, "sqlite")
    from_tables = make_engine(empty_database(kind, request, other))
    purplemap = purplemap_table("purplemap", engine.dialect.name)
    for table in (purplemap, purple_presence, purple_queue, purple_contact, subscriber, silo, version):
        table.create(from_tables)
    ours = ("purplemap", "purple_presence", "purple_queue", "purple_contact")
    theirs = ("subscriber", "silo", "version")
    shapes = {name: (_shape(engine, name), _shape(from_tables, name)) for name in ours}
    kamailios = {name: (_shape(engine, name), _shape(from_tables, name)) for name in theirs}
    from_tables.dispose()
    assert len(shapes["purplemap"][0]["columns"]) == 6
    assert len(shapes["purplemap"][0]["indexes"]) == (3 if engine.dialect.name == "mysql" else 2)
    assert len(shapes["purple_queue"][0]["columns"]) == 13
    assert len(shapes["purple_queue"][0]["indexes"]) == (3 if engine.dialect.name == "mysql" else 2)
    for sql, tables in shapes.values():
        assert sql == tables
    for sql, tables in kamailios.values():  # their indexes are Kamailio's affair
        assert sql["columns"] == tables["columns"]


def test_the_example_rows_can_be_loaded(url: str, engine: Engine) -> None:
    create_all(url)
    example = (SQL / FOLDERS[engine.dialect.name] / "provision-example.sql").read_text()
    run(engine, *(part for part in example.split(";\n") if part.strip()))
    accounts = list(Mapping(engine).all_accounts())
    assert [account.sip_user for account in accounts] == ["alice@example.org"] * 2 + ["bob@example.org"]
    assert dict(accounts[0].options)["port"] == 5222
    assert not any(account.error for account in accounts)


@pytest.mark.parametrize(
    ("dialect", "package"),
    [
        ("sqlite", "kamailio-sqlite-modules"),
        ("mysql", "kamailio-mysql-modules"),
        ("postgresql", "kamailio-postgres-modules"),
    ],
)
def test_a_missing_file_of_kamailio_names_the_package(dialect: str, package: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"apt-get install {package}"):
        kamailio_scripts(dialect, ("standard",), (tmp_path,))


def test_kamailio_installed_from_source_is_found(tmp_path: Path) -> None:
    installed = next(share for share in KAMAILIO_SHARES if share.is_dir())
    shutil.copytree(installed / "db_sqlite", tmp_path / "db_sqlite")
    found = kamailio_scripts("sqlite", shares=(tmp_path / "nothing", tmp_path))
    assert found == kamailio_scripts("sqlite")


def test_a_file_with_something_after_the_last_version_row_is_not_half_used(tmp_path: Path) -> None:
    (tmp_path / "db_sqlite").mkdir()
    (tmp_path / "db_sqlite" / "standard-create.sql").write_text("CREATE TABLE orphan (id INTEGER);")
    with pytest.raises(ConfigurationError, match="after the last row"):
        kamailio_scripts("sqlite", ("standard",), (tmp_path,))


def test_sqlite_files_are_private_and_usrloc_has_its_own(tmp_path: Path) -> None:
    create_all(f"sqlite:///{tmp_path / 'kamailio.db'}")
    files = sorted(path for path in tmp_path.iterdir() if path.suffix == ".db")
    assert [path.name for path in files] == ["kamailio-location.db", "kamailio.db"]
    assert [path.stat().st_mode & 0o777 for path in files] == [0o600, 0o600]
    engine = make_engine(f"sqlite:///{files[0]}")
    assert set(inspect(engine).get_table_names()) == {"version", "location", "location_attrs"}
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    engine.dispose()


def test_an_existing_sqlite_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "kamailio.db"
    path.touch()
    path.chmod(0o660)
    create_all(f"sqlite:///{path}")
    assert path.stat().st_mode & 0o777 == 0o660


def test_a_failure_on_the_way_leaves_nothing_behind(tmp_path: Path) -> None:
    """SQLite: one transaction, so that the next try starts from the beginning."""
    path = tmp_path / "kamailio.db"
    path.touch()
    engine = make_engine(f"sqlite:///{path}")
    run(engine, "CREATE VIEW silo AS SELECT 1")
    with pytest.raises(Exception, match="silo"):
        create_all(f"sqlite:///{path}")
    assert inspect(engine).get_table_names() == []
    run(engine, "DROP VIEW silo")
    create_all(f"sqlite:///{path}")
    assert "silo" in inspect(engine).get_table_names()
    engine.dispose()


def test_a_directory_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"purple\.db_url: .* cannot be made"):
        create_all(f"sqlite:///{tmp_path / 'missing' / 'k.db'}")
