"""``purplectl key`` on each database: make, encrypt, rotate, also stopped in between; old tables; other rows' texts."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from purple_bridge.db import key_file, key_rows
from purple_bridge.db.engine import make_engine
from purple_bridge.db.mapping import Mapping
from purple_bridge.db.passwords import OTHER_KEY, OTHER_ROW, Passwords
from purple_bridge.db.tables import purplemap_table
from tests.command_line import Purplectl
from tests.databases import KINDS, create_old_table, create_ours, empty_database, empty_file

JABBER = "prpl-jabber"
ALICE, BOB = "sip:alice@example.org", "sip:bob@example.org"
PLAIN = {"alice@x": "one", "bob@x": "enc:1:two", "carol@x": None}


class Database:
    """A database with the mapping, its key file, and purplectl on it."""

    def __init__(self, url: str, directory: Path) -> None:
        self.key = directory / "key"
        self.purplectl = Purplectl(url, directory)
        self.engine = make_engine(url)
        self.table = purplemap_table("purplemap", self.engine.dialect.name)

    def add(self, ext_user: str, stored: str | None) -> None:
        row = {"sip_user": ALICE, "ext_prot": JABBER, "ext_user": ext_user, "ext_pass": stored}
        with self.engine.begin() as connection:
            connection.execute(insert(self.table).values(row))

    def stored(self) -> dict[str, str | None]:
        with self.engine.connect() as connection:
            rows = connection.execute(select(self.table.c.ext_user, self.table.c.ext_pass)).all()
        return {row.ext_user: row.ext_pass for row in rows}

    def read(self) -> dict[str, str | None]:
        accounts = Mapping(self.engine, passwords=Passwords(self.key)).all_accounts()
        return {account.ext_user: account.error or account.password for account in accounts}

    def run(self, *words: str, stdin: str = "", code: int = 0) -> str:
        result = self.purplectl(*words, "--state-dir", str(self.key.parent), stdin=stdin)
        assert result.exit_code == code, result.output
        return str(result.stdout if code == 0 else result.stderr or result.exception)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("key", "status", "--json"))
        return found

    def keys_in_use(self) -> set[str]:
        return {str(text).split(":")[2] for text in self.stored().values() if text is not None}


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = empty_file(tmp_path) if request.param == "sqlite" else empty_database(request.param, request, tmp_path)
    database = Database(url, tmp_path)
    create_ours(database.engine)
    for name, stored in (("alice@x", "one"), ("bob@x", "enc:0:enc:1:two"), ("carol@x", None)):
        database.add(name, stored)
    yield database
    database.engine.dispose()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Database]:
    """On SQLite, empty, with a key."""
    database = Database(empty_file(tmp_path), tmp_path)
    create_ours(database.engine)
    database.run("key", "create")
    yield database
    database.engine.dispose()


def test_from_plain_to_encrypted_to_another_key_and_back(database: Database) -> None:
    assert "no key file" in database.run("key", "encrypt", code=1)
    made = json.loads(database.run("key", "create", "--json"))
    assert stat.S_IMODE(database.key.stat().st_mode) == 0o600
    assert "is there already" in database.run("key", "create", code=1)
    assert database.read() == PLAIN
    assert json.loads(database.run("key", "encrypt", "--json"))["written"] == 2
    assert database.keys_in_use() == {made["key"]}
    assert database.read() == PLAIN
    status = database.status()
    assert (status["plain"], status["none"], status["unreadable"], status["unknown_keys"]) == (0, 1, 0, {})

    rotated = json.loads(database.run("key", "rotate", "--json"))
    assert (rotated["written"], rotated["kept"], rotated["resumed"]) == (2, [], False)
    assert database.keys_in_use() == {rotated["key"]} != {made["key"]}
    assert [key["passwords"] for key in database.status()["keys"]] == [2]
    assert database.read() == PLAIN

    database.run("key", "decrypt")
    assert database.stored() == {"alice@x": "one", "bob@x": "enc:0:enc:1:two", "carol@x": None}


def test_a_rotation_that_was_stopped_is_taken_up(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    database.run("key", "create")
    database.run("key", "encrypt")
    monkeypatch.setattr(key_rows, "PAGE", 1)

    def stop(_rows: int) -> None:
        raise KeyboardInterrupt

    keys = key_file.put_in_front(database.key, key_file.new_key())
    with pytest.raises(KeyboardInterrupt):
        key_rows.rewrite(database.engine, Passwords(database.key), lambda _key: True, progress=stop)
    assert database.keys_in_use() == {key.id for key in keys}
    assert database.read() == PLAIN

    resumed = json.loads(database.run("key", "rotate", "--json"))
    assert (resumed["resumed"], resumed["key"], resumed["written"]) == (True, keys[0].id, 1)
    assert key_file.read_keys(database.key) == keys[:1]
    assert database.read() == PLAIN


def test_a_table_of_the_old_module(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Its column holds 64 characters: no password is cut off, and db upgrade makes room."""
    old = Database(empty_database("mariadb", request, tmp_path), tmp_path)
    create_ours(old.engine, "others")
    with old.engine.begin() as connection:
        create_old_table(connection)
    old.add("alice@x", "one")
    old.run("key", "create")
    assert "run `purplectl db upgrade` first" in old.run("key", "encrypt", code=1)
    add = ("account", "add", BOB, JABBER, "bob@x", "--password-stdin")
    assert "run `purplectl db upgrade` first" in old.run(*add, stdin="two\n", code=1)
    assert old.stored() == {"alice@x": "one"}
    assert "widened purplemap.ext_pass" in old.run("db", "upgrade")
    old.run("key", "encrypt")
    old.run(*add, stdin="two\n")
    assert old.read() == {"alice@x": "one", "bob@x": "two"}
    assert "widened" not in old.run("db", "upgrade")


# ------------------------------------------------------------ what the other commands make of it
def test_every_command_encrypts_what_it_writes(own: Database) -> None:
    key = json.loads(own.run("key", "status", "--json"))["keys"][0]["id"]
    own.run("account", "add", ALICE, JABBER, "alice@x", "--password-stdin", stdin="one\n")
    own.run("account", "add", ALICE, JABBER, "bob@x", "--password-stdin", stdin="two\n")
    own.run("account", "set", ALICE, JABBER, "bob@x", "--password-stdin", stdin="enc:1:three\n")
    file = own.key.parent / "rows.csv"
    file.write_text(
        f"sip_user,ext_user,ext_prot,ext_pass\n{ALICE},alice@x,{JABBER},new\n{ALICE},carol@x,{JABBER},four\n"
    )
    own.run("import", str(file), "--replace")
    assert own.keys_in_use() == {key}
    assert own.read() == {"alice@x": "new", "bob@x": "enc:1:three", "carol@x": "four"}
    assert "unchanged" in own.run("import", str(file))


def test_there_and_back_between_machines(own: Database, tmp_path: Path) -> None:
    """By a file that holds plain passwords, each machine with its own key; or by the table's texts with the key."""
    own.run("account", "add", ALICE, JABBER, "alice@x", "--password-stdin", stdin="enc:1:one\n")
    exported = own.run("export", "--passwords")
    other = tmp_path / "other"
    other.mkdir()
    (other / "kamailio.db").touch()
    there = Database(f"sqlite:///{other / 'kamailio.db'}", other)
    create_ours(there.engine)
    there.run("key", "create")
    there.run("import", "-", stdin=exported)
    assert there.read() == {"alice@x": "enc:1:one"}
    assert there.keys_in_use() != own.keys_in_use()

    dump = f"sip_user,ext_user,ext_prot,ext_pass\n{ALICE},alice@x,{JABBER},{own.stored()['alice@x']}\n"
    assert OTHER_KEY in there.run("import", "-", "--replace", stdin=dump, code=1)
    there.key.write_bytes(own.key.read_bytes())
    there.run("import", "-", "--replace", stdin=dump)
    assert there.read() == {"alice@x": "enc:1:one"}


def test_an_export_without_passwords_needs_no_key(own: Database) -> None:
    own.run("account", "add", ALICE, JABBER, "alice@x", "--password-stdin", stdin="secret\n")
    own.key.unlink()
    assert "enc:" not in own.run("export")
    assert "row 1: its password is encrypted" in own.run("export", "--passwords", code=1)


def test_what_cannot_be_read_is_said_and_stays(own: Database) -> None:
    own.run("account", "add", ALICE, JABBER, "alice@x", "--password-stdin", stdin="secret\n")
    own.add("mallory@x", own.stored()["alice@x"])
    before = own.stored()["mallory@x"]
    assert own.read() == {"alice@x": "secret", "mallory@x": f"row 2: {OTHER_ROW}"}
    listed = {account["ext_user"]: account for account in json.loads(own.run("account", "list", "--json"))}
    assert (listed["mallory@x"]["password"], listed["alice@x"]["password"]) == ("unreadable", "set")
    status = own.status()
    assert status["unreadable_rows"] == [{"id": 2, "error": OTHER_ROW}]

    rotated = json.loads(own.run("key", "rotate", "--json"))
    assert rotated["kept"] == [status["keys"][0]["id"]]
    assert own.stored()["mallory@x"] == before
    assert not json.loads(own.run("key", "rotate", "--json"))["resumed"], "a row that cannot be read keeps no key first"
    own.run("account", "set", ALICE, JABBER, "mallory@x", "--password-stdin", stdin="own\n")
    own.run("key", "rotate")
    assert len(own.status()["keys"]) == 1
    assert own.read() == {"alice@x": "secret", "mallory@x": "own"}


def test_nothing_plain_is_left_in_the_file(own: Database) -> None:
    """SQLite's freed places and its write-ahead log included, while another connection is open."""
    for number in range(200):
        own.add(f"user{number}@x", f"an-old-password-{number}")
    own.read()
    own.run("key", "encrypt")
    files = [path for path in own.key.parent.iterdir() if path.is_file()]
    assert [path.name for path in files if b"an-old-password" in path.read_bytes()] == []
    assert own.read()["user7@x"] == "an-old-password-7"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_key_belongs_to_the_gateways_user(tmp_path: Path) -> None:
    """Wherever it lies; also after a rotation by root."""
    state, place = tmp_path / "state", tmp_path / "etc"
    state.mkdir()
    place.mkdir()
    os.chown(state, 1234, 2345)
    (state / "kamailio.db").touch()
    database = Database(f"sqlite:///{state / 'kamailio.db'}", state)
    create_ours(database.engine)
    file = place / "key"
    database.run("key", "create", "--file", str(file))
    database.run("key", "rotate", "--file", str(file))
    assert (file.stat().st_uid, file.stat().st_gid, stat.S_IMODE(file.stat().st_mode)) == (1234, 2345, 0o600)
    database.engine.dispose()


def test_another_place(own: Database, tmp_path: Path) -> None:
    place = tmp_path / "etc"
    place.mkdir()
    own.key.unlink()
    own.run("key", "create", "--file", str(place / "key"))
    own.add("alice@x", "one")
    assert json.loads(own.run("key", "encrypt", "--file", str(place / "key"), "--json"))["written"] == 1
    assert own.status()["unreadable"] == 1
    (own.key.parent / "settings.json").write_text(json.dumps({"key_file": str(place / "key")}))
    assert own.status()["unreadable"] == 0
