"""``purplectl status``: every account of the mapping, with what its worker says of it, and the metrics."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from purple_bridge import metrics
from purple_bridge.cli import figures
from purple_bridge.cli.options import (
    Settings,
    complaint,
    database_options,
    json_option,
    open_engine,
    print_json,
    print_table,
)
from purple_bridge.control_client import ask
from purple_bridge.db import queue
from purple_bridge.db.account import Account
from purple_bridge.db.mapping import DatabaseUnavailable, Mapping
from purple_bridge.encryption import in_words
from purple_bridge.ownership import account_digest

COLUMNS = ("SIP USER", "PROTOCOL", "ACCOUNT", "STATE", "SINCE", "WORKER", "RETRIES", "QUEUED", "SECURITY", "LAST ERROR")
FIELDS = ("sip_user", "protocol", "ext_user", "state", "since", "worker", "retries", "queued", "security", "last_error")

WATCH_SECONDS = 2.0

State = dict[str, Any]  # one account, as a worker tells it
Live = dict[str, State]  # by _key


@click.command("status")
@click.option("--metrics", "only_metrics", is_flag=True, help="Show all metrics instead of the accounts.")
@click.option("--watch", is_flag=True, help=f"Show it again every {WATCH_SECONDS:.0f} s, until Ctrl-C.")
@json_option
@database_options
def status_command(settings: Settings, as_json: bool, only_metrics: bool, watch: bool) -> None:
    """Show every account: state (online, connecting, offline, error), last error, since when, worker.

    On a terminal also what the gateway has done since its start, and how it fares.
    """
    show = _show_metrics if only_metrics else _show_accounts
    if not watch:
        show(settings, as_json)
        return
    if as_json or not sys.stdout.isatty():
        raise click.UsageError("--watch is for a terminal")
    try:
        while True:
            click.clear()
            show(settings, False)
            time.sleep(WATCH_SECONDS)
    except KeyboardInterrupt:
        return


def _show_metrics(settings: Settings, as_json: bool) -> None:
    found = metrics.gather(metrics.directory(settings.state_dir))
    if not found.processes:
        raise click.ClickException(f"no gateway runs in {settings.state_dir}")
    if as_json:
        print_json(figures.as_json(found))
    else:
        print_table(figures.COLUMNS, figures.as_rows(found))


def _show_accounts(settings: Settings, as_json: bool) -> None:
    sockets = sorted((settings.state_dir / "run").glob("worker-*.sock"))
    live, workers = _ask_workers(sockets)
    rows = _rows(settings, live)
    if not workers:
        click.echo(f"purplectl: no gateway answers in {settings.state_dir}; all accounts are offline", err=True)
    if as_json:
        print_json(rows)
    else:
        print_table(COLUMNS, [_line(row) for row in rows])
        if sys.stdout.isatty():
            _show_summary(settings.state_dir)


def _rows(settings: Settings, live: Live) -> list[dict[str, Any]]:
    """Every row of the mapping; without the database, what the workers know."""
    with open_engine(settings) as engine:
        mapping = Mapping(engine, settings.table, passwords=settings.passwords)
        try:
            accounts = list(mapping.all_accounts())
        except DatabaseUnavailable as error:
            if not live:
                raise
            words = complaint(error, settings.db_url)
            click.echo(f"purplectl: {words}; shown are the accounts that the workers know", err=True)
            return [_without_row(one, user) for one in live.values() for user in one["sip_users"]]
        waiting = _waiting(engine)
    return [_entry(row, live, waiting) for row in accounts]


def _waiting(engine: Engine) -> dict[str, int]:
    """How many messages have a row, by ``_key``: those of accounts that no worker has signed on yet, too."""
    try:
        return {one.account: one.count for one in queue.backlog(engine)}
    except SQLAlchemyError:  # tables of an earlier version
        return {}


def _show_summary(state_dir: Path) -> None:
    """Nothing, while no gateway runs."""
    found = metrics.gather(metrics.directory(state_dir))
    if not found.processes:
        return
    table = Table.grid(padding=(0, 2))
    for subject, words in figures.summary(found):
        table.add_row(subject, words)
    Console().print(table)


def _ask_workers(sockets: list[Path]) -> tuple[Live, int]:
    """What the workers say of their accounts, and how many of them answered."""
    live: Live = {}
    answered = 0
    for path in sockets:
        try:
            answer = ask(path, "status")
        except (OSError, ValueError):
            continue
        answered += 1
        live |= {_key(one["protocol"], one["ext_user"]): one for one in answer["accounts"]}
    return live, answered


def _key(protocol: str, ext_user: str) -> str:
    """Of an account, however its rows write it; as ``purple_queue.account`` has it."""
    return account_digest(protocol, ext_user).hex()


def _entry(row: Account, live: Live, waiting: dict[str, int]) -> dict[str, Any]:
    """One row of the mapping; without a worker's word for it, the account is offline.

    A worker counts what has no row as well, but nothing for an account that nobody has signed on since the start.
    """
    key = _key(row.protocol, row.ext_user)
    known = live.get(key, {})
    if not row.enabled:  # it may be online for another SIP user
        known = {**known, "state": "offline", "error": "disabled"}
    return {
        "sip_user": f"sip:{row.sip_user}",
        "protocol": row.protocol,
        "ext_user": row.ext_user,
        "state": known.get("state", "offline"),
        "last_error": known.get("error") or row.error or "",
        "since": known.get("since"),
        "worker": known.get("worker"),
        "retries": known.get("retries", 0),
        "queued": max(known.get("queued", 0), waiting.get(key, 0)),
        "security": in_words(row.protocol, dict(row.options), row.has_password, known.get("encryption", "")),
    }


def _without_row(known: State, user: str) -> dict[str, Any]:
    """An account as its worker tells it; of its options only what came of them is known."""
    seen = known["encryption"]
    return {
        "sip_user": f"sip:{user}",
        "protocol": known["protocol"],
        "ext_user": known["ext_user"],
        "state": known["state"],
        "last_error": known["error"],
        "since": known["since"],
        "worker": known["worker"],
        "retries": known["retries"],
        "queued": known["queued"],
        "security": in_words(known["protocol"], {}, has_password=False, seen=seen) if seen else "-",
    }


def _line(row: dict[str, Any]) -> list[str]:
    since = row["since"] and datetime.fromtimestamp(row["since"]).astimezone().isoformat(" ", "seconds")
    shown = {**row, "since": since or "-", "worker": row["worker"] or "-"}
    return [str(shown[field]) for field in FIELDS]
