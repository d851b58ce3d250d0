"""``purplectl check``: what is wrong with this installation, in words."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import click

from purple_bridge.cli.options import json_option, print_json
from purple_bridge.db.key_file import DEFAULT_NAME
from purple_bridge.db.tables import PURPLEMAP
from purple_bridge.db.urls import redacted, sqlalchemy_url
from purple_bridge.errors import ConfigurationError
from purple_bridge.launcher import preflight
from purple_bridge.launcher.authorities import check_authorities
from purple_bridge.launcher.certificates import check_certificate, check_readable
from purple_bridge.launcher.connections import check_connections
from purple_bridge.launcher.environment import default_config, default_state_dir
from purple_bridge.launcher.listeners import is_ip_address
from purple_bridge.launcher.parameters import read_config
from purple_bridge.launcher.preflight import Finding
from purple_bridge.launcher.state import StateDirectory
from purple_bridge.settings import read_protocols

Known = Mapping[str, str]


@click.command("check")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path),
    help="The kamailio.cfg to check, which then counts before the last `purplectl run`. Default: as for `run`.",
)
@click.option(
    "--db-url",
    envvar="PURPLE_DB_URL",
    metavar="URL",
    help="Default: that of the last `purplectl run`; before the first one what kamailio.cfg says.",
)
@click.option(
    "--state-dir",
    envvar="PURPLE_STATE_DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Default: what kamailio.cfg says, else ./state in a checkout, else /var/lib/kamailio-purple.",
)
@json_option
def check_command(config: Path | None, db_url: str | None, state_dir: Path | None, as_json: bool) -> None:
    """Check versions, modules, libpurple, database and permissions; exit 1 if the gateway cannot run."""
    found = config or default_config()
    said = read_config(found.read_text(encoding="utf-8", errors="replace")) if found else {}
    state = StateDirectory((state_dir or Path(said.get("state_dir") or default_state_dir())).absolute())
    saved = state.read_settings()
    findings = list(_findings(state, db_url, found, saved | said if config else said | saved))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            click.echo(f"{finding.level:4}  {finding.subject}: {finding.text}")
    if any(finding.level == "fail" for finding in findings):
        sys.exit(1)


def _findings(state: StateDirectory, db_url: str | None, config: Path | None, known: Known) -> Iterator[Finding]:
    """``known``: parameters, and what else the last run has left, by name."""
    url = db_url or known.get("db_url") or f"sqlite:///{state.path / 'purple.db'}"
    programs = list(preflight.check_programs(url.partition(":")[0], "certificate" in known))
    yield from programs
    if Finding("ok", "libpurple", preflight.LIBPURPLE_IS_FINE) in programs:
        yield preflight.check_protocols(read_protocols(known.get("protocols") or ""))
    yield _config(config)
    table = known.get("db_table") or PURPLEMAP
    yield from _database(url, table)
    if not _is_missing(url):
        yield from _passwords(state, known, url, table)
    yield from _certificate(state, known)
    if known.get("ca_dir"):
        yield from check_authorities(Path(known["ca_dir"]))
    if not _is_missing(url):
        yield from check_connections(url, table)
    yield from preflight.check_permissions(state.path, _private_files(state, url))


def _passwords(state: StateDirectory, known: Known, url: str, table: str) -> Iterator[Finding]:
    """Those of the mapping, and the key that they may need, which is for the gateway's user."""
    key = Path(known.get("key_file") or state.path / DEFAULT_NAME)
    yield from preflight.check_rows(url, table, key, read_protocols(known.get("protocols") or ""))
    if key.exists() and state.path.is_dir():
        for finding in check_readable((key,), state.path.stat().st_uid):
            yield replace(finding, subject="key")


def _certificate(state: StateDirectory, known: Known) -> Iterator[Finding]:
    """That of the TLS listeners of the last run."""
    if "certificate" not in known:
        return
    files = Path(known["certificate"]), Path(known["private_key"])
    domains = [domain for domain in known.get("domains", "").split(",") if domain and not is_ip_address(domain)]
    yield from check_certificate(*files, domains)
    yield from check_readable(files, state.path.stat().st_uid)


def _config(config: Path | None) -> Finding:
    if config is None:
        return Finding("fail", "configuration", "kamailio.cfg is not beside the gateway: install it again")
    return Finding("ok", "configuration", str(config))


def _database(url: str, table: str) -> Iterator[Finding]:
    """An SQLite file that is missing is no mistake: the first run makes it."""
    if _is_missing(url):
        yield Finding("warn", "database", f"{redacted(url)} does not exist yet; purplectl run makes it")
        return
    yield from preflight.check_database(url, table)


def _is_missing(url: str) -> bool:
    """An SQLite file that is not there."""
    path = _sqlite_file(url)
    return path is not None and not path.exists()


def _sqlite_file(url: str) -> Path | None:
    try:
        target = sqlalchemy_url(url)
    except ConfigurationError:
        return None
    return Path(target.database or "") if target.get_backend_name() == "sqlite" else None


def _private_files(state: StateDirectory, url: str) -> tuple[Path, ...]:
    path = _sqlite_file(url)
    return (state.settings, state.wrapper, *([path] if path is not None else []))
