"""The metrics for people and scripts: their words and units in `purplectl status`; owns no number, and asks nobody."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from purple_bridge import metrics
from purple_bridge.meter import HISTOGRAM
from purple_bridge.metrics import FAMILIES, Distribution, Figures, Outcome

COLUMNS = ("METRIC", "LABELS", "VALUE")

Labels = tuple[str, ...]

_DIRECTIONS = {metrics.SIP_TO_IM: "to IM networks", metrics.IM_TO_SIP: "to phones"}


def as_json(figures: Figures) -> dict[str, list[dict[str, Any]]]:
    """Of each metric its series: ``labels`` and ``value``, of a histogram ``count``, ``sum`` and ``buckets``."""
    found: dict[str, list[dict[str, Any]]] = {}
    for family in FAMILIES.values():
        series: Iterable[tuple[Labels, dict[str, Any]]]
        if family.kind == HISTOGRAM:
            series = [(labels, _histogram(one)) for labels, one in figures.histograms(family).items()]
        else:
            series = [(labels, {"value": value}) for labels, value in figures.values(family).items()]
        found[family.name] = [
            {"labels": dict(zip(family.labels, labels, strict=True)), **values} for labels, values in series
        ]
    return found


def _histogram(found: Distribution) -> dict[str, Any]:
    buckets = {"+Inf" if limit == float("inf") else str(limit): count for limit, count in found.buckets()}
    return {"count": found.count, "sum": found.sum, "buckets": buckets}


def as_rows(figures: Figures) -> list[list[str]]:
    """A line for each series; of a histogram how many there were, and within which times."""
    rows = []
    for family in FAMILIES.values():
        series = figures.histograms(family) if family.kind == HISTOGRAM else figures.values(family)
        for labels, value in series.items():
            words = " ".join(f"{name}={text}" for name, text in zip(family.labels, labels, strict=True))
            shown = _times(value) if isinstance(value, Distribution) else _number(value)
            rows.append([family.name, words, shown])
    return rows


def summary(figures: Figures) -> list[tuple[str, str]]:
    """What matters first, as (about what, the words)."""
    lines = [("up for", _time(max(0.0, figures.at - figures.value(metrics.START))))]
    lines += [(words, _messages(figures, direction)) for direction, words in _DIRECTIONS.items()]
    lines.append(("waiting", _waiting(figures)))
    return lines + [(name, _process(figures, name)) for name in _processes(figures)]


def _messages(figures: Figures, direction: str) -> str:
    counts = dict.fromkeys(Outcome, 0.0)
    for (found, _protocol, outcome), count in figures.values(metrics.MESSAGES).items():
        if found == direction:
            counts[Outcome(outcome)] += count
    shown = [f"{_number(count)} {outcome.replace('_', ' ')}" for outcome, count in counts.items() if count]
    times = [one for (found, _), one in figures.histograms(metrics.LATENCY).items() if found == direction]
    return "; ".join(filter(None, (", ".join(shown) or "none yet", _times(_sum(times)) if times else "")))


def _sum(found: list[Distribution]) -> Distribution:
    counts = [sum(column) for column in zip(*(one.counts for one in found), strict=True)]
    return Distribution(found[0].limits, counts, sum(one.sum for one in found))


def _times(found: Distribution) -> str:
    if not found.count:
        return "none"
    return f"{_number(found.count)} measured, half {_within(found, 0.5)}, 99 % {_within(found, 0.99)}"


def _within(found: Distribution, share: float) -> str:
    limit = found.quantile(share)
    return f"within {_time(limit)}" if limit != float("inf") else f"beyond {_time(found.limits[-1])}"


def _waiting(figures: Figures) -> str:
    rows = figures.values(metrics.QUEUE)
    waiting = sum(count for (_, state), count in rows.items() if state == "waiting")
    aside = sum(count for (_, state), count in rows.items() if state != "waiting")
    ages = figures.values(metrics.QUEUE_AGE)
    oldest = max((age for (_, state), age in ages.items() if state == "waiting"), default=0.0)
    kept, kept_age = figures.value(metrics.SILO), figures.value(metrics.SILO_AGE)
    return ", ".join(
        (
            f"{_number(waiting)} for IM networks{_since(oldest)}",
            f"{_number(aside)} set aside",
            f"{_number(kept)} for phones{_since(kept_age)}",
        )
    )


def _since(age: float) -> str:
    return f" (the oldest for {_time(age)})" if age else ""


def _processes(figures: Figures) -> list[str]:
    """worker-2 in front of worker-10, and the workers in front of the others."""
    names = [process for (process,) in figures.values(metrics.MEMORY)]
    return sorted(names, key=lambda name: (not name.startswith("worker"), len(name), name))


def _process(figures: Figures, name: str) -> str:
    megabytes = figures.value(metrics.MEMORY, name) / (1 << 20)
    words = [f"{megabytes:.0f} MB", f"CPU {_time(figures.value(metrics.CPU, name))}"]
    if descriptors := figures.value(metrics.DESCRIPTORS, name):
        words.append(f"{_number(descriptors)} descriptors")
    if (name,) in figures.series[metrics.LAG_MAX]:
        words.append(f"loop at most {_time(figures.value(metrics.LAG_MAX, name))} late")
        silence = figures.value(metrics.SILENCE, name)
        words += [f"and silent for {_time(silence)}"] if silence > 1 else []
    return ", ".join(words)


def _number(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _time(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.3g} s"
