"""``purplectl status``: every account of the mapping, with what the worker that owns it says of it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from purple_bridge.addresses import normalize_im_name
from purple_bridge.cli.options import Settings, database_options, json_option, open_engine, print_json, print_table
from purple_bridge.control_client import ask
from purple_bridge.db.account import Account
from purple_bridge.db.mapping import Mapping

COLUMNS = ("SIP USER", "PROTOCOL", "ACCOUNT", "STATE", "SINCE", "WORKER", "RETRIES", "QUEUED", "LAST ERROR")
FIELDS = ("sip_user", "protocol", "ext_user", "state", "since", "worker", "retries", "queued", "last_error")

Live = dict[tuple[str, str], dict[str, Any]]


@click.command("status")
@json_option
@database_options
def status_command(settings: Settings, as_json: bool) -> None:
    """Show every account: state (online, connecting, offline, error), last error, since when, worker."""
    sockets = sorted((settings.state_dir / "run").glob("worker-*.sock"))
    live, workers = _ask_workers(sockets)
    with open_engine(settings) as engine:
        rows = [_entry(row, live) for row in Mapping(engine, settings.table).all_accounts()]
    if not workers:
        click.echo(f"purplectl: no gateway answers in {settings.state_dir}; all accounts are offline", err=True)
    if as_json:
        print_json(rows)
    else:
        print_table(COLUMNS, [_line(row) for row in rows])


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
    }


def _line(row: dict[str, Any]) -> list[str]:
    since = row["since"] and datetime.fromtimestamp(row["since"]).astimezone().isoformat(" ", "seconds")
    shown = {**row, "since": since or "-", "worker": row["worker"] or "-"}
    return [str(shown[field]) for field in FIELDS]
