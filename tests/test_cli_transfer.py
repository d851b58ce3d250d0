"""``purplectl export`` and ``import``: there and back on each database, what is refused, what is written where."""

from __future__ import annotations

import json
import shutil
import sqlite3
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select

from purple_bridge.db.engine import make_engine
from purple_bridge.db.tables import purplemap_table
from purple_bridge.row_files import COLUMNS, write_csv
from tests.command_line import Purplectl
from tests.databases import KINDS, create_old_table, create_ours, empty_database, empty_file
from tests.purplectl import on_terminal

ALICE, JABBER = "sip:alice@example.org", "prpl-jabber"
HEADER = "sip_user,ext_user,ext_prot,ext_pass,ext_options\r\n"
NASTY = "pä$w'o\"rd%s\\;,=x"
ROWS = [
    (ALICE, "alice@x", JABBER, NASTY, '{"port": 5223, "connect_server": "it\'s \\\\ here"}'),
    (ALICE, "alice@irc.example", "prpl-irc", None, None),
    ("sip:bob@example.org", "-bob, \N{ROCKET}", "gtalk", "secret", None),
]
MANY = 20_000


class Database:
    """One database with the gateway's tables, and purplectl on it."""

    def __init__(self, url: str, directory: Path) -> None:
        self.directory = directory
        self.purplectl = Purplectl(url, directory)
        self.engine = make_engine(url)

    @property
    def table(self) -> Any:
        return purplemap_table("purplemap", self.engine.dialect.name)

    def add(self, *rows: tuple[str | None, ...]) -> None:
        with self.engine.begin() as connection:
            connection.execute(insert(self.table), [dict(zip(COLUMNS, row, strict=True)) for row in rows])

    def rows(self) -> list[tuple[str | None, ...]]:
        with self.engine.connect() as connection:
            found = connection.execute(select(*[self.table.c[name] for name in COLUMNS]).order_by(self.table.c.id))
            return [tuple(row) for row in found]

    def clear(self) -> None:
        with self.engine.begin() as connection:
            connection.execute(self.table.delete())

    def file(self, content: str, name: str = "rows.csv") -> str:
        path = self.directory / name
        path.write_text(content, encoding="utf-8", newline="")
        return str(path)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(empty_file(tmp_path), tmp_path)
    create_ours(database.engine)
    yield database
    database.engine.dispose()


# --- there and back ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back_on_each_database(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = empty_file(tmp_path) if kind == "sqlite" else empty_database(kind, request, tmp_path)
    database = Database(url, tmp_path)
    create_ours(database.engine)
    database.add(*ROWS)
    for name in ("rows.csv", "rows.sql"):
        file = str(tmp_path / name)
        assert database.purplectl.done("export", file, "--passwords") == f"3 accounts written to {file}\n"
        assert database.purplectl.done("import", file) == "0 added, 3 unchanged, 0 changed\n"
        database.clear()
        assert database.purplectl.done("import", file) == "3 added, 0 unchanged, 0 changed\n"
        assert database.rows() == ROWS
    _read_by_the_clients(kind, database, tmp_path / "rows.sql", request)
    database.engine.dispose()


def _read_by_the_clients(kind: str, database: Database, file: Path, request: pytest.FixtureRequest) -> None:
    """The database's own client program reads the same out of the file."""
    database.clear()
    url = database.engine.url
    commands = {
        "sqlite": ["sqlite3", str(database.directory / "kamailio.db")],
        "mariadb": ["mysql", "--default-character-set=utf8mb4", "--host", str(url.host), "--port", str(url.port)],
        "postgres": ["psql", "-q", str(url.set(drivername="postgresql").render_as_string(hide_password=False))],
    }
    command = commands[kind]
    if kind == "mariadb":
        command += ["--user", str(url.username), f"--password={url.password}", str(url.database)]
    if kind == "sqlite" and shutil.which("sqlite3") is None:  # its library is there in any case
        with sqlite3.connect(command[1]) as connection:
            connection.executescript(file.read_text())
        connection.close()
    else:
        subprocess.run(command, input=file.read_bytes(), check=True, capture_output=True, timeout=30)
    assert database.rows() == ROWS


def test_passwords_stay_out_unless_asked_for(database: Database, tmp_path: Path) -> None:
    database.add(*ROWS)
    for form in ("csv", "sql"):
        result = database.purplectl("export", "--format", form)
        assert result.exit_code == 0
        assert "secret" not in result.stdout
        assert "ext_pass" not in result.stdout
        assert result.stderr == "purplectl: passwords are left out (--passwords writes them, too)\n"
        with_them = database.purplectl("export", "-", "--format", form, "--passwords")
        assert "secret" in with_them.stdout
        assert with_them.stderr == ""


def test_an_import_without_passwords_keeps_those_that_are_there(database: Database) -> None:
    database.add(*ROWS)
    file = database.file("sip_user,ext_user,ext_prot,ext_options\r\n" + f"{ALICE},alice@x,{JABBER},\r\n")
    assert database.purplectl.done("import", file, "--replace") == "0 added, 0 unchanged, 1 changed\n"
    assert database.rows()[0] == (ALICE, "alice@x", JABBER, NASTY, None)


def test_a_file_is_private_and_appears_at_once(database: Database, tmp_path: Path) -> None:
    database.add(*ROWS)
    file = tmp_path / "out" / "rows.csv"
    file.parent.mkdir()
    file.write_text("old")
    file.chmod(0o644)
    facts = json.loads(database.purplectl.done("export", str(file), "--passwords", "--json"))
    assert facts == {"file": str(file), "rows": 3, "passwords": True}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["rows.csv"]
    assert database.purplectl("export", "--json").exit_code == 2


def test_a_device_is_written_to_and_not_replaced(database: Database) -> None:
    database.add(*ROWS)
    database.purplectl.done("export", "/dev/null", "--passwords")
    assert Path("/dev/null").is_char_device()


# --- what becomes of rows ---------------------------------------------------------------------------------


def test_rows_that_exist_are_left_unless_replaced(database: Database) -> None:
    database.add((ALICE, "alice@x", JABBER, "old", '{"port": 1}'), ROWS[1])
    file = database.file(
        HEADER
        + f'sip:ALICE@Example.org,Alice@X/phone,{JABBER},new,"{{""port"": ""2""}}"\r\n'
        + f"{ALICE},alice@irc.example,prpl-irc,,\r\n"
        + "bob@example.org;x=y,bob@x,gtalk,secret,\r\n"
    )
    dry = database.purplectl.done("import", file, "--dry-run")
    assert dry.startswith("nothing is written, it would be: 1 added, 1 unchanged, 0 changed, 1 left as they are")
    assert len(database.rows()) == 2
    first = json.loads(database.purplectl.done("import", file, "--json"))
    assert first == {"changed": True, "added": 1, "unchanged": 1, "updated": 0, "left": 1, "dry_run": False}
    assert database.rows()[0][3] == "old"
    assert database.rows()[2] == ("sip:bob@example.org", "bob@x", "gtalk", "secret", None)
    assert database.purplectl.done("import", file, "--replace") == "0 added, 2 unchanged, 1 changed\n"
    assert database.rows()[0] == (ALICE, "alice@x", JABBER, "new", '{"port": 2}')
    again = json.loads(database.purplectl.done("import", file, "--replace", "--json"))
    assert again == {"changed": False, "added": 0, "unchanged": 3, "updated": 0, "left": 0, "dry_run": False}


def test_a_user_is_stored_in_the_spelling_that_is_found(database: Database) -> None:
    users = ["sips:Alice@Example.org", "SIP:%c3%84lice@example.org:5060;x=y", "sip:al%2Aice@example.org"]
    file = database.file(HEADER + "".join(f"{user},alice@x,{JABBER},,\r\n" for user in users))
    assert database.purplectl.done("import", file) == "3 added, 0 unchanged, 0 changed\n"
    stored = [ALICE, "sip:%C3%A4lice@example.org", "sip:al*ice@example.org"]
    assert [row[0] for row in database.rows()] == stored
    assert database.purplectl.done("import", file) == "0 added, 3 unchanged, 0 changed\n"
    for user in users:
        database.purplectl.done("account", "remove", user, JABBER, "alice@x")
    assert database.rows() == []


def test_all_wrong_rows_are_named_and_nothing_is_imported(database: Database) -> None:
    lines = [
        (f"{ALICE},alice@x,{JABBER},,", ""),
        ("sip:example.org,a,prpl-irc,,", "sip_user 'sip:example.org': write sip:USER@DOMAIN"),
        ("sip:al ice@x,a,prpl-irc,,", "not a SIP address"),
        (f"{ALICE},a,prpl-nothing,,", "no protocol 'prpl-nothing'; there are: prpl-irc, prpl-jabber, gtalk"),
        (f"{ALICE},,prpl-irc,,", "EXT_USER must be 1 to 128 printable characters"),
        (f"{ALICE},a\x07,prpl-irc,,", "EXT_USER must be 1 to 128 printable characters"),
        (f"{ALICE},{'a' * 129},prpl-irc,,", "EXT_USER must be 1 to 128 printable characters"),
        (f"{ALICE},b,prpl-irc,{'x' * 256},", "the password is longer than 255 characters"),
        (f'{ALICE},c,prpl-irc,,"{{""port"": ""many""}}"', "option port=many: port takes a number"),
        (f'{ALICE},d,prpl-irc,,"{{""color"": 1}}"', "prpl-irc has no option 'color'"),
        (f"{ALICE},e,prpl-irc,,[1]", "ext_options is no JSON object"),
        (f"{ALICE},f,prpl-irc,,{{", "ext_options is no JSON object"),
        (f'{ALICE},g,prpl-irc,,"{{""port"": null}}"', "ext_options: port is neither text, number nor true/false"),
        (f"{ALICE},Alice@X,{JABBER},other,", "the same account as in line 2, but not the same"),
        (f"{ALICE},alice@x,{JABBER},,", ""),
        (f"{ALICE},h,prpl-irc", "3 fields, where the header has 5"),
        (f"sip:{'a' * 120}@example.org,a,prpl-irc,,", "sip_user is longer than 128 characters"),
    ]
    file = database.file(HEADER + "".join(f"{line}\r\n" for line, _ in lines))
    expected = {number: error for number, (_, error) in enumerate(lines, 2) if error}
    refused = database.purplectl("import", file)
    assert refused.exit_code == 1
    assert refused.stdout == ""
    *named, last = refused.stderr.splitlines()
    assert len(named) == len(expected)
    for line, (number, error) in zip(named, expected.items(), strict=True):
        assert line.startswith(f"line {number}: ")
        assert error in line
    assert f"{len(expected)} rows are wrong: nothing was imported" in last
    assert database.rows() == []
    machine = json.loads(database.purplectl("import", file, "--json").stdout)
    assert machine["changed"] is False
    assert [error["line"] for error in machine["errors"]] == list(expected)


def test_an_error_of_the_database_undoes_all(database: Database) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER refuse BEFORE INSERT ON purplemap WHEN new.ext_user = 'n1500@x'"
            " BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    rows = [(ALICE, f"n{number}@x", JABBER, None, None) for number in range(2000)]
    refused = database.purplectl("import", database.file("".join(write_csv(rows, COLUMNS))))
    assert refused.exit_code == 1
    assert "refused" in refused.stderr
    assert database.rows() == []


def test_sql_is_read_and_never_executed(database: Database) -> None:
    database.add(*ROWS)
    evil = "INSERT INTO purplemap VALUES (1, 'sip:x@y', 'x@y', 'gtalk', 'p');\nDELETE FROM purplemap;\n"
    refused = database.purplectl("import", database.file(evil, "rows.sql"))
    assert refused.exit_code == 1
    assert "line 2: only INSERT INTO purplemap is read, this begins with 'DELETE'" in refused.stderr
    assert database.rows() == ROWS
    kept = "INSERT INTO purplemap (sip_user, ext_user, ext_prot) VALUES ('sip:x@y', '''); DROP TABLE x;--', 'gtalk')"
    database.purplectl.done("import", database.file(kept, "rows.sql"))
    assert database.rows()[-1][1] == "'); DROP TABLE x;--"


def test_from_stdin_and_by_content(database: Database) -> None:
    database.add(*ROWS)
    for form in ("csv", "sql"):
        text = database.purplectl("export", "--format", form, "--passwords").stdout
        assert database.purplectl.done("import", "-", stdin=text) == "0 added, 3 unchanged, 0 changed\n"


def test_a_name_that_a_spreadsheet_takes_for_a_formula_stays_as_it_is(database: Database) -> None:
    formula = '=HYPERLINK("http://x")'
    database.add((ALICE, formula, "prpl-irc", None, None))
    text = database.purplectl("export").stdout
    database.clear()
    database.purplectl.done("import", "-", stdin=text)
    assert database.rows()[0][1] == formula


# --- the table of the old module --------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Database]:
    database = Database(empty_file(tmp_path), tmp_path)
    with database.engine.begin() as connection:
        create_old_table(connection)
    yield database
    database.engine.dispose()


def _count(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM purplemap").scalar_one())


def test_a_table_without_options(old: Database) -> None:
    file = old.file("sip_user,ext_user,ext_prot,ext_pass\r\n" + f"{ALICE},alice@x,{JABBER},pw\r\n")
    assert old.purplectl.done("import", file) == "1 added, 0 unchanged, 0 changed\n"
    assert old.purplectl("export", "--passwords").stdout.splitlines()[1] == f"{ALICE},alice@x,{JABBER},pw,"
    with_options = old.file(HEADER + f'{ALICE},b@x,{JABBER},,"{{""port"": 1}}"\r\n')
    refused = old.purplectl("import", with_options)
    assert "purplectl db upgrade" in str(refused.exception)
    assert _count(old.engine) == 1


# --- many -------------------------------------------------------------------------------------------------


def test_many_rows_take_seconds_and_show_progress(database: Database) -> None:
    rows = [(f"sip:user{number}@example.org", f"user{number}@x", JABBER, "pw", None) for number in range(MANY)]
    file = database.file("".join(write_csv(rows, COLUMNS)))
    began = time.monotonic()
    shown = on_terminal("import", file, **database.purplectl.environment)
    assert time.monotonic() - began < 12  # 100,000 in a minute
    assert f"{MANY} added".encode() in shown
    assert f"/{MANY}".encode() in shown
    assert _count(database.engine) == MANY
