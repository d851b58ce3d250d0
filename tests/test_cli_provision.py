"""``purplectl db``, ``user`` and ``account``: what they do, print, refuse, and where their settings come from."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, select

from purple_bridge.cli.main import cli
from purple_bridge.cli.options import Given, default_state_dir, resolve
from purple_bridge.db.engine import make_engine
from purple_bridge.db.mapping import Mapping
from purple_bridge.db.tables import subscriber
from purple_bridge.db.urls import redacted
from purple_bridge.errors import ConfigurationError
from tests.command_line import JABBER, Purplectl
from tests.databases import KINDS, create_old_table, empty_database
from tests.purplectl import COMMAND, run_purplectl
from tests.servers.kamailio import PROJECT
from tests.servers.mariadb import MariaDB
from tests.waiting import wait_until

ALICE = "sip:alice@example.org"


@pytest.fixture
def purplectl(tmp_path: Path) -> Purplectl:
    """With an SQLite database that has all tables."""
    command = Purplectl(f"sqlite:///{tmp_path / 'kamailio.db'}", tmp_path)
    command.done("db", "create")
    return command


@pytest.fixture
def engine(purplectl: Purplectl) -> Iterator[Engine]:
    engine = make_engine(purplectl.url)
    yield engine
    engine.dispose()


def _one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


# --- the whole way, on each database ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_from_an_empty_database_to_accounts(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    purplectl = Purplectl(empty_database(kind, request, tmp_path), tmp_path)
    assert "created purplemap" in purplectl.done("db", "create")
    assert json.loads(purplectl.done("db", "create", "--json"))["created"] == []
    assert purplectl.done("user", "add", ALICE, "--password-stdin", stdin="pw1\n") == f"added {ALICE}\n"
    purplectl.done("user", "passwd", "sip:ALICE@Example.org", "--password-stdin", stdin="pw2\n")
    assert json.loads(purplectl.done("user", "list", "--json")) == [ALICE]
    add = ("account", "add", ALICE, JABBER, "alice@x", "--option", "port=5223", "--password-stdin")
    purplectl.done(*add, stdin="pä$w'o\"rd%s\n")
    assert purplectl.accounts() == [
        {
            "id": 1,
            "sip_user": ALICE,
            "protocol": JABBER,
            "ext_user": "alice@x",
            "password": "set",
            "options": {"port": 5223},
            "error": None,
        }
    ]
    engine = make_engine(purplectl.url)
    (account,) = Mapping(engine).accounts_of("alice@example.org")
    engine.dispose()
    assert account.password == "pä$w'o\"rd%s"
    purplectl.done("account", "set", ALICE, JABBER, "Alice@X", "--unset", "port")
    assert purplectl.accounts()[0]["options"] == {}
    purplectl.done("account", "remove", ALICE, JABBER, "alice@x")
    purplectl.done("user", "remove", ALICE)
    assert purplectl.accounts() == []
    assert purplectl.done("user", "list") == ""


# --- users ------------------------------------------------------------------------------------------------


def test_only_hashes_are_stored(purplectl: Purplectl, engine: Engine) -> None:
    """As auth_db reads them: HA1 of RFC 2617 §3.2.2.2 with the domain as the realm."""
    purplectl.done("user", "add", "sip:Alice@Example.org", "--password-stdin", stdin="secret\n")
    with engine.connect() as connection:
        row = connection.execute(select(subscriber)).one()
    assert (row.username, row.domain, row.password) == ("Alice", "example.org", "")
    assert row.ha1 == hashlib.md5(b"Alice:example.org:secret").hexdigest()
    assert row.ha1b == hashlib.md5(b"Alice@example.org:example.org:secret").hexdigest()


def test_a_new_password_is_for_the_name_as_it_was_added(purplectl: Purplectl, engine: Engine) -> None:
    purplectl.done("user", "add", "sip:Alice@example.org", "--password-stdin", stdin="old\n")
    purplectl.done("user", "passwd", ALICE, "--password-stdin", stdin="new\n")
    with engine.connect() as connection:
        row = connection.execute(select(subscriber)).one()
    assert row.ha1 == hashlib.md5(b"Alice:example.org:new").hexdigest()


def test_an_existing_user(purplectl: Purplectl) -> None:
    purplectl.done("user", "add", ALICE, "--password-stdin", stdin="secret\n")
    again = ("user", "add", "sip:Alice@EXAMPLE.org", "--password-stdin")
    assert "exists already" in purplectl.fails(1, *again, stdin="other\n")
    assert purplectl.done(*again, "--if-missing", stdin="other\n").startswith("kept")


@pytest.mark.parametrize("command", ["remove", "passwd"])
def test_a_user_who_is_not_there(command: str, purplectl: Purplectl) -> None:
    more = ["--password-stdin"] if command == "passwd" else []
    assert "there is no user" in purplectl.fails(1, "user", command, ALICE, *more, stdin="x\n")


@pytest.mark.parametrize("user", ["", "alice", "sip:example.org", "sip:al ice@x", "sip:" + "a" * 65 + "@example.org"])
def test_what_is_no_sip_user(user: str, purplectl: Purplectl) -> None:
    purplectl.fails(2, "user", "add", user, "--password-stdin", stdin="x\n")


def test_users_are_listed_in_order(purplectl: Purplectl) -> None:
    for user in ("sip:bob@b.example", "sip:carol@a.example", "sip:alice@b.example"):
        purplectl.done("user", "add", user, "--password-stdin", stdin="x\n")
    listed = purplectl.done("user", "list").splitlines()
    assert listed == ["sip:carol@a.example", "sip:alice@b.example", "sip:bob@b.example"]


@pytest.mark.parametrize("kind", KINDS)
def test_names_outside_of_ascii_are_found(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """SQLite's lower(), and that of PostgreSQL in the C locale, know no case of them."""
    purplectl = Purplectl(empty_database(kind, request, tmp_path), tmp_path)
    purplectl.done("db", "create")
    user = "sip:Älice@example.org"
    purplectl.done("user", "add", user, "--password-stdin", stdin="old\n")
    assert "exists already" in purplectl.fails(1, "user", "add", user, "--password-stdin", stdin="x\n")
    purplectl.done("user", "passwd", user, "--password-stdin", stdin="new\n")
    purplectl.done("user", "remove", user)
    assert json.loads(purplectl.done("user", "list", "--json")) == []
    account = (user, JABBER, "alice@x")
    purplectl.done("account", "add", *account, "--no-password")
    assert "already" in purplectl.fails(1, "account", "add", *account, "--no-password")
    assert len(json.loads(purplectl.done("account", "list", "sip:%C3%84LICE@example.org", "--json"))) == 1
    purplectl.done("account", "remove", *account)
    assert purplectl.accounts() == []


# --- passwords --------------------------------------------------------------------------------------------


def test_a_password_from_a_file(purplectl: Purplectl, tmp_path: Path, engine: Engine) -> None:
    file = tmp_path / "password"
    file.write_text(" with spaces \nsecond line\n")
    purplectl.done("account", "add", ALICE, JABBER, "alice@x", "--password-file", str(file))
    assert Mapping(engine).accounts_of("alice@example.org")[0].password == " with spaces "


def test_no_password_is_null(purplectl: Purplectl, engine: Engine) -> None:
    purplectl.done("account", "add", ALICE, "prpl-irc", "alice@irc", "--no-password")
    assert Mapping(engine).accounts_of("alice@example.org")[0].password is None
    assert purplectl.accounts()[0]["password"] == "none"


@pytest.mark.parametrize(
    ("options", "stdin", "error"),
    [
        ([], "", "a password is needed"),
        (["--password-stdin"], "\n", "the password is empty"),
        (["--password-stdin"], "x" * 256, "longer than 255"),
        (["--password-stdin", "--password-file", __file__], "x", "exclude each other"),
        (["--password-file", "/does/not/exist"], "", "does not exist"),
    ],
)
def test_where_no_password_comes_from(options: list[str], stdin: str, error: str, purplectl: Purplectl) -> None:
    assert error in purplectl.fails(2, "account", "add", ALICE, JABBER, "alice@x", *options, stdin=stdin)
    assert purplectl.accounts() == []


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
@pytest.mark.parametrize("option", ["--password-stdin", "--password-file"])
def test_a_password_is_utf8_in_every_locale(
    option: str, locale: str, purplectl: Purplectl, tmp_path: Path, engine: Engine
) -> None:
    file = tmp_path / "password"
    source = (option, str(file)) if option == "--password-file" else (option,)

    def add(password: bytes) -> subprocess.CompletedProcess[bytes]:
        file.write_bytes(password)
        command = [*COMMAND, "account", "add", ALICE, JABBER, "alice@x", *source]
        variables = {**os.environ, **purplectl.environment, "LC_ALL": locale, "PYTHONPATH": str(PROJECT)}
        return subprocess.run(command, input=password, env=variables, capture_output=True, check=False, timeout=60)

    refused = add("grün\n".encode("latin-1"))
    assert refused.returncode == 2
    assert refused.stdout == b""
    assert refused.stderr.startswith(b"purplectl: the password is not UTF-8: write it in UTF-8")
    assert refused.stderr.count(b"\n") == 1
    assert purplectl.accounts() == []
    assert add("grün\r\n".encode() + b"not read: \xfc\n").returncode == 0
    assert Mapping(engine).accounts_of("alice@example.org")[0].password == "grün"


def test_a_prompt_on_a_terminal_shows_no_password(purplectl: Purplectl, tmp_path: Path, engine: Engine) -> None:
    """On a pseudo-terminal: asked twice, echoed never."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"PURPLE_DB_URL": purplectl.url, "PURPLE_STATE_DIR": str(tmp_path)}
        os.execv(COMMAND[0], [*COMMAND, "user", "add", ALICE])
    seen = bytearray()

    def asks(prompts: int) -> bool:
        seen.extend(os.read(terminal, 1024))
        return seen.count(b": ") >= prompts

    for prompts in (1, 2):
        wait_until(lambda prompts=prompts: asks(prompts), 20, "a prompt")  # type: ignore[misc]
        os.write(terminal, b"secret\n")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0
    assert b"secret" not in seen
    with engine.connect() as connection:
        row = connection.execute(select(subscriber)).one()
    assert row.ha1 == hashlib.md5(b"alice:example.org:secret").hexdigest()


# --- accounts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("port=5223", 5223),
        ("auth_plain_in_clear=true", True),
        ("auth_plain_in_clear=YES", True),
        ("auth_plain_in_clear=1", True),
        ("auth_plain_in_clear=no", False),
        ("auth_plain_in_clear=0", False),
        ("typing=false", False),
        ("connect_server=a=b", "a=b"),
        ("connect_server=", ""),
        ("connection_security=opportunistic_tls", "opportunistic_tls"),
    ],
)
def test_options_have_the_declared_type(text: str, value: object, purplectl: Purplectl) -> None:
    purplectl.done("account", "add", ALICE, JABBER, "alice@x", "--no-password", "--option", text)
    options = purplectl.accounts()[0]["options"]
    assert isinstance(options, dict)
    (stored,) = options.values()
    assert (stored, type(stored)) == (value, type(value))


@pytest.mark.parametrize(
    ("protocol", "option", "error"),
    [
        ("prpl-nothing", "port=1", "no protocol 'prpl-nothing'; there are: prpl-irc, prpl-jabber, gtalk"),
        (
            JABBER,
            "prot=1",
            "auth_plain_in_clear, connect_server, connection_security, enabled, port, public_servers, "
            "tls_name, tls_pin, typing",
        ),
        (JABBER, "port", "write NAME=VALUE"),
        (JABBER, "port=many", "takes a number"),
        (JABBER, "auth_plain_in_clear=perhaps", "takes true or false"),
        (JABBER, "connection_security=none", "is one of require_tls, opportunistic_tls"),
        ("prpl-irc", "connect_server=x", "there are: enabled, port, public_servers, tls_name, tls_pin, typing"),
    ],
)
def test_what_the_plugin_does_not_declare(protocol: str, option: str, error: str, purplectl: Purplectl) -> None:
    add = ("account", "add", ALICE, protocol, "alice@x", "--no-password", "--option", option)
    assert error in purplectl.fails(2, *add)
    assert purplectl.accounts() == []


def test_gtalk_is_checked_as_xmpp_and_stays_gtalk(purplectl: Purplectl) -> None:
    purplectl.done("account", "add", ALICE, "gtalk", "alice@gmail.com", "--no-password", "--option", "port=5223")
    assert purplectl.accounts()[0]["protocol"] == "gtalk"


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a" * 129])
def test_what_is_no_account_name(name: str, purplectl: Purplectl) -> None:
    assert "EXT_USER" in purplectl.fails(2, "account", "add", ALICE, JABBER, name, "--no-password")


def test_an_existing_account(purplectl: Purplectl) -> None:
    purplectl.done("account", "add", ALICE, JABBER, "alice@x", "--no-password")
    again = ("account", "add", "sip:ALICE@example.org", JABBER, "Alice@X", "--no-password")
    assert "already" in purplectl.fails(1, *again)
    assert len(purplectl.accounts()) == 1


def test_a_sips_address_names_the_same_user(purplectl: Purplectl, engine: Engine) -> None:
    purplectl.done("account", "add", "sips:Alice@example.org:5061", JABBER, "alice@x", "--no-password")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT sip_user FROM purplemap").scalar_one() == ALICE
    assert "already" in purplectl.fails(1, "account", "add", ALICE, JABBER, "alice@x", "--no-password")
    assert purplectl.done("account", "list", ALICE).startswith(ALICE)
    purplectl.done("account", "remove", "sips:alice@example.org", JABBER, "alice@x")
    assert purplectl.accounts() == []


@pytest.mark.parametrize("command", [["remove"], ["set", "--option", "port=1"]])
def test_an_account_that_is_not_there(command: list[str], purplectl: Purplectl) -> None:
    purplectl.done("account", "add", ALICE, JABBER, "alice@x", "--no-password")
    name, *more = command
    assert "has no prpl-irc" in purplectl.fails(1, "account", name, ALICE, "prpl-irc", "alice@x", *more)
    assert len(purplectl.accounts()) == 1


def test_set_changes_what_it_names(purplectl: Purplectl, engine: Engine) -> None:
    add = ("account", "add", ALICE, JABBER, "alice@x", "--password-stdin", "--option", "port=1")
    purplectl.done(*add, "--option", "connect_server=h", stdin="old\n")
    change = ("account", "set", ALICE, JABBER, "alice@x")
    purplectl.done(*change, "--option", "port=2")
    assert purplectl.accounts()[0]["options"] == {"port": 2, "connect_server": "h"}
    purplectl.done(*change, "--password-stdin", stdin="new\n")
    (account,) = Mapping(engine).accounts_of("alice@example.org")
    assert (account.password, dict(account.options)) == ("new", {"port": 2, "connect_server": "h"})
    purplectl.done(*change, "--unset", "port", "--unset", "connect_server")
    assert purplectl.accounts()[0]["options"] == {}
    assert "set are: none" in purplectl.fails(1, *change, "--unset", "port")
    assert "nothing to change" in purplectl.fails(2, *change)


def test_accounts_of_one_user(purplectl: Purplectl) -> None:
    for user in (ALICE, "sip:bob@example.org"):
        purplectl.done("account", "add", user, JABBER, "team@x", "--password-stdin", stdin="verysecret\n")
    listed = purplectl.done("account", "list", "sip:ALICE@example.org")
    assert listed == f"{ALICE}\t{JABBER}\tteam@x\tset\t\t\n"
    assert "verysecret" not in purplectl.done("account", "list", "--json")


def test_options_on_a_table_of_the_old_module(tmp_path: Path) -> None:
    purplectl = Purplectl(f"sqlite:///{tmp_path / 'kamailio.db'}", tmp_path)
    (tmp_path / "kamailio.db").touch()
    engine = make_engine(purplectl.url)
    with engine.begin() as connection:
        create_old_table(connection)
    engine.dispose()
    created = purplectl("db", "create")
    assert created.exit_code == 0
    assert "purplectl db upgrade" in created.stderr
    purplectl.done("account", "add", ALICE, JABBER, "alice@x", "--no-password")
    change = ("account", "set", ALICE, JABBER, "alice@x", "--option", "port=1")
    refused = purplectl(*change)
    assert isinstance(refused.exception, ConfigurationError)
    assert "purplectl db upgrade" in str(refused.exception)
    assert "added purplemap.ext_options" in purplectl.done("db", "upgrade")
    purplectl.done(*change)
    assert purplectl.accounts()[0]["options"] == {"port": 1}


# --- the real command -------------------------------------------------------------------------------------


def test_options_are_checked_against_libpurple(purplectl: Purplectl) -> None:
    add = ("account", "add", ALICE, JABBER, "alice@x", "--no-password", "--db-url", purplectl.url)
    done = run_purplectl(*add, "--option", "connection_security=require_tls", "--option", "port=5223")
    assert (done.returncode, done.stderr) == (0, "")
    assert purplectl.accounts()[0]["options"] == {"connection_security": "require_tls", "port": 5223}
    refused = run_purplectl(*add, "--option", "prot=1")
    assert refused.returncode == 2
    assert "connection_security" in _one_line(refused)


def test_errors_are_one_line_without_the_password(tmp_path: Path) -> None:
    missing = run_purplectl("user", "list", PURPLE_DB_URL=f"sqlite:///{tmp_path / 'missing.db'}")
    assert missing.returncode == 1
    assert "purplectl db create" in _one_line(missing)
    unreachable = run_purplectl("account", "list", PURPLE_DB_URL="mysql://kamailio:verysecret@127.0.0.1:1/kamailio")
    assert unreachable.returncode == 1
    assert "mysql://kamailio:***@127.0.0.1:1/kamailio" in _one_line(unreachable)
    assert "verysecret" not in unreachable.stderr
    unreadable = run_purplectl("db", "create", PURPLE_DB_URL="oracle://u:verysecret@h/d")
    assert unreadable.returncode == 1
    assert "purple.db_url" in _one_line(unreadable)
    assert "verysecret" not in unreadable.stderr


@pytest.mark.parametrize("arguments", [["db"], ["db", "create"], ["user", "add"], ["account", "set"]])
def test_help(arguments: list[str], purplectl: Purplectl) -> None:
    assert "Usage:" in purplectl.done(*arguments, "--help")


# --- settings ---------------------------------------------------------------------------------------------


@pytest.fixture
def places(tmp_path: Path) -> Given:
    """A state directory and a kamailio.cfg, both with a database."""
    state = tmp_path / "state"
    state.mkdir()
    (state / "settings.json").write_text('{"db_url": "sqlite:////saved.db", "db_table": "saved", "workers": 2}')
    config = tmp_path / "kamailio.cfg"
    config.write_text(
        '#!KAMAILIO\n# purple.db_url = "sqlite:////comment.db"\n'
        'purple.db_url = "sqlite:////config.db" desc "the database"\npurple.db_table="config" desc "x"\n'
    )
    return Given(state_dir=state, config=config)


def _resolved(given: Given) -> tuple[str, str]:
    settings = resolve(given)
    return settings.db_url, settings.table


def test_an_option_comes_first(places: Given) -> None:
    given = Given("sqlite:////given.db", "given", places.state_dir, places.config)
    assert _resolved(given) == ("sqlite:////given.db", "given")


def test_then_what_the_launcher_saved(places: Given) -> None:
    assert _resolved(places) == ("sqlite:////saved.db", "saved")


def test_then_kamailio_cfg(places: Given, tmp_path: Path) -> None:
    given = Given(state_dir=tmp_path / "none", config=places.config)
    assert _resolved(given) == ("sqlite:////config.db", "config")


def test_kamailio_cfg_names_the_state_directory(places: Given, tmp_path: Path) -> None:
    config = tmp_path / "other.cfg"
    config.write_text(f'purple.state_dir = "{places.state_dir}" desc "x"\n')
    settings = resolve(Given(config=config))
    assert (settings.state_dir, settings.db_url) == (places.state_dir, "sqlite:////saved.db")
    assert resolve(Given("sqlite:////k.db", state_dir=tmp_path, config=config)).state_dir == tmp_path


def test_without_any_database_it_says_what_to_do(tmp_path: Path) -> None:
    empty = tmp_path / "kamailio.cfg"
    empty.write_text('# purple.db_url = "sqlite:////comment.db"\n')
    with pytest.raises(ConfigurationError, match="--db-url"):
        resolve(Given(state_dir=tmp_path, config=empty))


def test_the_table_is_purplemap_by_default(tmp_path: Path) -> None:
    assert resolve(Given("sqlite:////k.db", state_dir=tmp_path)).table == "purplemap"


def test_a_config_that_is_given_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        resolve(Given(state_dir=tmp_path, config=tmp_path / "none.cfg"))


@pytest.mark.parametrize("text", ["{", "[]"])
def test_damaged_settings(text: str, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(ConfigurationError, match=r"settings\.json is damaged"):
        resolve(Given(state_dir=tmp_path))


def test_the_state_directory_of_a_checkout(tmp_path: Path) -> None:
    assert default_state_dir(tmp_path) == Path("/var/lib/kamailio-purple")
    (tmp_path / "state").mkdir()
    assert default_state_dir(tmp_path) == tmp_path / "state"


def test_the_environment_stands_for_the_options(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(json.dumps({"db_url": f"sqlite:///{tmp_path / 'k.db'}"}))
    assert CliRunner().invoke(cli, ["db", "create"], env={"PURPLE_STATE_DIR": str(tmp_path)}).exit_code == 0
    assert (tmp_path / "k.db").exists()


def test_db_create_says_in_which_database(purplectl: Purplectl, mariadb: MariaDB) -> None:
    assert purplectl.done("db", "create").splitlines()[-1].startswith(f"{purplectl.url}: 0 tables created, ")
    assert purplectl.done("db", "upgrade").splitlines()[-1].startswith(f"{purplectl.url}: 0 tables created, ")
    url = mariadb.create_database("says_which")
    named = json.loads(purplectl.done("db", "create", "--json", "--db-url", url))["database"]
    assert named == redacted(url) != url
