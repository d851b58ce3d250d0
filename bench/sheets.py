"""Owns the tables of the comparison: medians in, rows of words out; knows neither terminal nor file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.cases import accounts, messages, rows
from bench.contestants import CONTESTANTS, GATEWAY, KEMI, LIBPURPLE
from bench.peer import SEVERAL, TO_IM
from bench.results import Figures, Measured

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sheet:
    title: str
    columns: Row
    rows: tuple[Row, ...]


def sheets(measured: Sequence[Measured]) -> list[Sheet]:
    """``measured``: medians. Those without a row are left out."""
    made = [_throughput(measured), _latency(measured), _accounts(measured), _rows(measured)]
    return [sheet for sheet in made if sheet.rows]


def share_of_limits(measured: Sequence[Measured]) -> str:
    """The gateway's CPU time a message against that of its two halves; empty if one was not measured."""
    spent = {
        each.name: each.figures["cpu"]
        for each in measured
        if each.case == messages.CASE and each.what == TO_IM and not each.problem
    }
    if not {GATEWAY, KEMI, LIBPURPLE} <= spent.keys():
        return ""
    halves = spent[KEMI] + spent[LIBPURPLE]
    return (
        f"A message from SIP to XMPP takes {spent[GATEWAY]:.0f} µs of CPU time in the gateway, {spent[KEMI]:.0f} µs in"
        f" Kamailio with the routes alone and {spent[LIBPURPLE]:.0f} µs in libpurple alone:"
        f" {spent[GATEWAY] / halves:.1f} times their sum."
    )


def _throughput(measured: Sequence[Measured]) -> Sheet:
    columns = (
        "way",
        "direction",
        "messages/s",
        "ratio",
        "lost",
        "p50 ms",
        "p99 ms",
        "CPU µs",
        "ratio",
        "server µs",
        "ends µs",
    )
    return Sheet("As fast as messages are taken", columns, tuple(_speed(each, measured) for each in _of(measured)))


def _speed(each: Measured, measured: Sequence[Measured]) -> Row:
    if each.problem:
        return (_title(each.name), f"{each.what}: {each.problem}", *["-"] * 9)
    head = (_title(each.name), each.what)
    figures, ours = each.figures, _ours(each, measured)
    delays = (_ms(figures["full p50"]), _ms(figures["full p99"]))
    rate = (_whole(figures["rate"]), _ratio(figures, ours, "rate"), _whole(figures["lost"]))
    cpu = (_whole(figures["cpu"]), _ratio(figures, ours, "cpu"))
    return (*head, *rate, *delays, *cpu, *(_whole(figures[name]) for name in ("server cpu", "ends cpu")))


def _latency(measured: Sequence[Measured]) -> Sheet:
    slow = f"at {messages.SLOW}/s"
    columns = ("way", "direction", f"{slow}: p50 ms", "p99 ms", "at", "p50 ms", "p99 ms", "lost")
    timed = [each for each in _of(measured) if "slow p50" in each.figures]
    return Sheet("One way, at steady rates", columns, tuple(map(_delays, timed)))


def _delays(each: Measured) -> Row:
    figures = each.figures
    slow, fast = ((_ms(figures[f"{name} p50"]), _ms(figures[f"{name} p99"])) for name in ("slow", "fast"))
    lost = _whole(figures["slow lost"] + figures["fast lost"])
    return (_title(each.name), each.what, *slow, f"{_whole(figures['fast rate'])}/s", *fast, lost)


def _accounts(measured: Sequence[Measured]) -> Sheet:
    columns = ("XMPP", "accounts", "sign-ons/s", "CPU ms each", "KB each", "idle CPU %")
    further = (f"{TO_IM} CPU µs", "messages/s", "XMPP→SIP CPU µs", "messages/s")
    found = [each for each in measured if each.case == accounts.CASE]
    return Sheet(f"Accounts online (memory beyond the first {SEVERAL})", (*columns, *further), tuple(map(_size, found)))


def _size(each: Measured) -> Row:
    figures = each.figures
    names = (
        "accounts",
        "sign-ons",
        "sign-on cpu",
        "memory",
        "idle",
        "to cpu",
        "to rate",
        "from cpu",
        "from rate",
    )
    exact = ("sign-ons", "sign-on cpu", "idle")
    return (
        {"plain": "without TLS", "tls": "TLS"}[each.name],
        *((_ms if name in exact else _whole)(figures.get(name, math.nan)) for name in names),
    )


def _rows(measured: Sequence[Measured]) -> Sheet:
    found = [each for each in measured if each.case == rows.CASE]
    words = [
        (each.name, each.what, *(_whole(each.figures[name]) for name in ("rate", "lost", "cpu"))) for each in found
    ]
    return Sheet("Rows of others", ("database", "what", "messages/s", "lost", "CPU µs"), tuple(words))


def _of(measured: Sequence[Measured]) -> list[Measured]:
    return [each for each in measured if each.case == messages.CASE]


def _ours(each: Measured, measured: Sequence[Measured]) -> Figures:
    """What the gateway with its defaults has in the same direction."""
    same = (other for other in _of(measured) if other.name == GATEWAY and other.what == each.what)
    return next((other.figures for other in same), {})


def _title(name: str) -> str:
    return next(contestant.title for contestant in CONTESTANTS if contestant.name == name)


def _ratio(figures: Figures, ours: Figures, name: str) -> str:
    return f"{figures[name] / ours[name]:.2f}" if ours.get(name) else "-"


def _whole(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:,.0f}"


def _ms(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"
