"""The comparison: its flow counts right, its figures become medians, tables and a plot, and the command runs."""

from __future__ import annotations

import json
import socket
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner

from bench import chart, document, flow
from bench.__main__ import main
from bench.cases import messages, presence
from bench.contestants import KEMI, by_name
from bench.flow import Flow
from bench.results import Measured, as_json, from_json, medians
from bench.sheets import share_of_limits, sheets


class Line:
    """Both ends of a pair of UDP sockets; ``dropped`` are not sent, ``doubled`` twice, by their place in the run."""

    def __init__(self, dropped: range = range(0), doubled: range = range(0)) -> None:
        self._there, self._here = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        self._there.bind(("127.0.0.1", 0))
        self._here.connect(self._there.getsockname())
        self._there.setblocking(False)
        self._place, self._dropped, self._doubled = 0, dropped, doubled

    @property
    def sockets(self) -> list[int]:
        return [self._there.fileno()]

    def send(self, number: int) -> None:
        copies = 0 if self._place in self._dropped else 2 if self._place in self._doubled else 1
        self._place += 1
        for _ in range(copies):
            self._here.send(b"%d" % number)

    def read(self) -> None:
        """Nothing comes back."""

    def receive(self) -> list[int]:
        numbers = []
        while True:
            try:
                numbers.append(int(self._there.recv(100)))
            except BlockingIOError:
                return numbers

    def close(self) -> None:
        self._there.close()
        self._here.close()


@pytest.mark.parametrize(("dropped", "doubled"), [(0, 0), (3, 0), (0, 5), (3, 5)])
def test_the_flow_counts_what_is_lost_and_what_comes_twice(
    dropped: int, doubled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow, "IDLE_SECONDS", 0.2)
    line = Line(range(10, 10 + dropped), range(20, 20 + doubled))
    result = Flow(line, line).at_most(100, 8)
    line.close()
    assert (result.sent, result.lost, result.repeated) == (100, dropped, doubled)
    assert 0 < result.p50 <= result.p99 < 200


def test_the_flow_stops_when_everything_on_its_way_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "IDLE_SECONDS", 0.2)
    line = Line(dropped=range(10, 100))
    result = Flow(line, line).at_most(100, 8)
    line.close()
    assert (result.sent, result.lost) == (18, 8)


def test_a_late_message_of_one_run_is_none_of_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "IDLE_SECONDS", 0.0)
    line = Line()
    first = Flow(line, line)
    first.at_most(5, 5)  # gives up at once
    monkeypatch.setattr(flow, "IDLE_SECONDS", 0.2)
    result = first.at_most(20, 4)
    line.close()
    assert (result.sent, result.lost) == (20, 0)


def test_at_a_rate() -> None:
    line = Line()
    result = Flow(line, line).at_rate(200, 0.5)
    line.close()
    assert (result.sent, result.lost) == (100, 0)
    assert 100 < result.rate <= 220


FULL = {
    "server cpu": 100.0,
    "ends cpu": 90.0,
    "lost": 0.0,
    "repeated": 0.0,
    "full p50": 1.0,
    "full p99": 2.0,
    "full lost": 0.0,
}
ROUNDS = [
    *(
        Measured("messages", "gateway", "SIP→XMPP", {"rate": rate, "cpu": 300.0, **FULL})
        for rate in (900.0, 2000.0, 1000.0)
    ),
    Measured("messages", "libpurple", "SIP→XMPP", {"rate": 3000.0, "cpu": 40.0, **FULL}),
    Measured("messages", "kamailio-kemi", "SIP→XMPP", {"rate": 5000.0, "cpu": 60.0, **FULL}),
    Measured("messages", "kamailio-xmpp", "SIP→XMPP", problem="kamailio crashed: SIGSEGV"),
]


def test_medians_and_ratios() -> None:
    measured = medians(from_json(json.loads(json.dumps(as_json({}, ROUNDS)))))
    assert measured[0].figures["rate"] == 1000
    rows = sheets(measured)[0].rows
    assert rows[0][2:5] == ("1,000", "1.00", "0")
    assert rows[1][2:4] == ("3,000", "3.00")
    assert rows[3][1] == "SIP→XMPP: kamailio crashed: SIGSEGV"
    assert share_of_limits(measured).endswith("3.0 times their sum.")


OTHER = {"idle": 1.0, "to rate": 1000.0, "from rate": 1000.0}
SIZES = [
    Measured(
        "accounts", "plain", str(count), {"accounts": count, "to cpu": 300.0, "from cpu": 400.0, "memory": 64.0} | OTHER
    )
    for count in (8, 200)
]


def test_every_row_fills_its_columns() -> None:
    rows = Measured("rows", "SQLite", "10 rows, SIP→XMPP", {"rate": 1000.0, "cpu": 300.0, **FULL})
    steady = {"slow p50": 1.0, "slow p99": 2.0, "slow lost": 0.0}
    steady |= {name.replace("slow", "fast"): value for name, value in steady.items()}
    steady |= {"fast rate": 500.0, "fast cpu": 30.0}
    timed = Measured("messages", "bitlbee", "SIP→XMPP", {"rate": 1000.0, "cpu": 20.0, **FULL, **steady})
    memory = Measured("memory", "SQLite", "100,000", {"memory": 2048.0, "shared": 512.0, "growth": 1.5, "lost": 0.0})
    told = {"first": 1.0, "median": 2.0, "last": 3.0, "cpu": 900.0, "missing": 0.0}
    watched = Measured("presence", "50 watchers", "an XMPP contact", told)
    cases = ("accounts", "rows", "memory", "presence")
    broken = [Measured(case, "tls", "does not run", problem="no certificate") for case in cases]
    made = sheets(medians([*ROUNDS, *SIZES, rows, timed, memory, watched, *broken]))
    assert [len(sheet.rows) for sheet in made] == [5, 1, 2, 3, 2, 2]
    assert made[5].rows[0] == ("SQLite", "100,000", "2.0", "1.5", "0.5", "0")
    assert all(len(row) == len(sheet.columns) for sheet in made for row in sheet.rows)
    assert made[3].rows[1][made[3].columns.index("KB each")] == "64"


def test_the_document(tmp_path: Path) -> None:
    document.write({"CPU": "made of sand"}, medians([*ROUNDS, *SIZES]), tmp_path)
    text = (tmp_path / "performance.md").read_text()
    assert "- CPU: made of sand" in text
    assert "| this gateway, SQLite | SIP→XMPP | 1,000 | 1.00 | 0 |" in text
    drawn = ET.parse(tmp_path / document.PLOT).getroot()
    assert len(drawn.findall(".//{http://www.w3.org/2000/svg}circle")) == 4


@pytest.mark.parametrize(("highest", "axis"), [(7, 8), (10, 10), (11, 20), (390, 400), (401, 600), (0.5, 1)])
def test_the_axis_ends_at_a_round_number(highest: float, axis: float) -> None:
    lines = [chart.Line("x", ((1, highest), (2, highest)))]
    assert f">{axis:g}</text>" in chart.svg("", "", "", lines)


def test_names_of_lines_do_not_lie_on_each_other() -> None:
    lines = [chart.Line(name, ((1, value), (2, value))) for name, value in (("a", 50), ("b", 51), ("c", 52), ("d", 99))]
    drawn = ET.fromstring(chart.svg("", "", "", lines))
    names = [text for text in drawn.iter("{http://www.w3.org/2000/svg}text") if text.text in set("abcd")]
    places = sorted(float(name.attrib["y"]) for name in names)
    assert len(places) == 4
    assert all(below - above > 13 for above, below in pairwise(places))


def test_the_command_runs_one_contestant(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    words = ["--rounds", "1", "--messages", "50", "--seconds", "0.5", "--only", "gateway", "--json", str(file)]
    done = CliRunner().invoke(main, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert "As fast as messages are taken" in done.stdout
    assert "round 1/1: messages, gateway, XMPP→SIP: rate" in done.stderr
    found = json.loads(file.read_text())["medians"]
    assert [each["problem"] for each in found] == [""] * 4
    assert [each["figures"]["lost"] for each in found] == [0] * 4


def test_presence_reaches_all_who_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "SETTLE_SECONDS", 0.1)
    monkeypatch.setattr(presence, "CHANGES", 1)
    found = list(presence.measure("3 watchers", tmp_path, 3))
    assert [each.figures["missing"] for each in found] == [0, 0]
    assert all(0 < each.figures["first"] <= each.figures["last"] < 30_000 for each in found)


def test_the_routes_run_without_the_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what kemi/gateway.py takes from it, whatever that is by now."""
    monkeypatch.setattr(flow, "SETTLE_SECONDS", 0.1)
    (found,) = messages.measure(by_name(KEMI), tmp_path, messages.Load(messages=100, window=8, seconds=0.5))
    assert found.problem == ""
    assert found.figures["lost"] == 0
