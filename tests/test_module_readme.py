"""docs/module.md is what its sources make of it, and its hand-written parts name what the code has."""

from __future__ import annotations

import re
from typing import Any

from purple_bridge.functions import PurpleFunctions
from purple_bridge.settings import read_settings
from tests.module_readme import CONTROL, EXAMPLES, FUNCTIONS, MODULE, ROOT, rows, text


def test_the_file_is_up_to_date() -> None:
    assert MODULE.read_text() == text(), "run: python -m tests.module_readme"


def test_every_parameter_has_an_example_that_is_accepted() -> None:
    assert {name.strip("`") for name, *_ in rows("parameters.md", r"`\w+`")} == EXAMPLES.keys()
    values: dict[str, Any] = {name: value.strip('"') for name, value in EXAMPLES.items()}
    assert str(read_settings(values.get).workers) == EXAMPLES["workers"]


def test_every_function_has_an_example() -> None:
    public = {name for name in vars(PurpleFunctions) if not name.startswith("_")}
    assert public - {"open_database"} == FUNCTIONS.keys()
    assert [name for name, (_codes, example) in FUNCTIONS.items() if f"KSR.purple.{name}(" not in example] == []


def test_every_code_that_a_function_may_return_is_in_the_table() -> None:
    documented = {code for code, _meaning in rows("functions.md", r"-\d+")}
    named = {code for codes, _example in FUNCTIONS.values() for code in re.findall(r"-\d+", codes)}
    assert named == documented


def test_every_command_of_the_control_sockets_is_described() -> None:
    worker = (ROOT / "purple_bridge" / "worker" / "worker.py").read_text()
    block = re.search(r"commands = \{\n(.*?)\n +\}", worker, re.DOTALL)
    assert block is not None
    assert set(re.findall(r'"(\w+)":', block[1])) == CONTROL.keys()
