"""Parsers of outside data with input made by chance, a little of it, and what longer runs have found."""

from __future__ import annotations

import pytest

from purple_bridge.db.urls import sqlalchemy_url
from purple_bridge.errors import ConfigurationError
from purple_bridge.libpurple.messages import unix_time
from tests.fuzz.engine import Hang, limited, run
from tests.fuzz.mutation import LARGEST, Mutator
from tests.fuzz.targets import TARGETS, Target

INPUTS = 250


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_documented_errors(name: str) -> None:
    report = run(TARGETS[name], seed=1, inputs=INPUTS)
    assert report.failed is None, f"{report.reason}: {report.failed[:500]!r}"
    assert report.inputs == INPUTS


def test_what_is_raised_and_what_hangs_is_found() -> None:
    def raises(data: bytes) -> None:
        data.decode("ascii")

    def hangs(_data: bytes) -> None:
        while True:
            pass

    assert run(Target(raises, [b"a"]), seed=1, inputs=1000).reason.startswith("UnicodeDecodeError")
    with pytest.raises(Hang), limited(0.1):
        hangs(b"")


def test_one_seed_makes_one_course_of_input() -> None:
    first, second = Mutator("a"), Mutator("a")
    made = [first.mutated(b"Hello", [b"world"]) for _ in range(500)]
    assert made == [second.mutated(b"Hello", [b"world"]) for _ in range(500)]
    assert len(set(made)) > 400
    assert max(map(len, made)) <= LARGEST


@pytest.mark.parametrize("stamp", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "1969-12-31T23:59:59Z"])
def test_times_that_cannot_be_written_are_none(stamp: str) -> None:
    assert unix_time(stamp) == 0


@pytest.mark.parametrize("url", ["sqlite:////", "sqlite://///", "sqlite:////."])
def test_a_directory_is_no_database(url: str) -> None:
    with pytest.raises(ConfigurationError):
        sqlalchemy_url(url)
