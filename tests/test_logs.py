"""What a log line looks like: one line whatever is in it, nothing of what people write, a time where none else is."""

from __future__ import annotations

import io
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError, StatementError

from purple_bridge import logs
from purple_bridge.cli.logs import journal_line, lines_of, logs_command, parse
from purple_bridge.errors import BadRequest, ConfigurationError

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


# ------------------------------------------------------------ purplectl logs
TOKEN = "0123456789abcdef01234567"
LOG = [
    "Listening on ",
    " 0(100) NOTICE: <core> [main.c:1]: main(): starting",
    "2026-01-31T12:00:00.000+01:00 purple worker 1 INFO libpurple is up",
    "2026-01-31T12:00:01.000+01:00 purple worker 1 INFO account prpl-jabber alice@example.net: online",
    "2026-01-31T12:00:02.000+01:00 purple worker 3 DEBUG [c1@phone] account prpl-jabber alice@example.net p1:"
    " accepted from sip:alice@example.org to sip:bob*x@xmpp.im.example.org, leaves at once",
    " 3(103) ERROR: {1 1 MESSAGE c1@phone} tm [t_reply.c:1]: t_reply(): something",
    " 3(103) WARNING: {1 1 MESSAGE c9@phone} tm [t_reply.c:1]: t_reply(): something else",
    "2026-01-31T12:00:03.000+01:00 purple worker 1 INFO [c1@phone] account prpl-jabber alice@example.net p1:"
    f" alice@example.org is told by [{TOKEN}@purple]",
    f"2026-01-31T12:00:04.000+01:00 purple worker 1 DEBUG [{TOKEN}@purple] too large for some phones: it comes as"
    f" [{TOKEN}-1@purple] [{TOKEN}-2@purple]",
    f"2026-01-31T12:00:05.000+01:00 purple worker 1 INFO [{TOKEN}-2@purple] kept for someone@example.org: 480 No",
    "2026-01-31T12:00:06.000+01:00 purple worker 2 ERROR [c2@phone] account prpl-irc malice@example.net p2: lost",
    "2026-01-31T12:00:07.000+01:00 purple worker 2 WARNING account prpl-irc malice@example.net: error: \x1b[31mno",
]


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    (tmp_path / "log").write_text("\n".join(LOG) + "\n")
    (tmp_path / "settings.json").write_text(json.dumps({"log_file": str(tmp_path / "log")}))
    return tmp_path


def _shown(state_dir: Path, *options: str) -> list[str]:
    result = CliRunner().invoke(logs_command, ["--state-dir", str(state_dir), *options])
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def _numbers(state_dir: Path, *options: str) -> list[int]:
    plain = [logs.escaped(line) for line in LOG]
    return [plain.index(line) for line in _shown(state_dir, *options)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], range(12)),
        (["--lines", "2"], [10, 11]),
        (["--lines", "0"], []),
        (["--lines", "500"], range(12)),
        (["--account", "alice@example.net"], [3, 4, 5, 7, 8, 9]),
        (["--account", "ALICE@example.net", "--lines", "1"], [9]),
        (["--account", "malice@example.net", "--level", "error"], [10]),
        (["--account", "nobody@example.net"], []),
        (["--call-id", "c1@phone"], [4, 5, 7, 8, 9]),
        (["--call-id", f"{TOKEN}-1@purple"], [7, 8, 9]),
        (["--call-id", "c2@phone"], [10]),
        (["--user", "sip:Alice@example.org"], [4, 5, 7, 8, 9]),
        (["--user", "sip:one@example.org"], []),
        (["--user", "sip:someone@example.org"], [9]),
        (["--level", "warning"], [5, 6, 10, 11]),
        (["--level", "info", "--call-id", "c1@phone"], [5, 7, 9]),
        (["--since", "2026-01-31T12:00:05+01:00"], [9, 10, 11]),
        (["--since", "2026-01-31T11:00:02+00:00", "--level", "error"], [5, 10]),
        (["--since", "1h"], []),
    ],
)
def test_the_lines_that_are_asked_for(state_dir: Path, options: list[str], expected: Iterable[int]) -> None:
    assert _numbers(state_dir, *options) == list(expected)


def test_a_line_as_json(state_dir: Path) -> None:
    found = [json.loads(line) for line in _shown(state_dir, "--json", "--call-id", "c1@phone", "--lines", "5")]
    assert found[0] == {
        "time": "2026-01-31T12:00:02.000+01:00",
        "process": "worker 3",
        "level": "debug",
        "call_id": "c1@phone",
        "protocol": "prpl-jabber",
        "ext_user": "alice@example.net",
        "ident": "p1",
        "text": "accepted from sip:alice@example.org to sip:bob*x@xmpp.im.example.org, leaves at once",
    }
    assert (found[1]["process"], found[1]["level"], found[1]["call_id"]) == ("kamailio", "error", "c1@phone")
    (only,) = [json.loads(line) for line in _shown(state_dir, "--json", "--lines", "1")]
    assert (only["ident"], only["text"]) == (None, "error: \x1b[31mno")


def test_nothing_reaches_a_terminal_that_moves_it(state_dir: Path) -> None:
    assert "\x1b" not in "".join(_shown(state_dir))


@pytest.mark.parametrize("options", [["--since", "soon"], ["--user", "alice"], ["--level", "loud"], ["--lines", "-1"]])
def test_wrong_options_are_wrong_usage(state_dir: Path, options: list[str]) -> None:
    assert CliRunner().invoke(logs_command, ["--state-dir", str(state_dir), *options]).exit_code == 2


def test_without_a_log_it_is_said_what_to_do(tmp_path: Path) -> None:
    result = CliRunner().invoke(logs_command, ["--state-dir", str(tmp_path), "--unit", "no-such-unit"])
    assert isinstance(result.exception, ConfigurationError)
    assert "purplectl run --log-file" in str(result.exception)


@pytest.mark.parametrize("count", [0, 1, 2, 99, 20_000, 20_001])
def test_the_last_lines_of_a_long_file(tmp_path: Path, count: int) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"line {number}\n" for number in range(20_000)))
    found = list(lines_of(path, follow=False, last=count))
    assert found == [f"line {number}" for number in range(20_000)][20_000 - min(count, 20_000) :]


def test_following_a_file_that_grows_is_cut_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("one\ntwo\n")
    lines = lines_of(path, follow=True, last=1)
    assert [next(lines), next(lines)] == ["two", None]
    with path.open("a") as file:
        file.write("three\nhal")
        file.flush()
        assert next(lines) == "three"
        file.write("f\n")
        file.flush()
        assert next(lines) == "half"
    path.write_text("cut\n")
    assert next(lines) == "cut"
    other = tmp_path / "other"
    other.write_text("replaced\n")
    other.replace(path)
    assert next(lines) == "replaced"


@pytest.mark.parametrize("message", ["purple main INFO x", list(b"purple main INFO x")])
def test_a_line_of_the_journal(message: str | list[int]) -> None:
    """journalctl(1): what is no UTF-8, or has control characters, comes as numbers."""
    line = journal_line({"MESSAGE": message, "__REALTIME_TIMESTAMP": "1769857200000000", "__CURSOR": "x"})
    entry = parse(line)
    assert (entry.seconds, entry.process, entry.level, entry.text) == (1769857200.0, "main", "info", "x")
