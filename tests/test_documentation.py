"""The documentation names what the code has: parameters, functions, commands."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from purple_bridge.functions import PurpleFunctions
from purple_bridge.launcher.parameters import NUMBERS, STRINGS
from purple_bridge.sign_on_errors import ADVICE, HINTS, REASONS
from tests.test_cli_commands import commands

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


COMMANDS = dict(commands())
COMMON = {"--help", "--version", "--json", "--db-url", "--table", "--state-dir", "--config"} | {
    "--password-stdin",
    "--password-file",
}


def _sections() -> dict[str, str]:
    """Of commands.md: the text under each heading that is a command."""
    parts = re.split(r"^##+ (.*)\n", (DOCS / "commands.md").read_text(), flags=re.MULTILINE)
    return {title.removeprefix("`purplectl ").rstrip("`"): text for title, text in _pairs(parts[1:])}


def _pairs(parts: list[str]) -> list[tuple[str, str]]:
    return list(zip(parts[0::2], parts[1::2], strict=True))


def test_every_command_is_documented_and_no_other() -> None:
    titles = set(re.findall(r"^### `purplectl (.*)`$", (DOCS / "commands.md").read_text(), re.MULTILINE))
    assert titles == COMMANDS.keys()
    overview = re.findall(r"\(#purplectl-([\w-]+)\)", (DOCS / "commands.md").read_text())
    assert {name.replace("-", " ") for name in overview} == COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented_and_no_other(name: str) -> None:
    options = {
        option
        for parameter in COMMANDS[name].params
        if isinstance(parameter, click.Option)
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    section = _sections()[name]
    table = set(re.findall(r"`(--[\w-]+)", "\n".join(re.findall(r"^\| `--.*?\|", section, re.MULTILINE))))
    assert options - table <= COMMON
    assert table <= options


def test_every_section_has_an_example() -> None:
    sections = _sections()
    assert [name for name in COMMANDS if f"purplectl {name}" not in sections[name]] == []


def test_common_options_are_documented() -> None:
    common = _sections()["What all commands have in common"]
    assert set(re.findall(r"`(--[\w-]+)`", common)) == COMMON


def test_every_reason_of_a_trial_is_documented() -> None:
    named = set(
        re.findall(r"`([a-z-]+)`", "".join(re.findall(r"^\| (`[a-z].*?) \|", _sections()["account test"], re.M)))
    )
    assert named - {"reason"} == {*REASONS, *ADVICE, *(kind for _, kind, _ in HINTS), "crash"}
