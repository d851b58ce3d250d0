"""The documentation names what the code has: parameters, functions, commands."""

from __future__ import annotations

import re
from pathlib import Path

from purple_bridge.cli.main import COMMANDS
from purple_bridge.functions import PurpleFunctions
from purple_bridge.launcher.parameters import NUMBERS, STRINGS

DOCS = Path(__file__).parents[1] / "docs"


def test_every_parameter_is_documented() -> None:
    documented = re.findall(r"^\| `(\w+)` \|", (DOCS / "parameters.md").read_text(), re.MULTILINE)
    assert sorted(documented) == sorted((*STRINGS, *NUMBERS))


def test_every_parameter_is_in_kamailio_cfg() -> None:
    declared = re.findall(r"^purple\.(\w+) = ", (DOCS.parent / "kamailio.cfg").read_text(), re.MULTILINE)
    assert sorted(declared) == sorted((*STRINGS, *NUMBERS))


def test_every_function_is_documented() -> None:
    documented = set(re.findall(r"^\| `KSR\.purple\.(\w+)\(", (DOCS / "functions.md").read_text(), re.MULTILINE))
    functions = {name for name in vars(PurpleFunctions) if not name.startswith("_")}
    assert documented == functions - {"open_database"}  # called by the gateway itself


def test_every_command_is_documented() -> None:
    text = (DOCS / "commands.md").read_text()
    assert [name for name in COMMANDS if f"| `{name}" not in text] == []
