"""What is decided about Kamailio's versions, and the wrapping of the script's handler."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from purple_bridge import app_python3
from purple_bridge.app_python3 import Version, check_version, version_of
from purple_bridge.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("5.6.3", (5, 6, 3)),
        ("5.7", (5, 7, 0)),
        ("6.0.1", (6, 0, 1)),
        ("6.0.1-pre0", (6, 0, 1)),
        ("6.0.0-pre1", (6, 0, 0)),
        ("6.1.0-dev2", (6, 1, 0)),
        ("10.11.12", (10, 11, 12)),
        ("", (0, 0, 0)),
    ],
)
def test_versions_are_read(text: str, version: Version) -> None:
    assert version_of(text) == version


@pytest.mark.parametrize(
    ("version", "threads_mode"),
    [((5, 6, 0), None), ((5, 6, 3), None), ((5, 7, 9), None), ((6, 0, 1), 1), ((6, 1, 0), 1), ((7, 0, 0), 1)],
)
def test_versions_that_can_run_threads(version: Version, threads_mode: int | None) -> None:
    check_version(version, threads_mode)


@pytest.mark.parametrize(
    ("version", "threads_mode", "says"),
    [
        ((5, 5, 9), None, "5.5.9"),
        ((5, 8, 0), None, "5.8.0"),
        ((5, 8, 6), None, "5.8.6"),
        ((6, 0, 0), None, "6.0.0"),
        ((6, 0, 0), 1, "6.0.0"),
        ((6, 0, 1), 0, "threads_mode"),
        ((6, 0, 1), None, "threads_mode"),
    ],
)
def test_versions_that_cannot_are_refused(version: Version, threads_mode: int | None, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        check_version(version, threads_mode)


def test_outside_kamailio_there_is_no_rank_and_no_mode() -> None:
    assert app_python3.rank() is None
    assert app_python3.threads_mode() is None


class Script:
    """What a route script's mod_init returns."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def ours(self, rank: int) -> bool:
        self.calls.append(f"our child_init {rank}")
        return False

    def child_init(self, rank: int) -> int:
        self.calls.append(f"script's child_init {rank}")
        return 0

    def by_python_exec(self, message: str) -> int:
        return self.ksr_request_route(message)

    def ksr_request_route(self, message: str) -> int:
        self.calls.append(f"route {message}")
        return 1


def test_our_child_init_comes_before_the_scripts() -> None:
    script = Script()
    app_python3._wrap_child_init(script, script.ours)
    assert script.child_init(2) == 0
    assert script.calls == ["our child_init 2", "script's child_init 2"]


def test_an_error_in_our_child_init_reaches_kamailio() -> None:
    """Kamailio then does not start: a worker without its libpurple would lose messages."""
    script = Script()

    def fail(_rank: int) -> bool:
        raise RuntimeError("libpurple did not start")

    app_python3._wrap_child_init(script, fail)
    with pytest.raises(RuntimeError, match="libpurple"):
        script.child_init(1)
    assert script.calls == []


@pytest.fixture
def switch_interval() -> Iterator[None]:
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("switch_interval")
def test_with_threads_mode_only_the_interval_changes() -> None:
    assert not app_python3.let_threads_run(native=True)
    assert sys.getswitchinterval() == pytest.approx(app_python3.SWITCH_SECONDS)


@pytest.mark.parametrize("method", ["ksr_request_route", "by_python_exec"])
def test_the_first_call_of_the_script_is_noticed(method: str) -> None:
    """The one that app_python3 makes; what child_init calls by itself comes before."""
    script = Script()
    app_python3._wrap_child_init(script, lambda _rank: True)
    assert script.child_init(1) == 0
    assert type(script) is not Script
    assert getattr(script, method)("one") == 1
    assert type(script) is Script
    assert script.ksr_request_route("two") == 1
    assert script.calls == ["script's child_init 1", "route one", "route two"]


def test_a_fork_outside_kamailio_starts_nothing() -> None:
    """The hook stays for the life of the process, so it is tried in one that ends."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        app_python3.on_child_init(lambda _rank: False)
        grandchild = os.fork()
        if grandchild == 0:
            os.write(writer, b"forked without a handler")
            os._exit(0)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
    os.close(writer)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with os.fdopen(reader, "rb") as result:
        assert result.read() == b"forked without a handler"
