"""Account options of a row: those for the gateway itself, declared as plugins do, and those for libpurple."""

from __future__ import annotations

from collections.abc import Mapping

from purple_bridge.libpurple.plugins import Option, convert, installed_protocols
from purple_bridge.ownership import plugin_of

TYPING = Option("typing", "Typing notices, both ways", "bool", True)
ENABLED = Option("enabled", "The account may be online", "bool", True)
GATEWAY_OPTIONS = {option.name: option for option in (TYPING, ENABLED)}
GTALK, GTALK_SERVER = "gtalk", "talk.google.com"  # the old module's name for XMPP at Google


def for_libpurple(protocol: str, given: Mapping[str, bool | int | str]) -> list[tuple[str, bool | int | str]]:
    """The options for libpurple, which runs, in the types the plugin declares; ValueError names a wrong one.

    ``protocol``: as in a row, so also ``gtalk``; ``given``: the options of the row.
    """
    declared = GATEWAY_OPTIONS | {
        option.name: option
        for installed in installed_protocols()
        if installed.id == plugin_of(protocol)
        for option in installed.options
    }
    options = {"connect_server": GTALK_SERVER, **given} if protocol == GTALK else given
    unknown = sorted(options.keys() - declared.keys())
    if unknown:
        raise ValueError(f"unknown account option {unknown[0]!r} (purplectl protocols lists them)")
    converted = [(name, convert(declared[name], value)) for name, value in options.items()]
    return [(name, value) for name, value in converted if name not in GATEWAY_OPTIONS]
