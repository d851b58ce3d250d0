"""Figures as lines: the path, and the same in words; the file that the figures come from."""

from __future__ import annotations

from pathlib import Path

import pytest

from purple_bridge import history
from purple_bridge.history import Recorder, Sample
from purple_bridge.web.plots import HEIGHT, WIDTH, number, plot

NOW = 1_700_000_000.0


def test_the_line_goes_from_the_oldest_to_the_newest() -> None:
    made = plot("a", "Messages", [(100, 0), (50, 2), (0, 1)], "/s", 100)
    assert made.line == f"M0.0 {HEIGHT - 1:.1f}L{WIDTH / 2:.1f} 3.0L{WIDTH:.1f} 25.0"
    assert made.area == f"{made.line}L{WIDTH:.1f} {HEIGHT}L0.0 {HEIGHT}Z"
    assert made.now == "1/s"
    assert made.words == "Messages, last 2 minutes: lowest 0/s, highest 2/s, now 1/s"


def test_without_figures_there_is_no_line() -> None:
    made = plot("a", "Messages", [], "", 100)
    assert (made.line, made.area, made.now, made.words) == ("", "", "-", "Messages: nothing known yet")


def test_many_points_become_fewer_and_the_line_stays_one() -> None:
    made = plot("a", "", [(360 - age, age % 2) for age in range(361)], "", 360)
    heights = {float(spot.split(" ")[1]) for spot in made.line[1:].split("L")[1:]}
    assert made.line.count("L") < 90 and len(heights) <= 2 and made.now == "0.4"


def test_all_zero_lies_at_the_bottom() -> None:
    assert plot("a", "", [(1, 0), (0, 0)], "", 10).line.endswith(f"L{WIDTH:.1f} {HEIGHT - 1:.1f}")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.2, "0.2"),
        (0.123456, "0.12"),
        (0.001, "0"),
        (12.34, "12.34"),
        (12.5, "12.5"),
        (1234.5, "1234"),
        (3.0, "3"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


def sample(at: float, count: float, online: float = 0) -> Sample:
    return Sample(at, count, 0, 0, online)


def test_rates_are_between_samples_and_not_over_a_restart() -> None:
    samples = [sample(NOW, 10), sample(NOW + 5, 20), sample(NOW + 10, 3), sample(NOW + 15, 8)]
    assert history.rates(samples, "to_im") == [(NOW + 5, 2.0), (NOW + 15, 1.0)]


def test_half_an_hour_is_kept(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    recorder = Recorder(tmp_path)
    for step in range(500):
        recorder.write(sample(NOW + step * history.STEP_SECONDS, step))
    now = NOW + 499 * history.STEP_SECONDS
    found = history.read(tmp_path, now)
    assert [one.to_im for one in found] == list(range(500 - history.RECORDS, 500))
    assert history.read(tmp_path, now + 3600) == [], "too old"
    again = Recorder(tmp_path)
    again.write(sample(now + 5, 1))
    assert len(history.read(tmp_path, now + 5)) == history.RECORDS, "a restart forgets nothing"


def test_nobody_has_written(tmp_path: Path) -> None:
    assert history.read(tmp_path, NOW) == []
    Recorder(tmp_path / "nowhere").write(sample(NOW, 1))
