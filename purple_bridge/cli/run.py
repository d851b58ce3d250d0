"""``purplectl run``: its options, and the order of what happens before Kamailio starts."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import click
from sqlalchemy.exc import SQLAlchemyError

from purple_bridge.db.engine import make_engine
from purple_bridge.db.presence_server import forget_own_watches, skip_sequence_numbers
from purple_bridge.db.schema import create_all
from purple_bridge.db.tables import PURPLEMAP
from purple_bridge.db.urls import sqlalchemy_url
from purple_bridge.errors import ConfigurationError
from purple_bridge.launcher import preflight
from purple_bridge.launcher.certificates import check_certificate
from purple_bridge.launcher.environment import default_config, default_script, default_state_dir
from purple_bridge.launcher.listeners import (
    Listener,
    check_free,
    free_loopback_port,
    is_ip_address,
    is_loopback,
    parse_listener,
)
from purple_bridge.launcher.parameters import (
    SETTABLE,
    check_agreement,
    check_value,
    parse_settings,
    read_config,
    read_fixed,
)
from purple_bridge.launcher.privacy import keep_private
from purple_bridge.launcher.runner import check_configuration, run_gateway
from purple_bridge.launcher.state import StateDirectory
from purple_bridge.launcher.supervisor import ProcessDied
from purple_bridge.launcher.versions import Kamailio, find_kamailio
from purple_bridge.launcher.wrapper import Run, write_wrapper
from purple_bridge.settings import read_settings

T = TypeVar("T")
DEFAULT_LISTENER = "udp:127.0.0.1:5060"
DEFAULT_WORKERS = 2
CONTROL_CHARACTERS = [chr(number) for number in (*range(32), 127)]


@dataclass(frozen=True, slots=True)
class Options:
    """What was given on the command line or in the environment; None and () where nothing was."""

    config: Path | None
    script: Path | None
    listeners: tuple[Listener, ...]
    domains: tuple[str, ...]
    db_url: str | None
    state_dir: Path | None
    workers: int | None
    receivers: int
    settings: dict[str, str]
    no_auth: bool
    trusted: bool
    web: Listener | None
    certificate: Path | None
    private_key: Path | None
    log_file: Path | None


def _parsed(parse: Callable[[Any], T]) -> Callable[[click.Context, click.Parameter, Any], T]:
    """A click callback: what the parser refuses is wrong usage."""

    def callback(_context: click.Context, _parameter: click.Parameter, value: Any) -> T:
        try:
            return parse(value)
        except ConfigurationError as error:
            raise click.UsageError(str(error)) from error

    return callback


def _parse_listeners(texts: tuple[str, ...]) -> tuple[Listener, ...]:
    listeners = tuple(parse_listener(text) for text in texts or (DEFAULT_LISTENER,))
    if not any(listener.protocol == "udp" for listener in listeners):
        raise ConfigurationError("--listen: at least one udp listener is needed")
    return listeners


def _parse_web(text: str | None) -> Listener | None:
    if text is None:
        return None
    listener = parse_listener(text if text.lower().startswith("tls:") else f"tcp:{text}", "--web")
    if listener.protocol != "tls" and not is_loopback(listener.host):
        raise ConfigurationError(
            f"--web {text}: passwords would cross the network in clear; use 127.0.0.1:PORT or tls:HOST:PORT"
        )
    return listener


def _parse_domains(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        if not text or any(character in text for character in [*CONTROL_CHARACTERS, " ", "@", ":", "/"]):
            raise ConfigurationError(f"--domain {text!r}: write a domain such as example.org")
    return tuple(text.lower() for text in texts)


@click.command("run")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path),
    help="The kamailio.cfg to run. Default: that of /etc/kamailio-purple, else the one that comes with the gateway.",
)
@click.option(
    "--script",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path),
    help="The route script. Default: gateway.py of /etc/kamailio-purple, else the one that comes with the gateway.",
)
@click.option(
    "--listen",
    "listeners",
    multiple=True,
    callback=_parsed(_parse_listeners),
    metavar="PROTOCOL:HOST:PORT",
    help=f"A SIP listener, udp, tcp or tls; repeat for more. Default: {DEFAULT_LISTENER}.",
)
@click.option(
    "--domain",
    "domains",
    multiple=True,
    callback=_parsed(_parse_domains),
    metavar="DOMAIN",
    help="A SIP domain of this server, or an address that phones know it by; repeat for more."
    " Default: the host of the first --listen.",
)
@click.option(
    "--db-url",
    envvar="PURPLE_DB_URL",
    metavar="URL",
    help="sqlite, mysql or postgres. Default: STATE-DIR/purple.db, an SQLite file, made if missing.",
)
@click.option(
    "--state-dir",
    envvar="PURPLE_STATE_DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of the running gateway's files. Default: what kamailio.cfg says, else ./state in a checkout, else"
    " /var/lib/kamailio-purple.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    help=f"Processes that run libpurple. Default: {DEFAULT_WORKERS}.",
)
@click.option(
    "--receivers",
    type=click.IntRange(1, 64),
    default=1,
    help="Processes for each UDP listener of phones. Default: 1. With more, messages that one phone sends without"
    " waiting for the answers may overtake each other.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    callback=_parsed(parse_settings),
    metavar="purple.NAME=VALUE",
    help="A parameter of kamailio.cfg; repeat for more.",
)
@click.option(
    "--web",
    callback=_parsed(_parse_web),
    metavar="HOST:PORT",
    help="Listener of the web page and of /metrics: HOST:PORT on loopback, or tls:HOST:PORT. Default: none.",
)
@click.option(
    "--certificate",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The certificate of TLS listeners, PEM, followed by those that lead to an authority.",
)
@click.option(
    "--private-key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The private key of the certificate, PEM, without a password.",
)
@click.option(
    "--trusted",
    is_flag=True,
    help="What comes from the peers of `purplectl peer` needs no password, for whichever local user it is.",
)
@click.option("--no-auth", is_flag=True, help="Believe the From header: for trials on loopback.")
@click.option(
    "--log-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File that Kamailio's log is appended to. Default: stderr.",
)
def run_command(**values: Any) -> None:
    """Run the gateway in the foreground, and print `ready` once it can be used.

    SIGTERM stops it.
    """
    keep_private()
    options = Options(**values)
    _check_tls_options(options)
    config = _config(options.config)
    text = config.read_text(encoding="utf-8", errors="replace")
    check_agreement(read_fixed(text), _given(options), config)
    said = read_config(text)
    state = StateDirectory((options.state_dir or Path(said.get("state_dir") or default_state_dir())).absolute())
    state.create()
    with state.locked():
        kamailio = find_kamailio()
        run = _run_of(options, config, _parameters(options, said, state), state, kamailio)
        _warn(run)
        _prepare(run)
        check_configuration(run, kamailio)
        _run(run, kamailio, options.log_file)


def _check_tls_options(options: Options) -> None:
    listeners = (*options.listeners, *([options.web] if options.web else []))
    tls = [str(listener) for listener in listeners if listener.protocol == "tls"]
    if tls and not (options.certificate and options.private_key):
        raise click.UsageError(f"{tls[0]} needs --certificate FILE and --private-key FILE")


def _given(options: Options) -> dict[str, str]:
    """The parameters that options or the environment set."""
    own = {
        "db_url": options.db_url,
        "workers": str(options.workers) if options.workers else None,
        "state_dir": str(options.state_dir) if options.state_dir else None,
        "web": _address_of(options.web),
        "auth": "0" if options.no_auth else None,
    }
    return options.settings | {name: value for name, value in own.items() if value}


def _run_of(
    options: Options, config: Path, parameters: dict[str, str], state: StateDirectory, kamailio: Kamailio
) -> Run:
    return Run(
        config=config,
        script=options.script or default_script(),
        state=state,
        listeners=options.listeners,
        domains=_domains(options),
        parameters=parameters,
        web=options.web,
        receivers=options.receivers,
        auth=not options.no_auth,
        trusted=options.trusted,
        threads_mode=kamailio.threads_mode,
        # not resolved: a renewal changes where links lead to
        certificate=options.certificate and options.certificate.absolute(),
        private_key=options.private_key and options.private_key.absolute(),
    )


def _config(chosen: Path | None) -> Path:
    config = chosen or default_config()
    if config is None:
        raise ConfigurationError("no kamailio.cfg found beside the gateway; name one with --config")
    return config


def _domains(options: Options) -> tuple[str, ...]:
    return options.domains or (options.listeners[0].host,)


def _parameters(options: Options, said: dict[str, str], state: StateDirectory) -> dict[str, str]:
    """All ``purple.NAME`` values: of an option, of ``--set``, of kamailio.cfg (``said``), or the default."""
    domain = _domains(options)[0]
    values = {
        "db_url": f"sqlite:///{state.path / 'purple.db'}",
        "db_table": PURPLEMAP,
        "workers": str(DEFAULT_WORKERS),
        "gateway_domain": f"im.{'localdomain' if is_ip_address(domain) else domain}",
        "internal": f"127.0.0.1:{free_loopback_port()}",
        # who is on this machine reaches its loopback himself
        "user_servers": "any" if all(map(is_loopback, _hosts(options))) else "public",
        **said,
        **{name: value for name, value in _given(options).items() if name in SETTABLE},
        "state_dir": str(state.path),
        "rpc_socket": str(state.rpc_socket),
        "web": _address_of(options.web),
    }
    for name, value in values.items():
        check_value(name, value)
    return values


def _hosts(options: Options) -> list[str]:
    return [listener.host for listener in (*options.listeners, *([options.web] if options.web else []))]


def _address_of(listener: Listener | None) -> str:
    return f"{listener.host}:{listener.port}" if listener else ""


def _warn(run: Run) -> None:
    public = [str(listener) for listener in run.listeners if not is_loopback(listener.host)]
    if public and not run.auth:
        click.echo(f"purplectl: --no-auth on {', '.join(public)}: anybody there can be anybody", err=True)


def _prepare(run: Run) -> None:
    """Everything that must be right or exist before Kamailio starts; ConfigurationError says what is not."""
    read_settings(run.parameters.get)
    _create_database(run)
    findings = [
        *preflight.check_programs(run.db_url.partition(":")[0], run.tls),
        *_certificate(run),
        *preflight.check_database(run.db_url, run.parameters["db_table"]),
    ]
    for finding in findings:
        if finding.level == "warn":
            click.echo(f"purplectl: {finding.subject}: {finding.text}", err=True)
    failures = [finding for finding in findings if finding.level == "fail"]
    for finding in failures[:-1]:
        click.echo(f"purplectl: {finding.subject}: {finding.text}", err=True)
    if failures:
        raise ConfigurationError(f"{failures[-1].subject}: {failures[-1].text}")
    for listener in (*run.all_listeners, parse_listener(f"udp:{run.parameters['internal']}")):
        check_free(listener)
    _prepare_subscriptions(run)
    run.state.remove_sockets()
    write_wrapper(run)
    run.state.write_settings(_settings(run))


def _certificate(run: Run) -> Iterator[preflight.Finding]:
    if run.tls and run.certificate and run.private_key:
        domains = [domain for domain in run.domains if not is_ip_address(domain)]
        yield from check_certificate(run.certificate, run.private_key, domains)


def _create_database(run: Run) -> None:
    """An SQLite file that is missing is made with all its tables; other databases are the operator's."""
    target = sqlalchemy_url(run.db_url)
    if target.get_backend_name() == "sqlite" and not Path(target.database or "").exists():
        create_all(run.db_url, run.parameters["db_table"])


def _prepare_subscriptions(run: Run) -> None:
    """Nobody else runs on these listeners now."""
    engine = make_engine(run.db_url)
    try:
        forget_own_watches(engine)
        skip_sequence_numbers(engine)
    except SQLAlchemyError as error:
        reason = " ".join(str(getattr(error, "orig", error)).split())
        raise ConfigurationError(f"active_watchers cannot be written ({reason}); run purplectl db create") from error
    finally:
        engine.dispose()


def _settings(run: Run) -> dict[str, str]:
    names = ("db_url", "db_table", "state_dir", "gateway_domain", "rpc_socket", "internal", "web")
    optional = ("httpProxy_host", "httpProxy_port", "key_file", "protocols")
    proxy = {name: run.parameters.get(name, "") for name in optional}
    tls = {"certificate": str(run.certificate), "private_key": str(run.private_key)} if run.tls else {}
    values = {**{name: run.parameters[name] for name in names}, **proxy, "run_dir": str(run.state.run), **tls}
    return {**values, "domains": ",".join(run.domains)}


def _run(run: Run, kamailio: Kamailio, log_file: Path | None) -> None:
    try:
        with _log(log_file) as log:
            run_gateway(run, kamailio, log, lambda: click.echo("ready"))
    except ProcessDied as error:
        raise ConfigurationError(f"{error}; the gateway has been stopped, its log says why") from error
    finally:
        run.state.remove_sockets()


@contextlib.contextmanager
def _log(path: Path | None) -> Iterator[IO[bytes] | int]:
    if path is None:
        yield 2
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with open(descriptor, "ab") as log:  # noqa: PTH123 - of a descriptor
        yield log
