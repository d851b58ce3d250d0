"""Owns the tables of the comparison: medians in, rows of words out; knows neither terminal nor file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.cases import accounts, memory, messages, rows
from bench.contestants import CONTESTANTS, GATEWAY, KEMI, LIBPURPLE
from bench.peer import FROM_IM, SEVERAL, TO_IM
from bench.results import Figures, Measured

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sheet:
    title: str
    columns: Row
    rows: tuple[Row, ...]


def sheets(measured: Sequence[Measured]) -> list[Sheet]:
    """``measured``: medians. Those without a row are left out."""
    made = [_throughput(measured), _latency(measured), _accounts(measured), _rows(measured), _memory(measured)]
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
    speed = ("messages/s", "ratio", "lost", "p50 ms", "p99 ms")
    columns: Row = ("way", "direction", *speed, "CPU µs", "ratio", "server µs", "ends µs")
    found = [each for each in measured if each.case == messages.CASE]
    made = [_broken(each, columns) or _speed(each, measured) for each in found]
    return Sheet("As fast as messages are taken", columns, tuple(made))


def _broken(each: Measured, columns: Row) -> Row:
    """The row of what has no figures."""
    return (_title(each.name), f"{each.what}: {each.problem}", *["-"] * (len(columns) - 2)) if each.problem else ()


def _speed(each: Measured, measured: Sequence[Measured]) -> Row:
    figures, ours = each.figures, _ours(each, measured)
    rate = (_whole(figures["rate"]), _ratio(figures, ours, "rate"), _whole(figures["lost"]))
    delays = (_ms(figures["full p50"]), _ms(figures["full p99"]))
    cpu = (_whole(figures["cpu"]), _ratio(figures, ours, "cpu"))
    others = (_whole(figures[name]) for name in ("server cpu", "ends cpu"))
    return (_title(each.name), each.what, *rate, *delays, *cpu, *others)


def _latency(measured: Sequence[Measured]) -> Sheet:
    slow = f"at {messages.SLOW}/s"
    columns = ("way", "direction", f"{slow}: p50 ms", "p99 ms", "at", "p50 ms", "p99 ms", "lost")
    timed = [each for each in measured if "slow p50" in each.figures]
    return Sheet("One way, at steady rates", columns, tuple(map(_delays, timed)))


def _delays(each: Measured) -> Row:
    figures = each.figures
    slow, fast = ((_ms(figures[f"{name} p50"]), _ms(figures[f"{name} p99"])) for name in ("slow", "fast"))
    lost = _whole(figures["slow lost"] + figures["fast lost"])
    return (_title(each.name), each.what, *slow, f"{_whole(figures['fast rate'])}/s", *fast, lost)


def _accounts(measured: Sequence[Measured]) -> Sheet:
    sign_on = ("sign-ons/s", "CPU ms each", "server ms", "KB each", "idle CPU %", "stall p99 ms", "at sign-on")
    columns: Row = ("XMPP", "accounts", *sign_on, f"{TO_IM} CPU µs", "messages/s", f"{FROM_IM} CPU µs", "messages/s")
    found = [each for each in measured if each.case == accounts.CASE]
    made = [_broken(each, columns) or _size(each) for each in found]
    return Sheet(f"Accounts online (memory beyond the first {SEVERAL})", columns, tuple(made))


def _size(each: Measured) -> Row:
    unknown = ("sign-ons", "sign-on cpu", "sign-on server cpu", "memory", "stall", "worker stall")
    figures = {**dict.fromkeys((*unknown, "sign-on stall", "sign-on worker stall"), math.nan), **each.figures}
    sign_on = (*(_ms(figures[name]) for name in unknown[:3]), _whole(figures["memory"]), _ms(figures["idle"]))
    stalls = (_ms(max(figures[f"{when}stall"], figures[f"{when}worker stall"])) for when in ("", "sign-on "))
    costs = (_whole(figures[name]) for name in ("to cpu", "to rate", "from cpu", "from rate"))
    return (_title(each.name), each.what, *sign_on, *stalls, *costs)


def _rows(measured: Sequence[Measured]) -> Sheet:
    columns = ("database", "what", "messages/s", "lost", "CPU µs")
    found = [each for each in measured if each.case == rows.CASE]
    made = [_broken(each, columns) or _figures_of(each, ("rate", "lost", "cpu")) for each in found]
    return Sheet("Rows of others", columns, tuple(made))


def _memory(measured: Sequence[Measured]) -> Sheet:
    columns = ("database", "after messages", "MB", "growth %", "shared MB", "lost")
    found = [each for each in measured if each.case == memory.CASE]
    made = [_broken(each, columns) or _size_after(each) for each in found]
    return Sheet("Memory of a long run", columns, tuple(made))


def _size_after(each: Measured) -> Row:
    megabytes, shared = (_ms(each.figures[name] / 1024) for name in ("memory", "shared"))
    return (each.name, each.what, megabytes, _ms(each.figures["growth"]), shared, _whole(each.figures["lost"]))


def _figures_of(each: Measured, names: Row) -> Row:
    return (each.name, each.what, *(_whole(each.figures[name]) for name in names))


def _ours(each: Measured, measured: Sequence[Measured]) -> Figures:
    """What the gateway with its defaults has in the same direction."""
    same = (other for other in measured if (other.case, other.name, other.what) == (each.case, GATEWAY, each.what))
    return next((other.figures for other in same), {})


def _title(name: str) -> str:
    """In words, if it is more than a word already."""
    titles = {contestant.name: contestant.title for contestant in CONTESTANTS} | accounts.KINDS
    return titles.get(name, name)


def _ratio(figures: Figures, ours: Figures, name: str) -> str:
    return f"{figures[name] / ours[name]:.2f}" if ours.get(name) else "-"


def _whole(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:,.0f}"


def _ms(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f}"
