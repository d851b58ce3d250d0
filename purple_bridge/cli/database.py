"""``purplectl db``: makes and upgrades the tables; the work is done by ``purple_bridge.db.schema``."""

from __future__ import annotations

import dataclasses
import sys

import click

from purple_bridge.cli.options import Settings, database_options, json_option, print_json
from purple_bridge.db.schema import Progress, SchemaReport, create_all, upgrade
from purple_bridge.db.urls import redacted


@click.group("db")
def db_command() -> None:
    """Make and upgrade the tables, Kamailio's own and the gateway's."""


@db_command.command("create")
@database_options
@json_option
def create(settings: Settings, as_json: bool) -> None:
    """Create the tables that are missing; the others are left alone."""
    report = create_all(settings.db_url, settings.table, _progress(as_json))
    if any(warning.startswith(f"{settings.table} ") for warning in report.warnings):
        report.warnings.append("run `purplectl db upgrade` for the new columns of the mapping")
    _print(report, settings, as_json)


@db_command.command("upgrade")
@database_options
@json_option
def upgrade_(settings: Settings, as_json: bool) -> None:
    """Add to an existing mapping table what it lacks; its rows stay."""
    _print(upgrade(settings.db_url, settings.table, _progress(as_json)), settings, as_json)


def _progress(as_json: bool) -> Progress:
    """A line for each table as it is done; with JSON, which is for programs, on a terminal's stderr alone."""
    if not as_json:
        return click.echo
    return (lambda line: click.echo(line, err=True)) if sys.stderr.isatty() else (lambda _line: None)


def _print(report: SchemaReport, settings: Settings, as_json: bool) -> None:
    database = redacted(settings.db_url)  # it may have been named by what a gateway has saved
    if as_json:
        print_json({"database": database, **dataclasses.asdict(report)})
        return
    for warning in report.warnings:
        click.echo(f"warning: {warning}", err=True)
    changed = f", {len(report.changed)} changes" if report.changed else ""
    click.echo(f"{database}: {len(report.created)} tables created, {len(report.kept)} kept{changed}")
