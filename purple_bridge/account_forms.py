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
    """What a form sets: the plugin's options, then the gateway's own, but for ``enabled``, which is no setting."""
    from purple_bridge.gateway_options import ENABLED, GATEWAY_OPTIONS  # noqa: PLC0415 - loads libpurple

    declared = {option.name: option for option in protocol.options} | GATEWAY_OPTIONS
    return tuple(option for name, option in declared.items() if name != ENABLED.name)


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


def merged(
    stored: Iterable[tuple[str, OptionValue]], given: Mapping[str, OptionValue | None]
) -> dict[str, OptionValue]:
    """The stored options, changed by those of a form; what the form does not have stays as it is."""
    values = {**dict(stored), **given}
    return {name: value for name, value in values.items() if value is not None}
