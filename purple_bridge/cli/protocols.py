"""``purplectl protocols``: the protocol plugins installed and the options an account on them can have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from purple_bridge.cli.account_arguments import ProtocolSource, pass_protocols
from purple_bridge.cli.completion import complete_protocol
from purple_bridge.cli.options import allowed_protocols, is_terminal, json_option, on_one_line, print_json
from purple_bridge.gateway_options import GATEWAY_OPTIONS
from purple_bridge.libpurple.allowed import left_alone
from purple_bridge.libpurple.plugins import Option, Protocol


@click.command("protocols")
@click.argument("protocol", required=False, shell_complete=complete_protocol)
@json_option
@pass_protocols
def protocols_command(source: ProtocolSource, protocol: str | None, as_json: bool) -> None:
    """List the protocol plugins found, or one of them, with their account options.

    Options that every protocol has, such as typing, are the gateway's own and stand at the end. Plugins that
    purple.protocols does not allow are not loaded here either.
    """
    allowed = allowed_protocols()
    found = [one for one in source.protocols(allowed) if protocol in (None, one.id)]
    others = [name for name in left_alone() if protocol in (None, name)]
    if protocol and not found:
        raise click.ClickException(_why_not(protocol, others))
    if as_json:
        print_json([*({**asdict(one), "allowed": True} for one in found), *map(_not_allowed, others)])
    elif is_terminal():
        Console().print(_table(found))
    else:
        for line in _lines(found):
            click.echo(line)
    if others and not as_json:
        click.echo(f"purplectl: installed, but not allowed by purple.protocols: {', '.join(others)}", err=True)


def _why_not(protocol: str, others: Sequence[str]) -> str:
    if protocol in others:
        return f"purple.protocols does not allow {protocol}: add it there and restart the gateway"
    return f"there is no plugin {protocol}: see `purplectl protocols`"


def _not_allowed(identifier: str) -> dict[str, object]:
    """Of a plugin that is not loaded nothing is known but its id, which stands in its file."""
    return {"id": identifier, "name": "", "summary": "", "options": [], "allowed": False}


def _sections(found: Sequence[Protocol]) -> Iterator[tuple[str, str, Sequence[Option]]]:
    """What the first column says, a title, the options."""
    yield from ((protocol.id, protocol.name, protocol.options) for protocol in found)
    yield "", "every protocol", tuple(GATEWAY_OPTIONS.values())


def _lines(found: Sequence[Protocol]) -> Iterator[str]:
    """For programs: protocol, option, type, default, description; parted by tabs."""
    for identifier, _title, options in _sections(found):
        for option in options:
            cells = (identifier or "*", option.name, _kind(option), _default(option), option.text)
            yield "\t".join(map(on_one_line, cells))
        if identifier and not options:
            yield f"{identifier}\t\t\t\t"


def _table(found: Sequence[Protocol]) -> Table:
    """Three narrow columns that fit into 80: a section for each protocol, a row for each option."""
    table = Table("OPTION", "VALUE (default)", "MEANING", show_edge=False, pad_edge=False)
    for identifier, title, options in _sections(found):
        table.add_row(Text(identifier or "*", "bold"), Text(""), Text(title, "bold"))
        for option in options:
            value = f"{_kind(option)} ({on_one_line(_default(option))})" if _default(option) else _kind(option)
            table.add_row(Text(f"  {option.name}"), Text(value), Text(on_one_line(option.text)))
        table.add_section()
    return table


def _kind(option: Option) -> str:
    if option.choices:
        return " | ".join(option.choices)
    return {"bool": "true | false", "int": "number"}.get(option.kind, "text")


def _default(option: Option) -> str:
    """As `account add --option` takes it; "" for none."""
    return str(option.default).lower() if isinstance(option.default, bool) else str(option.default)
