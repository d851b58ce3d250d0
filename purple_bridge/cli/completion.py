"""Owns what a shell is told when it completes a word: values from the database and libpurple, or silently nothing.

click's own machinery completes commands and options; the functions here complete arguments.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)
from sqlalchemy import Engine

from purple_bridge.addresses import SipAddress
from purple_bridge.cli.options import Given, allowed_protocols, resolve
from purple_bridge.db import subscribers
from purple_bridge.db.account import Account
from purple_bridge.db.engine import make_engine
from purple_bridge.db.mapping import Mapping

PROGRAM = "purplectl"
COMPLETION_VARIABLE = "_PURPLECTL_COMPLETE"
SECONDS = 0.5  # that a person waits for a database without wondering
PATIENCE = 1.5  # seconds for everything
MOST = 200  # words
# a word is put on the command line as it is, and whoever may name an account may be no friend of who completes it
_HARMLESS = re.compile(r"[\w+./][\w@:%+./=,~-]*")

BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' line kind value
    COMPREPLY=()
    while IFS=, read -r kind value; do
        case $kind in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("$value") ;;
        esac
    done < <(COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


class Bash(BashComplete):
    """click's own, but for addresses: bash takes a word apart at ``:``, ``@`` and ``=`` (COMP_WORDBREAKS)."""

    source_template = BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)
        self._word = "" if line[-1:].isspace() else words.pop()
        return words[1:], self._word

    def format_completion(self, item: CompletionItem) -> str:
        """Without what bash takes for words before this one."""
        breaks = set(os.environ.get("COMP_WORDBREAKS", "")) & set(self._word) - set("'\"")
        kept = max((self._word.rindex(char) + 1 for char in breaks), default=0)
        return f"{item.type},{item.value[kept:]}"


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print a script that makes a shell complete the words of purplectl.

    For one shell: eval "$(purplectl completion bash)". For all users:
    purplectl completion bash > /etc/bash_completion.d/purplectl
    """
    click.echo(script(shell, click.get_current_context().find_root().command))


def script(shell: str, root: click.Command) -> str:
    """The text for one of the shells; ``root``: the command of all commands."""
    made = Bash if shell == "bash" else get_completion_class(shell)
    if made is None:
        raise click.ClickException(f"no completion for {shell}: bash, zsh or fish")
    # not source(): that asks the shell for its version, which need not be installed where the script is made
    completer = made(root, {}, PROGRAM, COMPLETION_VARIABLE)
    return completer.source_template % completer.source_vars()


def set_up() -> None:
    """Before click looks whether a shell asks. The process ends in time, whatever a driver of a database waits for."""
    add_completion_class(Bash)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)


def _quiet(find: Callable[[click.Context, str], Iterable[str]]) -> Complete:
    """No error and no line of a log may reach the prompt."""

    def complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        logging.disable()
        try:
            found = {word for word in find(context, incomplete) if word.startswith(incomplete)}
        except Exception:
            return []
        return [CompletionItem(word) for word in sorted(filter(_HARMLESS.fullmatch, found))[:MOST]]

    return complete


@contextlib.contextmanager
def _database(context: click.Context) -> Iterator[tuple[Engine, str]]:
    """The database that the words so far, the environment and the files mean, and the mapping table's name."""
    words = context.params
    given = Given(
        words.get("db_url") or os.environ.get("PURPLE_DB_URL"),
        words.get("table"),
        _path(words.get("state_dir") or os.environ.get("PURPLE_STATE_DIR")),
        _path(words.get("config")),
    )
    settings = resolve(given)
    engine = make_engine(settings.db_url, timeout=SECONDS)
    try:
        yield engine, settings.table
    finally:
        engine.dispose()


def _path(value: Any) -> Path | None:
    return Path(value) if value else None


def _users(context: click.Context, _incomplete: str) -> list[str]:
    with _database(context) as (engine, _table):
        return subscribers.list_users(engine)


def _users_with_accounts(context: click.Context, incomplete: str) -> list[str]:
    with _database(context) as (engine, table):
        mapped = {f"sip:{account.sip_user}" for account in _in_time(Mapping(engine, table).all_accounts())}
    with contextlib.suppress(Exception):  # a site may keep its SIP users elsewhere
        mapped |= set(_users(context, incomplete))
    return list(mapped)


def _protocols(_context: click.Context, _incomplete: str) -> list[str]:
    from purple_bridge.libpurple.plugins import list_protocols  # noqa: PLC0415 - loads libpurple

    return [protocol.id for protocol in list_protocols(allowed_protocols())] + ["gtalk"]


def _accounts(context: click.Context, _incomplete: str) -> list[str]:
    """Of the user and the protocol that stand before, where they do."""
    user, protocol = context.params.get("user"), context.params.get("protocol")
    with _database(context) as (engine, table):
        mapping = Mapping(engine, table)
        rows = mapping.accounts_of(user.key) if isinstance(user, SipAddress) else _in_time(mapping.all_accounts())
        return [row.ext_user for row in rows if protocol in (None, row.protocol)]


def _in_time(rows: Iterable[Account]) -> Iterator[Account]:
    """As many as can be read while somebody waits."""
    end = time.monotonic() + SECONDS
    return itertools.takewhile(lambda _row: time.monotonic() < end, rows)


complete_sip_user = _quiet(_users)
complete_user = _quiet(_users_with_accounts)
complete_protocol = _quiet(_protocols)
complete_account = _quiet(_accounts)
