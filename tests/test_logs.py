"""What a log line looks like: one line whatever is in it, nothing of what people write, a time where none else is."""

from __future__ import annotations

import io
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError, StatementError

from purple_bridge import logs
from purple_bridge.errors import BadRequest

BODY = "what-only-bob-may-read"


class Lines:
    """A logger of the gateway whose lines a test reads."""

    def __init__(self, with_time: bool = False) -> None:
        self.stream = io.StringIO()
        handler = logging.StreamHandler(self.stream)
        handler.setFormatter(logs.LineFormatter("worker 1", with_time))
        self.logger = logging.Logger("purple_bridge.test")
        self.logger.addHandler(handler)

    def text(self) -> str:
        text = self.stream.getvalue()
        self.stream.seek(0)
        self.stream.truncate()
        return text

    def of(self, error: BaseException) -> str:
        """The line of an error that was raised, and logged with its traceback."""
        try:
            raise error
        except BaseException:
            self.logger.exception("[call-1] failed")
        return self.text()


@pytest.fixture
def lines() -> Iterator[Lines]:
    yield Lines()
    logs.follow("info", bodies=False)
    logging.getLogger("purple_bridge").setLevel(logging.NOTSET)


def test_a_line_says_who_and_how_bad_it_is(lines: Lines) -> None:
    lines.logger.warning("[%s] %s", "call-1", "expired")
    assert lines.text() == "purple worker 1 WARNING [call-1] expired\n"


@pytest.mark.parametrize(
    ("forged", "shown"),
    [
        ("a\nb", r"a\nb"),
        ("a\r\nb", r"a\r\nb"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x9b31m", r"\x9b31m"),
        ("nul\0", r"nul\x00"),
        ("\x7f", r"\x7f"),
        ("a\u2028b\u2029c\x85d", r"a\u2028b\u2029c\x85d"),
        ("\u202eevil", r"\u202eevil"),
        ("\ud800", r"\ud800"),
        ("\U0001f600 ü €", "\U0001f600 ü €"),
    ],
)
def test_what_comes_from_outside_cannot_make_a_line_of_its_own(lines: Lines, forged: str, shown: str) -> None:
    lines.logger.info("from %s", forged)
    assert lines.text() == f"purple worker 1 INFO from {shown}\n"


@given(st.text())
def test_an_entry_is_always_one_printable_line(text: str) -> None:
    lines = Lines()
    lines.logger.info("%s", text)
    line = lines.text()
    assert line.splitlines() == [line[:-1]]
    assert re.search(r"[\x00-\x1f\x7f-\x9f]", line[:-1]) is None


def test_a_long_line_ends(lines: Lines) -> None:
    lines.logger.info("%s", "x" * 1_000_000)
    assert len(lines.text()) < 20_000


def test_the_time_has_its_offset() -> None:
    lines = Lines(with_time=True)
    lines.logger.info("x")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d purple worker 1 INFO x\n", lines.text())


# ------------------------------------------------------------ errors
def test_an_error_is_on_the_same_line_with_where_it_happened(lines: Lines) -> None:
    text = lines.of(OSError(28, "No space left on device"))
    assert text.count("\n") == 1
    assert text.startswith("purple worker 1 ERROR [call-1] failed: OSError: [Errno 28] No space left on device in of ")
    assert re.search(r" in of tests/test_logs\.py:\d+$", text)


@pytest.mark.parametrize(
    "error",
    [
        ValueError(BODY),
        KeyError(BODY),
        RuntimeError(f"cannot send {BODY}"),
        UnicodeEncodeError("ascii", BODY, 0, 1, BODY),
        AssertionError(BODY),
        StatementError(BODY, f"INSERT {BODY}", {"body": BODY}, ValueError(BODY)),
        OperationalError(f"INSERT {BODY}", {"body": BODY}, ValueError(f"near {BODY}")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_text_of_an_error_that_may_quote_a_message_is_not_logged(lines: Lines, error: Exception) -> None:
    text = lines.of(error)
    assert BODY not in text
    assert type(error).__name__ in text


def test_what_an_error_was_made_of_is_told_too(lines: Lines) -> None:
    try:
        try:
            raise ConnectionRefusedError(111, "Connection refused")
        except OSError as error:
            raise BadRequest("no such thing") from error
    except BadRequest:
        lines.logger.exception("failed")
    assert re.search(r"BadRequest: no such thing in .*; because of ConnectionRefusedError: \[Errno 111\]", lines.text())


def test_errors_that_made_each_other_end(lines: Lines) -> None:
    one, other = ValueError("1"), ValueError("2")
    one.__cause__, other.__cause__ = other, one
    assert "failed: ValueError" in lines.of(one)


# ------------------------------------------------------------ bodies and levels
def test_a_body_is_shown_only_at_debug_and_only_if_asked_for(lines: Lines) -> None:
    for level, bodies in (("debug", False), ("info", True), ("error", True)):
        logs.follow(level, bodies)
        assert logs.body(BODY) == ""
        assert BODY not in lines.of(ValueError(BODY))
    logs.follow("debug", bodies=True)
    assert logs.body(BODY) == f": {BODY!r}"
    assert BODY in lines.of(ValueError(BODY))


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_the_level_is_that_of_the_whole_gateway(lines: Lines, level: str) -> None:
    logs.follow(level, bodies=False)
    assert logging.getLogger("purple_bridge.worker.account").getEffectiveLevel() == getattr(logging, level.upper())


def test_stderr_that_is_the_journal_gets_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd.exec(5): JOURNAL_STREAM names the file; a log file in its place is another one."""
    status = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    assert logs._is_journal()
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino + 1}")
    assert not logs._is_journal()
    monkeypatch.delenv("JOURNAL_STREAM")
    assert not logs._is_journal()


def test_the_log_file_is_known_by_what_stderr_is(tmp_path: Path) -> None:
    path = tmp_path / "the log"
    with path.open("w") as file, Path("/dev/null").open("w") as nothing:
        assert logs.file_of(file.fileno()) == str(path)
        assert logs.file_of(nothing.fileno()) == ""
    reading, writing = os.pipe()
    assert logs.file_of(writing) == ""
    os.close(reading)
    os.close(writing)
    assert logs.file_of(writing) == ""
