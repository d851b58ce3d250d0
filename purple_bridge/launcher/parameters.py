"""Owns the names of the ``purple.NAME`` parameters of kamailio.cfg and how they become ``#!define`` lines.

Must not know what the gateway does with a value: the gateway checks them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

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
CONFIGURABLE = (*SETTABLE, "state_dir")

# the defaults of the shipped kamailio.cfg for which the launcher has better ones
SHIPPED = {
    "db_url": "sqlite:////var/lib/kamailio-purple/purple.db",
    "gateway_domain": "im.localdomain",
    "internal": "127.0.0.1:5059",
    "user_servers": "public",
    "state_dir": "/var/lib/kamailio-purple",
}

_LITERAL = r'("(?:[^"\\\n]|\\.)*"|[0-9]+)'
_DEFINE = re.compile(rf"^#!(?:re|try)?def(?:ine)?[ \t]+PURPLE_(\w+)[ \t]+{_LITERAL}", re.MULTILINE)
_PARAMETER = re.compile(rf"^[ \t]*purple\.(\w+)[ \t]*=[ \t]*{_LITERAL}", re.MULTILINE)
_REDEFINE = re.compile(rf"^#!redef(?:ine)?[ \t]+PURPLE_(\w+)[ \t]+{_LITERAL}", re.MULTILINE)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


def parse_settings(texts: Iterable[str]) -> dict[str, str]:
    """``purple.NAME=VALUE`` texts as a mapping of NAME to VALUE.

    Raises ConfigurationError for another form, an unknown name (with the names there are), a value that a
    line of kamailio.cfg cannot hold, or a number that is none.
    """
    return dict(_parse_setting(text) for text in texts)


def read_config(text: str) -> dict[str, str]:
    """What an operator has written into a kamailio.cfg: NAME -> value of each parameter set there.

    As ``purple.NAME = literal`` or in a define ``PURPLE_NAME``; a define that still is the shipped default counts as
    not set.
    """
    values = {name: value for name, value in read_all(text).items() if value != SHIPPED.get(name)} | read_fixed(text)
    return {name: values[name] for name in CONFIGURABLE if name in values}


def read_all(text: str) -> dict[str, str]:
    """As ``read_config``, with what the launcher decides and with the shipped defaults."""
    return _named([*_DEFINE.findall(text), *_PARAMETER.findall(text)])


def read_fixed(text: str) -> dict[str, str]:
    """NAME -> value of each parameter that no define in front of this kamailio.cfg changes.

    By ``purple.NAME = literal`` or ``#!redefine``; not within ``#!ifdef``, where it may not count.
    """
    lines, depth = [], 0
    for line in _COMMENT.sub("", text).splitlines():
        depth += line.startswith("#!if") - line.startswith("#!endif")
        if depth == 0:
            lines.append(line)
    always = "\n".join(lines)
    return _named([*_REDEFINE.findall(always), *_PARAMETER.findall(always)])


def _named(found: Iterable[tuple[str, str]]) -> dict[str, str]:
    names = {name.lower(): name for name in (*STRINGS, *NUMBERS)}
    return {names[name.lower()]: unquoted(value) for name, value in found if name.lower() in names}


def check_agreement(fixed: Mapping[str, str], given: Mapping[str, str], config: Path) -> None:
    """ConfigurationError where ``config`` has a value of its own for a parameter that is ``given`` another one."""
    for name, value in given.items():
        if name in fixed and _normal(name, fixed[name]) != _normal(name, value):
            raise ConfigurationError(
                f"purple.{name}: {config} has another value than the options or the environment, and it would win;"
                " change it there, or leave the option out"
            )


def _normal(name: str, value: str) -> str:
    if name == "state_dir":
        return str(Path(value).absolute())
    return value.lstrip("0") or "0" if name in NUMBERS else value


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
