"""``purplectl completion``: what a real bash completes, what other shells are told, silence where nothing answers."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from purple_bridge.cli.main import cli
from tests.command_line import JABBER, Purplectl

ALICE, BOB = "sip:alice@example.org", "sip:bob@example.org"

# what bash does with a function that completes: it sets these variables and reads COMPREPLY
COMPLETE = """
source "$1"
COMP_LINE=$2
COMP_POINT=${#COMP_LINE}
compopt() { echo "compopt $*"; }
_purplectl_completion purplectl
printf '%s\\n' "${COMPREPLY[@]}"
"""


class Shell:
    """A directory with a ``purplectl`` to be found by PATH, and a database."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.purplectl = Purplectl(f"sqlite:///{directory / 'kamailio.db'}", directory)
        program = directory / "bin" / "purplectl"
        program.parent.mkdir()
        program.write_text(f"#!{sys.executable}\nfrom purple_bridge.cli.main import main\nmain()\n")
        program.chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "PURPLE_DB_URL": self.purplectl.url,
            "PURPLE_STATE_DIR": str(directory),
        }

    def bash(self, line: str, **environment: str) -> list[str]:
        """The words that bash would put in the place of the last one; nothing may reach the terminal."""
        script = self.directory / "completion.bash"
        script.write_text(self.purplectl.done("completion", "bash"))
        done = subprocess.run(
            ["bash", "-c", COMPLETE, "bash", str(script), line],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        assert done.stderr == ""
        return done.stdout.split()

    def told(self, shell: str, *words: str) -> list[str]:
        """What click tells zsh or fish; the last word is the one to complete."""
        variables = {
            "COMP_WORDS": " ".join(["purplectl", *words]) if shell == "zsh" else " ".join(["purplectl", *words[:-1]]),
            "COMP_CWORD": str(len(words)) if shell == "zsh" else words[-1],
            "_PURPLECTL_COMPLETE": f"{shell}_complete",
        }
        done = subprocess.run(
            ["purplectl"], env=self.environment | variables, capture_output=True, text=True, check=True, timeout=30
        )
        assert done.stderr == ""
        return done.stdout.splitlines()


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Alice, with two accounts, one of which has a name that a shell would execute; Bob, with none."""
    shell = Shell(tmp_path_factory.mktemp("shell"))
    purplectl = shell.purplectl
    purplectl.done("db", "create")
    purplectl.done("user", "add", BOB, "--password-stdin", stdin="x\n")
    purplectl.done("account", "add", ALICE, JABBER, "alice@jabber.example", "--no-password")
    purplectl.done("account", "add", ALICE, JABBER, "$(touch${IFS}x)@jabber.example", "--no-password")
    purplectl.done("account", "add", ALICE, "prpl-irc", "alice@irc.example", "--no-password")
    return shell


@pytest.mark.parametrize("kind", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_the_shell_reads(kind: str, tmp_path: Path) -> None:
    made = CliRunner().invoke(cli, ["completion", kind])
    assert made.exit_code == 0
    assert "_PURPLECTL_COMPLETE" in made.output
    if shutil.which(kind):
        script = tmp_path / "script"
        script.write_text(made.output)
        subprocess.run([kind, "-n", str(script)], check=True, timeout=30)


def test_bash_completes_commands_options_and_protocols(shell: Shell) -> None:
    assert shell.bash("purplectl acc") == ["account"]
    assert {"add", "list", "test", "remove", "set"} <= set(shell.bash("purplectl account "))
    assert shell.bash("purplectl account add --no-p") == ["--no-password"]
    assert shell.bash("purplectl completion z") == ["zsh"]
    assert shell.bash(f"purplectl account add {ALICE} prpl-j") == ["prpl-jabber"]


def test_bash_completes_addresses_although_it_parts_words_at_their_colon(shell: Shell) -> None:
    assert shell.bash("purplectl account set ") == [ALICE, BOB]
    assert shell.bash("purplectl account set sip:a") == ["alice@example.org"]
    assert shell.bash("purplectl account set sip:alice@ex") == ["example.org"]
    assert shell.bash("purplectl user passwd s") == [BOB]


def test_bash_completes_the_accounts_of_the_user(shell: Shell) -> None:
    assert shell.bash(f"purplectl account test {ALICE} prpl-irc ") == ["alice@irc.example"]
    assert shell.bash(f"purplectl account test {BOB} prpl-irc ") == []


def test_a_name_that_a_shell_would_execute_is_not_offered(shell: Shell) -> None:
    assert shell.bash(f"purplectl account test {ALICE} {JABBER} ") == ["alice@jabber.example"]


def test_options_in_the_line_count(shell: Shell) -> None:
    line = f"purplectl account set --db-url {shell.purplectl.url} sip:b"
    assert shell.bash(line, PURPLE_DB_URL="sqlite:////does/not/exist.db") == ["bob@example.org"]


def test_a_file_is_completed_by_the_shell(shell: Shell) -> None:
    assert shell.bash("purplectl import x") == ["compopt", "-o", "default"]


def test_zsh_and_fish_are_told_the_same(shell: Shell) -> None:
    assert ALICE in shell.told("zsh", "account", "set", "sip:a")
    assert f"plain,{ALICE}" in shell.told("fish", "account", "set", "sip:a")


@pytest.mark.parametrize("url", ["sqlite:////does/not/exist.db", "nonsense", "mysql://u:p@127.0.0.1:1/x"])
def test_a_database_that_fails_is_silence(url: str, shell: Shell) -> None:
    assert shell.bash("purplectl account set ", PURPLE_DB_URL=url) == []


def test_a_database_that_does_not_answer_is_silence_soon(shell: Shell) -> None:
    """It accepts the connection, as a listening socket does that nobody serves."""

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgres://u:p@127.0.0.1:{silent.getsockname()[1]}/x"
        began = time.monotonic()
        assert shell.bash("purplectl account set ", PURPLE_DB_URL=url) == []
        assert time.monotonic() - began < 5
