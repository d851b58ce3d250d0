"""``purplectl account enable|disable|reconnect`` where no gateway runs: what becomes of the row, and what is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import insert, update

from purple_bridge.addresses import SipAddress
from purple_bridge.cli.account_arguments import Named
from purple_bridge.cli.account_control import _troubles, _why
from purple_bridge.cli.main import cli
from purple_bridge.db.engine import make_engine
from purple_bridge.db.mapping import Mapping
from purple_bridge.db.tables import purplemap_table
from purple_bridge.running import Told
from tests.databases import create_ours

ALICE = ("sip:alice@example.org", "prpl-jabber", "alice@x")
TABLE = purplemap_table("purplemap", "sqlite")


class Row:
    """One row in a database, and the command line."""

    def __init__(self, directory: Path) -> None:
        path = directory / "purple.db"
        path.touch()
        self.url, self.state_dir = f"sqlite:///{path}", directory
        self.engine = make_engine(self.url)
        create_ours(self.engine)
        row = {"sip_user": ALICE[0], "ext_prot": ALICE[1], "ext_user": ALICE[2]}
        with self.engine.begin() as connection:
            connection.execute(insert(TABLE).values(**row, ext_options='{"port": 5223}'))

    def run(self, *words: str) -> Result:
        environment = {"PURPLE_DB_URL": self.url, "PURPLE_STATE_DIR": str(self.state_dir)}
        return CliRunner().invoke(cli, ["account", *words], env=environment)

    @property
    def options(self) -> dict[str, Any]:
        (account,) = Mapping(self.engine).accounts_of("alice@example.org")
        return dict(account.options)

    def set_options(self, text: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(update(TABLE).values(ext_options=text))


@pytest.fixture
def row(tmp_path: Path) -> Iterator[Row]:
    made = Row(tmp_path)
    yield made
    made.engine.dispose()


def test_disable_and_enable_leave_the_other_options(row: Row) -> None:
    assert row.run("disable", *ALICE).stdout == "disabled prpl-jabber alice@x of sip:alice@example.org\n"
    assert row.options == {"port": 5223, "enabled": False}
    assert json.loads(row.run("disable", *ALICE, "--json").stdout)["changed"] is False
    assert row.run("enable", *ALICE).stdout == "enabled prpl-jabber alice@x of sip:alice@example.org\n"
    assert row.options == {"port": 5223}
    assert json.loads(row.run("enable", *ALICE, "--json").stdout)["changed"] is False


def test_enable_what_plain_sql_has_disabled(row: Row) -> None:
    row.set_options('{"enabled": "no"}')
    assert row.run("enable", *ALICE).exit_code == 0
    assert row.options == {}


def test_options_that_cannot_be_read_are_left_alone(row: Row) -> None:
    row.set_options("{broken")
    refused = row.run("disable", *ALICE)
    assert (refused.exit_code, "ext_options is not JSON: correct it first" in refused.stderr) == (1, True)


@pytest.mark.parametrize("command", ["enable", "disable", "reconnect"])
def test_an_account_that_is_not_there(command: str, row: Row) -> None:
    refused = row.run(command, *ALICE[:2], "nobody@x")
    assert (refused.exit_code, "account list" in refused.stderr) == (1, True)


@pytest.mark.parametrize("words", [ALICE, ("--all",)])
def test_reconnect_needs_a_gateway(words: tuple[str, ...], row: Row) -> None:
    refused = row.run("reconnect", *words)
    assert refused.exit_code == 1
    assert f"no gateway answers in {row.state_dir}: start it with `purplectl run`" in refused.stderr


@pytest.mark.parametrize("words", [(), ALICE[:2], (*ALICE, "--all"), (*ALICE, "--timeout", "0")])
def test_wrong_usage_of_reconnect(words: tuple[str, ...], row: Row) -> None:
    assert row.run("reconnect", *words).exit_code == 2


@pytest.mark.parametrize(
    ("connect_on", "words"),
    [
        ("publish", "alice's phone does not publish presence"),
        ("register", "alice's phone is not registered"),
        ("start", "the gateway has not read its row yet"),
    ],
)
def test_why_an_account_stays_offline(connect_on: str, words: str) -> None:
    told = Told({"worker-1": {"accounts": [], "connect_on": connect_on}})
    assert _why(told, Named(SipAddress.parse(ALICE[0]), *ALICE[1:])) == words


def _state(state: str, error: str = "") -> dict[str, Any]:
    return {"protocol": "prpl-irc", "ext_user": "al@irc", "state": state, "error": error}


def test_what_is_said_of_accounts_that_are_not_online() -> None:
    states = [_state("online"), _state("error", "no\nroute"), _state("connecting"), _state("offline", "disabled")]
    assert list(_troubles(states)) == [
        "prpl-irc al@irc: no\\nroute",
        "prpl-irc al@irc is still connecting: see `purplectl status`",
        "prpl-irc al@irc is offline: disabled",
    ]
