"""docs/troubleshooting.md has an entry for each text that people can meet: errors, answers, log lines."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from purple_bridge import errors

ROOT = Path(__file__).parents[1]

ERRORS = {"click.ClickException", *(name for name, found in vars(errors).items() if isinstance(found, type))}
DOCUMENT = ROOT / "docs" / "troubleshooting.md"
SHORTEST = 12  # characters of a fragment that is worth searching for


def _longest(text: ast.expr) -> str:
    """The longest piece of a text between what differs: values of an f-string, or ``%s`` of a line of the log."""
    if isinstance(text, ast.Constant) and isinstance(text.value, str):
        whole = text.value
    elif isinstance(text, ast.JoinedStr):
        whole = "".join(str(part.value) if isinstance(part, ast.Constant) else "%s" for part in text.values)
    else:
        return ""
    return max(re.split(r"%\.?\d*[sdrxg]", whole), key=len).strip(" :;.`[]")


def _calls(names: set[str]) -> Iterator[tuple[str, ast.Call]]:
    """Calls of functions and classes of these names in the source, each with its place."""
    for path in (*(ROOT / "purple_bridge").rglob("*.py"), *(ROOT / "kemi").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args and ast.unparse(node.func) in names:
                yield f"{path.name}:{node.lineno}", node


def _without_an_entry(texts: list[tuple[str, str]]) -> list[str]:
    document = _plain(DOCUMENT.read_text())
    return [f"{place}: {text}" for place, text in texts if len(text) >= SHORTEST and _plain(text) not in document]


def _plain(text: str) -> str:
    return " ".join(text.replace("`", "").split())


def test_every_error_has_its_cure() -> None:
    found = [(place, _longest(call.args[0])) for place, call in _calls(ERRORS)]
    assert len(found) > 150
    assert _without_an_entry(found) == []


def test_every_finding_of_the_checks_has_its_cure() -> None:
    bad = [(place, call.args[2]) for place, call in _calls({"Finding"}) if ast.unparse(call.args[0]) != "'ok'"]
    assert len(bad) > 10
    assert _without_an_entry([(place, _longest(text)) for place, text in bad]) == []


def test_every_answer_of_the_routes_has_its_cure() -> None:
    routes = (ROOT / "kemi" / "gateway.py").read_text()
    reasons = set(re.findall(r'_reply\([45]\d\d, "([^"]+)"\)', routes)) - {"Message Too Large"}  # the gateway's alone
    assert len(reasons) > 10
    assert _without_an_entry([("kemi", reason) for reason in reasons]) == []


def test_every_error_and_warning_of_the_log_is_explained() -> None:
    found = [(place, _longest(call.args[0])) for place, call in _calls({"logger.error", "logger.warning"})]
    assert len(found) > 20
    assert _without_an_entry(found) == []
