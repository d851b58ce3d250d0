"""Owns what one thread counts, in a file that others map and read; knows no message, no account and no text format.

Each thread that counts has a file of its own in STATE_DIR/run/metrics, so no two threads write the same bytes, a count
needs no lock and no system call, and a process that hangs is read like any other. A file begins with who writes it;
then come the numbers, doubles; then the directory: for each series where its numbers are, and its name and labels.
An entry of the directory counts as soon as their number, which is written last, includes it.
"""

from __future__ import annotations

import logging
import mmap
import os
import struct
import time
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"
AGE = "age"  # a gauge whose number is a Unix time, shown as the seconds since then; 0: nothing is there

MAGIC = b"purple-1"
HEADER = struct.Struct("=8s q q d I 32s")  # magic, process id, its start, Unix time of this file, entries, writer
ENTRY = struct.Struct("=I 124s")  # the first number; name and labels, parted by tabs
NUMBERS_AT = 128
NUMBERS = 4096
ENTRIES_AT = NUMBERS_AT + 8 * NUMBERS
ENTRIES = 512
SIZE = ENTRIES_AT + ENTRIES * ENTRY.size
LOST = 0  # the first number of a series for which there is no room; nobody reads it
FIRST = 64  # a histogram without room writes into several
COUNT_AT = struct.calcsize("=8s q q d")


@dataclass(frozen=True, eq=False, slots=True)
class Family:
    """One metric: Prometheus's name, ``kind``, names of its labels, what it means; ``buckets``: upper limits."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str
    buckets: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """How many numbers a series has: of a histogram one for each bucket, one for the rest, and the sum."""
        return len(self.buckets) + 2 if self.kind == HISTOGRAM else 1


class Meter:
    """For one thread. Labels are given in the order of the family's; few different ones, and no names of people."""

    def __init__(self, memory: mmap.mmap | bytearray, writer: str) -> None:
        """``memory``: SIZE octets, zeros; ``writer``: this thread's name, unique in this gateway."""
        self.writer = writer
        self._memory = memory
        self._numbers = memoryview(memory)[NUMBERS_AT:ENTRIES_AT].cast("d")
        self._slots: dict[tuple[Family, tuple[str, ...]], int] = {}
        self._entries = 0
        self._next = FIRST
        header = (MAGIC, os.getpid(), start_of(os.getpid()), time.time(), 0, writer.encode())
        HEADER.pack_into(memory, 0, *header)

    @classmethod
    def open(cls, directory: Path, writer: str) -> Meter:
        """A file of the writer's own, mode 0600; without room on the disk the counts are for nobody."""
        try:
            return cls(_new_file(directory, writer), writer)
        except OSError as error:
            logger.warning("metrics: %s: %s", directory / writer, error.strerror)
            return cls.detached()

    @classmethod
    def detached(cls) -> Meter:
        """One that nobody reads."""
        return cls(bytearray(SIZE), "")

    def count(self, family: Family, *labels: str) -> None:
        """One more."""
        slot = self._slots.get((family, labels))
        self._numbers[self._add(family, labels) if slot is None else slot] += 1.0

    def begin(self, family: Family, *labels: str) -> None:
        """A series that is there before anything is counted: Prometheus sees no step in one that begins with 1."""
        if (family, labels) not in self._slots:
            self._add(family, labels)

    def set(self, family: Family, value: float, *labels: str) -> None:
        slot = self._slots.get((family, labels))
        self._numbers[self._add(family, labels) if slot is None else slot] = value

    def observe(self, family: Family, value: float, *labels: str) -> None:
        """``value`` in the unit of the family's name."""
        slot = self._slots.get((family, labels))
        first = self._add(family, labels) if slot is None else slot
        self._numbers[first + bisect_left(family.buckets, value)] += 1.0
        self._numbers[first + len(family.buckets) + 1] += value

    def _add(self, family: Family, labels: tuple[str, ...]) -> int:
        """A new series, or LOST where there is no more room."""
        key = "\t".join((family.name, *labels)).encode()
        room = self._entries < ENTRIES and self._next + family.width <= NUMBERS and len(key) < ENTRY.size - 4
        slot = self._slots[family, labels] = self._next if room else LOST
        if room:
            ENTRY.pack_into(self._memory, ENTRIES_AT + self._entries * ENTRY.size, slot, key)
            self._next += family.width
            self._entries += 1
            struct.pack_into("=I", self._memory, COUNT_AT, self._entries)
        else:
            logger.warning("metrics: no room for %r", key.decode())
        return slot


@dataclass(frozen=True, slots=True)
class Reading:
    """One writer's file. ``series``: the numbers by name and labels. ``start``: see ``start_of``."""

    writer: str
    pid: int
    start: int
    since: float
    series: dict[tuple[str, ...], list[float]]

    @property
    def alive(self) -> bool:
        return start_of(self.pid) == self.start


def read(path: Path, families: dict[str, Family]) -> Reading | None:
    """None for what is no file of this version. Raises OSError."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        if len(memory) != SIZE:
            return None
        magic, pid, start, since, count, writer = HEADER.unpack_from(memory, 0)
        if magic != MAGIC:
            return None
        with memoryview(memory) as whole, whole[NUMBERS_AT:ENTRIES_AT].cast("d") as numbers:
            series: dict[tuple[str, ...], list[float]] = {}
            for place in range(min(count, ENTRIES)):
                slot, key = ENTRY.unpack_from(memory, ENTRIES_AT + place * ENTRY.size)
                labels = tuple(key.rstrip(b"\0").decode().split("\t"))
                if family := families.get(labels[0]):
                    series[labels] = [float(number) for number in numbers[slot : slot + family.width]]
    return Reading(writer.rstrip(b"\0").decode(), pid, start, since, series)


def forget_dead(directory: Path) -> None:
    """At the start, before the fork: the files of processes that are gone."""
    for path in directory.glob("[!.]*"):
        reading = _read_or_none(path)
        if reading is None or not reading.alive:
            path.unlink(missing_ok=True)


def _read_or_none(path: Path) -> Reading | None:
    try:
        return read(path, {})
    except (OSError, ValueError):
        return None


def start_of(pid: int) -> int:
    """When the process began, in ticks since the machine did; 0: there is none. Two with one id differ in it."""
    fields = stat_of(pid)
    return int(fields[19]) if fields and fields[0] not in "ZX" else 0


def stat_of(pid: int) -> list[str]:
    """proc(5), /proc/PID/stat from ``state`` on, which is field 3; empty: there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _new_file(directory: Path, writer: str) -> mmap.mmap:
    """In one step, so that nobody reads a file that is being made. Raises OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = directory / f".{writer}.new"
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, SIZE)  # a full disk is an error here, not a signal later
        memory = mmap.mmap(descriptor, SIZE)
    finally:
        os.close(descriptor)
    temporary.replace(directory / writer)
    return memory
