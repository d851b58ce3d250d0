"""``purplectl export`` and ``import``: rows of the mapping; what they look like in a file is for ``row_files``."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy import Engine

from purple_bridge.addresses import SipAddress, normalize_im_name
from purple_bridge.cli.account_arguments import (
    ProtocolSource,
    checked_name,
    checked_password,
    convert_option,
    find_protocol,
    pass_protocols,
)
from purple_bridge.cli.account_control import tell_workers
from purple_bridge.cli.options import (
    Settings,
    database_options,
    json_option,
    on_one_line,
    open_engine,
    print_json,
)
from purple_bridge.db.account import Account, OptionValue
from purple_bridge.db.mapping import Mapping
from purple_bridge.db.passwords import Unreadable
from purple_bridge.db.provision import Change, stored_rows, stored_user, write_rows
from purple_bridge.errors import BadRequest
from purple_bridge.row_files import (
    COLUMNS,
    PASSWORD,
    BadFile,
    FileRow,
    FileRows,
    Format,
    Problem,
    decoded,
    format_of,
    read_csv,
    read_sql,
    write_csv,
    write_sql,
)

if TYPE_CHECKING:
    from purple_bridge.libpurple.plugins import Protocol

MANY = 2000  # rows that take long enough for a bar
IMPORT_SECONDS = 60.0  # that one statement may take
LONGEST_URI = 128  # the width of sip_user

Identity = tuple[str, str, str]  # SIP user, protocol, name there; each in its normal form

_format_option = click.option(
    "--format",
    "chosen",
    type=click.Choice(["csv", "sql"]),
    help="Default: by the name of the file, else what it looks like; csv for an export to stdout.",
)


# --- export -----------------------------------------------------------------------------------------------


@click.command("export")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), default=Path("-"))
@_format_option
@click.option("--passwords", is_flag=True, help="With the accounts' passwords; the file is then as secret as they are.")
@database_options
@json_option
def export_command(settings: Settings, file: Path, chosen: Format | None, passwords: bool, as_json: bool) -> None:
    """Write all IM accounts to a file, or to stdout, as CSV or as INSERT statements.

    SQL is written for the database in use: it is for the same kind of database and its own client program.
    """
    if as_json and str(file) == "-":
        raise click.UsageError("--json and the rows cannot both go to stdout: name a FILE")
    columns = [name for name in COLUMNS if passwords or name != PASSWORD]
    with open_engine(settings, IMPORT_SECONDS) as engine:
        stored = stored_rows(engine, settings.table, settings.passwords if passwords else None)
        rows = _Counted(_selected(stored, columns))
        if (chosen or format_of(file.name, "")) == "sql":
            text = write_sql(rows, columns, settings.table, engine.dialect.name)
        else:
            text = write_csv(rows, columns)
        try:
            _write(file, text)
        except Unreadable as error:
            raise click.ClickException(str(error)) from None
    if as_json:
        print_json({"file": str(file), "rows": rows.count, "passwords": passwords})
    elif str(file) != "-":
        click.echo(f"{rows.count} accounts written to {file}")
    if not passwords:
        click.echo("purplectl: passwords are left out (--passwords writes them, too)", err=True)


class _Counted:
    """Passes rows on and counts them."""

    def __init__(self, rows: Iterable[Sequence[str | None]]) -> None:
        self._rows, self.count = rows, 0

    def __iter__(self) -> Iterator[Sequence[str | None]]:
        for row in self._rows:
            self.count += 1
            yield row


def _selected(rows: Iterable[Sequence[str | None]], columns: Sequence[str]) -> Iterator[Sequence[str | None]]:
    wanted = [COLUMNS.index(name) for name in columns]
    return ([row[index] for index in wanted] for row in rows)


def _write(file: Path, pieces: Iterable[str]) -> None:
    """To stdout, a device or a pipe as it comes; a file appears at once, complete, for its owner alone."""
    if str(file) == "-":
        stream = click.get_binary_stream("stdout")
        for piece in pieces:
            stream.write(piece.encode())
        stream.flush()
    elif file.exists() and not file.is_file():
        with file.open("wb") as special:
            special.writelines(piece.encode() for piece in pieces)
    else:
        _replace(file.resolve(), pieces)


def _replace(file: Path, pieces: Iterable[str]) -> None:
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)  # mode 0600
    except OSError as error:
        raise click.ClickException(f"{file} cannot be made: {error.strerror}") from None
    try:
        with open(descriptor, "wb") as new:  # noqa: PTH123 - of a descriptor
            new.writelines(piece.encode() for piece in pieces)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


# --- import -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the file that can become one of the table."""

    line: int
    user: SipAddress
    protocol: str
    ext_user: str
    has_password: bool
    password: str | None = field(repr=False)
    options: dict[str, OptionValue] | None  # None: the file has none, what is stored stays

    @property
    def identity(self) -> Identity:
        return self.user.key, self.protocol, normalize_im_name(self.protocol, self.ext_user)

    @property
    def content(self) -> tuple[str | None, dict[str, OptionValue] | None]:
        return self.password, self.options

    @property
    def columns(self) -> dict[str, str | None]:
        return {
            "sip_user": stored_user(self.user),
            "ext_user": self.ext_user,
            "ext_prot": self.protocol,
            PASSWORD: self.password,
            "ext_options": _stored_options(self.options),
        }


@dataclass(slots=True)
class Plan:
    """What becomes of the rows of a file."""

    added: list[dict[str, str | None]] = field(default_factory=list)
    changed: list[Change] = field(default_factory=list)
    users: list[str] = field(default_factory=list)  # SipAddress.key of those whose rows change
    unchanged: int = 0
    left: int = 0  # others in the database, which stay as they are


@click.command("import")
@click.argument("file", type=click.File("rb"))
@_format_option
@click.option("--dry-run", is_flag=True, help="Check everything and say what would be done; write nothing.")
@click.option("--replace", is_flag=True, help="Also change accounts that are there already, to what the file says.")
@database_options
@json_option
@pass_protocols
def import_command(
    source: ProtocolSource,
    settings: Settings,
    file: IO[bytes],
    chosen: Format | None,
    dry_run: bool,
    replace: bool,
    as_json: bool,
) -> None:
    """Add the IM accounts of a file (- for stdin), CSV or INSERT statements, that are not there yet.

    All of them or, when one is wrong, none. Columns: sip_user, ext_user, ext_prot, and if need be ext_pass and
    ext_options.
    """
    with open_engine(settings, IMPORT_SECONDS) as engine:
        found = _read(file, chosen, settings.table, engine.dialect.name)
        with _bar("checking", len(found.rows), as_json) as step:
            rows = _checked(found, source, settings, step)
        if found.problems:
            _refuse(found, as_json)
        plan = _planned(engine, settings, rows, replace)
        if not dry_run:
            with _bar("writing", len(plan.added) + len(plan.changed), as_json) as step:
                write_rows(engine, plan.added, plan.changed, settings.table, step, settings.passwords)
            if len(plan.users) <= MANY:  # of more, the workers see soon enough that the table has changed
                tell_workers(settings, plan.users)
    _report(plan, dry_run, as_json)


def _read(file: IO[bytes], chosen: Format | None, table: str, dialect: str) -> FileRows:
    """Raises ClickException where the file as a whole cannot be read."""
    name = str(getattr(file, "name", "stdin"))
    try:
        text = decoded(file.read())
        if (chosen or format_of(name, text)) == "sql":
            return read_sql(text, table, dialect)
        return read_csv(text)
    except BadFile as error:
        raise click.ClickException(f"{name}: {on_one_line(str(error))}") from None


def _checked(found: FileRows, source: ProtocolSource, settings: Settings, step: Callable[[int], None]) -> list[Row]:
    """The rows that are right; what is wrong with the others goes to the problems."""
    protocols = source.protocols(settings.protocols)
    rows: dict[Identity, Row] = {}
    for file_row in found.rows:
        step(1)
        try:
            row = _row(file_row, protocols, settings)
        except (click.UsageError, BadRequest, Unreadable) as error:
            found.problems.append(Problem(file_row.line, str(error)))
            continue
        before = rows.setdefault(row.identity, row)
        if before.content != row.content:
            found.problems.append(Problem(row.line, f"the same account as in line {before.line}, but not the same"))
    found.problems.sort(key=lambda problem: problem.line)
    return list(rows.values())


def _row(file_row: FileRow, protocols: Sequence[Protocol], settings: Settings) -> Row:
    """Raises UsageError, BadRequest or Unreadable with what is wrong.

    A password stands there as in the table: one that is encrypted, in a dump of it, needs the key and the account.
    """
    values = file_row.values
    protocol = values["ext_prot"] or ""
    plugin = find_protocol(protocols, protocol, settings.protocols)
    options = None
    if "ext_options" in values:
        given = _json_object(values["ext_options"])
        options = {name: convert_option(plugin, name, value) for name, value in given.items()}
    ext_user = checked_name(values["ext_user"] or "")
    password = settings.passwords.read(values.get(PASSWORD), protocol, ext_user)
    return Row(
        line=file_row.line,
        user=_sip_user(values["sip_user"] or ""),
        protocol=protocol,
        ext_user=ext_user,
        has_password=PASSWORD in values,
        password=checked_password(password) if password else None,
        options=options,
    )


def _sip_user(text: str) -> SipAddress:
    has_scheme = text.strip().lower().startswith(("sip:", "sips:"))
    address = SipAddress.parse(text.strip() if has_scheme else f"sip:{text.strip()}")
    if not address.user:
        raise click.UsageError(f"sip_user {text!r}: write sip:USER@DOMAIN")
    if len(stored_user(address)) > LONGEST_URI:
        raise click.UsageError(f"sip_user is longer than {LONGEST_URI} characters")
    return address


def _json_object(text: str | None) -> dict[str, OptionValue]:
    try:
        options = json.loads(text) if text and text.strip() else {}
    except (ValueError, RecursionError):
        options = None
    if not isinstance(options, dict):
        raise click.UsageError('ext_options is no JSON object such as {"port": 5222}')
    if wrong := [name for name, value in options.items() if not isinstance(value, bool | int | str)]:
        raise click.UsageError(f"ext_options: {wrong[0]} is neither text, number nor true/false")
    return options


def _stored_options(options: dict[str, OptionValue] | None) -> str | None:
    return json.dumps(options) if options else None


def _planned(engine: Engine, settings: Settings, rows: Sequence[Row], replace: bool) -> Plan:
    stored: dict[Identity, Account] = {}
    for account in Mapping(engine, settings.table, passwords=settings.passwords).all_accounts():
        name = normalize_im_name(account.protocol, account.ext_user)
        stored.setdefault((account.sip_user, account.protocol, name), account)
    plan = Plan()
    for row in rows:
        if row.identity in stored:
            _plan_stored(plan, row, stored[row.identity], replace)
        else:
            plan.added.append(row.columns)
            plan.users.append(row.user.key)
    return plan


def _plan_stored(plan: Plan, row: Row, account: Account, replace: bool) -> None:
    values = _difference(row, account)
    if not values:
        plan.unchanged += 1
    elif replace:
        plan.changed.append(Change(account.id, account.protocol, account.ext_user, values))
        plan.users.append(row.user.key)
    else:
        plan.left += 1


def _difference(row: Row, account: Account) -> dict[str, str | None]:
    """The columns in which the file says something else than the database."""
    values: dict[str, str | None] = {}
    if row.has_password and (account.unreadable or row.password != (account.password or None)):
        values[PASSWORD] = row.password
    if row.options is not None and (account.error or row.options != dict(account.options)):
        values["ext_options"] = _stored_options(row.options)
    return values


# --- what is said of it -----------------------------------------------------------------------------------


def _refuse(found: FileRows, as_json: bool) -> None:
    """Raises ClickException, after a line for each row that is wrong."""
    if as_json:
        errors = [{"line": problem.line, "error": problem.text} for problem in found.problems]
        print_json({"changed": False, "errors": errors})
    else:
        for problem in found.problems:
            click.echo(f"line {problem.line}: {on_one_line(problem.text)}", err=True)
    wrong = len(found.problems)
    raise click.ClickException(f"{wrong} row{' is' if wrong == 1 else 's are'} wrong: nothing was imported")


def _report(plan: Plan, dry_run: bool, as_json: bool) -> None:
    added, changed = len(plan.added), len(plan.changed)
    if as_json:
        numbers = {"added": added, "unchanged": plan.unchanged, "updated": changed, "left": plan.left}
        print_json({"changed": bool(added or changed) and not dry_run, **numbers, "dry_run": dry_run})
        return
    text = f"{added} added, {plan.unchanged} unchanged, {changed} changed"
    if plan.left:
        text += f", {plan.left} left as they are, which the file has otherwise (--replace changes them)"
    click.echo(f"nothing is written, it would be: {text}" if dry_run else text)


@contextlib.contextmanager
def _bar(what: str, rows: int, as_json: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr, for many rows and on a terminal; the function is told of rows that are done."""
    if rows < MANY or as_json or not sys.stderr.isatty():
        yield lambda _rows: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=rows)
        yield lambda done: progress.advance(task, done)
