"""The metrics without a gateway: what threads count, what readers see of it, and that documents name what there is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from purple_bridge import meter, metrics
from purple_bridge.cli import figures as figures_for_people
from purple_bridge.cli.status import status_command
from purple_bridge.db.engine import make_engine
from purple_bridge.db.figures import Lying, TableFigures, look
from purple_bridge.db.queue import QueueRow, insert
from purple_bridge.db.schema import create_all
from purple_bridge.db.silo import StoredMessage, store
from purple_bridge.meter import Family, Meter
from purple_bridge.metrics import IM_TO_SIP, LATENCY, MESSAGES, SIP_TO_IM, Outcome
from purple_bridge.worker.measure import BEAT_SECONDS, WINDOW_SECONDS, LoopLag
from tests.clock import Clock
from tests.waiting import wait_until

DOCS = Path(__file__).parents[1] / "docs"
COUNTS_AND_STAYS = """
import sys
from pathlib import Path
from purple_bridge.meter import Meter
from purple_bridge.metrics import MESSAGES
meter = Meter.open(Path(sys.argv[1]), "worker-2")
for _ in range(3):
    meter.count(MESSAGES, "sip_to_im", "prpl-jabber", "accepted")
print("counted", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    return metrics.directory(tmp_path)


@pytest.fixture
def other_process(files: Path) -> Iterator[subprocess.Popen[str]]:
    """Another one, which has counted three messages as worker-2."""
    command = [sys.executable, "-c", COUNTS_AND_STAYS, str(files)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "counted\n"
        yield process
        process.kill()


def _counted(files: Path) -> Meter:
    own = Meter.open(files, "worker-1")
    for _ in range(5):
        own.count(MESSAGES, SIP_TO_IM, "prpl-jabber", Outcome.ACCEPTED)
    own.observe(LATENCY, 0.02, SIP_TO_IM, "prpl-jabber")
    own.observe(LATENCY, 0.025, SIP_TO_IM, "prpl-jabber")
    own.observe(LATENCY, 700, SIP_TO_IM, "prpl-jabber")
    own.set(metrics.ACCOUNTS, 2, "online", "prpl-irc")
    return own


def _parsed(text: bytes) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(text.decode())}


def _samples(text: bytes, name: str) -> dict[tuple[str, ...], float]:
    samples = [sample for family in _parsed(text).values() for sample in family.samples]
    return {tuple(sample.labels.values()): sample.value for sample in samples if sample.name == name}


# ------------------------------------------------------------ counting and reading
def test_figures_are_sums_over_processes(files: Path, other_process: subprocess.Popen[str]) -> None:
    _counted(files)
    found = metrics.gather(files)
    assert found.processes == ("worker-1", "worker-2")
    assert found.value(MESSAGES, SIP_TO_IM, "prpl-jabber", "accepted") == 8
    assert set(found.values(metrics.MEMORY)) == {("worker-1",), ("worker-2",)}
    assert all(value > 1 << 20 for value in found.values(metrics.MEMORY).values())
    assert time.time() - found.value(metrics.START) < 60


def test_a_process_that_has_ended_does_not_count(files: Path, other_process: subprocess.Popen[str]) -> None:
    _counted(files)
    other_process.kill()
    # until it is waited for, the kernel keeps it as a zombie, with its id and its start
    wait_until(lambda: metrics.gather(files).processes == ("worker-1",), 5, "the other process is gone")
    assert metrics.gather(files).value(MESSAGES, SIP_TO_IM, "prpl-jabber", "accepted") == 5
    meter.forget_dead(files)
    assert [path.name for path in files.iterdir()] == ["worker-1"]


def test_a_new_process_with_the_same_id_is_another_one(files: Path) -> None:
    _counted(files)
    path = files / "worker-1"
    content = bytearray(path.read_bytes())
    magic, pid, start, *rest = meter.HEADER.unpack_from(content)
    meter.HEADER.pack_into(content, 0, magic, pid, start + 1, *rest)
    path.write_bytes(content)
    assert metrics.gather(files).processes == ()


def test_files_are_for_their_owner_alone(files: Path) -> None:
    _counted(files)
    assert files.stat().st_mode & 0o777 == 0o700
    assert (files / "worker-1").stat().st_mode & 0o777 == 0o600


def test_nobody_has_counted_yet(tmp_path: Path) -> None:
    found = metrics.gather(tmp_path / "missing")
    assert found.processes == ()
    assert set(_parsed(metrics.text_of(found))) == {name.removesuffix("_total") for name in metrics.FAMILIES}


def test_what_is_no_file_of_this_version_is_not_read(files: Path) -> None:
    _counted(files)
    (files / "older").write_bytes(b"purple-0" + bytes(meter.SIZE - 8))
    (files / "short").write_bytes(b"purple-1")
    (files / "empty").touch()
    assert metrics.gather(files).processes == ("worker-1",)


def test_where_no_file_can_be_made_counting_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    own = Meter.open(tmp_path / "file", "worker-1")
    own.count(MESSAGES, SIP_TO_IM, "prpl-jabber", Outcome.ACCEPTED)


def test_series_beyond_the_room_are_lost_and_the_others_are_right(files: Path) -> None:
    own = _counted(files)
    for number in range(2 * meter.ENTRIES):
        own.count(MESSAGES, SIP_TO_IM, f"prpl-{number}", Outcome.ACCEPTED)
        own.observe(LATENCY, 1.0, SIP_TO_IM, f"prpl-{number}")
    own.count(MESSAGES, SIP_TO_IM, "prpl-" + "x" * 200, Outcome.ACCEPTED)
    found = metrics.gather(files)
    assert found.value(MESSAGES, SIP_TO_IM, "prpl-jabber", "accepted") == 5
    values = found.values(MESSAGES)
    assert 100 < len(values) < meter.ENTRIES
    assert {count for labels, count in values.items() if labels[1] != "prpl-jabber"} == {1.0}
    assert all(one.count == 1 for labels, one in found.histograms(LATENCY).items() if labels[1] != "prpl-jabber")


def test_an_age_grows_from_the_time_that_was_set(files: Path) -> None:
    own = Meter.open(files, "worker-1")
    own.set(metrics.QUEUE_AGE, time.time() - 100, "prpl-irc", "waiting")
    own.set(metrics.SILO_AGE, 0)
    found = metrics.gather(files)
    assert found.value(metrics.QUEUE_AGE, "prpl-irc", "waiting") == pytest.approx(100, abs=5)
    assert found.value(metrics.SILO_AGE) == 0


def test_a_message_costs_little(files: Path) -> None:
    own = Meter.open(files, "worker-1")

    def seconds() -> float:
        started = time.perf_counter()
        for _ in range(1000):
            own.count(MESSAGES, SIP_TO_IM, "prpl-jabber", Outcome.ACCEPTED)
            own.count(MESSAGES, SIP_TO_IM, "prpl-jabber", Outcome.ACKNOWLEDGED)
            own.observe(LATENCY, 0.02, SIP_TO_IM, "prpl-jabber")
        return (time.perf_counter() - started) / 1000

    assert min(seconds() for _ in range(20)) < 5e-6


def test_a_network_has_its_counters_before_anything_is_counted(files: Path) -> None:
    own = _counted(files)
    metrics.begin_network(own, "prpl-jabber")
    counts = metrics.gather(files).values(MESSAGES)
    assert counts.pop((SIP_TO_IM, "prpl-jabber", "accepted")) == 5
    assert set(counts.values()) == {0.0}
    assert {(direction, outcome) for direction, _, outcome in counts} >= {(IM_TO_SIP, "kept"), (SIP_TO_IM, "failed")}
    assert {outcome for outcomes in metrics.OUTCOMES.values() for outcome in outcomes} == set(Outcome) - {
        Outcome.DELIVERED_LATER  # of the protocol `kept`
    }


def test_quantiles_are_limits_of_buckets(files: Path) -> None:
    _counted(files)
    found = metrics.gather(files).histograms(LATENCY)[SIP_TO_IM, "prpl-jabber"]
    assert found.count == 3
    assert found.sum == pytest.approx(700.045)
    assert [found.quantile(share) for share in (0.1, 0.6, 0.9)] == [0.025, 0.025, float("inf")]


# ------------------------------------------------------------ Prometheus's text
def test_the_text_is_what_prometheus_reads(files: Path) -> None:
    _counted(files)
    text = metrics.text_of(metrics.gather(files))
    assert _samples(text, "purple_messages_total") == {("sip_to_im", "accepted", "prpl-jabber"): 5.0}
    assert _samples(text, "purple_accounts") == {("prpl-irc", "online"): 2.0}
    buckets = _samples(text, "purple_message_latency_seconds_bucket")
    limits = {labels[1]: count for labels, count in buckets.items()}
    assert (limits["0.01"], limits["0.025"], limits["60.0"], limits["+Inf"]) == (0, 2, 2, 3)
    kinds = {family.name: family.type for family in _parsed(text).values()}
    for name, family in metrics.FAMILIES.items():
        kind = "gauge" if family.kind == meter.AGE else family.kind
        assert kinds[name.removesuffix("_total")] == kind


def test_names_say_what_prometheus_wants(files: Path) -> None:
    for family in metrics.FAMILIES.values():
        assert re.fullmatch(r"purple_[a-z_]+", family.name)
        assert family.name.endswith("_total") == (family.kind == meter.COUNTER)
        assert family.kind not in (meter.AGE, meter.HISTOGRAM) or family.name.endswith("_seconds")


# ------------------------------------------------------------ the worker's own measurements
def test_the_longest_delay_is_shown_for_a_while(files: Path) -> None:
    clock = Clock()
    lag = LoopLag(Meter.open(files, "worker-1"), clock)

    def beat(late: float = 0.0) -> float:
        clock.now += BEAT_SECONDS + late
        lag.beat()
        return metrics.gather(files).value(metrics.LAG_MAX, "worker-1")

    assert beat() == 0
    assert beat(0.7) == pytest.approx(0.7)
    assert beat(0.2) == pytest.approx(0.7)
    end = clock.now + 2 * WINDOW_SECONDS + 1
    while clock.now < end - WINDOW_SECONDS:
        assert beat() == pytest.approx(0.7)
    while clock.now < end:
        beat()
    assert beat() == 0
    found = metrics.gather(files).histograms(metrics.LAG)["worker-1",]
    assert found.sum == pytest.approx(0.9)
    assert found.buckets()[-1][1] - found.buckets()[-4][1] == 1  # beyond 0.5 s
    assert metrics.gather(files).value(metrics.SILENCE, "worker-1") < 5


def test_the_tables_are_looked_at(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/purple.db"
    create_all(url)
    engine = make_engine(url)
    assert look(engine, "purplemap", 1000) == TableFigures({}, {}, Lying(), {})
    row = QueueRow(1, "a" * 16, "prpl-irc", "a@b", "c@d", "e", "call", "f" * 16, 500, 2000, 0, 0, b"{}")
    rows = [row, replace(row, id=2, created=400), replace(row, id=3, ext_prot="prpl-jabber", held=1)]
    insert(engine, rows)
    kept = StoredMessage("sip:e@f", "sip:c@d", "c", "d", 300, 5000, "text/plain", b"hello", "")
    store(engine, [kept, replace(kept, inc_time=200), replace(kept, inc_time=100, exp_time=900)])
    found = look(engine, "purplemap", 1000)
    assert found.waiting == {"prpl-irc": Lying(2, 400)}
    assert found.set_aside == {"prpl-jabber": Lying(1, 500)}
    assert found.kept == Lying(2, 200)
    engine.dispose()


# ------------------------------------------------------------ purplectl
def _status(tmp_path: Path, *arguments: str) -> Any:
    url = f"sqlite:///{tmp_path}/purple.db"
    create_all(url)
    return CliRunner().invoke(status_command, ["--state-dir", str(tmp_path), "--db-url", url, *arguments])


def test_status_prints_the_metrics(tmp_path: Path, files: Path) -> None:
    _counted(files)
    found = json.loads(_status(tmp_path, "--metrics", "--json").stdout)
    assert set(found) == set(metrics.FAMILIES)
    labels = {"direction": "sip_to_im", "protocol": "prpl-jabber", "outcome": "accepted"}
    assert found["purple_messages_total"] == [{"labels": labels, "value": 5}]
    (latency,) = found["purple_message_latency_seconds"]
    assert (latency["count"], latency["buckets"]["0.025"], latency["buckets"]["+Inf"]) == (3, 2, 3)
    lines = _status(tmp_path, "--metrics").stdout.splitlines()
    assert "purple_messages_total\tdirection=sip_to_im protocol=prpl-jabber outcome=accepted\t5" in lines


def test_status_without_a_gateway(tmp_path: Path) -> None:
    result = _status(tmp_path, "--metrics")
    assert result.exit_code == 1
    assert f"no gateway runs in {tmp_path}" in result.stderr


def test_only_a_terminal_can_be_watched(tmp_path: Path) -> None:
    assert _status(tmp_path, "--watch").exit_code == 2


def test_scripts_get_the_accounts_alone(tmp_path: Path, files: Path) -> None:
    _counted(files)
    assert json.loads(_status(tmp_path, "--json").stdout) == []
    assert _status(tmp_path).stdout == ""


def test_the_summary_is_in_words(files: Path) -> None:
    own = _counted(files)
    own.count(MESSAGES, IM_TO_SIP, "prpl-irc", Outcome.DELIVERED_LATER)
    own.set(metrics.QUEUE, 7, "prpl-irc", "waiting")
    own.set(metrics.QUEUE_AGE, time.time() - 600, "prpl-irc", "waiting")
    own.set(metrics.QUEUE, 1, "prpl-irc", "set_aside")
    own.set(metrics.LAG_MAX, 0.25, "worker-1")
    own.set(metrics.SILENCE, time.time() - 30, "worker-1")
    words = dict(figures_for_people.summary(metrics.gather(files)))
    assert words["to IM networks"] == "5 accepted; 3 measured, half within 25 ms, 99 % beyond 60 s"
    assert words["to phones"] == "1 delivered later"
    assert words["waiting"] == "7 for IM networks (the oldest for 10 min), 1 set aside, 0 for phones"
    assert re.fullmatch(
        r"\d+ MB, CPU .+, \d+ descriptors, loop at most 250 ms late, and silent for 30.*", words["worker-1"]
    )


# ------------------------------------------------------------ documents
def test_every_metric_is_documented_with_its_labels() -> None:
    rows = re.findall(r"^\| `(purple_\w+)` \| (\w+) \| ([\w, ]*?) ?\|", (DOCS / "metrics.md").read_text(), re.MULTILINE)
    documented = {name: (kind, labels) for name, kind, labels in rows}
    assert documented == {name: (_kind(one), ", ".join(one.labels)) for name, one in metrics.FAMILIES.items()}


def test_every_outcome_is_documented() -> None:
    rows = re.findall(r"^\| `(?:sip_to_im|im_to_sip)` \| `(\w+)` \|", (DOCS / "metrics.md").read_text(), re.MULTILINE)
    assert set(rows) == set(Outcome)


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    queries = [variable["query"]["query"] for variable in dashboard["templating"]["list"][1:]]
    assert _used(expressions) == set(metrics.FAMILIES)  # each has its panel
    assert _used(queries) <= set(metrics.FAMILIES)
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"] if panel["type"] != "row"} == {"${datasource}"}
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)


def test_the_alerts_ask_for_metrics_that_exist() -> None:
    groups = yaml.safe_load((DOCS / "prometheus-alerts.yml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) > 10
    assert all(rule["labels"]["severity"] and rule["annotations"]["summary"] for rule in rules)
    used = _used([rule["expr"] for rule in rules])
    assert used <= set(metrics.FAMILIES)
    assert {"purple_accounts", "purple_queue_oldest_seconds", "purple_loop_lag_max_seconds"} <= used


def _used(expressions: list[str]) -> set[str]:
    """Names of metrics; those of a histogram's series without their ends."""
    histograms = {name for name, family in metrics.FAMILIES.items() if family.kind == meter.HISTOGRAM}
    names = {name for text in expressions for name in re.findall(r"\bpurple_\w+", text)}
    shortened = {name: re.sub("_(bucket|sum|count)$", "", name) for name in names}
    return {short if short in histograms else name for name, short in shortened.items()}


def _kind(family: Family) -> str:
    return "gauge" if family.kind == meter.AGE else family.kind
