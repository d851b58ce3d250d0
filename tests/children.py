"""Owns fresh Python processes that run one function each; knows nothing of what the function does.

libpurple starts once per process, so every scenario with it needs a process of its own.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SECONDS = 60.0


def run_in_child(function: Callable[..., Any], *arguments: Any, home: Path | None = None) -> Any:
    """What ``function(*arguments)``, a function of a module, returns in a new process; all of it as JSON.

    ``home``: HOME of the process, default a directory that does not exist. Raises AssertionError with the
    child's standard error when it fails, or does not end within SECONDS.
    """
    environment = {**os.environ, "HOME": str(home or "/nonexistent"), "PYTHONWARNINGS": "error"}
    call = json.dumps([function.__module__, function.__qualname__, arguments])
    try:
        child = subprocess.run(
            [sys.executable, "-m", "tests.children", call],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"{function.__qualname__} did not end:\n{(error.stderr or b'').decode()}") from None
    assert child.returncode == 0, f"{function.__qualname__} ended with {child.returncode}:\n{child.stderr}"
    return json.loads(child.stdout)


def main() -> None:
    """In the child: the result is the only thing on standard output."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    module, name, arguments = json.loads(sys.argv[1])
    result = getattr(importlib.import_module(module), name)(*arguments)
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
