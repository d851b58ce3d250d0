"""``purplectl user``: SIP users, their digest credentials; the statements are in ``purple_bridge.db.subscribers``."""

from __future__ import annotations

import click

from purple_bridge.addresses import SipAddress
from purple_bridge.cli.account_control import tell_workers
from purple_bridge.cli.completion import complete_sip_user
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
from purple_bridge.db import subscribers
from purple_bridge.db.tables import subscriber


@click.group("user")
def user_command() -> None:
    """Add, list and remove SIP users, and change their passwords."""


@user_command.command("add")
@click.argument("user", type=SipUser())
@click.option("--if-missing", is_flag=True, help="An existing user is left as it is, and no error.")
@password_options
@database_options
@json_option
def add(settings: Settings, user: SipAddress, if_missing: bool, password: PasswordSource, as_json: bool) -> None:
    """Add a SIP user, who may then register."""
    _check_lengths(user)
    secret = password.read()
    with open_engine(settings) as engine:
        added = subscribers.add_user(engine, user, secret)
    if not added and not if_missing:
        raise click.ClickException(f"{user.uri} exists already: use `purplectl user passwd` for a new password")
    print_done(as_json, f"{'added' if added else 'kept'} {user.uri}", {"sip_user": user.uri}, added)


@user_command.command("list")
@database_options
@json_option
def list_(settings: Settings, as_json: bool) -> None:
    """List the SIP users."""
    with open_engine(settings) as engine:
        users = subscribers.list_users(engine)
    if as_json:
        print_json(users)
    else:
        print_table(["SIP user"], [[user] for user in users])


@user_command.command("remove")
@click.argument("user", type=SipUser(), shell_complete=complete_sip_user)
@database_options
@json_option
def remove(settings: Settings, user: SipAddress, as_json: bool) -> None:
    """Remove a SIP user; rows of the mapping stay (see `purplectl account remove`)."""
    with open_engine(settings) as engine:
        removed = subscribers.remove_user(engine, user)
    tell_workers(settings, [user.key])  # the routes remember who has proved himself
    _print_done(removed, "removed", user, as_json)


@user_command.command("passwd")
@click.argument("user", type=SipUser(), shell_complete=complete_sip_user)
@password_options
@database_options
@json_option
def passwd(settings: Settings, user: SipAddress, password: PasswordSource, as_json: bool) -> None:
    """Change a SIP user's password."""
    secret = password.read()
    with open_engine(settings) as engine:
        changed = subscribers.set_password(engine, user, secret)
    tell_workers(settings, [user.key])
    _print_done(changed, "changed the password of", user, as_json)


def _print_done(done: bool, what: str, user: SipAddress, as_json: bool) -> None:
    if not done:
        raise click.ClickException(f"there is no user {user.uri}: see `purplectl user list`")
    print_done(as_json, f"{what} {user.uri}", {"sip_user": user.uri})


def _check_lengths(user: SipAddress) -> None:
    for text, column in ((user.user, subscriber.c.username), (user.host, subscriber.c.domain)):
        longest = column.type.length  # type: ignore[attr-defined]
        if len(text) > longest:
            raise click.UsageError(f"{column.name} is longer than {longest} characters")
