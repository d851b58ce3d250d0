"""Account options of a row that are for the gateway itself, declared as libpurple's plugins declare theirs."""

from __future__ import annotations

from purple_bridge.libpurple.plugins import Option

TYPING = Option("typing", "Typing notices, both ways", "bool", True)
GATEWAY_OPTIONS = {option.name: option for option in (TYPING,)}
