"""``purplectl account``: rows of the mapping, checked against what the protocol plugins declare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from purple_bridge.addresses import SipAddress
from purple_bridge.cli.account_arguments import (
    Named,
    ProtocolSource,
    account_arguments,
    checked_password,
    find_account,
    find_protocol,
    found_account,
    parse_options,
    pass_protocols,
)
from purple_bridge.cli.account_control import disable, enable, reconnect, tell_workers
from purple_bridge.cli.completion import complete_user
from purple_bridge.cli.options import (
    PasswordSource,
    Settings,
    SipUser,
    database_options,
    json_option,
    open_engine,
    password_options,
    print_done,
    print_json,
    print_table,
)
from purple_bridge.cli.trial import test_command
from purple_bridge.db.account import Account, OptionValue
from purple_bridge.db.mapping import Mapping
from purple_bridge.db.provision import add_account, change_account, remove_account

if TYPE_CHECKING:
    from purple_bridge.libpurple.plugins import Protocol


@click.group("account")
def account_command() -> None:
    """Add, list, change, remove and test the IM accounts of SIP users; switch them off and on."""


for _command in (test_command, enable, disable, reconnect):
    account_command.add_command(_command)


_option = click.option(
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="An account option: one that `purplectl protocols` lists, typing=false or enabled=false.",
)


@account_command.command("add")
@account_arguments
@_option
@click.option("--no-password", is_flag=True, help="The account has none.")
@password_options
@database_options
@json_option
@pass_protocols
def add(
    source: ProtocolSource,
    settings: Settings,
    named: Named,
    options: tuple[str, ...],
    no_password: bool,
    password: PasswordSource,
    as_json: bool,
) -> None:
    """Give a SIP user an account on an IM network."""
    values = parse_options(_allowed(source, settings, named), options)
    secret = None if no_password else checked_password(password.read())
    with open_engine(settings) as engine:
        if find_account(engine, settings, named):
            raise click.ClickException(f"{named.user.uri} has {named} already: use `purplectl account set`")
        row = (named.user, named.protocol, named.ext_user, secret, values)
        add_account(engine, *row, settings.table, settings.passwords)
    tell_workers(settings, [named.user.key])
    print_done(as_json, f"added {named} for {named.user.uri}", named.fields)


@account_command.command("set")
@account_arguments
@_option
@click.option("--unset", multiple=True, metavar="NAME", help="Back to the plugin's default.")
@password_options
@database_options
@json_option
@pass_protocols
def set_(
    source: ProtocolSource,
    settings: Settings,
    named: Named,
    options: tuple[str, ...],
    unset: tuple[str, ...],
    password: PasswordSource,
    as_json: bool,
) -> None:
    """Change the options or the password of an account."""
    values = parse_options(_allowed(source, settings, named), options)
    secret = checked_password(password.read()) if password.given else None
    if not (values or unset or secret):
        raise click.UsageError("nothing to change: --option, --unset, --password-stdin or --password-file")
    with open_engine(settings) as engine:
        account = found_account(engine, settings, named)
        merged = _without(account, unset) | values if values or unset else None
        table, passwords = settings.table, settings.passwords
        change_account(engine, account, password=secret, options=merged, table=table, passwords=passwords)
    tell_workers(settings, [named.user.key])
    print_done(as_json, f"changed {named} of {named.user.uri}", named.fields)


@account_command.command("remove")
@account_arguments
@database_options
@json_option
def remove(settings: Settings, named: Named, as_json: bool) -> None:
    """Take an account away from a SIP user."""
    with open_engine(settings) as engine:
        remove_account(engine, found_account(engine, settings, named).id, settings.table)
    tell_workers(settings, [named.user.key])
    print_done(as_json, f"removed {named} of {named.user.uri}", named.fields)


@account_command.command("list")
@click.argument("user", type=SipUser(), required=False, shell_complete=complete_user)
@database_options
@json_option
def list_(settings: Settings, user: SipAddress | None, as_json: bool) -> None:
    """List the accounts, of one SIP user or of all; passwords are not shown."""
    with open_engine(settings) as engine:
        mapping = Mapping(engine, settings.table, passwords=settings.passwords)
        accounts = list(mapping.accounts_of(user.key) if user else mapping.all_accounts())
    if as_json:
        print_json([_as_json(account) for account in accounts])
        return
    columns = ["SIP user", "protocol", "account", "password", "options", "error"]
    print_table(columns, [_as_row(account) for account in accounts])


def _allowed(source: ProtocolSource, settings: Settings, named: Named) -> Protocol:
    """The account's plugin. Raises UsageError."""
    return find_protocol(source.protocols(settings.protocols), named.protocol, settings.protocols)


def _without(account: Account, unset: Sequence[str]) -> dict[str, OptionValue]:
    options = dict(account.options)
    for name in unset:
        if name not in options:
            raise click.ClickException(f"--unset {name}: set are: {', '.join(options) or 'none'}")
        del options[name]
    return options


def _as_json(account: Account) -> dict[str, object]:
    return {
        "id": account.id,
        "sip_user": f"sip:{account.sip_user}",
        "protocol": account.protocol,
        "ext_user": account.ext_user,
        "password": _password(account),
        "options": dict(account.options),
        "error": account.error,
    }


def _password(account: Account) -> str:
    """In a word."""
    if account.unreadable:
        return "unreadable"
    return "none" if account.password is None else "set"


def _as_row(account: Account) -> list[str]:
    values = _as_json(account)
    options = " ".join(f"{name}={value}" for name, value in account.options)
    return [str(values[name]) for name in ("sip_user", "protocol", "ext_user", "password")] + [
        options,
        account.error or "",
    ]
