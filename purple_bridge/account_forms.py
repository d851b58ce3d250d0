"""Owns what an account may be: its name, password and options as people give them; knows no table and no form.

Everything raises ValueError, which says in words what is expected.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from purple_bridge.db.account import OptionValue
from purple_bridge.ownership import plugin_of

if TYPE_CHECKING:
    from purple_bridge.libpurple.plugins import Option, Protocol

# the widths of the columns in sql/
LONGEST_URI = 128
LONGEST_NAME = 128
LONGEST_PASSWORD = 255
LARGEST_NUMBER = 2**31 - 1  # libpurple's options are C ints


def checked_name(text: str) -> str:
    """A name on an IM network."""
    name = text.strip()
    if not name or not name.isprintable() or len(name) > LONGEST_NAME:
        raise ValueError(f"write 1 to {LONGEST_NAME} characters")
    return name


def checked_password(text: str) -> str:
    if len(text) > LONGEST_PASSWORD or not text.isprintable():
        raise ValueError(f"write at most {LONGEST_PASSWORD} characters on one line")
    return text


def plugin(protocols: Iterable[Protocol], name: str) -> Protocol:
    """The plugin of ``ext_prot``."""
    found = next((protocol for protocol in protocols if protocol.id == plugin_of(name)), None)
    if found is None:
        raise ValueError(f"there is no protocol {name}")
    return found


def options_of(protocol: Protocol) -> Sequence[Option]:
    """What a form sets: the plugin's options, then the gateway's own.

    But for ``enabled``, which is no setting, and ``public_servers``, which is not for the user to decide.
    """
    from purple_bridge.gateway_options import (  # noqa: PLC0415 - loads libpurple
        ENABLED,
        GATEWAY_OPTIONS,
        PUBLIC_SERVERS,
    )

    declared = {option.name: option for option in protocol.options} | GATEWAY_OPTIONS
    return tuple(option for name, option in declared.items() if name not in (ENABLED.name, PUBLIC_SERVERS.name))


def option_value(option: Option, text: str) -> OptionValue | None:
    """In the type that is declared; None for what is the default, which need not be stored."""
    if not text.strip() and option.kind != "bool":
        return None
    from purple_bridge.gateway_options import convert  # noqa: PLC0415 - loads libpurple

    value = convert(option, text.strip())
    if option.kind == "int" and not -LARGEST_NUMBER <= int(value) <= LARGEST_NUMBER:
        raise ValueError("the number is too large")
    if isinstance(value, str) and not value.isprintable():
        raise ValueError("write it on one line")
    return None if value == option.default else value


def of_a_user(options: dict[str, OptionValue], before: Mapping[str, OptionValue] | None) -> dict[str, OptionValue]:
    """What a user makes or changes himself may connect to public addresses alone; ``before``: None for a new row.

    What the operator has made, and the user has not pointed elsewhere, stays as it is.
    """
    from purple_bridge.gateway_options import GATEWAY_OPTIONS, PUBLIC_SERVERS  # noqa: PLC0415 - loads libpurple

    def for_the_network(values: Mapping[str, OptionValue]) -> dict[str, OptionValue]:
        return {name: value for name, value in values.items() if name not in GATEWAY_OPTIONS}

    if before is not None and for_the_network(before) == for_the_network(options):
        return options
    return {**options, PUBLIC_SERVERS.name: True}


def merged(
    stored: Iterable[tuple[str, OptionValue]], given: Mapping[str, OptionValue | None]
) -> dict[str, OptionValue]:
    """The stored options, changed by those of a form; what the form does not have stays as it is."""
    values = {**dict(stored), **given}
    return {name: value for name, value in values.items() if value is not None}
