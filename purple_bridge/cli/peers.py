"""``purplectl peer``: peers whose requests need no password; the statements are in ``purple_bridge.db.peers``."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import click

from purple_bridge.cli.options import (
    Settings,
    database_options,
    json_option,
    open_engine,
    print_done,
    print_json,
    print_table,
)
from purple_bridge.db import peers
from purple_bridge.db.peers import LONGEST_TAG, Peer
from purple_bridge.errors import ConfigurationError
from purple_bridge.launcher import rpc
from purple_bridge.launcher.state import StateDirectory

LOOPBACK_HINT = "every program on this machine could then be every user"


class Network(click.ParamType):
    """An IP address, or a network in the form ADDRESS/BITS."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return ipaddress.ip_network(value.strip("[]"))
        except ValueError as error:
            self.fail(f"{error}; write 192.0.2.10, 192.0.2.0/24 or 2001:db8::/64", param, ctx)


port_option = click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Only from this port. Default: any."
)


@click.group("peer")
def peer_command() -> None:
    """Trusted peers: SIP servers whose requests need no password (with `purplectl run --trusted`)."""


@peer_command.command("add")
@click.argument("address", type=Network())
@port_option
@click.option("--tag", default="", help="A word of your own.")
@database_options
@json_option
def add(settings: Settings, address: Any, port: int, tag: str, as_json: bool) -> None:
    """Trust what comes from this address: it may send for every user of the local domains."""
    if len(tag) > LONGEST_TAG or not tag.isprintable():
        raise click.UsageError(f"--tag: at most {LONGEST_TAG} characters, on one line")
    if address.prefixlen == 0:
        raise click.UsageError("that is everybody: name the addresses of your own servers")
    if address.is_loopback:
        click.echo(f"purplectl: {address} is loopback: {LOOPBACK_HINT}", err=True)
    with open_engine(settings) as engine:
        added = peers.add(engine, Peer(address, port, tag))
    _tell(settings)
    print_done(as_json, f"{'added' if added else 'kept'} {address}", {"address": str(address)}, added)


@peer_command.command("list")
@database_options
@json_option
def list_(settings: Settings, as_json: bool) -> None:
    """List the trusted peers."""
    with open_engine(settings) as engine:
        found = peers.peers(engine)
    if as_json:
        print_json([{"address": str(peer.network), "port": peer.port, "tag": peer.tag} for peer in found])
    else:
        print_table(
            ["address", "port", "tag"], [[str(peer.network), str(peer.port or "any"), peer.tag] for peer in found]
        )


@peer_command.command("remove")
@click.argument("address", type=Network())
@port_option
@database_options
@json_option
def remove(settings: Settings, address: Any, port: int, as_json: bool) -> None:
    """Trust it no more."""
    with open_engine(settings) as engine:
        removed = peers.remove(engine, Peer(address, port))
    if not removed:
        raise click.ClickException(f"there is no peer {address}: see `purplectl peer list`")
    _tell(settings)
    print_done(as_json, f"removed {address}", {"address": str(address)})


def _tell(settings: Settings) -> None:
    """A gateway that runs with --trusted reads the table again; another one has no such command."""
    found = StateDirectory(settings.state_dir).read_settings().get("rpc_socket", "")
    if not found or not Path(found).exists():
        return
    try:
        rpc.call(Path(found), "permissions.addressReload")
    except ConfigurationError as error:
        click.echo(f"purplectl: the running gateway does not know it yet ({error}): it needs `run --trusted`", err=True)
