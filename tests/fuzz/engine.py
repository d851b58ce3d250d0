"""Runs a target on input made by chance, the same for the same seed; knows no parser."""

from __future__ import annotations

import faulthandler
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from tests.fuzz.mutation import Mutator
from tests.fuzz.targets import Target

LONGEST_SECONDS = 5.0
"""Of the processor's time for one input of at most ``mutation.LARGEST`` octets: linear time needs a hundredth of it."""


class Hang(Exception):
    """A target takes more than linear time."""


@dataclass(slots=True)
class Report:
    """``failed``: the input of the finding, None without one."""

    inputs: int = 0
    failed: bytes | None = None
    reason: str = ""
    slowest: float = 0.0


def run(target: Target, seed: int, inputs: int = 1 << 62, seconds: float = float("inf")) -> Report:
    """At most so many inputs, and about so many seconds. Ends with the first finding."""
    report, mutator = Report(), Mutator(seed)
    seeds = list(target.seeds)
    end = time.monotonic() + seconds
    while report.inputs < inputs and time.monotonic() < end:
        place = report.inputs
        data = seeds[place] if place < len(seeds) else mutator.mutated(mutator.random.choice(seeds), seeds)
        report.inputs += 1
        begin = time.process_time()
        try:
            with limited():
                target.run(data)
        except Exception as error:
            report.failed, report.reason = data, f"{type(error).__name__}: {error}"[:300]
            return report
        report.slowest = max(report.slowest, time.process_time() - begin)
    return report


@contextmanager
def limited(seconds: float = LONGEST_SECONDS) -> Iterator[None]:
    """Hang after so many seconds of the processor's time, where Python or a regular expression runs."""
    before = signal.signal(signal.SIGVTALRM, _hang)
    faulthandler.dump_traceback_later(60, exit=True)  # in C code, which looks for none
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGVTALRM, before)


def _hang(_number: int, _frame: FrameType | None) -> None:
    raise Hang("it takes more than linear time")
