"""``purplectl account``: rows of the mapping, checked against what the protocol plugins declare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click
from sqlalchemy import Engine

from purple_bridge.addresses import SipAddress, normalize_im_name
from purple_bridge.cli.options import (
    PasswordSource,
    Settings,
    SipUser,
    database_options,
    json_option,
    open_engine,
    password_options,
    print_json,
    print_table,
)
from purple_bridge.db.account import Account, OptionValue
from purple_bridge.db.mapping import Mapping
from purple_bridge.db.provision import add_account, change_account, remove_account
from purple_bridge.errors import ConfigurationError

if TYPE_CHECKING:
    from purple_bridge.libpurple.plugins import Option, Protocol

GTALK = "gtalk"  # the old module's name for XMPP at Google
# the widths of the columns in sql/
LONGEST_NAME = 128
LONGEST_PASSWORD = 255


@dataclass(frozen=True, slots=True)
class ProtocolSource:
    """Where the commands get the protocol plugins from: the click context's ``obj``, else libpurple."""

    protocols: Callable[[], Sequence[Protocol]]


def _installed() -> Sequence[Protocol]:
    try:
        from purple_bridge.libpurple.plugins import list_protocols  # noqa: PLC0415 - loads libpurple
    except OSError as error:
        raise ConfigurationError(f"libpurple cannot be loaded ({error}): apt-get install libpurple0") from error
    return list_protocols()


@click.group("account")
@click.pass_context
def account_command(context: click.Context) -> None:
    """Add, list, change and remove the IM accounts of SIP users."""
    if context.obj is None:
        context.obj = ProtocolSource(_installed)


@dataclass(frozen=True, slots=True)
class Named:
    """The account a command names: whose, on which network, and the name there."""

    user: SipAddress
    protocol: str
    ext_user: str

    def __str__(self) -> str:
        return f"{self.protocol} {self.ext_user}"


def _account_arguments(command: Callable[..., None]) -> Callable[..., None]:
    """USER PROTOCOL EXT_USER; the command gets them as ``named``."""

    @click.argument("user", type=SipUser())
    @click.argument("protocol")
    @click.argument("ext_user")
    @wraps(command)
    def with_named(*args: Any, user: SipAddress, protocol: str, ext_user: str, **rest: Any) -> None:
        command(*args, named=Named(user, protocol, _checked_name(ext_user)), **rest)

    return with_named


_option = click.option(
    "--option",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="An account option: one that `purplectl protocols` lists, or typing=false.",
)


@account_command.command("add")
@_account_arguments
@_option
@click.option("--no-password", is_flag=True, help="The account has none.")
@password_options
@database_options
@click.pass_obj
def add(
    source: ProtocolSource,
    settings: Settings,
    named: Named,
    options: tuple[str, ...],
    no_password: bool,
    password: PasswordSource,
) -> None:
    """Give a SIP user an account on an IM network."""
    values = parse_options(find_protocol(source.protocols(), named.protocol), options)
    secret = None if no_password else _short(password.read())
    with open_engine(settings) as engine:
        if _find(engine, settings, named):
            raise click.ClickException(f"{named.user.uri} has {named} already: use `purplectl account set`")
        add_account(engine, named.user, named.protocol, named.ext_user, secret, values, settings.table)
    click.echo(f"added {named} for {named.user.uri}")


@account_command.command("set")
@_account_arguments
@_option
@click.option("--unset", multiple=True, metavar="NAME", help="Back to the plugin's default.")
@password_options
@database_options
@click.pass_obj
def set_(
    source: ProtocolSource,
    settings: Settings,
    named: Named,
    options: tuple[str, ...],
    unset: tuple[str, ...],
    password: PasswordSource,
) -> None:
    """Change the options or the password of an account."""
    values = parse_options(find_protocol(source.protocols(), named.protocol), options)
    secret = _short(password.read()) if password.given else None
    if not (values or unset or secret):
        raise click.UsageError("nothing to change: --option, --unset, --password-stdin or --password-file")
    with open_engine(settings) as engine:
        account = _found(engine, settings, named)
        merged = _without(account, unset) | values if values or unset else None
        change_account(engine, account.id, password=secret, options=merged, table=settings.table)
    click.echo(f"changed {named} of {named.user.uri}")


@account_command.command("remove")
@_account_arguments
@database_options
def remove(settings: Settings, named: Named) -> None:
    """Take an account away from a SIP user."""
    with open_engine(settings) as engine:
        remove_account(engine, _found(engine, settings, named).id, settings.table)
    click.echo(f"removed {named} of {named.user.uri}")


@account_command.command("list")
@click.argument("user", type=SipUser(), required=False)
@database_options
@json_option
def list_(settings: Settings, user: SipAddress | None, as_json: bool) -> None:
    """List the accounts, of one SIP user or of all; passwords are not shown."""
    with open_engine(settings) as engine:
        mapping = Mapping(engine, settings.table)
        accounts = list(mapping.accounts_of(user.key) if user else mapping.all_accounts())
    if as_json:
        print_json([_as_json(account) for account in accounts])
        return
    columns = ["SIP user", "protocol", "account", "password", "options", "error"]
    print_table(columns, [_as_row(account) for account in accounts])


def find_protocol(protocols: Sequence[Protocol], name: str) -> Protocol:
    """The plugin of ``ext_prot``; UsageError names those there are."""
    wanted = "prpl-jabber" if name == GTALK else name
    for protocol in protocols:
        if protocol.id == wanted:
            return protocol
    known = ", ".join(sorted(protocol.id for protocol in protocols))
    raise click.UsageError(f"no protocol {name!r}; there are: {known}, {GTALK}")


def parse_options(protocol: Protocol, texts: Sequence[str]) -> dict[str, OptionValue]:
    """``NAME=VALUE`` in the types that are declared; UsageError names what is allowed."""
    return dict(_parse_option(protocol, text) for text in texts)


def _parse_option(protocol: Protocol, text: str) -> tuple[str, OptionValue]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.UsageError(f"--option {text}: write NAME=VALUE")
    declared = _declared(protocol)
    option = declared.get(name)
    if option is None:
        known = ", ".join(sorted(declared))
        raise click.UsageError(f"{protocol.id} has no option {name!r}; there are: {known}")
    return name, _convert(option, value)


def _declared(protocol: Protocol) -> dict[str, Option]:
    """By name: the plugin's options and the gateway's own."""
    from purple_bridge.gateway_options import GATEWAY_OPTIONS  # noqa: PLC0415 - loads libpurple

    return GATEWAY_OPTIONS | {option.name: option for option in protocol.options}


def _convert(option: Option, value: str) -> OptionValue:
    from purple_bridge.libpurple.plugins import convert  # noqa: PLC0415 - loads libpurple

    try:
        return convert(option, value)
    except ValueError as error:
        raise click.UsageError(f"--option {option.name}={value}: {error}") from None


def _short(password: str) -> str:
    if len(password) > LONGEST_PASSWORD:
        raise click.UsageError(f"the password is longer than {LONGEST_PASSWORD} characters")
    return password


def _checked_name(ext_user: str) -> str:
    name = ext_user.strip()
    if not name or not name.isprintable() or len(name) > LONGEST_NAME:
        raise click.UsageError(f"EXT_USER must be 1 to {LONGEST_NAME} printable characters")
    return name


def _find(engine: Engine, settings: Settings, named: Named) -> Account | None:
    wanted = normalize_im_name(named.protocol, named.ext_user)
    for account in Mapping(engine, settings.table).accounts_of(named.user.key):
        if account.protocol == named.protocol and normalize_im_name(named.protocol, account.ext_user) == wanted:
            return account
    return None


def _found(engine: Engine, settings: Settings, named: Named) -> Account:
    account = _find(engine, settings, named)
    if account is None:
        raise click.ClickException(f"{named.user.uri} has no {named}: see `purplectl account list`")
    return account


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
        "password": "none" if account.password is None else "set",
        "options": dict(account.options),
        "error": account.error,
    }


def _as_row(account: Account) -> list[str]:
    values = _as_json(account)
    options = " ".join(f"{name}={value}" for name, value in account.options)
    return [str(values[name]) for name in ("sip_user", "protocol", "ext_user", "password")] + [
        options,
        account.error or "",
    ]
