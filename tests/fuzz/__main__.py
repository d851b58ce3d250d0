"""Every parser of outside data with input made by chance: only documented errors, no hang, and what must hold holds.

By atheris, which looks at which lines run, where it is installed (the extra `fuzz`), else by chance alone. The first
finding of a target ends it: its input lies in the directory of `--findings`, and `--replay FILE` runs it again.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path

import click

from tests.fuzz import engine
from tests.fuzz.targets import TARGETS

HAS_ATHERIS = importlib.util.find_spec("atheris") is not None


def _one(name: str, seconds: float, seed: int, findings: Path, covered: bool) -> bool:
    """Whether nothing was found. atheris never comes back, so it has a process of its own."""
    if covered:
        command = [sys.executable, "-m", "tests.fuzz.atheris_engine", name, str(int(seconds)), str(seed), str(findings)]
        return subprocess.run(command, check=False).returncode == 0
    begin = time.monotonic()
    report = engine.run(TARGETS[name], seed, seconds=seconds)
    click.echo(f"{name}: {report.inputs} inputs in {time.monotonic() - begin:.1f} s")
    if report.failed is None:
        return True
    file = findings / f"{name}-{seed}"
    file.write_bytes(report.failed)
    click.echo(f"FOUND {name}: {report.reason} (--target {name} --replay {file})")
    return False


@click.command(help=__doc__)
@click.option("--seconds", default=30.0, show_default=True, help="For each target.")
@click.option("--target", type=click.Choice(sorted(TARGETS)), help="This one alone.")
@click.option("--seed", default=1, show_default=True)
@click.option("--plain", is_flag=True, help="Without atheris, even if it is there.")
@click.option("--findings", default=Path("fuzz-findings"), show_default=True, type=click.Path(path_type=Path))
@click.option("--replay", type=click.Path(exists=True, path_type=Path), help="Run the target on this input alone.")
def main(seconds: float, target: str | None, seed: int, plain: bool, findings: Path, replay: Path | None) -> None:
    if replay is not None:
        if target is None:
            raise click.UsageError("--replay needs --target")
        TARGETS[target].run(replay.read_bytes())
        return
    findings.mkdir(exist_ok=True)
    covered = HAS_ATHERIS and not plain
    names = [target] if target else list(TARGETS)
    failed = [name for name in names if not _one(name, seconds, seed, findings, covered)]
    if not any(findings.iterdir()):
        findings.rmdir()
    click.echo(f"{len(names)} targets, {len(failed)} with findings{': ' + ', '.join(failed) if failed else ''}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
