"""Owns the figures of the last half hour, in a file that one worker writes and the web page reads; knows no page.

A record has its place by its time, so that nobody has to tell the other where to go on.
"""

from __future__ import annotations

import logging
import mmap
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from purple_bridge import metrics
from purple_bridge.metrics import Figures

logger = logging.getLogger(__name__)

STEP_SECONDS = 5.0
RECORDS = 361  # one more than half an hour has steps: a rate is between two of them
SECONDS = (RECORDS - 1) * STEP_SECONDS
RECORD = struct.Struct("=5d")
SIZE = RECORDS * RECORD.size


@dataclass(frozen=True, slots=True)
class Sample:
    """``at``: Unix time. ``to_im``, ``to_phones``: messages since the start. ``queued``, ``online``: at that moment."""

    at: float
    to_im: float
    to_phones: float
    queued: float
    online: float


def sample_of(figures: Figures) -> Sample:
    by_direction = figures.values(metrics.MESSAGES)
    return Sample(
        figures.at,
        sum(count for labels, count in by_direction.items() if labels[0] == metrics.SIP_TO_IM),
        sum(count for labels, count in by_direction.items() if labels[0] == metrics.IM_TO_SIP),
        sum(figures.values(metrics.QUEUE).values()),
        sum(count for labels, count in figures.values(metrics.ACCOUNTS).items() if labels[0] == "online"),
    )


def rates(samples: Sequence[Sample], name: str) -> list[tuple[float, float]]:
    """(Unix time, per second) of a count between two samples; not over a restart: counts begin anew there."""
    pairs = [(before, after, getattr(after, name) - getattr(before, name)) for before, after in pairwise(samples)]
    return [(after.at, more / (after.at - before.at)) for before, after, more in pairs if more >= 0]


class Recorder:
    """Writes one record a step; for one process alone. Without room on the disk the records are for nobody."""

    def __init__(self, state_dir: str | Path) -> None:
        self._files = metrics.directory(state_dir)
        self._memory: mmap.mmap | bytearray = bytearray(SIZE)
        try:
            self._memory = _mapped(file_of(state_dir))
        except OSError as error:
            logger.warning("history: %s: %s", file_of(state_dir), error.strerror)

    def record(self) -> None:
        """Read what all processes have counted, and write it down."""
        self.write(sample_of(metrics.gather(self._files)))

    def write(self, sample: Sample) -> None:
        place = int(sample.at / STEP_SECONDS) % RECORDS * RECORD.size
        values = (sample.at, sample.to_im, sample.to_phones, sample.queued, sample.online)
        RECORD.pack_into(self._memory, place, *values)


def _mapped(path: Path) -> mmap.mmap:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, SIZE)  # a full disk is an error here, not a signal later
        return mmap.mmap(descriptor, SIZE)
    finally:
        os.close(descriptor)


def read(state_dir: str | Path, now: float) -> list[Sample]:
    """The oldest first; empty where nobody has written."""
    try:
        octets = file_of(state_dir).read_bytes()
    except OSError:
        return []
    whole = octets[: len(octets) // RECORD.size * RECORD.size]
    samples = sorted((Sample(*values) for values in RECORD.iter_unpack(whole)), key=lambda sample: sample.at)
    return [sample for sample in samples if 0 <= now - sample.at <= SECONDS + STEP_SECONDS]


def file_of(state_dir: str | Path) -> Path:
    return Path(state_dir) / "run" / "history"
