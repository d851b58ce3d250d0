"""The one command for all that is done to break the gateway: what it runs exists, and what does not hold is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests import hardening
from tests.hardening import ROOT, Step, main, named_tests


def test_the_tests_that_the_threat_model_names_exist() -> None:
    names = named_tests()
    assert len(names) > 20
    assert [name for name in names if not (ROOT / name).is_file()] == []


def test_a_step_of_the_command(tmp_path: Path) -> None:
    file = tmp_path / "outcomes.json"
    done = CliRunner().invoke(main, ["--quick", "--only", "fuzz", "--json", str(file)])
    assert (done.exit_code, json.loads(file.read_text())[0]["held"]) == (0, True), done.output
    assert " targets, 0 with findings" in done.output.splitlines()[-1]
    assert "held   fuzz " in done.output.splitlines()[-2]


def test_what_does_not_hold_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = (Step("bad", "fails", ("-c", "print('it is broken'); raise SystemExit(3)")), Step("good", "", ("-c", "")))
    monkeypatch.setattr(hardening, "STEPS", steps)
    done = CliRunner().invoke(main, [])
    assert done.exit_code == 1
    said = [line for line in done.output.splitlines() if line.startswith(("held", "FAILED", "       "))]
    assert [line.split()[:2] for line in said] == [["FAILED", "bad"], ["it", "is"], ["held", "good"], []]
