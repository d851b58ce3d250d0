"""``purplectl logs``: the running gateway's log, or the part of it that is asked for; changes nothing.

Knows what a line looks like, ours (purple_bridge/logs.py) and Kamailio's; does not know what it is about.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import click

from purple_bridge.addresses import SipAddress
from purple_bridge.cli.options import SipUser, default_state_dir, json_option
from purple_bridge.errors import ConfigurationError
from purple_bridge.launcher.state import StateDirectory
from purple_bridge.logs import escaped, timestamp

UNIT = "kamailio-purple"
LINES, LINES_BEFORE = 200, 10  # shown without and with --follow
POLL_SECONDS = 0.2
BLOCK = 1 << 16  # octets
MOST_FOLLOWED = 100_000  # Call-IDs

LEVELS = {"debug": 10, "info": 20, "notice": 20, "warning": 30, "error": 40, "critical": 50, "alert": 50, "bug": 50}
COLOURS = {10: "bright_black", 30: "yellow", 40: "red", 50: "red"}
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

_TIME = re.compile(r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:[+-]\d\d:\d\d|Z)) (?P<line>.*)", re.DOTALL)
_OURS = re.compile(r"purple (?P<process>\S+(?: \d+)?) (?P<level>[A-Z]+) (?P<text>.*)", re.DOTALL)
_ABOUT = re.compile(
    r"(?:\[(?P<call_id>\S*)\] ?)?"
    r"(?:account (?P<protocol>\S+) (?P<ext_user>[^:]+?)(?: (?P<ident>[^\s:]+))?: )?(?P<text>.*)",
    re.DOTALL,
)
# core/dprint.h; kamailio.cfg has log_prefix="{$mt $hdr(CSeq) $ci} "
_KAMAILIO = re.compile(
    r"\s*\d+\(\d+\) (?P<level>[A-Z]+): (?:\{\d (?:\d+ \S+|<null>) (?P<call_id>\S+)\} )?(?P<text>.*)", re.DOTALL
)
_MENTIONED = re.compile(r"\[([^\s\[\]]+@purple)\]")
# postman.Letter: the Call-IDs of the parts of a message differ in a number
_PART = re.compile(r"(?P<token>[0-9a-f]{24})(?:-\d+)?(?P<rest>(?:\..*)?@purple)")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. ``seconds``: Unix time, None where the log has none; ``process``: ``kamailio`` for its own lines."""

    line: str
    time: str = ""
    seconds: float | None = None
    process: str = ""
    level: str = ""
    call_id: str = ""
    protocol: str = ""
    ext_user: str = ""
    ident: str = ""
    text: str = ""

    @property
    def severity(self) -> int:
        """0 where the line does not say."""
        return LEVELS.get(self.level, 0)

    def as_json(self) -> str:
        names = ("time", "process", "level", "call_id", "protocol", "ext_user", "ident", "text")
        return json.dumps({name: getattr(self, name) or None for name in names}, ensure_ascii=False)


def parse(line: str) -> Entry:
    """Any line: what is neither ours nor Kamailio's is text alone."""
    timed = _TIME.fullmatch(line)
    found, rest = (timed["time"], timed["line"]) if timed else ("", line)
    parts: dict[str, Any] = {name: value or "" for name, value in _parts(rest).items()}
    return replace(Entry(line, found, _seconds(found)), **parts)


def _parts(line: str) -> dict[str, Any]:
    if ours := _OURS.fullmatch(line):
        about = _ABOUT.fullmatch(ours["text"])  # it matches: all of it is optional
        return {"process": ours["process"], "level": ours["level"].lower(), **(about.groupdict() if about else {})}
    if other := _KAMAILIO.fullmatch(line):
        names = {"call_id": other["call_id"], "text": other["text"]}
        return {"process": "kamailio", "level": other["level"].lower(), **names}
    return {"text": line}


def _seconds(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except ValueError:
        return None


# ------------------------------------------------------------ what is asked for
class Followed:
    """Messages by their Call-ID: once a line shows that one is asked for, all later lines about it are, too."""

    def __init__(self, call_id: str = "") -> None:
        self._call_ids = {_stem(call_id)} if call_id else set[str]()

    def has(self, entry: Entry, asked_for: bool = False) -> bool:
        """``asked_for``: the line itself is. A message that it names, such as a notice or a part, is followed, too."""
        named = [_stem(call_id) for call_id in (entry.call_id, *_MENTIONED.findall(entry.text)) if call_id]
        found = asked_for or any(call_id in self._call_ids for call_id in named)
        if found and len(self._call_ids) < MOST_FOLLOWED:
            self._call_ids.update(named)
        return found


def _stem(call_id: str) -> str:
    """The same for all parts of a message."""
    part = _PART.fullmatch(call_id)
    return f"{part['token']}{part['rest']}" if part else call_id


class Filter:
    """Lines of one account, message, or user, from a level or a time on; all of it together."""

    def __init__(
        self,
        account: str = "",
        call_id: str = "",
        user: SipAddress | None = None,
        level: str = "",
        since: float | None = None,
    ) -> None:
        self._account, self._user = account.lower(), _mention(user) if user else None
        self._severity, self._since = LEVELS.get(level, 0), since
        self._call_id = Followed(call_id) if call_id else None
        self._of_account, self._of_user = Followed(), Followed()
        self._last: float | None = None

    @property
    def passes_all(self) -> bool:
        return not (self._account or self._user or self._call_id or self._severity or self._since)

    def __call__(self, entry: Entry) -> bool:
        """In the order of the log: a line without a time is as old as the one before it."""
        self._last = self._last if entry.seconds is None else entry.seconds
        if self._since is not None and (self._last is None or self._last < self._since):
            return False
        asked_for = [
            self._call_id is None or self._call_id.has(entry),
            not self._account or self._of_account.has(entry, entry.ext_user.lower() == self._account),
            self._user is None or self._of_user.has(entry, bool(self._user.search(entry.line))),
        ]
        return all(asked_for) and entry.severity >= self._severity


def _mention(user: SipAddress) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.+%-]){re.escape(user.key)}(?![\w-]|\.\w)", re.IGNORECASE)


def _since(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    """``10m`` ago, or a time as it stands in the log; local, if it has no offset."""
    if text is None:
        return None
    ago = re.fullmatch(r"(\d+)([smhd])", text)
    if ago:
        return time.time() - int(ago[1]) * UNITS[ago[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise click.BadParameter("write 30s, 10m, 2h, 1d, or a time such as 2026-01-31T12:00") from None


# ------------------------------------------------------------ where the lines are
Lines = Iterator[str | None]  # None: those that were there already end here, what follows is new


def lines_of(path: Path, follow: bool, last: int | None = None) -> Lines:
    """The lines of a file; ``last``: only so many of those that are there. ``follow``: then those that come."""
    try:
        with path.open("rb") as file:
            if last is not None:
                _seek_last(file, last)
            yield from _complete(file)
            if follow:
                yield None
                yield from _coming(path, file)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; run this as root or as the gateway's user") from None


def _seek_last(file: BinaryIO, count: int) -> None:
    """To the begin of the last lines, without reading what is in front of them."""
    position = file.seek(0, os.SEEK_END)
    found = 0
    while position > 0 and found <= count:
        behind, position = position, max(0, position - BLOCK)
        file.seek(position)
        found += file.read(behind - position).count(b"\n")
    file.seek(position)
    for _ in range(found - count):
        file.readline()


def _complete(file: BinaryIO) -> Iterator[str]:
    """Up to the end of the file; a line that is being written is left for later."""
    while line := file.readline():
        if not line.endswith(b"\n"):
            file.seek(-len(line), os.SEEK_CUR)
            return
        yield line.decode("utf-8", "replace").rstrip("\r\n")


def _coming(path: Path, file: BinaryIO) -> Lines:
    """Also after the file was cut (copytruncate), or another one has its name."""
    while True:
        yield from _complete(file)
        time.sleep(POLL_SECONDS)
        if os.fstat(file.fileno()).st_size < file.tell():
            file.seek(0)
        elif path.exists() and not path.samefile(f"/proc/self/fd/{file.fileno()}"):
            yield from _complete(file)
            yield from lines_of(path, follow=True)
            return


def journal_line(entry: dict[str, Any]) -> str:
    """Of an object of ``journalctl -o json``: the message, with the journal's time in front of it."""
    message = entry.get("MESSAGE") or ""
    text = bytes(message).decode("utf-8", "replace") if isinstance(message, list) else str(message)
    return f"{timestamp(int(entry['__REALTIME_TIMESTAMP']) / 1e6)} {text}"


def _journal(unit: str, follow: bool, since: float | None, last: int | None) -> Lines:
    cursor = ""
    window = ["--since", f"@{since:.0f}"] if since is not None else []
    for entry in _journalctl(unit, [*window, "--lines", "all" if last is None else str(last)]):
        cursor = entry["__CURSOR"]
        yield journal_line(entry)
    if follow:
        yield None
        place = ["--after-cursor", cursor] if cursor else ["--lines", "0"]
        yield from map(journal_line, _journalctl(unit, ["--follow", *place]))


def _journalctl(unit: str, arguments: list[str]) -> Iterator[dict[str, Any]]:
    command = ["journalctl", "--unit", unit, "--output", "json", "--quiet", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            yield from map(json.loads, process.stdout or ())
        finally:
            process.terminate()


def _has_journal(unit: str) -> bool:
    if shutil.which("journalctl") is None:
        return False
    command = ["journalctl", "--unit", unit, "--lines", "1", "--output", "cat", "--quiet"]
    return bool(subprocess.run(command, capture_output=True, check=False).stdout.strip())


def _source(state: StateDirectory, unit: str, follow: bool, since: float | None, last: int | None) -> Lines:
    if state.settings.exists() and not os.access(state.settings, os.R_OK):
        raise ConfigurationError(f"{state.settings} cannot be read: run this as root or as the gateway's user")
    log_file = Path(state.read_settings().get("log_file") or "/nonexistent")
    if log_file.is_file():
        return lines_of(log_file, follow, last)
    if _has_journal(unit):
        return _journal(unit, follow, since, last)
    raise ConfigurationError(
        f"no log is known: neither a file in {state.settings} nor a journal of {unit}; start the gateway with"
        " purplectl run --log-file FILE, or name it with --state-dir or --unit"
    )


# ------------------------------------------------------------ the command
@click.command("logs")
@click.option("--account", default="", metavar="EXT_USER", help="Lines about one IM account and its messages.")
@click.option("--call-id", default="", metavar="ID", help="Lines about one message, both ways, and what came of it.")
@click.option("--user", type=SipUser(), metavar="SIP:USER@DOMAIN", help="Lines that name a SIP user, and his messages.")
@click.option(
    "--level", type=click.Choice(["debug", "info", "warning", "error"]), default=None, help="This level and worse."
)
@click.option("--since", callback=_since, metavar="TIME", help="30s, 10m, 2h or 1d ago, or 2026-01-31T12:00.")
@click.option("--follow", is_flag=True, help="Go on with what comes, until it is interrupted.")
@click.option(
    "--lines",
    type=click.IntRange(0),
    metavar="N",
    help=f"The last N of these lines. Default: {LINES}; {LINES_BEFORE} with --follow; all with --since.",
)
@click.option(
    "--state-dir",
    envvar="PURPLE_STATE_DIR",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the running gateway has left its settings.",
)
@click.option("--unit", default=UNIT, metavar="NAME", show_default=True, help="The service whose journal is read.")
@json_option
def logs_command(
    state_dir: Path | None, unit: str, follow: bool, lines: int | None, as_json: bool, **asked: Any
) -> None:
    """Show the gateway's log, or follow one message, account or user through it.

    Kamailio's own lines are shown where nothing is asked for, and with the messages that they are about.
    """
    wanted = Filter(**{name: value for name, value in asked.items() if value is not None})
    if lines is None and asked["since"] is None:
        lines = LINES_BEFORE if follow else LINES
    state = StateDirectory((state_dir or default_state_dir()).absolute())
    source = _source(state, unit, follow, asked["since"], _needed(wanted, lines))
    try:
        for entry in _chosen(source, wanted, lines):
            _show(entry, as_json)
    except KeyboardInterrupt:  # how --follow ends
        return
    except BrokenPipeError:  # as in `purplectl logs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _needed(wanted: Filter, lines: int | None) -> int | None:
    """How many lines must be read at most; None: all, since a line may be asked for because of one before it."""
    return lines if wanted.passes_all else None


def _chosen(source: Lines, wanted: Filter, lines: int | None) -> Iterator[Entry]:
    """The last ones of those that are there, then each that comes."""
    last: deque[Entry] = deque(maxlen=lines)
    is_new = lines is None
    for line in source:
        if line is None:
            yield from last
            last.clear()
            is_new = True
        elif wanted(entry := parse(line)):
            if is_new:
                yield entry
            else:
                last.append(entry)
    yield from last


def _show(entry: Entry, as_json: bool) -> None:
    """What came from outside reaches a terminal as text only."""
    line = entry.as_json() if as_json else escaped(entry.line)
    colour = None if as_json else COLOURS.get(entry.severity)
    click.echo(click.style(line, fg=colour) if colour and not os.environ.get("NO_COLOR") else line)
