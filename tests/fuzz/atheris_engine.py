"""Runs one target under atheris, which looks for input that reaches new lines; its process ends with the run."""

from __future__ import annotations

import sys
import tempfile
from importlib import import_module
from pathlib import Path

LARGEST = 60_000


def main(name: str, seconds: str, seed: str, findings: str) -> None:
    """Begin with the target's own seeds, whose directory is gone afterwards."""
    atheris = import_module("atheris")  # an extra of its own

    with atheris.instrument_imports(include=["purple_bridge"]):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - after the instrumentation
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as corpus:
        for number, data in enumerate(target.seeds):
            (Path(corpus) / str(number)).write_bytes(data)
        options = [f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={LARGEST}", "-timeout=10", "-verbosity=0"]
        options += ["-rss_limit_mb=2048", "-print_final_stats=1", f"-artifact_prefix={findings}/{name}-"]
        atheris.Setup([sys.argv[0], *options, corpus], target.run)
        atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
