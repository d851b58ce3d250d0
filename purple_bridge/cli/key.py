"""``purplectl key``: the keys that the accounts' passwords are encrypted with; the file is for ``db/key_file.py``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Engine

from purple_bridge.cli.options import (
    Given,
    Settings,
    database_options,
    given_options,
    json_option,
    key_path,
    open_engine,
    print_done,
    print_json,
)
from purple_bridge.db import key_file
from purple_bridge.db.key_file import Keys
from purple_bridge.db.key_rows import Census, Wanted, census, rewrite
from purple_bridge.db.passwords import Passwords

PAGE_SECONDS = 60.0  # that one statement may take

_file_option = click.option(
    "--file",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The key file. Default: purple.key_file, else `key` in the state directory.",
)


@click.group("key")
def key_command() -> None:
    """Encrypt the passwords of IM accounts in the database, with a key in a file outside of it."""


@key_command.command("create")
@_file_option
@given_options
@json_option
def create(given: Given, file: Path | None, as_json: bool) -> None:
    """Make the key file: new passwords are encrypted from then on, plain ones can still be read.

    It is never overwritten. Without it the passwords are lost, so keep a copy; not where copies of the database are.
    """
    usual, state_dir = key_path(given)
    path = (file or usual).absolute()
    key = key_file.new_key()
    key_file.create(path, (key,), _owner(state_dir, path))
    print_done(as_json, f"{path}: made, key {key.id}", {"file": str(path), "key": key.id})
    if path != usual.absolute():
        click.echo(f"purplectl: tell the gateway: purple.key_file={path}", err=True)


def _owner(state_dir: Path, path: Path) -> tuple[int, int]:
    """The gateway's user, whom the state directory belongs to; else whom the file's directory belongs to."""
    found = next((place.stat() for place in (state_dir, path.parent) if place.is_dir()), None)
    return (found.st_uid, found.st_gid) if found else (os.geteuid(), os.getegid())


@key_command.command("rotate")
@_file_option
@database_options
@json_option
def rotate(settings: Settings, file: Path | None, as_json: bool) -> None:
    """Encrypt with a new key: all encrypted passwords are written anew, then keys that no row needs are removed.

    The gateway may run. One that was stopped before its end is taken up by the next one, which makes no key of its own.
    """
    path, passwords = _opened(settings, file)
    with open_engine(settings, PAGE_SECONDS) as engine:
        resumed = _is_unfinished(engine, settings, passwords)
        keys = key_file.read_keys(path) if resumed else key_file.put_in_front(path, key_file.new_key())
        first = keys[0].id
        written = _rewrite(engine, settings, passwords, lambda key: key not in (None, first))
        found = census(engine, passwords, settings.table)
        old = frozenset(key.id for key in keys[1:])
        needed = old & found.by_key.keys()
        key_file.remove(path, old - needed)
    facts = {"file": str(path), "key": first, "resumed": resumed, "written": written, "kept": sorted(needed)}
    print_done(as_json, f"{written} passwords written with key {first}, {len(old - needed)} old keys removed", facts)
    if needed:
        click.echo(
            f"purplectl: kept {', '.join(sorted(needed))}, which rows name that cannot be read: purplectl key status",
            err=True,
        )
    _say_plain(found)


def _is_unfinished(engine: Engine, settings: Settings, passwords: Passwords) -> bool:
    """An earlier rotation has left rows that need an older key and can be read."""
    older = {key.id for key in passwords.keys[1:]}
    if not older:
        return False
    found = census(engine, passwords, settings.table)
    return any(found.readable_by(key) for key in older)


@key_command.command("encrypt")
@_file_option
@database_options
@json_option
def encrypt(settings: Settings, file: Path | None, as_json: bool) -> None:
    """Encrypt the passwords that are still plain.

    The gateway may run.
    """
    path, passwords = _opened(settings, file)
    with open_engine(settings, PAGE_SECONDS) as engine:
        written = _rewrite(engine, settings, passwords, lambda key: key is None)
    facts = {"file": str(path), "key": passwords.keys[0].id, "written": written}
    print_done(as_json, f"{written} passwords encrypted with key {passwords.keys[0].id}", facts, written > 0)


@key_command.command("decrypt")
@_file_option
@database_options
@json_option
def decrypt(settings: Settings, file: Path | None, as_json: bool) -> None:
    """Write all passwords plain again, for the old module; the key file stays, so remove or rename it before."""
    path, passwords = _opened(settings, file)
    with open_engine(settings, PAGE_SECONDS) as engine:
        written = _rewrite(engine, settings, passwords, lambda key: key is not None, plain=True)
        found = census(engine, passwords, settings.table)
    print_done(as_json, f"{written} passwords written plain", {"file": str(path), "written": written}, written > 0)
    if found.unreadable:
        raise click.ClickException(f"{found.unreadable} passwords cannot be read: purplectl key status")


@key_command.command("status")
@_file_option
@database_options
@json_option
def status(settings: Settings, file: Path | None, as_json: bool) -> None:
    """How many passwords are plain, encrypted with which key, and cannot be read."""
    path = (file or settings.key_path).absolute()
    passwords = Passwords(path)
    keys = key_file.read_keys(path)
    with open_engine(settings, PAGE_SECONDS) as engine:
        found = census(engine, passwords, settings.table)
    if as_json:
        print_json(_facts(path, keys, found))
    else:
        _show(path, keys, found)


def _facts(path: Path, keys: Keys, found: Census) -> dict[str, Any]:
    known = {key.id for key in keys}
    return {
        "file": str(path) if keys else None,
        "keys": [{"id": key.id, "made": key.made, "passwords": found.by_key[key.id]} for key in keys],
        "unknown_keys": {key: count for key, count in sorted(found.by_key.items()) if key not in known},
        "plain": found.plain,
        "none": found.none,
        "unreadable": found.unreadable,
        "unreadable_rows": [{"id": number, "error": why} for number, why in found.named],
    }


def _show(path: Path, keys: Keys, found: Census) -> None:
    click.echo(f"key file\t{path if keys else f'none ({path})'}")
    for number, key in enumerate(keys):
        role = "encrypts" if number == 0 else "old"
        click.echo(f"key {key.id}\tof {key.made or 'an unknown day'}, {role}, {found.by_key[key.id]} passwords")
    for name in sorted(found.by_key.keys() - {key.id for key in keys}):
        click.echo(f"key {name}\tunknown here, {found.by_key[name]} passwords")
    click.echo(f"plain\t{found.plain}\nwithout password\t{found.none}\nunreadable\t{found.unreadable}")
    for row, why in found.named:
        click.echo(f"row {row}\t{why}")


# --- parts ------------------------------------------------------------------------------------------------


def _opened(settings: Settings, file: Path | None) -> tuple[Path, Passwords]:
    """The key file, which must be there. Raises ConfigurationError."""
    path = (file or settings.key_path).absolute()
    if not key_file.read_keys(path):
        raise click.ClickException(f"there is no key file {path}: see `purplectl key create`")
    return path, Passwords(path)


def _rewrite(engine: Engine, settings: Settings, passwords: Passwords, wanted: Wanted, *, plain: bool = False) -> int:
    return rewrite(engine, passwords, wanted, settings.table, plain=plain)


def _say_plain(found: Census) -> None:
    if found.plain:
        click.echo(f"purplectl: {found.plain} passwords are plain: purplectl key encrypt", err=True)
