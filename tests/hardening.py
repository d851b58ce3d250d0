"""Everything that is done to the gateway on purpose, one after the other; a table in the end says what held.

An hour and more; `--quick`: minutes, by which only the commands themselves are tried. Each line of the table is a
command of its own, which can be run again alone. Exit code 1: something did not hold.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import click

ROOT = Path(__file__).parent.parent
SECURITY = ROOT / "docs" / "security.md"
_TEST = re.compile(r"\btest_[a-z0-9_]+\.py\b")


@dataclass(frozen=True)
class Step:
    """``command``: behind the name of Python; ``quick``: what it takes besides to end within minutes.

    ``documented``: it puts its own figures into docs/ with ``--write-docs``.
    """

    name: str
    what: str
    command: tuple[str, ...]
    quick: tuple[str, ...] = ()
    documented: bool = False


@dataclass(frozen=True)
class Outcome:
    """``last``: what the command said at the end."""

    name: str
    held: bool
    seconds: int
    last: str
    command: str


def named_tests() -> tuple[str, ...]:
    """The files of tests that the threat model names."""
    return tuple(f"tests/{name}" for name in sorted(set(_TEST.findall(SECURITY.read_text()))))


STEPS = (
    Step("faults", "broken neighbours", ("-m", "tests.faults"), ("--quick", "--only", "db-killed"), documented=True),
    Step("tests", "what docs/security.md names", ("-m", "pytest", "-q", *named_tests()), ("-k", "identity")),
    Step("fuzz", "every parser", ("-m", "tests.fuzz"), ("--seconds", "0.1")),
    Step("fuzz-sip", "broken requests", ("-m", "tests.fuzz.sip"), ("--requests", "2000")),
    Step("soak", "a day", ("-m", "tests.faults.soak"), ("--messages", "10000")),
)


def run(step: Step, quick: bool, write_docs: bool = False) -> Outcome:
    """What the command says is passed on as it comes."""
    words = step.command + (step.quick if quick else ())
    words += ("--write-docs",) if write_docs and step.documented else ()
    click.echo(f"== {step.name}: {step.what}")
    begin, last = time.monotonic(), ""
    command = [sys.executable, "-u", *words]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout or ():
            click.echo(f"   {line}", nl=False)
            last = line.strip() or last
    seconds = round(time.monotonic() - begin)
    return Outcome(step.name, process.returncode == 0, seconds, last, shlex.join(["python", *_short(words)]))


def _short(words: tuple[str, ...]) -> tuple[str, ...]:
    """As a person would write it: the names of thirty files tell nothing."""
    files = [word for word in words if word.endswith(".py")]
    return tuple(word for word in words if word not in files[1:]) + (("...",) if files[1:] else ())


@click.command(help=__doc__)
@click.option("--quick", is_flag=True, help="As little as shows that the commands work.")
@click.option("--only", multiple=True, type=click.Choice([step.name for step in STEPS]), help="Again for each.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Write the table there as well.")
@click.option("--write-docs", is_flag=True, help="Put the figures of the faults into docs/reliability.md.")
def main(quick: bool, only: tuple[str, ...], file: Path | None, write_docs: bool) -> None:
    outcomes = [run(step, quick, write_docs) for step in STEPS if not only or step.name in only]
    if file is not None:
        file.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=2))
    click.echo()
    for outcome in outcomes:
        click.echo(f"{'held' if outcome.held else 'FAILED':7}{outcome.name:10}{outcome.seconds:6} s  {outcome.command}")
        click.echo(f"       {outcome.last}")
    sys.exit(0 if all(outcome.held for outcome in outcomes) else 1)


if __name__ == "__main__":
    main()
