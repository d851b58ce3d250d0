"""Owns a Python environment that has the wheel alone, and the wheel itself; knows nothing of what is in it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[1]
NAME = "kamailio-purple"
SYSTEM_PYTHON = "/usr/bin/python3"  # the one that Kamailio embeds
NOT_SOURCE = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "state", "build", "dist")


def make_wheel(directory: Path) -> Path:
    """In `directory`, of a source archive, which is made of a copy of the checkout."""
    shutil.copytree(PROJECT, directory / "checkout", ignore=NOT_SOURCE)
    build = f"from setuptools import build_meta; build_meta.build_sdist({str(directory)!r})"
    run([sys.executable, "-W", "error", "-c", build], cwd=directory / "checkout")
    (archive,) = directory.glob("*.tar.gz")
    (directory / "source").mkdir()
    run(["tar", "xf", str(archive), "-C", str(directory / "source"), "--strip-components=1"])
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", str(directory)]
    run([sys.executable, "-m", "pip", "wheel", "--quiet", *options, str(directory / "source")])
    (wheel,) = directory.glob("*.whl")
    return wheel


def make_environment(place: Path, wheel: Path, copy: bool = False) -> None:
    """With Debian's Python, the wheel, and what it depends on, from the tests' environment; nothing of the checkout.

    `copy`: it must not need the tests' environment; else links will do.
    """
    run([SYSTEM_PYTHON, "-m", "venv", "--without-pip", str(place)])
    (packages,) = place.glob("lib/python3*/site-packages")
    install_wheel(place, wheel)
    (installed,) = distributions(name=NAME, path=[str(packages)])
    for path in {path for each in _dependencies(installed, set()).values() for path in _tops(each)}:
        if copy:
            run(["cp", "--recursive", str(path), str(packages)])
        else:
            (packages / path.name).symlink_to(path)
    run([*_pip(place), "check"])


def install_wheel(place: Path, wheel: Path) -> None:
    """Into an environment, in the place of what it has of it."""
    options = ["--quiet", "--no-index", "--no-deps", "--force-reinstall", "--root-user-action=ignore"]
    run([*_pip(place), "install", *options, str(wheel)])


def _pip(place: Path) -> list[str]:
    return [sys.executable, "-m", "pip", "--python", str(place)]


def _dependencies(package: Distribution, extras: set[str]) -> dict[str, Distribution]:
    """Name -> distribution, for all that is needed without the tests."""
    found: dict[str, Distribution] = {}
    for requirement in map(Requirement, package.requires or []):
        if requirement.marker and not any(requirement.marker.evaluate({"extra": each}) for each in extras or {""}):
            continue
        needed = distribution(requirement.name)
        found |= {requirement.name: needed} | _dependencies(needed, requirement.extras)
    return found


def _tops(package: Distribution) -> Iterator[Path]:
    """Files and directories that it has at the top of site-packages."""
    root = Path(str(package.locate_file("")))
    for name in {path.parts[0] for path in package.files or []} - {"..", "__pycache__"}:
        yield root / name


def run(command: list[str], cwd: Path | None = None, environment: dict[str, str] | None = None, text: str = "") -> str:
    """stdout. Raises CalledProcessError with what the program said as its note."""
    try:
        done = subprocess.run(command, cwd=cwd, env=environment, input=text, capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        error.add_note(error.stdout + error.stderr)
        raise
    return done.stdout
