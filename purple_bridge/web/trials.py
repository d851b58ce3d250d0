"""Owns the accounts that are being tried, each in a process of its own (``purple_bridge.trial``); knows no page.

Nothing here waits: whoever asks for a trial reads what its process has written so far. Order and answer are in memory
that has no name, so no password is on a disk, in an argument or in an environment.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from purple_bridge.web.http import Refused

LIMIT_SECONDS = 30.0  # for the sign-on
GRACE_SECONDS = 8.0  # more, after which the process is killed
RUNNING, OF_ONE_USER = 4, 1  # at a time
KEPT = 50  # results
LONGEST_ANSWER = 1 << 20


@dataclass(slots=True)
class Trial:
    """``owner``: whose reader may see it (``SipAddress.key``). ``steps``: in libpurple's words.

    ``result``: None while it runs, then ``ok``, ``text`` and, where it is known, ``advice``.
    """

    key: str
    owner: str
    account: int
    began: float
    process: subprocess.Popen[bytes] | None = field(repr=False)
    output: int = field(repr=False)
    steps: list[str] = field(default_factory=list)
    result: dict[str, Any] | None = None


class Trials:
    """At most RUNNING processes; ends with the process that has it (PR_SET_PDEATHSIG)."""

    def __init__(self, environment: Mapping[str, str], clock: Callable[[], float] = time.monotonic) -> None:
        self._environment, self._clock = environment, clock
        self._trials: OrderedDict[str, Trial] = OrderedDict()

    def start(self, owner: str, account: int, order: Mapping[str, Any]) -> str:
        """The key of a new trial; ``order``: the fields of ``trial.Order``. Raises Refused."""
        running = [trial for trial in self._refreshed() if trial.result is None]
        if len(running) >= RUNNING or sum(trial.owner == owner for trial in running) >= OF_ONE_USER:
            raise Refused(503, "Other accounts are being tested: try again in half a minute.", [("Retry-After", "30")])
        key, output = secrets.token_urlsafe(12), os.memfd_create("answer")
        process = self._run(json.dumps({"timeout": LIMIT_SECONDS, **order}).encode(), output)
        self._trials[key] = Trial(key, owner, account, self._clock(), process, output)
        while len(self._trials) > KEPT:
            _close(self._trials.popitem(last=False)[1])
        return key

    def get(self, key: str) -> Trial | None:
        self._refreshed()
        return self._trials.get(key)

    def _run(self, order: bytes, output: int) -> subprocess.Popen[bytes]:
        given = os.memfd_create("order")
        try:
            os.write(given, order)
            os.lseek(given, 0, os.SEEK_SET)
            return subprocess.Popen(
                self._command(),
                stdin=given,
                stdout=output,
                stderr=subprocess.DEVNULL,
                env=dict(self._environment),
                cwd="/",
                start_new_session=True,
            )
        finally:
            os.close(given)

    def _command(self) -> list[str]:
        """The Python that the launcher runs with, else the system's, which is the one that Kamailio embeds."""
        python = self._environment.get("PURPLE_PYTHON") or shutil.which("python3") or "/usr/bin/python3"
        return ["setpriv", "--pdeathsig", "KILL", python, "-P", "-m", "purple_bridge.trial"]

    def _refreshed(self) -> list[Trial]:
        for trial in self._trials.values():
            if trial.process is not None:
                self._refresh(trial, trial.process)
        return list(self._trials.values())

    def _refresh(self, trial: Trial, process: subprocess.Popen[bytes]) -> None:
        """Read what there is, and reap the process if it has ended."""
        ended = process.poll() is not None
        if not ended and self._clock() - trial.began > LIMIT_SECONDS + GRACE_SECONDS:
            process.kill()
            process.wait()
            ended = True
        trial.steps, trial.result = _read(os.pread(trial.output, LONGEST_ANSWER, 0))
        if ended:
            trial.result = trial.result or {"ok": False, "text": "The test ended without a result: libpurple crashed."}
            _close(trial)


def _read(octets: bytes) -> tuple[list[str], dict[str, Any] | None]:
    """Lines of JSON; the last one may be incomplete."""
    steps: list[str] = []
    result = None
    for line in octets.split(b"\n")[:-1]:
        try:
            fields = json.loads(line)
        except ValueError:
            continue
        if isinstance(fields, dict):
            steps += [str(fields["step"])] if "step" in fields else []
            result = fields.get("result", result)
    return steps, result if isinstance(result, dict) else None


def _close(trial: Trial) -> None:
    if trial.process is not None and trial.process.poll() is None:
        trial.process.kill()
        trial.process.wait()
    if trial.process is not None:
        trial.process = None
        os.close(trial.output)
