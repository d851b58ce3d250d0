"""Owns the options, settings and output that the provisioning commands share; touches no table.

A setting comes from its option, else its environment variable, else ``settings.json``, which the launcher writes
into the state directory, else kamailio.cfg.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, wraps
from pathlib import Path
from typing import IO, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from purple_bridge.addresses import SipAddress
from purple_bridge.db.engine import TIMEOUT, make_engine
from purple_bridge.db.key_file import DEFAULT_NAME
from purple_bridge.db.mapping import DatabaseUnavailable
from purple_bridge.db.passwords import Passwords
from purple_bridge.db.tables import PURPLEMAP
from purple_bridge.db.urls import redacted
from purple_bridge.errors import BadRequest, ConfigurationError
from purple_bridge.launcher.environment import SYSTEM_CONFIG
from purple_bridge.launcher.parameters import read_all
from purple_bridge.settings import read_protocols

SETTINGS_FILE = "settings.json"
CHECKOUT = Path(__file__).parents[2]
SYSTEM_STATE = Path("/var/lib/kamailio-purple")
KAMAILIO_CONFIG = Path("/etc/kamailio/kamailio.cfg")  # of a site that has the gateway in a Kamailio of its own

_NOT_UTF8 = "the password is not UTF-8: write it in UTF-8 (iconv -f LATIN1 -t UTF-8)"
_NO_DATABASE = "no database is given: use --db-url, set PURPLE_DB_URL, or give --config with a purple.db_url in it"


@dataclass(frozen=True)
class Settings:
    """Which database, the mapping table in it, and where the running gateway has its sockets.

    The parameters ``purple.db_url``, ``purple.db_table``, ``purple.state_dir`` and, "" where it is not known,
    ``purple.gateway_domain``. ``key_file``: None where ``purple.key_file`` says nothing. ``protocols``: none for all.
    """

    db_url: str
    table: str
    state_dir: Path
    gateway_domain: str = ""
    key_file: Path | None = None
    protocols: tuple[str, ...] = ()

    @property
    def key_path(self) -> Path:
        """Where the keys of the passwords are, if there are any."""
        return self.key_file or self.state_dir / DEFAULT_NAME

    @cached_property
    def passwords(self) -> Passwords:
        return Passwords(self.key_path)


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line and the environment say; None where they say nothing."""

    db_url: str | None = None
    table: str | None = None
    state_dir: Path | None = None
    config: Path | None = None


def default_state_dir(checkout: Path = CHECKOUT) -> Path:
    """``state`` in a checkout that has been run, else the system's."""
    local = checkout / "state"
    return local if local.is_dir() else SYSTEM_STATE


def resolve(given: Given) -> Settings:
    """The settings to work with. Raises ConfigurationError, which says what to do, when there is no database."""
    config = _config(given.config)
    state_dir = given.state_dir or Path(config.get("state_dir") or default_state_dir())
    saved = _saved(state_dir)
    db_url = given.db_url or saved.get("db_url") or config.get("db_url")
    if not db_url:
        raise ConfigurationError(_NO_DATABASE)
    table = given.table or saved.get("db_table") or config.get("db_table") or PURPLEMAP
    domain = saved.get("gateway_domain") or config.get("gateway_domain") or ""
    key_file = Path(name) if (name := _either("key_file", saved, config)) else None
    protocols = read_protocols(_either("protocols", saved, config))
    return Settings(db_url, table, state_dir, domain, key_file, protocols)


def key_path(given: Given) -> tuple[Path, Path]:
    """As ``Settings.key_path``, also where no database is known; and the state directory."""
    config = _config(given.config)
    state_dir = given.state_dir or Path(config.get("state_dir") or default_state_dir())
    return Path(_either("key_file", _saved(state_dir), config) or state_dir / DEFAULT_NAME), state_dir


def allowed_protocols(given: Given | None = None) -> tuple[str, ...]:
    """``purple.protocols``; none, for all, also where this user may not read it. None: of this machine's gateway."""
    state = os.environ.get("PURPLE_STATE_DIR")
    given = given or Given(state_dir=Path(state) if state else None)
    try:
        config = _config(given.config)
        saved = _saved(given.state_dir or Path(config.get("state_dir") or default_state_dir()))
        return read_protocols(_either("protocols", saved, config))
    except ConfigurationError:
        return ()


def _either(name: str, saved: Mapping[str, str], config: Mapping[str, str]) -> str:
    """What the running gateway has said, also that it has none; else what kamailio.cfg says."""
    return saved[name] if name in saved else config.get(name, "")


def http_proxy(given: Given) -> tuple[str, int] | None:
    """Host and port of the HTTP proxy that the gateway's accounts connect through; None for none."""
    config = _config(given.config)
    saved = _saved(given.state_dir or Path(config.get("state_dir") or default_state_dir()))
    host, port = (saved.get(name) or config.get(name) or "" for name in ("httpProxy_host", "httpProxy_port"))
    return (host, int(port)) if host and port.isdecimal() else None


def ca_dir(given: Given) -> str:
    """``purple.ca_dir``; "" for none."""
    config = _config(given.config)
    saved = _saved(given.state_dir or Path(config.get("state_dir") or default_state_dir()))
    return saved.get("ca_dir") or config.get("ca_dir") or ""


def _saved(state_dir: Path) -> dict[str, str]:
    path = state_dir / SETTINGS_FILE
    text = _read(path)
    if text is None:
        return {}
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path} is damaged: remove it and start the gateway again")
    return {name: value for name, value in values.items() if isinstance(value, str)}


def _config(given: Path | None) -> dict[str, str]:
    places = [given] if given else [SYSTEM_CONFIG / "kamailio.cfg", KAMAILIO_CONFIG]
    text = next((text for text in map(_read, places) if text is not None), None)
    if text is None:
        if given:
            raise ConfigurationError(f"{given} does not exist")
        return {}
    return read_all(text)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; run this as root or as the gateway's user") from None


# --- options ----------------------------------------------------------------------------------------------


def given_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which database; the command gets them as ``given``, for ``resolve``."""

    @click.option("--db-url", envvar="PURPLE_DB_URL", metavar="URL", help="The database, in the form of purple.db_url.")
    @click.option("--table", metavar="NAME", help=f"The mapping table (purple.db_table), by default {PURPLEMAP}.")
    @click.option(
        "--state-dir",
        envvar="PURPLE_STATE_DIR",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Where the running gateway has left its settings.",
    )
    @click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help=f"The kamailio.cfg to read, by default that of {SYSTEM_CONFIG}, else {KAMAILIO_CONFIG}.",
    )
    @wraps(command)
    def with_given(
        *args: Any, db_url: str | None, table: str | None, state_dir: Path | None, config: Path | None, **rest: Any
    ) -> None:
        command(*args, given=Given(db_url, table, state_dir, config), **rest)

    return with_given


def database_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which database; the command gets ``settings``."""

    @given_options
    @wraps(command)
    def with_settings(*args: Any, given: Given, **rest: Any) -> None:
        settings = resolve(given)
        with one_line_errors(settings.db_url):
            command(*args, settings=settings, **rest)

    return with_settings


def json_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)


@dataclass(frozen=True, slots=True)
class PasswordSource:
    """Where a password is to come from; never an argument, which every user of the machine could read."""

    stdin: bool
    file: Path | None

    @property
    def given(self) -> bool:
        return self.stdin or self.file is not None

    def read(self) -> str:
        """The password, from a prompt on a terminal if no option says where.

        Raises UsageError for none, and for one that is not UTF-8, whatever the locale.
        """
        try:
            password = self._line().rstrip("\r\n")
            password.encode()  # a terminal's octets may have become surrogates (PEP 383)
        except UnicodeError:
            raise click.UsageError(_NOT_UTF8) from None
        if not password:
            raise click.UsageError("the password is empty")
        return password

    def _line(self) -> str:
        if self.stdin and self.file:
            raise click.UsageError("--password-stdin and --password-file exclude each other")
        if self.file:
            with self.file.open("rb") as file:
                return _first_line(file)
        if self.stdin:
            return _first_line(click.get_binary_stream("stdin"))
        if not sys.stdin.isatty():
            raise click.UsageError("a password is needed: --password-stdin or --password-file")
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True))


def _first_line(stream: IO[bytes]) -> str:
    return stream.readline().partition(b"\r")[0].decode()


def password_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say where a password comes from; the command gets ``password``, a ``PasswordSource``."""

    @click.option("--password-stdin", is_flag=True, help="Read the password from the first line of stdin.")
    @click.option(
        "--password-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Read the password from the first line of a file.",
    )
    @wraps(command)
    def with_password(*args: Any, password_stdin: bool, password_file: Path | None, **rest: Any) -> None:
        command(*args, password=PasswordSource(password_stdin, password_file), **rest)

    return with_password


class SipUser(click.ParamType):
    """``sip:USER@DOMAIN`` as a ``SipAddress``; what else a URI may say does not name another user."""

    name = "sip:user@domain"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> SipAddress:
        try:
            address = SipAddress.parse(value)
        except BadRequest as error:
            self.fail(error.reason, param, ctx)
        if not address.user:
            self.fail(f"{value!r} has no user: write sip:USER@DOMAIN", param, ctx)
        return SipAddress(address.user, address.host)


# --- errors and output ------------------------------------------------------------------------------------


@contextmanager
def open_engine(settings: Settings, timeout: float = TIMEOUT) -> Iterator[Engine]:
    """An engine that is closed at the end of the command; ``timeout``: seconds that a statement may take."""
    engine = make_engine(settings.db_url, timeout=timeout)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def one_line_errors(db_url: str) -> Iterator[None]:
    """What the database refuses, as one line that names the database without its password."""
    logging.getLogger("purple_bridge").addHandler(logging.NullHandler())  # the line is enough
    try:
        yield
    except (SQLAlchemyError, DatabaseUnavailable) as error:
        raise click.ClickException(complaint(error, db_url)) from error


def complaint(error: SQLAlchemyError | DatabaseUnavailable, db_url: str) -> str:
    """What the database says, in a line without its password."""
    cause = error.__cause__ if isinstance(error, DatabaseUnavailable) else error
    # the driver's own words; SQLAlchemy's text adds the statement and a link
    # of PostgreSQL's without DETAIL, which shows the row that failed, with its password
    orig = getattr(cause, "orig", None)
    words = " ".join(str(getattr(getattr(orig, "diag", None), "message_primary", None) or orig or cause).split())
    return f"database {redacted(db_url)}: {words}{_advice(words)}"


def _advice(words: str) -> str:
    missing = ("no such table", "doesn't exist", "relation ", "unable to open database file")
    return " (see `purplectl db create`)" if any(text in words for text in missing) else ""


def print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2))


def print_done(as_json: bool, text: str, facts: Mapping[str, object], changed: bool = True) -> None:
    """What a command has done: a line for people, or ``{"changed": …}`` with ``facts`` for programs."""
    if as_json:
        print_json({"changed": changed, **facts})
    else:
        click.echo(text)


def on_one_line(text: str) -> str:
    """Text of strangers without what would be a line of its own or move a cursor: that is shown escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def is_terminal() -> bool:
    """Whether a person reads standard output. Colours go there alone, and rich honours NO_COLOR."""
    return sys.stdout.isatty()


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on a terminal; elsewhere one line for each row, its fields parted by tabs.

    Names come from strangers: what would be a line or field of its own, or move a cursor, is shown escaped.
    """
    rows = [[on_one_line(cell) for cell in row] for row in rows]
    if not is_terminal():
        for row in rows:
            click.echo("\t".join(row))
        return
    table = Table(*columns)
    for row in rows:
        table.add_row(*map(Text, row))  # Text: a name may hold what rich takes for markup
    Console().print(table)
