"""Owns the list of metrics, and what the threads' files say together: sums, and Prometheus's text of them.

Must not know Kamailio and libpurple: ``purplectl`` reads the files, too. Who counts has a ``meter.Meter``: a count is
0.3 µs, one in a histogram 0.4 µs, so a message costs about 1 µs on its whole way. Reading 13 files and writing the text
takes 2 ms.
"""

from __future__ import annotations

import itertools
import os
import platform
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from purple_bridge import meter
from purple_bridge.meter import AGE, COUNTER, GAUGE, HISTOGRAM, Family, Meter, Reading

if TYPE_CHECKING:
    from prometheus_client import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# the label ``direction``
SIP_TO_IM, IM_TO_SIP = "sip_to_im", "im_to_sip"
# the label ``protocol`` of what no IM contact wrote: notices of the gateway's own; and of what lay in the table silo
OWN, KEPT = "gateway", "kept"


class Outcome(StrEnum):
    """What became of a message; docs/metrics.md tells them to operators."""

    ACCEPTED = "accepted"  # from a phone: 202, and it leaves at once; from an IM network: a phone's turn
    QUEUED = "queued"  # 202, with a row in purple_queue first
    RETRANSMISSION = "retransmission"  # answered as before, and nothing else
    REFUSED = "refused"  # the phone got an error; of an IM contact's: no phone will take it
    ACKNOWLEDGED = "acknowledged"
    UNCONFIRMED = "unconfirmed"  # handed to a network that does not acknowledge, on a connection that lived on
    FAILED = "failed"  # the network refused it
    EXPIRED = "expired"
    ANSWER = "answer"  # to a question of the gateway, so it went no further
    DELIVERED = "delivered"  # a phone said 2xx
    KEPT = "kept"  # no phone was there, or older ones come first: a row in silo
    DELIVERED_LATER = "delivered_later"  # such a row, or a part, which a phone has taken


OUTCOMES = {
    SIP_TO_IM: (
        *(Outcome.ACCEPTED, Outcome.QUEUED, Outcome.RETRANSMISSION, Outcome.REFUSED, Outcome.ACKNOWLEDGED),
        *(Outcome.UNCONFIRMED, Outcome.FAILED, Outcome.EXPIRED, Outcome.ANSWER),
    ),
    IM_TO_SIP: (Outcome.ACCEPTED, Outcome.DELIVERED, Outcome.KEPT, Outcome.REFUSED),
}

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
LAGS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)

MESSAGES = Family(
    "purple_messages_total",
    COUNTER,
    ("direction", "protocol", "outcome"),
    "Messages, and what became of them; docs/metrics.md lists the outcomes.",
)
LATENCY = Family(
    "purple_message_latency_seconds",
    HISTOGRAM,
    ("direction", "protocol"),
    "sip_to_im: from the phone's MESSAGE to the IM network's acknowledgement. im_to_sip: from the IM network's message"
    " to the 2xx of a phone.",
    SECONDS,
)
REFUSALS = Family("purple_refusals_total", COUNTER, ("status",), "Requests that KSR.purple has refused, by SIP status.")
LIMITED = Family(
    "purple_limited_total",
    COUNTER,
    ("limit",),
    "What was refused for being too much; docs/metrics.md lists the limits.",
)
PRESENCE = Family(
    "purple_presence_total",
    COUNTER,
    ("direction",),
    "sip_to_im: PUBLISHes of phones that reached an account. im_to_sip: PUBLISHes about IM contacts.",
)
SIGN_ONS = Family("purple_sign_ons_total", COUNTER, ("protocol",), "Accounts that came online.")
RECONNECTS = Family(
    "purple_reconnects_total", COUNTER, ("protocol",), "Connections that ended or failed and are tried again."
)
GIVEN_UP = Family(
    "purple_given_up_total",
    COUNTER,
    ("protocol",),
    "Accounts that went into an error which trying again does not cure.",
)
DATABASE_ERRORS = Family("purple_database_errors_total", COUNTER, ("process",), "Queries of a worker that failed.")
ACCOUNTS = Family(
    "purple_accounts", GAUGE, ("state", "protocol"), "Accounts that a worker has seen since the start, by state."
)
MAPPED = Family("purple_mapped_accounts", GAUGE, ("protocol",), "Rows of the mapping table.")
WAITING = Family(
    "purple_waiting_messages",
    GAUGE,
    ("direction", "process"),
    "Messages that a worker has in hand: not acknowledged, or not taken by a phone yet.",
)
RPC_WAITING = Family("purple_rpc_waiting", GAUGE, ("process",), "RPC calls that Kamailio has not taken yet.")
QUEUE = Family(
    "purple_queue_messages", GAUGE, ("protocol", "state"), "Rows of purple_queue; state: waiting or set_aside."
)
QUEUE_AGE = Family(
    "purple_queue_oldest_seconds",
    AGE,
    ("protocol", "state"),
    "Age of the oldest row of purple_queue; 0: there is none.",
)
SILO = Family("purple_kept_messages", GAUGE, (), "Messages, or parts of one, that wait for a phone in the table silo.")
SILO_AGE = Family("purple_kept_oldest_seconds", AGE, (), "Age of the oldest of them; 0: there is none.")
LAG = Family(
    "purple_loop_lag_seconds", HISTOGRAM, ("process",), "How late a worker's loop ran a timer of 0.25 s.", LAGS
)
LAG_MAX = Family("purple_loop_lag_max_seconds", GAUGE, ("process",), "The most of it in the last 10 to 20 s.")
SILENCE = Family(
    "purple_loop_silence_seconds", AGE, ("process",), "Since when the worker's loop has not run that timer."
)
BUILD = Family(
    "purple_build_info", GAUGE, ("version", "kamailio", "libpurple", "python"), "1; the labels are the versions."
)
WORKERS = Family("purple_workers", GAUGE, (), "Processes that run libpurple.")

COUNTED = {
    family.name: family
    for family in (
        *(
            MESSAGES,
            LATENCY,
            REFUSALS,
            LIMITED,
            PRESENCE,
            SIGN_ONS,
            RECONNECTS,
            GIVEN_UP,
            DATABASE_ERRORS,
            ACCOUNTS,
            MAPPED,
        ),
        *(WAITING, RPC_WAITING, QUEUE, QUEUE_AGE, SILO, SILO_AGE, LAG, LAG_MAX, SILENCE, BUILD, WORKERS),
    )
}

# of the processes, by the kernel's word at the moment of reading
MEMORY = Family(
    "purple_process_resident_memory_bytes", GAUGE, ("process",), "Memory, with what Kamailio's processes share."
)
CPU = Family("purple_process_cpu_seconds_total", COUNTER, ("process",), "User and system CPU time.")
DESCRIPTORS = Family("purple_process_open_fds", GAUGE, ("process",), "Open file descriptors.")
START = Family("purple_start_time_seconds", GAUGE, (), "Unix time of the gateway's start.")

FAMILIES = {**COUNTED, **{family.name: family for family in (MEMORY, CPU, DESCRIPTORS, START)}}

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class Figures:
    """All series of a running gateway at one moment: by family and labels the number, or those of a histogram.

    ``processes``: the names of those that counted; empty: no gateway runs.
    """

    series: dict[Family, dict[tuple[str, ...], list[float]]]
    processes: tuple[str, ...] = ()
    at: float = field(default_factory=time.time)

    def value(self, family: Family, *labels: str) -> float:
        """0 for a series that nobody has counted."""
        numbers = self.series[family].get(labels)
        return self._shown(family, numbers[0]) if numbers else 0.0

    def values(self, family: Family) -> dict[tuple[str, ...], float]:
        """Of a counter or a gauge."""
        return {labels: self._shown(family, numbers[0]) for labels, numbers in sorted(self.series[family].items())}

    def histograms(self, family: Family) -> dict[tuple[str, ...], Distribution]:
        found = sorted(self.series[family].items())
        return {labels: Distribution(family.buckets, numbers[:-1], numbers[-1]) for labels, numbers in found}

    def _shown(self, family: Family, number: float) -> float:
        return max(0.0, self.at - number) if family.kind == AGE and number else number


@dataclass(frozen=True, slots=True)
class Distribution:
    """``counts``: one for each of ``limits``, and one for what is beyond."""

    limits: tuple[float, ...]
    counts: list[float]
    sum: float

    @property
    def count(self) -> float:
        return sum(self.counts)

    def buckets(self) -> list[tuple[float, float]]:
        """(upper limit, how many are not above it), the last one without limit."""
        return list(zip((*self.limits, float("inf")), itertools.accumulate(self.counts), strict=True))

    def quantile(self, share: float) -> float:
        """The upper limit of the bucket in which it lies; infinite beyond the last one, 0 for an empty one."""
        wanted = share * self.count
        return next((limit for limit, count in self.buckets() if wanted and count >= wanted), 0.0)


def directory(state_dir: str | Path) -> Path:
    """Where the threads' files are."""
    return Path(state_dir) / "run" / "metrics"


def gather(files: Path) -> Figures:
    """What the processes that run have counted, each number the sum of theirs. Never waits for one of them."""
    readings = list(_readings(files))
    figures = Figures({family: {} for family in FAMILIES.values()}, tuple(reading.writer for reading in readings))
    for reading in readings:
        _add(figures, reading)
    for pid, process in _processes(readings).items():
        _look(figures, pid, process)
    if readings:
        figures.series[START][()] = [min(reading.since for reading in readings)]
    return figures


def _readings(files: Path) -> Iterator[Reading]:
    for path in sorted(files.glob("[!.]*")):
        try:
            reading = meter.read(path, COUNTED)
        except (OSError, ValueError):  # it is being replaced
            continue
        if reading is not None and reading.alive:
            yield reading


def _add(figures: Figures, reading: Reading) -> None:
    for (name, *labels), numbers in reading.series.items():
        family = COUNTED[name]
        if len(labels) == len(family.labels):
            before = figures.series[family].get(tuple(labels), [0.0] * len(numbers))
            figures.series[family][tuple(labels)] = [a + b for a, b in zip(before, numbers, strict=True)]


def _processes(readings: Iterable[Reading]) -> Mapping[int, str]:
    """A process with several writers is called by the name of the last of them: worker-1, not sip-1."""
    return {reading.pid: reading.writer for reading in sorted(readings, key=lambda reading: reading.writer)}


def _look(figures: Figures, pid: int, process: str) -> None:
    """proc(5): fields 14, 15 and 24 of /proc/PID/stat; the descriptors of another user's process are not to be seen."""
    fields = meter.stat_of(pid)
    if fields:
        figures.series[CPU][process,] = [(int(fields[11]) + int(fields[12])) / TICKS]
        figures.series[MEMORY][process,] = [float(int(fields[21]) * PAGE)]
    try:
        figures.series[DESCRIPTORS][process,] = [float(len(os.listdir(f"/proc/{pid}/fd")))]  # noqa: PTH208
    except OSError:
        return


def describe(own: Meter, version: str, kamailio: str, libpurple: str, workers: int) -> None:
    """By one thread of the gateway: what is true for all of it."""
    own.set(BUILD, 1, version, kamailio, libpurple, platform.python_version())
    own.set(WORKERS, workers)
    for status in ("500", "503"):  # what alerts look at
        own.begin(REFUSALS, status)


def begin_network(own: Meter, protocol: str) -> None:
    """By a worker, when it sees the first account of a network."""
    for direction, outcomes in OUTCOMES.items():
        for outcome in outcomes:
            own.begin(MESSAGES, direction, protocol, outcome)
    for family in (SIGN_ONS, RECONNECTS, GIVEN_UP):
        own.begin(family, protocol)


# ------------------------------------------------------------ Prometheus
class _Here:
    """Set by the gateway before the fork."""

    files: Path | None = None


def serve_from(state_dir: str) -> None:
    """In the gateway, before the fork: where its files are; those of processes that are gone are removed."""
    _Here.files = directory(state_dir)
    meter.forget_dead(_Here.files)


def exposition() -> bytes:
    """What ``GET /metrics`` answers, of the type CONTENT_TYPE; only within the gateway."""
    if _Here.files is None:
        raise RuntimeError("the gateway has not started in this process")
    return text_of(gather(_Here.files))


def text_of(figures: Figures) -> bytes:
    """In Prometheus's text format 0.0.4."""
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - takes 60 ms, for this alone

    class Collector(CollectorRegistry):
        def collect(self) -> Iterator[Metric]:
            return _families(figures)

    return generate_latest(Collector())


def _families(figures: Figures) -> Iterator[Metric]:
    from prometheus_client.core import (  # noqa: PLC0415
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    for family in FAMILIES.values():
        if family.kind == HISTOGRAM:
            histogram = HistogramMetricFamily(family.name, family.meaning, labels=family.labels)
            for labels, found in figures.histograms(family).items():
                histogram.add_metric(labels, _texts(found.buckets()), found.sum)
            yield histogram
            continue
        kind = CounterMetricFamily if family.kind == COUNTER else GaugeMetricFamily
        metric = kind(family.name, family.meaning, labels=family.labels)
        for labels, value in figures.values(family).items():
            metric.add_metric(labels, value)
        yield metric


def _texts(buckets: list[tuple[float, float]]) -> list[tuple[str, float]]:
    """Limits as the text format writes them."""
    return [("+Inf" if limit == float("inf") else str(limit), count) for limit, count in buckets]
