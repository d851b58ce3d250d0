"""Owns the tables of the comparison: medians in, rows of words out; knows neither terminal nor file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.cases import accounts, memory, messages, presence, rows
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
    makers = (_throughput, _latency, _presence, _accounts, _rows, _memory)
    return [sheet for maker in makers if (sheet := maker(measured)).rows]


def share_of_limits(measured: Sequence[Measured]) -> str:
    """The gateway's CPU time a message against that of its two halves; empty if one was not measured.

    Whoever is busy reads and writes many at once, and the limits are much busier; so at the same steady rate, too.
    """
    found = {
        each.name: each.figures
        for each in measured
        if each.case == messages.CASE and each.what == TO_IM and not each.problem
    }
    compared = (GATEWAY, KEMI, LIBPURPLE)
    if not set(compared) <= found.keys():
        return ""
    ways = (("cpu", "as fast as each of them goes"), ("fast cpu", f"at {messages.FAST:,}/s"))
    parts = [_share(found, name, when) for name, when in ways if all(name in found[each] for each in compared)]
    return "A message from SIP to XMPP takes " + "; ".join(parts) + "."


def _share(found: Mapping[str, Figures], name: str, when: str) -> str:
    ours, routes, purple = (found[each][name] for each in (GATEWAY, KEMI, LIBPURPLE))
    return (
        f"{when}, {ours:.0f} µs of CPU time in the gateway, {routes:.0f} µs in Kamailio with the routes alone and"
        f" {purple:.0f} µs in libpurple alone: {ours / (routes + purple):.1f} times their sum"
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
    columns = ("way", "direction", f"{slow}: p50 ms", "p99 ms", "at", "p50 ms", "p99 ms", "CPU µs", "lost")
    timed = [each for each in measured if "slow p50" in each.figures]
    return Sheet("One way, at steady rates", columns, tuple(map(_delays, timed)))


def _delays(each: Measured) -> Row:
    figures = each.figures
    slow, fast = ((_ms(figures[f"{name} p50"]), _ms(figures[f"{name} p99"])) for name in ("slow", "fast"))
    lost = _whole(figures["slow lost"] + figures["fast lost"])
    cpu = _whole(figures.get("fast cpu", math.nan))
    return (_title(each.name), each.what, *slow, f"{_whole(figures['fast rate'])}/s", *fast, cpu, lost)


def _presence(measured: Sequence[Measured]) -> Sheet:
    columns = ("who is watched", "by", "first ms", "median ms", "last ms", "CPU µs each", "missing")
    found = [each for each in measured if each.case == presence.CASE]
    made = [_broken(each, columns) or _fan_out(each) for each in found]
    return Sheet("A change of presence, until all who watch know", columns, tuple(made))


def _fan_out(each: Measured) -> Row:
    delays = (_ms(each.figures[name]) for name in ("first", "median", "last"))
    return (each.what, each.name, *delays, *(_whole(each.figures[name]) for name in ("cpu", "missing")))


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
