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

from purple_bridge import metrics
from purple_bridge.addresses import normalize_im_name
from purple_bridge.cli import figures
from purple_bridge.cli.options import Settings, database_options, json_option, open_engine, print_json, print_table
from purple_bridge.control_client import ask
from purple_bridge.db.account import Account
from purple_bridge.db.mapping import Mapping
from purple_bridge.encryption import in_words

COLUMNS = ("SIP USER", "PROTOCOL", "ACCOUNT", "STATE", "SINCE", "WORKER", "RETRIES", "QUEUED", "SECURITY", "LAST ERROR")
FIELDS = ("sip_user", "protocol", "ext_user", "state", "since", "worker", "retries", "queued", "security", "last_error")

WATCH_SECONDS = 2.0

Live = dict[tuple[str, str], dict[str, Any]]


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
    with open_engine(settings) as engine:
        mapping = Mapping(engine, settings.table, passwords=settings.passwords)
        rows = [_entry(row, live) for row in mapping.all_accounts()]
    if not workers:
        click.echo(f"purplectl: no gateway answers in {settings.state_dir}; all accounts are offline", err=True)
    if as_json:
        print_json(rows)
    else:
        print_table(COLUMNS, [_line(row) for row in rows])
        if sys.stdout.isatty():
            _show_summary(settings.state_dir)


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


def _key(protocol: str, ext_user: str) -> tuple[str, str]:
    return protocol, normalize_im_name(protocol, ext_user)


def _entry(row: Account, live: Live) -> dict[str, Any]:
    """One row of the mapping; without a worker's word for it, the account is offline."""
    known = live.get(_key(row.protocol, row.ext_user), {})
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
        "queued": known.get("queued", 0),
        "security": in_words(row.protocol, dict(row.options), row.has_password, known.get("encryption", "")),
    }


def _line(row: dict[str, Any]) -> list[str]:
    since = row["since"] and datetime.fromtimestamp(row["since"]).astimezone().isoformat(" ", "seconds")
    shown = {**row, "since": since or "-", "worker": row["worker"] or "-"}
    return [str(shown[field]) for field in FIELDS]
