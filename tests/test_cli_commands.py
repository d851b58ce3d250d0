"""Every command of ``purplectl``, walked through click's tree: help, options, ``--json``; errors of the real one."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from purple_bridge.cli.main import cli
from tests.purplectl import COMMAND, on_terminal, run_purplectl

# what prints neither data nor a result
WITHOUT_JSON = {"run", "completion"}


def commands(group: click.Group = cli, names: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """("account add", its command), for all that are no groups."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*names, name))
        else:
            yield " ".join((*names, name)), command


ALL = dict(commands())


def test_the_walk_sees_groups_and_commands() -> None:
    assert {"run", "db create", "account add", "account test", "import", "queue drop"} <= ALL.keys()


@pytest.mark.parametrize("name", ALL)
def test_the_help_begins_with_one_sentence(name: str) -> None:
    first = (ALL[name].help or "").partition("\n\n")[0]
    text = " ".join(first.split())
    assert re.fullmatch(r"[A-Z][^\n]*\.", text), text
    assert not re.search(r"[.!?] [A-Z]", text), "more than one sentence in front of the first empty line"


@pytest.mark.parametrize("name", ALL)
def test_every_option_has_a_help(name: str) -> None:
    options = [parameter for parameter in ALL[name].params if isinstance(parameter, click.Option)]
    assert [option.opts[0] for option in options if not option.help] == []


@pytest.mark.parametrize("name", [name for name in ALL if name.split()[0] not in WITHOUT_JSON])
def test_every_command_that_prints_something_has_json(name: str) -> None:
    assert "--json" in {option for parameter in ALL[name].params for option in parameter.opts}


@pytest.mark.parametrize("name", ["", *sorted({name.split()[0] for name in ALL}), *ALL])
def test_help_is_shown_and_fits_on_a_screen(name: str) -> None:
    shown = CliRunner().invoke(cli, [*name.split(), "--help"], terminal_width=80)
    assert shown.exit_code == 0
    assert "Usage: " in shown.output
    assert max(map(len, shown.output.splitlines())) <= 80


def test_what_is_no_command_says_so_on_one_line() -> None:
    for arguments in (["nonsense"], ["account"], ["account", "nonsense"], ["user", "list", "--nonsense"]):
        done = run_purplectl(*arguments)
        assert done.returncode == 2, arguments
        assert done.stdout == ""
        if arguments != ["account"]:  # a group alone shows its help
            assert re.fullmatch(r"purplectl: .* --help\)\n", done.stderr), done.stderr


def test_a_file_that_cannot_be_written_is_one_line() -> None:
    done = run_purplectl("export", "/does/not/exist/rows.csv", PURPLE_DB_URL="sqlite:////does/not/exist.db")
    assert done.returncode == 1
    assert done.stderr == "purplectl: /does/not/exist/rows.csv cannot be made: No such file or directory\n"


def test_whoever_reads_no_further_sees_no_error(tmp_path: Path) -> None:
    script = f"{shlex.join(COMMAND)} protocols --json | head -c 1"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[", "")


# --- colours and width ------------------------------------------------------------------------------------


def test_colours_are_for_terminals_that_want_them() -> None:
    coloured = re.compile(rb"\x1b\[[0-9;]*3[0-9]m")
    assert b"\x1b" not in run_purplectl("protocols", "prpl-irc").stdout.encode()
    assert b"\x1b[1m" in on_terminal("protocols", "prpl-irc")
    assert not coloured.search(on_terminal("protocols", "prpl-irc", NO_COLOR="1"))
    assert b"\x1b" not in on_terminal("protocols", "prpl-irc", TERM="dumb")


def test_protocols_fits_into_80_columns() -> None:
    text = re.sub(r"\x1b\[[0-9;]*m", "", on_terminal("protocols").decode())
    assert "connection_security" in text
    assert "require_tls" in text
    assert "typing" in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert len(text.splitlines()) > 20


def test_protocols_for_programs() -> None:
    lines = [line.split("\t") for line in run_purplectl("protocols", "prpl-jabber").stdout.splitlines()]
    assert ["prpl-jabber", "port", "number", "5222", "Connect port"] in lines
    assert ["*", "typing", "true | false", "true", "Typing notices, both ways"] in lines
    missing = run_purplectl("protocols", "prpl-nothing")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "purplectl protocols" in missing.stderr
