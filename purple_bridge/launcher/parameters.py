"""Owns the names of the ``purple.NAME`` parameters of kamailio.cfg and how they become ``#!define`` lines.

Must not know what the gateway does with a value: the gateway checks them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from purple_bridge.errors import ConfigurationError

STRINGS = (
    "db_url",
    "db_table",
    "httpProxy_host",
    "gateway_domain",
    "connect_on",
    "authorize",
    "queue",
    "own_messages",
    "avatars",
    "log_level",
    "web",
    "web_admins",
    "key_file",
    "protocols",
    "user_servers",
    "ca_dir",
    "state_dir",
    "rpc_socket",
    "internal",
)
NUMBERS = (
    *("httpProxy_port", "workers", "queue_ttl", "log_bodies", "auth"),
    *("flood_limit", "user_rate", "account_rate", "contact_rate", "loop_limit"),
)
# what `purplectl run` itself decides; `auth` follows from WITH_AUTH
LAUNCHERS_OWN = ("state_dir", "rpc_socket", "web", "auth")
SETTABLE = tuple(name for name in (*STRINGS, *NUMBERS) if name not in LAUNCHERS_OWN)

# the defaults of the shipped kamailio.cfg for which the launcher has better ones
SHIPPED = {
    "db_url": "sqlite:////var/lib/kamailio-purple/purple.db",
    "gateway_domain": "im.localdomain",
    "internal": "127.0.0.1:5059",
    "user_servers": "public",
}

_LITERAL = r'("(?:[^"\\\n]|\\.)*"|[0-9]+)'
_DEFINE = re.compile(rf"^#!(?:re|try)?def(?:ine)?[ \t]+PURPLE_(\w+)[ \t]+{_LITERAL}", re.MULTILINE)
_PARAMETER = re.compile(rf"^[ \t]*purple\.(\w+)[ \t]*=[ \t]*{_LITERAL}", re.MULTILINE)


def parse_settings(texts: Iterable[str]) -> dict[str, str]:
    """``purple.NAME=VALUE`` texts as a mapping of NAME to VALUE.

    Raises ConfigurationError for another form, an unknown name (with the names there are), a value that a
    line of kamailio.cfg cannot hold, or a number that is none.
    """
    return dict(_parse_setting(text) for text in texts)


def read_config(text: str) -> dict[str, str]:
    """What an operator has written into a kamailio.cfg: NAME -> value of each parameter set there.

    As ``purple.NAME = literal`` or in a define ``PURPLE_NAME``; what still is the shipped default counts as not set.
    """
    values = read_all(text)
    return {name: values[name] for name in SETTABLE if name in values and values[name] != SHIPPED.get(name)}


def read_all(text: str) -> dict[str, str]:
    """As ``read_config``, with what the launcher decides and with the shipped defaults."""
    names = {name.lower(): name for name in (*STRINGS, *NUMBERS)}
    found = [*_DEFINE.findall(text), *_PARAMETER.findall(text)]
    return {names[name.lower()]: unquoted(value) for name, value in found if name.lower() in names}


def _parse_setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    prefix, dot, name = key.strip().partition(".")
    if not equals or prefix != "purple" or not dot:
        raise ConfigurationError(f"--set {key}: write purple.NAME=VALUE")
    if name not in SETTABLE:
        raise ConfigurationError(f"--set purple.{name}: unknown; there are {', '.join(SETTABLE)}")
    check_value(name, value)
    return name, value


def check_value(name: str, value: str) -> None:
    """ConfigurationError if the value is no number where one is needed, or has a control character."""
    if name in NUMBERS and not (value.isascii() and value.isdigit() and len(value) <= 9):
        raise ConfigurationError(f"purple.{name}: {value!r} is not a number")
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ConfigurationError(f"purple.{name}: the value must not contain control characters")


def define_lines(values: Mapping[str, str]) -> list[str]:
    """One ``#!define`` line for each parameter, for a file that includes kamailio.cfg."""
    return [
        f"#!define {define_name(name)} {value if name in NUMBERS else quoted(value)}" for name, value in values.items()
    ]


def define_name(name: str) -> str:
    return f"PURPLE_{name.upper()}"


def quoted(value: str) -> str:
    """A string literal of kamailio.cfg: only ``"`` and ``\\`` are special in it."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def unquoted(literal: str) -> str:
    """The reverse of ``quoted``; a literal without quotes, a number, is returned as it is."""
    return re.sub(r"\\(.)", r"\1", literal[1:-1]) if literal.startswith('"') else literal
