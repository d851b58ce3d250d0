"""The parameters purple.NAME: each missing or wrong one is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from purple_bridge.addresses import GatewayDomain
from purple_bridge.errors import ConfigurationError
from purple_bridge.settings import Settings, read_settings

GOOD: dict[str, Any] = {
    "db_url": "sqlite:////tmp/k.db",
    "db_table": "purplemap",
    "httpProxy_host": "",
    "httpProxy_port": 0,
    "workers": 4,
    "gateway_domain": "im.Example.org",
    "connect_on": "publish",
    "authorize": "ask",
    "state_dir": "/var/lib/purple",
    "rpc_socket": "/run/rpc.sock",
    "internal": "127.0.0.1:5070",
}


def _read(**changes: Any) -> Settings:
    return read_settings({**GOOD, **changes}.get)


def test_a_file_of_an_older_version_gets_the_defaults() -> None:
    settings = _read()
    assert (settings.queue, settings.queue_ttl, settings.own_messages) == ("offline", 259_200, "mark")
    assert settings.avatars == "off"


def test_the_queue_is_set() -> None:
    settings = _read(queue="always", queue_ttl=60, own_messages="drop")
    assert (settings.queue, settings.queue_ttl, settings.own_messages) == ("always", 60, "drop")


@pytest.mark.parametrize("value", ["off", "inline", "https://sip.example.org/avatars", " http://127.0.0.1:8080/a "])
def test_pictures_are_off_or_inline_or_at_a_url(value: str) -> None:
    assert _read(avatars=value).avatars == value.strip()


def test_all_parameters_are_read() -> None:
    assert _read() == Settings(
        db_url="sqlite:////tmp/k.db",
        db_table="purplemap",
        http_proxy_host="",
        http_proxy_port=0,
        workers=4,
        gateway=GatewayDomain("im.example.org"),
        connect_on="publish",
        authorize="ask",
        state_dir="/var/lib/purple",
        rpc_socket="/run/rpc.sock",
        internal="127.0.0.1:5070",
    )


def test_numbers_may_be_text_and_spaces_go() -> None:
    settings = _read(workers=" 8 ", httpProxy_port="3128", httpProxy_host=" proxy ", connect_on="register ")
    assert (settings.workers, settings.http_proxy_port) == (8, 3128)
    assert (settings.http_proxy_host, settings.connect_on) == ("proxy", "register")


NEEDED = ("db_url", "gateway_domain")


def test_two_parameters_are_enough() -> None:
    assert read_settings({name: GOOD[name] for name in NEEDED}.get) == Settings(
        db_url="sqlite:////tmp/k.db",
        db_table="purplemap",
        http_proxy_host="",
        http_proxy_port=0,
        workers=2,
        gateway=GatewayDomain("im.example.org"),
        connect_on="publish",
        authorize="ask",
        state_dir="/var/lib/kamailio-purple",
        rpc_socket="/run/kamailio/purple-rpc.sock",
        internal="127.0.0.1:5059",
    )


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_parameter_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"purple\.{name} "):
        _read(**{name: None})


@pytest.mark.parametrize("name", [name for name in GOOD if name != "httpProxy_host"])
def test_an_empty_parameter_is_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"purple\.{name}\b"):
        _read(**{name: " "})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("queue", "never"),
        ("queue_ttl", 0),
        ("queue_ttl", "a day"),
        ("own_messages", "keep"),
        ("avatars", "on"),
        ("avatars", "https://"),
        ("avatars", "ftp://example.org/"),
        ("avatars", "https://example.org/a b"),
        ("avatars", "javascript:alert(1)"),
        ("db_table", "purple-map"),
        ("db_table", "1map"),
        ("db_table", "map; DROP TABLE subscriber"),
        ("httpProxy_port", -1),
        ("httpProxy_port", 65536),
        ("httpProxy_port", "http"),
        ("workers", 0),
        ("workers", 65),
        ("workers", "two"),
        ("workers", "٣"),
        ("gateway_domain", "not a domain"),
        ("gateway_domain", "[::1]"),
        ("connect_on", "always"),
        ("authorize", "ACCEPT"),
        ("internal", "127.0.0.1"),
        ("internal", ":5070"),
        ("internal", "127.0.0.1:0"),
        ("internal", "192.0.2.1:5059"),
        ("internal", "localhost:5059"),
        ("internal", "127.0.0.1:65536"),
        ("internal", "127.0.0.1:²"),
        ("internal", "127.0.0.1:sip"),
    ],
)
def test_a_wrong_parameter_is_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"purple\.{name}\b"):
        _read(**{name: value})


def test_a_proxy_needs_its_port() -> None:
    with pytest.raises(ConfigurationError, match=r"purple\.httpProxy_port "):
        _read(httpProxy_host="proxy.example")


@pytest.mark.parametrize(
    ("text", "protocols"),
    [
        ("", ()),
        ("all", ()),
        (" prpl-jabber, prpl-irc ", ("prpl-jabber", "prpl-irc")),
        ("gtalk,prpl-jabber", ("prpl-jabber",)),
        ("prpl-eionrobb-discord", ("prpl-eionrobb-discord",)),
    ],
)
def test_the_plugins_that_may_be_loaded(text: str, protocols: tuple[str, ...]) -> None:
    assert _read(protocols=text).protocols == protocols


@pytest.mark.parametrize("text", ["prpl-irc;prpl-jabber", "../x", "prpl-\xfc", "x" * 65])
def test_what_is_no_protocol_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"purple\.protocols: .* is no protocol"):
        _read(protocols=text)


def test_the_key_file_is_in_the_state_directory_unless_it_is_named() -> None:
    assert _read().key_path == Path("/var/lib/purple/key")
    assert _read(key_file="/etc/purple/key").key_path == Path("/etc/purple/key")
