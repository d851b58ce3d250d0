"""The ``purplectl`` entry point: joins the command groups and is the error boundary of all of them."""

from __future__ import annotations

import importlib
import os
import sys

import click

from purple_bridge.errors import ConfigurationError

# command -> module that defines it under the same name; imported on use, so that `purplectl --help` stays quick
COMMANDS = {
    "run": "purple_bridge.cli.run",
    "check": "purple_bridge.cli.check",
    "db": "purple_bridge.cli.database",
    "user": "purple_bridge.cli.users",
    "peer": "purple_bridge.cli.peers",
    "account": "purple_bridge.cli.accounts",
    "key": "purple_bridge.cli.key",
    "export": "purple_bridge.cli.transfer",
    "import": "purple_bridge.cli.transfer",
    "queue": "purple_bridge.cli.queue",
    "contacts": "purple_bridge.cli.contacts",
    "status": "purple_bridge.cli.status",
    "logs": "purple_bridge.cli.logs",
    "protocols": "purple_bridge.cli.protocols",
    "completion": "purple_bridge.cli.completion",
    "install": "purple_bridge.cli.install",
    "uninstall": "purple_bridge.cli.install",
}


class LazyGroup(click.Group):
    """A group whose commands live in modules that are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = getattr(importlib.import_module(module), f"{cmd_name}_command")
        return command


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="kamailio-purple", prog_name="purplectl")
def cli() -> None:
    """Run and provision the SIP to instant messaging gateway."""


def main(args: list[str] | None = None) -> None:
    """Exit 0 done, 1 failed, 2 wrong usage; an error is one line on stderr."""
    if "_PURPLECTL_COMPLETE" in os.environ:
        importlib.import_module("purple_bridge.cli.completion").set_up()
    try:
        status = cli.main(args=args, prog_name="purplectl", standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except click.UsageError as error:
        hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        click.echo(f"purplectl: {error.format_message()}{hint}", err=True)
        sys.exit(2)
    except click.Abort:
        click.echo("purplectl: interrupted", err=True)
        sys.exit(1)
    except (click.ClickException, ConfigurationError) as error:
        text = error.format_message() if isinstance(error, click.ClickException) else str(error)
        click.echo(f"purplectl: {text}", err=True)
        sys.exit(1)
    except BrokenPipeError:  # the reader of the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        click.echo(f"purplectl: {place}{error.strerror or error}", err=True)
        sys.exit(1)
