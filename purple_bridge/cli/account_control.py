"""``purplectl account enable|disable|reconnect``: whether an account may be online, and signing on anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any

import click

from purple_bridge import running
from purple_bridge.addresses import SipAddress
from purple_bridge.cli.account_arguments import Named, account_arguments, checked_name, found_account
from purple_bridge.cli.completion import complete_account, complete_protocol, complete_user
from purple_bridge.cli.options import (
    Settings,
    SipUser,
    database_options,
    json_option,
    on_one_line,
    open_engine,
    print_done,
    print_json,
)
from purple_bridge.db.provision import change_account
from purple_bridge.ownership import account_digest
from purple_bridge.running import Told

ENABLED = "enabled"  # the gateway's option (gateway_options.py, which needs libpurple)
LOOK_SECONDS = 0.3

State = dict[str, Any]  # one account, as a worker tells it


def tell_workers(settings: Settings, users: Iterable[str]) -> None:
    """Rows of these SIP users (SipAddress.key) are changed: a gateway that runs reads them now."""
    told = running.tell_rows(settings.state_dir, users)
    if told.failures:
        click.echo(f"purplectl: not every worker was told, it sees the change by itself ({told.failures[0]})", err=True)


# --- enable, disable --------------------------------------------------------------------------------------


@click.command("enable")
@account_arguments
@database_options
@json_option
def enable(settings: Settings, named: Named, as_json: bool) -> None:
    """Let an account be online again that was disabled."""
    _switch(settings, named, True, as_json)


@click.command("disable")
@account_arguments
@database_options
@json_option
def disable(settings: Settings, named: Named, as_json: bool) -> None:
    """Sign an account off, and keep it off until `enable`."""
    _switch(settings, named, False, as_json)


def _switch(settings: Settings, named: Named, enabled: bool, as_json: bool) -> None:
    changed = _set_enabled(settings, named, enabled)
    word = "enabled" if enabled else "disabled"
    words = word if changed else f"already {word}:"
    print_done(as_json, f"{words} {named} of {named.user.uri}", named.fields, changed)


def _set_enabled(settings: Settings, named: Named, enabled: bool) -> bool:
    """Whether that was a change."""
    with open_engine(settings) as engine:
        account = found_account(engine, settings, named)
        if account.error:
            raise click.ClickException(f"{account.error}: correct it first")
        if account.enabled is enabled:
            return False
        options = {name: value for name, value in account.options if name != ENABLED}
        change_account(
            engine, account, options=options if enabled else options | {ENABLED: False}, table=settings.table
        )
    tell_workers(settings, [named.user.key])
    return True


# --- reconnect --------------------------------------------------------------------------------------------


def _chosen(command: Callable[..., None]) -> Callable[..., None]:
    """USER PROTOCOL EXT_USER or --all; the command gets ``named``, None for all."""

    @click.argument("user", type=SipUser(), required=False, shell_complete=complete_user)
    @click.argument("protocol", required=False, shell_complete=complete_protocol)
    @click.argument("ext_user", required=False, shell_complete=complete_account)
    @click.option("--all", "everything", is_flag=True, help="Every account that is to be online.")
    @wraps(command)
    def with_named(
        *args: Any,
        user: SipAddress | None,
        protocol: str | None,
        ext_user: str | None,
        everything: bool,
        **rest: Any,
    ) -> None:
        if everything and user is None:
            return command(*args, named=None, **rest)
        if everything or user is None or protocol is None or ext_user is None:
            raise click.UsageError("which account? Give USER PROTOCOL EXT_USER, or --all")
        return command(*args, named=Named(user, protocol, checked_name(ext_user)), **rest)

    return with_named


@click.command("reconnect")
@_chosen
@click.option(
    "--timeout",
    type=click.FloatRange(1, 600),
    default=30.0,
    metavar="SECONDS",
    show_default=True,
    help="Wait so long until it is online.",
)
@click.option("--no-wait", is_flag=True, help="Do not wait.")
@database_options
@json_option
def reconnect(settings: Settings, named: Named | None, timeout: float, no_wait: bool, as_json: bool) -> None:
    """Sign an account off and on again, also one that had given up; say what happened."""
    if named is not None:
        _check_row(settings, named)
    chosen = _reconnect(settings, named)
    if not no_wait:
        chosen = _watch(settings, chosen, timeout, quiet=as_json)
    if as_json:
        print_json([_as_json(state) for state in chosen])
    else:
        _say(chosen, no_wait)
    if not no_wait and any(state["state"] != "online" for state in chosen):
        raise SystemExit(1)


def _check_row(settings: Settings, named: Named) -> None:
    with open_engine(settings) as engine:
        account = found_account(engine, settings, named)
    if not account.enabled:
        raise click.ClickException(f"{named} is disabled: `purplectl account enable` first")


def _reconnect(settings: Settings, named: Named | None) -> list[State]:
    """The accounts that sign on now. Raises ClickException where there is none, saying why."""
    told = running.reconnect(settings.state_dir, None if named is None else [(named.protocol, named.ext_user)])
    if told.failures:
        raise click.ClickException("; ".join(told.failures))
    if not told.runs:
        raise click.ClickException(f"no gateway answers in {settings.state_dir}: start it with `purplectl run`")
    known = [account for answer in told.answers.values() for account in answer["accounts"]]
    if named is not None and not any(account["wanted"] for account in known):
        raise click.ClickException(f"{named} stays offline: {_why(told, named)}")
    return known


def _why(told: Told, named: Named) -> str:
    connect_on = next(iter(told.answers.values()))["connect_on"]
    name = named.user.user
    reasons = {
        "publish": f"{name}'s phone does not publish presence",
        "register": f"{name}'s phone is not registered",
    }
    return reasons.get(connect_on, "the gateway has not read its row yet")


def _watch(settings: Settings, chosen: list[State], timeout: float, quiet: bool) -> list[State]:
    """The accounts as they are when each is online or has an error, or the time is over."""
    deadline, said = time.monotonic() + timeout, ""
    states = {_key(state): state for state in chosen}
    while True:
        now = {_key(state): state for state in running.states(settings.state_dir)}
        states = {key: now.get(key, before | {"state": "offline"}) for key, before in states.items()}
        waiting = [state for state in states.values() if state["state"] == "connecting"]
        if not waiting or time.monotonic() > deadline:
            return list(states.values())
        words = _progress(waiting, len(states))
        if words != said and not quiet:
            click.echo(words, err=True)
            said = words
        time.sleep(LOOK_SECONDS)


def _progress(waiting: list[State], count: int) -> str:
    if count == 1:
        return f"{_name(waiting[0])}: connecting"
    return f"{count - len(waiting)} of {count} done"


def _say(states: list[State], no_wait: bool) -> None:
    if no_wait:
        click.echo(f"{_accounts(len(states))} signing on")
        return
    online = [state for state in states if state["state"] == "online"]
    for line in _troubles(states):
        click.echo(f"purplectl: {line}", err=True)
    if len(states) == 1 and online:
        click.echo(f"{_name(online[0])} is online")
    elif len(states) != 1:
        click.echo(f"{len(online)} of {_accounts(len(states))} online")


def _troubles(states: list[State]) -> Iterator[str]:
    for state in states:
        if state["state"] == "error":
            yield f"{_name(state)}: {on_one_line(state['error'])}"
        elif state["state"] == "connecting":
            yield f"{_name(state)} is still connecting: see `purplectl status`"
        elif state["state"] == "offline":
            yield f"{_name(state)} is offline{': ' + state['error'] if state['error'] else ''}"


def _accounts(count: int) -> str:
    return f"{count} account{'' if count == 1 else 's'}"


def _name(state: State) -> str:
    return on_one_line(f"{state['protocol']} {state['ext_user']}")


def _key(state: State) -> bytes:
    return account_digest(state["protocol"], state["ext_user"])


def _as_json(state: State) -> dict[str, Any]:
    sip_users = [f"sip:{user}" for user in state["sip_users"]]
    return {
        "sip_users": sip_users,
        "protocol": state["protocol"],
        "ext_user": state["ext_user"],
        "state": state["state"],
        "last_error": state["error"],
    }
