"""Where the gateway's log lines go: beside Kamailio's own, from any thread; owns what a line looks like.

    TIME purple PROCESS LEVEL [CALL-ID] account PROTOCOL EXT_USER IDENT: TEXT

TIME is left out where the journal or syslog writes its own; the parts between LEVEL and TEXT where they are not known.
An entry is always one line: what would end it, or move a terminal's cursor, is escaped here, wherever it came from.
What people write to each other is in no line, unless ``purple.log_bodies`` is 1 and the level is debug.
"""

from __future__ import annotations

import ctypes
import logging
import logging.handlers
import os
import re
import stat
import sys
import traceback
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Protocol

from purple_bridge.errors import ConfigurationError, GatewayError

FORMAT = "purple %(process_name)s %(levelname)s %(message)s"
SYSLOG = Path("/dev/log")
OURS = "purple_bridge"
LONGEST_LINE = 16_384  # characters
LONGEST_BODY = 4_096
LONGEST_IDENT = 100

# control characters, line ends of Unicode, what turns the direction of writing, halves of surrogate pairs
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# errors whose text tells of the system or of our own making; the text of others may quote what a person wrote
_TELLING = (OSError, ConfigurationError, GatewayError, AttributeError, ImportError, NameError, TypeError)

_NOT_A_WORD = re.compile(r"[\s:]")

_shows_bodies = False


def set_up(process: str, level: str = "info", bodies: bool = False) -> None:
    """``process``: what the lines of this process say of it, e.g. ``worker 1``. ``level``, ``bodies``: see ``follow``.

    Only at the start of the process: the file or the journal is chosen here.
    """
    logging.getLogger().handlers.clear()
    handler = _handler()
    handler.setFormatter(LineFormatter(process, with_time=_needs_time(handler)))
    root = logging.getLogger(OURS)
    root.handlers = [handler]
    root.propagate = False
    follow(level, bodies)


def follow(level: str, bodies: bool) -> None:
    """The parameters ``purple.log_level`` and ``purple.log_bodies`` as they are now, in this process."""
    global _shows_bodies  # noqa: PLW0603 - as the levels of `logging` itself, one for the process
    number = logging.getLevelNamesMapping()[level.upper()]
    _shows_bodies = bodies and number <= logging.DEBUG
    logging.getLogger(OURS).setLevel(number)


def file_of(descriptor: int = 2) -> str:
    """The path of the file that the lines go to; "" where it is none, such as a terminal or the journal."""
    try:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        return os.readlink(f"/proc/self/fd/{descriptor}") if is_file else ""  # noqa: PTH115 - it may be gone
    except OSError:
        return ""


class _Sent(Protocol):
    """commands.SendMessage"""

    @property
    def call_id(self) -> str: ...

    @property
    def protocol(self) -> str: ...

    @property
    def ext_user(self) -> str: ...

    @property
    def ident(self) -> str: ...


def about(call_id: str, account: str = "", ident: str = "") -> str:
    """What stands in front of the text of a line about one message. ``account``: PROTOCOL EXT_USER."""
    words = [f"[{call_id}]", *(["account", account] if account else [])]
    if ident:
        words.append(_NOT_A_WORD.sub("_", ident)[:LONGEST_IDENT])
    return " ".join(words) + (":" if account else "")


def of(message: _Sent) -> str:
    """The same for a message from a phone."""
    return about(message.call_id, f"{message.protocol} {message.ext_user}", message.ident)


def body(text: str) -> str:
    """What a debug line says of the text of a message: nothing, unless purple.log_bodies is 1."""
    return f": {text[:LONGEST_BODY]!r}" if _shows_bodies else ""


def announce(logger: logging.Logger, text: str, *arguments: object) -> None:
    """An INFO line that is there whatever the level: what an operator has changed himself."""
    logger.handle(logger.makeRecord(logger.name, logging.INFO, __file__, 0, text, arguments, None))


def escaped(text: str) -> str:
    """On one line, and nothing in it that a terminal acts upon."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)


class LineFormatter(logging.Formatter):
    """One entry, one line; ``with_time``: in front of it local time with its offset (RFC 3339)."""

    def __init__(self, process: str, with_time: bool = False) -> None:
        super().__init__(FORMAT, defaults={"process_name": process})
        self._with_time = with_time

    def format(self, record: logging.LogRecord) -> str:
        # not Formatter.format: it adds tracebacks as lines of their own, with the errors' texts
        record.message = record.getMessage()
        line = self.formatMessage(record)
        if record.exc_info and record.exc_info[1] is not None:
            line = f"{line}: {in_words(record.exc_info[1])}"
        if len(line) > LONGEST_LINE:
            line = f"{line[:LONGEST_LINE]}…"
        return f"{timestamp(record.created)} {escaped(line)}" if self._with_time else escaped(line)


def timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="milliseconds")


def in_words(error: BaseException) -> str:
    """An error with where it happened, from the outside to the inside, and what it was made of."""
    return "; because of ".join(_one(each) for each in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _one(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    places = " > ".join(f"{frame.name} {_short(frame.filename)}:{frame.lineno}" for frame in frames)
    name = type(error).__qualname__
    tells = isinstance(error, _TELLING) and not isinstance(error, UnicodeError)
    text = str(error) if tells or _shows_bodies else ""
    return f"{name}{f': {text}' if text else ''}{f' in {places}' if places else ''}"


def _short(path: str) -> str:
    return "/".join(path.rsplit("/", 2)[-2:])


def _handler() -> logging.Handler:
    if not _kamailio_logs_to_stderr() and SYSLOG.exists():
        return logging.handlers.SysLogHandler(address=str(SYSLOG), facility=logging.handlers.SysLogHandler.LOG_DAEMON)
    return logging.StreamHandler(sys.stderr)


def _needs_time(handler: logging.Handler) -> bool:
    return not isinstance(handler, logging.handlers.SysLogHandler) and not _is_journal()


def _is_journal() -> bool:
    """systemd.exec(5): JOURNAL_STREAM is the device and inode of the journal's socket; stderr may be another file."""
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _kamailio_logs_to_stderr() -> bool:
    """core/dprint.h: log_stderr (Kamailio's option -E or log_stderror)"""
    try:
        return ctypes.c_int.in_dll(ctypes.CDLL(None), "log_stderr").value != 0
    except ValueError:
        return True
