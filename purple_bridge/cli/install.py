"""``purplectl install`` and ``uninstall``: their options, and what they print. What is done is in installer/."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import click

from purple_bridge.cli.completion import script
from purple_bridge.cli.main import cli
from purple_bridge.cli.options import json_option, print_json
from purple_bridge.cli.run import run_command
from purple_bridge.installer.files import Step
from purple_bridge.installer.installation import HERE, Installation, Target
from purple_bridge.installer.layout import DEFAULT_PREFIX, DEFAULT_USER, option_line, shipped_config
from purple_bridge.installer.manual import command_page, config_page
from purple_bridge.installer.system import is_running

PROGRAM, PACKAGE = "purplectl", "kamailio-purple"
FILES = ("certificate", "private-key")
# shell -> where it looks for completions, below /usr/local
COMPLETIONS = {
    "bash": "share/bash-completion/completions/purplectl",
    "zsh": "share/zsh/site-functions/_purplectl",
    "fish": "share/fish/vendor_completions.d/purplectl.fish",
}

_prefix = click.option(
    "--prefix",
    type=click.Path(path_type=Path),
    default=DEFAULT_PREFIX,
    show_default=True,
    help="Directory of the configuration. Its last component names the service; another one makes a second gateway.",
)
_root = click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    default=HERE,
    help="Put the files below this directory, for an image: no user is made, and systemd is not told.",
)
_dry_run = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")


@click.command("install")
@_prefix
@click.option("--user", help=f"The system user that the service runs as. Default: {DEFAULT_USER}.")
@click.option("--listen", multiple=True, metavar="PROTOCOL:HOST:PORT", help="As for `purplectl run`; repeat for more.")
@click.option("--domain", multiple=True, metavar="DOMAIN", help="As for `purplectl run`; repeat for more.")
@click.option("--web", metavar="HOST:PORT", help="As for `purplectl run`.")
@click.option("--certificate", metavar="FILE", help="As for `purplectl run`.")
@click.option(
    "--private-key", metavar="FILE", help="As for `purplectl run`; the service's user must be able to read it."
)
@_root
@_dry_run
@json_option
def install_command(
    prefix: Path, user: str | None, root: Path, dry_run: bool, as_json: bool, **values: tuple[str, ...] | str | None
) -> None:
    """Put configuration, service, user, man pages and completions into this system; again after an upgrade.

    Needs root. What you have edited stays; if what is shipped has changed, it is put beside as NAME.new. Options that
    are not given keep what they were.
    """
    target = Target(root.absolute(), dry_run)
    target.check_rights()
    target.check_place()
    installation = Installation(target, prefix, user)
    options = installation.options({name.replace("_", "-"): _listed(value) for name, value in values.items()})
    _check(options)
    steps = installation.install(options, _pages(), version(PACKAGE))
    _print(steps, _next_steps(installation, options), as_json)


@click.command("uninstall")
@_prefix
@_root
@_dry_run
@json_option
def uninstall_command(prefix: Path, root: Path, dry_run: bool, as_json: bool) -> None:
    """Stop the service and remove what `purplectl install` has put into this system.

    Never the data, the user, this Python environment, or a file that you have edited.
    """
    target = Target(root.absolute(), dry_run)
    target.check_rights()
    installation = Installation(target, prefix)
    steps = installation.remove()
    _print(steps, [f"rm -r {installation.layout.state}    # the data, once nobody needs them any more"], as_json)


def _check(options: dict[str, list[str]]) -> None:
    """UsageError for what the service would refuse. Its files may not be there yet."""
    line = option_line({name: values for name, values in options.items() if name not in FILES})
    run_command.make_context("run", line.split())
    if any(word.startswith("tls:") for word in line.split()) and not all(options[name] for name in FILES):
        raise click.UsageError("a tls listener needs --certificate FILE and --private-key FILE")


def _listed(value: tuple[str, ...] | str | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value or ()


def _pages() -> dict[str, str]:
    """Man pages and completions: path below /usr/local -> text."""
    number = version(PACKAGE)
    return {
        "share/man/man8/purplectl.8": command_page(cli, PROGRAM, number),
        "share/man/man5/kamailio-purple.5": config_page(shipped_config(), number),
        **{path: script(shell, cli) for shell, path in COMPLETIONS.items()},
    }


def _next_steps(installation: Installation, options: dict[str, list[str]]) -> list[str]:
    name, state = installation.layout.name, installation.layout.state
    domain = next(iter(options["domain"]), "example.org")
    which = "" if installation.layout.prefix == DEFAULT_PREFIX else f" --state-dir {state}"
    if installation.exists:
        start = "restart" if is_running(installation.layout) else "enable --now"
        return [f"purplectl db upgrade{which}", f"systemctl {start} {name}", f"purplectl status{which}"]
    user = f"sip:alice@{domain}"
    return [
        f"systemctl enable --now {name}    # its log: journalctl -u {name}",
        f"purplectl user add{which} {user}    # asks for her SIP password",
        f"purplectl account add{which} {user} prpl-jabber alice@jabber.org    # then: purplectl status{which}",
    ]


def _print(steps: Sequence[Step], following: Sequence[str], as_json: bool) -> None:
    if as_json:
        print_json({"files": [{**asdict(step), "note": step.words} for step in steps], "next": list(following)})
        return
    for step in steps:
        note = f": {step.words}" if step.words else ""
        click.echo(f"{step.action:9}  {step.path}{note}")
    click.echo("Next:")
    for line in following:
        click.echo(f"  {line}")
