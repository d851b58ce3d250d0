"""``purplectl contacts``: what it shows of a user's contacts, under which addresses, and how it fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, insert

from purple_bridge.db import contacts
from purple_bridge.db.contacts import ListedContact
from purple_bridge.db.engine import make_engine
from purple_bridge.db.tables import purplemap_table
from purple_bridge.ownership import account_digest
from tests.command_line import Purplectl
from tests.databases import create_ours, empty_file, run

ALICE, XMPP, IRC = "sip:alice@example.org", "alice@xmpp.example", "alice@irc.example"
BOB = ListedContact("bob@xmpp.example", "Bob, \N{SMILING FACE WITH SUNGLASSES}", ("Friends", "Büro"), "both")
DAVE = ListedContact("dave@xmpp.example", asked=True)
ERIN = ListedContact("erin", subscription="to")
LINES = [
    ["sip:bob*xmpp.example@xmpp.im.example.org", BOB.alias, "Friends, Büro", "prpl-jabber", XMPP, BOB.contact, "both"],
    ["sip:dave@example.org", "", "", "prpl-jabber", XMPP, DAVE.contact, "none (asked)"],
    ["sip:erin@irc.im.example.org", "", "", "prpl-irc", IRC, "erin", "to"],
]


class Contacts(Purplectl):
    """``purplectl contacts`` on one database and one state directory."""

    def __init__(self, directory: Path) -> None:
        super().__init__(empty_file(directory), directory, "contacts")

    def done(self, *arguments: str, stdin: str = "") -> str:
        """What it prints where it has to succeed."""
        result = self(*arguments, stdin=stdin)
        assert result.exit_code == 0, result.output
        assert result.stderr == ""
        return result.stdout

    def lines(self, *arguments: str) -> list[list[str]]:
        return [line.split("\t") for line in self.done(*arguments).splitlines()]

    def addresses(self, user: str = ALICE) -> list[str]:
        return [entry["address"] for entry in json.loads(self.done(user, "--json"))]


@pytest.fixture
def purplectl(tmp_path: Path) -> Contacts:
    return Contacts(tmp_path)


def _map(engine: Engine, sip_user: str, ext_user: str, protocol: str, table: str = "purplemap") -> None:
    row = {"sip_user": sip_user, "ext_user": ext_user, "ext_prot": protocol, "ext_pass": "secret"}
    with engine.begin() as connection:
        connection.execute(insert(purplemap_table(table, engine.dialect.name)).values(row))


@pytest.fixture
def engine(purplectl: Contacts) -> Iterator[Engine]:
    """Alice has two accounts; Dave, on the list of one of them, is a SIP user; Carol's list is her own."""
    engine = make_engine(purplectl.url)
    create_ours(engine)
    _map(engine, ALICE, XMPP, "prpl-jabber")
    _map(engine, ALICE, IRC, "prpl-irc")
    _map(engine, "sip:dave@example.org", "dave@xmpp.example", "prpl-jabber")
    _map(engine, "sip:carol@example.org", "carol@xmpp.example", "prpl-jabber")
    contacts.save(engine, account_digest("prpl-jabber", XMPP).hex(), [DAVE, BOB])
    contacts.save(engine, account_digest("prpl-irc", IRC).hex(), [ERIN])
    contacts.save(engine, account_digest("prpl-jabber", "carol@xmpp.example").hex(), [ListedContact("x@xmpp.example")])
    yield engine
    engine.dispose()


# ---- what it shows


@pytest.mark.usefixtures("engine")
def test_the_table_is_for_people(purplectl: Contacts) -> None:
    assert purplectl.lines(ALICE) == LINES


@pytest.mark.usefixtures("engine")
def test_json_is_for_programs(purplectl: Contacts) -> None:
    entries: list[dict[str, Any]] = json.loads(purplectl.done(ALICE, "--json"))
    assert entries[0] == {
        "address": "sip:bob*xmpp.example@xmpp.im.example.org",
        "name": BOB.alias,
        "groups": ["Friends", "Büro"],
        "protocol": "prpl-jabber",
        "ext_user": XMPP,
        "contact": "bob@xmpp.example",
        "subscription": "both",
        "asked": False,
    }
    assert [(one["contact"], one["subscription"], one["asked"]) for one in entries[1:]] == [
        ("dave@xmpp.example", "none", True),
        ("erin", "to", False),
    ]


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("user", ["sip:ALICE@Example.org", "sips:alice@example.org", "sip:al%69ce@example.org;x=y"])
def test_any_spelling_of_the_user(purplectl: Contacts, user: str) -> None:
    assert purplectl.lines(user) == LINES


@pytest.mark.usefixtures("engine")
def test_nothing_secret_is_shown(purplectl: Contacts) -> None:
    assert "secret" not in purplectl.done(ALICE) + purplectl.done(ALICE, "--json")


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("user", ["sip:nobody@example.org", "sip:alice@example.com"])
def test_an_unknown_user_has_no_contacts(purplectl: Contacts, user: str) -> None:
    assert purplectl.done(user) == ""
    assert json.loads(purplectl.done(user, "--json")) == []


def test_a_name_is_no_markup(purplectl: Contacts, engine: Engine) -> None:
    contacts.save(engine, account_digest("prpl-irc", IRC).hex(), [ListedContact("[bold]", "[red]x[/]", ("[b]",), "to")])
    row = purplectl.lines(ALICE)[2]
    assert row[0] == "sip:%5Bbold%5D@irc.im.example.org"
    assert row[1:3] == ["[red]x[/]", "[b]"]


@pytest.mark.parametrize("alias", ["Bob\nx\ty", "Bob\x1bc", "Bob\x9b2J"])
def test_a_name_makes_no_line_of_its_own_and_moves_no_cursor(purplectl: Contacts, engine: Engine, alias: str) -> None:
    """Whoever is on the list may have chosen it."""
    contacts.save(engine, account_digest("prpl-irc", IRC).hex(), [ListedContact("erin", alias, (alias,), "to")])
    rows = purplectl.lines(ALICE)
    assert [len(row) for row in rows] == [7, 7, 7]
    assert "".join(rows[2]).isprintable()


# ---- the settings


@pytest.mark.usefixtures("engine")
def test_the_gateways_domain_comes_from_what_the_launcher_wrote(purplectl: Contacts) -> None:
    assert purplectl.addresses()[0] == "sip:bob*xmpp.example@xmpp.im.example.org", "else it is the user's im domain"
    settings = {"gateway_domain": "gw.example.net"}
    (purplectl.state_dir / "settings.json").write_text(json.dumps(settings))
    assert purplectl.addresses() == [
        "sip:bob*xmpp.example@xmpp.gw.example.net",
        "sip:dave@example.org",
        "sip:erin@irc.gw.example.net",
    ]


@pytest.mark.usefixtures("engine")
def test_the_gateways_domain_may_come_from_the_configuration(purplectl: Contacts) -> None:
    config = purplectl.state_dir / "kamailio.cfg"
    config.write_text('purple.gateway_domain = "gw.example.com" desc "x"\n')
    entries = json.loads(purplectl.done(ALICE, "--json", "--config", str(config)))
    assert entries[0]["address"] == "sip:bob*xmpp.example@xmpp.gw.example.com"


def test_another_mapping_table(purplectl: Contacts, engine: Engine) -> None:
    run(engine, "CREATE TABLE people AS SELECT * FROM purplemap WHERE ext_prot = 'prpl-irc'")
    assert purplectl.lines(ALICE, "--table", "people") == LINES[2:]


# ---- errors


@pytest.mark.parametrize("user", ["alice", "sip:example.org", "sip:a b@example.org", ""])
def test_what_is_no_user(purplectl: Contacts, user: str) -> None:
    result = purplectl(user)
    assert result.exit_code == 2
    assert result.stdout == ""


@pytest.mark.usefixtures("engine")
def test_a_bad_domain_is_named(purplectl: Contacts) -> None:
    (purplectl.state_dir / "settings.json").write_text(json.dumps({"gateway_domain": "192.0.2.1:5060"}))
    result = purplectl(ALICE)
    assert result.exit_code == 1
    assert "gateway_domain" in f"{result.exception}"


@pytest.mark.parametrize("table", ["purple_contact", "purplemap"])
def test_a_database_without_the_table(purplectl: Contacts, engine: Engine, table: str) -> None:
    run(engine, f"DROP TABLE {table}")
    result = purplectl(ALICE)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert "purplectl db create" in result.stderr
