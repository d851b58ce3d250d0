"""Owns how the commands name an account, and what they check of one before it becomes a row; prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click
from sqlalchemy import Engine

from purple_bridge.account_forms import LONGEST_NAME, LONGEST_PASSWORD
from purple_bridge.addresses import SipAddress, normalize_im_name
from purple_bridge.cli.completion import complete_account, complete_protocol, complete_user
from purple_bridge.cli.options import Settings, SipUser
from purple_bridge.db.account import Account, OptionValue
from purple_bridge.db.mapping import Mapping
from purple_bridge.errors import ConfigurationError

if TYPE_CHECKING:
    from purple_bridge.libpurple.plugins import Option, Protocol

GTALK = "gtalk"  # the old module's name for XMPP at Google


@dataclass(frozen=True, slots=True)
class ProtocolSource:
    """Where the commands get the protocol plugins from: the click context's ``obj``, else libpurple.

    ``protocols``: those with these ids, of all that are installed for none; the others are not loaded.
    """

    protocols: Callable[[Collection[str]], Sequence[Protocol]]


def pass_protocols(command: Callable[..., None]) -> Callable[..., None]:
    """The command gets ``source``, a ``ProtocolSource``."""

    @click.pass_obj
    @wraps(command)
    def with_source(given: object, *args: Any, **rest: Any) -> None:
        command(*args, source=given if isinstance(given, ProtocolSource) else ProtocolSource(_installed), **rest)

    return with_source


def _installed(allowed: Collection[str]) -> Sequence[Protocol]:
    try:
        from purple_bridge.libpurple.plugins import list_protocols  # noqa: PLC0415 - loads libpurple
    except OSError as error:
        raise ConfigurationError(f"libpurple cannot be loaded ({error}): apt-get install libpurple0") from error
    return list_protocols(allowed)


@dataclass(frozen=True, slots=True)
class Named:
    """The account a command names: whose, on which network, and the name there."""

    user: SipAddress
    protocol: str
    ext_user: str

    def __str__(self) -> str:
        return f"{self.protocol} {self.ext_user}"

    @property
    def fields(self) -> dict[str, str]:
        """As programs read it."""
        return {"sip_user": self.user.uri, "protocol": self.protocol, "ext_user": self.ext_user}


def account_arguments(command: Callable[..., None]) -> Callable[..., None]:
    """USER PROTOCOL EXT_USER; the command gets them as ``named``."""

    @click.argument("user", type=SipUser(), shell_complete=complete_user)
    @click.argument("protocol", shell_complete=complete_protocol)
    @click.argument("ext_user", shell_complete=complete_account)
    @wraps(command)
    def with_named(*args: Any, user: SipAddress, protocol: str, ext_user: str, **rest: Any) -> None:
        command(*args, named=Named(user, protocol, checked_name(ext_user)), **rest)

    return with_named


# --- checks -----------------------------------------------------------------------------------------------


def find_protocol(protocols: Sequence[Protocol], name: str, allowed: Collection[str] = ()) -> Protocol:
    """The plugin of ``ext_prot``; UsageError names those there are. ``allowed``: purple.protocols."""
    wanted = "prpl-jabber" if name == GTALK else name
    if allowed and wanted not in allowed:
        raise click.UsageError(
            f"purple.protocols does not allow {name!r}, only {', '.join(allowed)}: add it there and restart the gateway"
        )
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
    return name, convert_option(protocol, name, value)


def convert_option(protocol: Protocol, name: str, value: object) -> OptionValue:
    """The value of an option in the type that the plugin declares; UsageError says what is expected."""
    from purple_bridge.gateway_options import convert  # noqa: PLC0415 - loads libpurple

    declared = _declared(protocol)
    option = declared.get(name)
    if option is None:
        known = ", ".join(sorted(declared))
        raise click.UsageError(f"{protocol.id} has no option {name!r}; there are: {known}")
    try:
        return convert(option, value)
    except ValueError as error:
        raise click.UsageError(f"option {name}={value}: {error}") from None


def _declared(protocol: Protocol) -> dict[str, Option]:
    """By name: the plugin's options and the gateway's own."""
    from purple_bridge.gateway_options import GATEWAY_OPTIONS  # noqa: PLC0415 - loads libpurple

    return GATEWAY_OPTIONS | {option.name: option for option in protocol.options}


def checked_password(password: str) -> str:
    """UsageError for one that the table cannot hold."""
    if len(password) > LONGEST_PASSWORD:
        raise click.UsageError(f"the password is longer than {LONGEST_PASSWORD} characters")
    return password


def checked_name(ext_user: str) -> str:
    """A name on an IM network, without the white space around it; UsageError for what cannot be one."""
    name = ext_user.strip()
    if not name or not name.isprintable() or len(name) > LONGEST_NAME:
        raise click.UsageError(f"EXT_USER must be 1 to {LONGEST_NAME} printable characters")
    return name


# --- rows -------------------------------------------------------------------------------------------------


def find_account(engine: Engine, settings: Settings, named: Named) -> Account | None:
    """The row of the account, in whatever spelling of its name."""
    wanted = normalize_im_name(named.protocol, named.ext_user)
    mapping = Mapping(engine, settings.table, passwords=settings.passwords)
    for account in mapping.accounts_of(named.user.key):
        if account.protocol == named.protocol and normalize_im_name(named.protocol, account.ext_user) == wanted:
            return account
    return None


def found_account(engine: Engine, settings: Settings, named: Named) -> Account:
    """As ``find_account``; ClickException if there is none."""
    account = find_account(engine, settings, named)
    if account is None:
        raise click.ClickException(f"{named.user.uri} has no {named}: see `purplectl account list`")
    return account
