"""``purplectl queue``: the messages in ``purple_queue``, and telling the workers of what was changed there."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import wraps
from itertools import islice
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Engine

from purple_bridge.cli.options import (
    Settings,
    database_options,
    json_option,
    open_engine,
    print_done,
    print_json,
    print_table,
)
from purple_bridge.commands import ident_of
from purple_bridge.control_client import ask
from purple_bridge.db import queue
from purple_bridge.db.queue import QueueRow

COLUMNS = ("ID", "IDENT", "FROM", "TO", "ACCOUNT", "AGE", "EXPIRES IN", "CRASHES", "STATE")
WAITING, SET_ASIDE = "waiting", "set aside"
IDS_PER_QUESTION = 1000  # a worker takes 64 KB in one line

_NUMBER = re.compile(r"[0-9]{1,19}")
_IDENT = re.compile(r"p[0-9a-z]{1,13}")


@click.group("queue")
def queue_command() -> None:
    """Show, retry and drop messages that wait for their IM network."""


class MessageId(click.ParamType):
    """A message's id, as the decimal number or as the ident (``p`` and the number in base 36), as an int."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).strip()
        if _NUMBER.fullmatch(text):
            number = int(text)
        elif _IDENT.fullmatch(text.lower()):
            number = int(text[1:], 36)
        else:
            self.fail(f"{text!r} is no message: write the ID or the IDENT of `purplectl queue list`", param, ctx)
        if number >= 1 << 63:
            self.fail(f"{text!r} is larger than any message's id", param, ctx)
        return number


# --- look -------------------------------------------------------------------------------------------------


@queue_command.command("list")
@click.option("--held/--waiting", "held", default=None, help="Only those set aside after crashes, or only the others.")
@click.option("--account", "ext_user", metavar="EXT_USER", help="Only those of this IM account.")
@database_options
@json_option
def list_(settings: Settings, held: bool | None, ext_user: str | None, as_json: bool) -> None:
    """List the messages that have not reached their IM network; their text is not shown."""
    now = int(time.time())
    with open_engine(settings) as engine:
        found = queue.rows(engine, held, ext_user)
        if as_json:
            print_json([_as_json(row) for row in found])
        else:
            print_table(COLUMNS, [_line(row, now) for row in found])


@queue_command.command("show")
@click.argument("number", type=MessageId(), metavar="ID")
@database_options
@json_option
def show(settings: Settings, number: int, as_json: bool) -> None:
    """Show all of a message, with its text."""
    with open_engine(settings) as engine:
        row = queue.get(engine, number)
    if row is None:
        raise click.ClickException(_missing([number]))
    fields = _as_json(row) | {"fingerprint": row.fingerprint, "message": _content(row)}
    if as_json:
        print_json(fields)
        return
    message = fields.pop("message")
    for name, value in (fields | {"created": _date(row.created), "expires": _date(row.expires)}).items():
        click.echo(f"{name:12}{_printable(str(value))}")
    click.echo(_printable(json.dumps(message, indent=2, ensure_ascii=False)))


# --- change -----------------------------------------------------------------------------------------------


def _chosen(command: Callable[..., None]) -> Callable[..., None]:
    """ID… or --all; the command gets ``numbers``, None for all."""

    @click.argument("numbers", type=MessageId(), nargs=-1, metavar="[ID]...")
    @click.option("--all", "everything", is_flag=True, help="In the place of ids.")
    @wraps(command)
    def with_numbers(*args: Any, numbers: tuple[int, ...], everything: bool, **rest: Any) -> None:
        if everything == bool(numbers):
            raise click.UsageError("which messages? Give their ids, or --all")
        command(*args, numbers=None if everything else list(dict.fromkeys(numbers)), **rest)

    return with_numbers


@queue_command.command("retry")
@_chosen
@database_options
@json_option
def retry(settings: Settings, numbers: list[int] | None, as_json: bool) -> None:
    """Send messages again that were set aside after crashes (--all: every one of them)."""
    with open_engine(settings) as engine:
        chosen = numbers or _numbers(queue.rows(engine, held=True))
        gone = _gone(engine, numbers)
        count = queue.retry(engine, chosen)
    print_done(as_json, f"{_messages(count)} to be sent again", {"messages": count}, count > 0)
    _tell_workers(settings, "retry", chosen)
    _complain(gone)


@queue_command.command("drop")
@_chosen
@click.option("--yes", is_flag=True, help="Do not ask.")
@database_options
@json_option
def drop(settings: Settings, numbers: list[int] | None, yes: bool, as_json: bool) -> None:
    """Drop messages: they are never sent, and nobody is told (--all: those that wait and those set aside)."""
    with open_engine(settings) as engine:
        chosen = numbers or _numbers(queue.rows(engine))
        gone = _gone(engine, numbers)
        if not yes and len(chosen) > len(gone):
            _confirm(len(chosen) - len(gone))
        count = queue.delete(engine, chosen)
    print_done(as_json, f"{_messages(count)} dropped", {"messages": count}, count > 0)
    _tell_workers(settings, "drop", chosen)
    _complain(gone)


def _gone(engine: Engine, numbers: list[int] | None) -> list[int]:
    """Those of the ids that are no longer, or never were, in the table."""
    return [number for number in numbers or () if queue.get(engine, number) is None]


def _confirm(count: int) -> None:
    try:
        sure = click.confirm(f"Drop {_messages(count)} for good?", err=True)
    except click.Abort:
        sure = False
    if not sure:
        raise click.ClickException("nothing was dropped (--yes drops without asking)")


def _numbers(rows: Iterable[QueueRow]) -> list[int]:
    return [row.id for row in rows]


def _messages(count: int) -> str:
    return f"{count} message{'' if count == 1 else 's'}"


def _complain(gone: Sequence[int]) -> None:
    if gone:
        raise click.ClickException(_missing(gone))


def _missing(numbers: Sequence[int]) -> str:
    return f"not in the queue: {', '.join(map(str, numbers))} (sent, expired or dropped: see `purplectl queue list`)"


def _tell_workers(settings: Settings, action: str, numbers: Sequence[int]) -> None:
    """Raises ClickException when a worker that runs does not do it; one that does not run reads the table later."""
    sockets = sorted((settings.state_dir / "run").glob("worker-*.sock"))
    failed = [words for path in sockets if (words := _tell(path, action, numbers))]
    if failed:
        raise click.ClickException(
            f"the queue is changed, but not every worker knows ({'; '.join(failed)}): try again, or restart the gateway"
        )


def _tell(path: Path, action: str, numbers: Sequence[int]) -> str:
    """What went wrong, in words; "" for nothing."""
    remaining = iter(numbers)
    while ids := list(islice(remaining, IDS_PER_QUESTION)):
        try:
            answer = ask(path, "queue", action=action, ids=ids)
        except (FileNotFoundError, ConnectionRefusedError):
            return ""  # no such worker runs, or no longer
        except (OSError, ValueError) as error:
            return f"{path.stem}: {error}"
        if not answer.get("ok"):
            return f"{path.stem}: {answer.get('error', 'refused')}"
    return ""


# --- rows as people and programs read them ----------------------------------------------------------------


def _as_json(row: QueueRow) -> dict[str, Any]:
    """Without the text. The id is a string: JSON numbers lose digits in jq and JavaScript."""
    known = {**asdict(row), "id": str(row.id), "sip_user": f"sip:{row.sip_user}"}
    del known["message"], known["held"], known["account"], known["fingerprint"]
    return {"id": known.pop("id"), "ident": ident_of(row.id), "state": _state(row), **known}


def _line(row: QueueRow, now: int) -> list[str]:
    left = _duration(row.expires - now) if row.expires > now else "-"
    account = f"{row.ext_prot} {row.ext_user}"
    sides = [f"sip:{row.sip_user}", row.contact, account]
    ages = [_duration(now - row.created), left if not row.held else "never"]
    return [str(row.id), ident_of(row.id), *map(_printable, sides), *ages, str(row.crashes), _state(row)]


def _state(row: QueueRow) -> str:
    return SET_ASIDE if row.held else WAITING


def _content(row: QueueRow) -> Any:
    """The message's fields, or what stands there in their place."""
    try:
        return json.loads(row.message)
    except ValueError:
        return row.message.decode("utf-8", "replace")


def _printable(text: str) -> str:
    """A message may hold what a terminal takes for a command."""
    return "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)


def _date(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(seconds))


def _duration(seconds: int) -> str:
    """The two largest units: ``3d 4h``, ``5m 10s``."""
    rest = max(seconds, 0)
    words: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count or (unit == "s" and not words):
            words.append(f"{count}{unit}")
    return " ".join(words[:2])
