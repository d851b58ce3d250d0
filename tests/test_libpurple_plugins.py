"""The installed protocol plugins and their options, and the conversion of option values."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from purple_bridge.libpurple import c
from purple_bridge.libpurple.accounts import Account, UnknownProtocol
from purple_bridge.libpurple.allowed import USELESS, left_alone, may_be_opened, plugin_ids
from purple_bridge.libpurple.core import Core
from purple_bridge.libpurple.plugins import Kind, Option, convert, installed_protocols, list_protocols
from tests.children import run_in_child
from tests.purple_client import started


def listed() -> list[dict[str, Any]]:
    return [asdict(protocol) for protocol in list_protocols()]


@pytest.fixture(scope="module")
def protocols() -> dict[str, dict[str, Any]]:
    return {protocol["id"]: protocol for protocol in run_in_child(listed)}


def test_protocols_have_names(protocols: dict[str, dict[str, Any]]) -> None:
    assert protocols["prpl-jabber"]["name"] == "XMPP"
    assert protocols["prpl-irc"]["name"] == "IRC"
    assert list(protocols) == sorted(protocols)


@pytest.mark.parametrize(
    ("protocol", "name", "kind", "default"),
    [
        ("prpl-jabber", "port", "int", 5222),
        ("prpl-jabber", "connect_server", "string", ""),
        ("prpl-jabber", "auth_plain_in_clear", "bool", False),
        ("prpl-jabber", "connection_security", "list", "require_tls"),
        ("prpl-irc", "port", "int", 6667),
        ("prpl-irc", "ssl", "bool", False),
        ("prpl-irc", "encoding", "string", "UTF-8"),
    ],
)
def test_options_have_kind_and_default(
    protocols: dict[str, dict[str, Any]], protocol: str, name: str, kind: Kind, default: object
) -> None:
    option = {option["name"]: option for option in protocols[protocol]["options"]}[name]
    assert (option["kind"], option["default"]) == (kind, default)
    assert option["text"]
    assert "_" not in option["text"]


def test_a_list_option_has_choices(protocols: dict[str, dict[str, Any]]) -> None:
    options = {option["name"]: option for option in protocols["prpl-jabber"]["options"]}
    assert set(options["connection_security"]["choices"]) == {"require_tls", "opportunistic_tls", "old_ssl"}
    assert options["port"]["choices"] == []


def accounts() -> dict[str, Any]:
    started()
    try:
        Account("prpl-cow", "alice")
        unknown = ""
    except UnknownProtocol as error:
        unknown = str(error)
    try:
        Core().start()
        again = ""
    except RuntimeError as error:
        again = str(error)
    jabber, irc, simple = Account("prpl-jabber", "a@b/c"), Account("prpl-irc", "a@b"), Account("prpl-simple", "a@b")
    needs = [account.needs_password for account in (simple, jabber, irc)]
    not_sent = jabber.send_im("b@b", "text")
    return {
        "unknown": unknown,
        "again": again,
        "needs": needs,
        "not_sent": not_sent,
        "protocols": len(installed_protocols()),
    }


def test_accounts_without_a_connection() -> None:
    seen = run_in_child(accounts)
    assert "prpl-cow" in seen["unknown"]
    assert "already" in seen["again"]
    assert seen["needs"] == [True, False, False]  # XMPP could do with Kerberos, IRC with nothing
    assert seen["not_sent"] < 0
    assert seen["protocols"] >= 2


def _option(kind: Kind, *choices: str) -> Option:
    return Option("the_option", "Text", kind, "", choices)


@pytest.mark.parametrize(
    ("option", "given", "value"),
    [
        (_option("bool"), True, True),
        (_option("bool"), "Yes", True),
        (_option("bool"), "off", False),
        (_option("bool"), 0, False),
        (_option("int"), "5222", 5222),
        (_option("int"), 5222, 5222),
        (_option("string"), "x", "x"),
        (_option("string"), 7, "7"),
        (_option("list", "a", "b"), "b", "b"),
    ],
)
def test_values_become_the_declared_type(option: Option, given: object, value: object) -> None:
    converted = convert(option, given)
    assert converted == value
    assert type(converted) is type(value)


@pytest.mark.parametrize(
    ("option", "given"),
    [
        (_option("bool"), "maybe"),
        (_option("bool"), 2),
        (_option("int"), "many"),
        (_option("int"), None),
        (_option("list", "a", "b"), "c"),
    ],
)
def test_a_wrong_value_is_refused_by_the_options_name(option: Option, given: object) -> None:
    with pytest.raises(ValueError, match="the_option"):
        convert(option, given)


# ------------------------------------------------------------ what may be loaded
def loaded(allowed: list[str]) -> dict[str, Any]:
    """Of a process that starts libpurple with this list: its protocols, the files it has opened, its answers."""
    found = [protocol.id for protocol in list_protocols(allowed)]
    lines = Path("/proc/self/maps").read_text().splitlines()
    files = {line.rpartition("/")[2].partition(".so")[0] for line in lines if "/purple-2/" in line}
    try:
        Account("prpl-simple", "a@b")
        why = ""
    except UnknownProtocol as error:
        why = str(error)
    c.purple.purple_core_quit()  # frees the entries of what was left alone
    return {"protocols": found, "files": sorted(files), "left": left_alone(), "why": why}


@pytest.mark.parametrize(
    ("allowed", "files"),
    [
        (["prpl-irc"], {"libirc"}),
        (["prpl-irc", "prpl-jabber"], {"libirc", "libxmpp", "libjabber"}),
        (["prpl-cow"], set()),
    ],
)
def test_only_allowed_plugins_are_opened(allowed: list[str], files: set[str]) -> None:
    seen = run_in_child(loaded, allowed)
    assert set(seen["protocols"]) == set(allowed) - {"prpl-cow"}
    assert {file for file in seen["files"] if not file.startswith("ssl")} == files
    assert "ssl" in seen["files"], "without it there is no TLS"
    assert "prpl-simple" in seen["left"]
    assert not set(seen["left"]) & set(allowed)
    assert seen["why"].startswith("purple.protocols does not allow 'prpl-simple'")


def test_without_a_list_every_protocol_is_loaded_and_nothing_else() -> None:
    seen = run_in_child(loaded, [])
    assert {"prpl-irc", "prpl-jabber", "prpl-simple"} <= set(seen["protocols"])
    assert seen["left"] == []
    assert not {f"{file}.so" for file in seen["files"]} & USELESS


def test_what_a_file_names_is_read_without_opening_it(tmp_path: Path) -> None:
    file = tmp_path / "libother.so"
    file.write_bytes(b"\x7fELF\0prpl-other\0xprpl-not\0prpl-cut")
    assert plugin_ids(file) == {"prpl-other"}
    assert may_be_opened(file, ["prpl-other"])
    assert not may_be_opened(file, ["prpl-not", "prpl-cut"])
    assert not may_be_opened(tmp_path / "gone.so", ["prpl-other"])
    assert not may_be_opened(tmp_path / "perl.so", [])
    assert may_be_opened(tmp_path / "ssl-gnutls.so", ["prpl-other"])
