"""``purplectl protocols``: the protocol plugins installed and the options an account on them can have."""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table

from purple_bridge.libpurple.plugins import Option, Protocol, list_protocols


@click.command("protocols")
@click.option("--json", "as_json", is_flag=True, help="Print the data as JSON.")
def protocols_command(as_json: bool) -> None:
    """List the protocol plugins found, with their account options."""
    found = list_protocols()
    if as_json:
        click.echo(json.dumps([asdict(protocol) for protocol in found], indent=2))
    else:
        Console().print(_table(found))


def _table(found: list[Protocol]) -> Table:
    table = Table("PROTOCOL", "NAME", "ACCOUNT OPTIONS (default)", show_lines=True)
    for protocol in found:
        table.add_row(protocol.id, protocol.name, "\n".join(_line(option) for option in protocol.options))
    return table


def _line(option: Option) -> str:
    choices = f": {' | '.join(option.choices)}" if option.choices else ""
    return f"{option.name} ({option.default}) {option.kind}{choices} - {option.text}"
