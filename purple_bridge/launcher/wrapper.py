"""Owns the text of ``kamailio-run.cfg``: defines, listeners and aliases, then the kamailio.cfg that was asked for.

And that of ``kamailio-tls.cfg``, which Kamailio reads again by the RPC command ``tls.reload``, without a restart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from purple_bridge.db.urls import location_url
from purple_bridge.launcher.listeners import Listener, free_loopback_port, is_ip_address, is_loopback
from purple_bridge.launcher.parameters import define_lines, quoted
from purple_bridge.launcher.state import StateDirectory, write_private

INTERNAL_RECEIVERS = 2  # one that waits for the database holds nobody up
SCHEMES = {"sqlite": "WITH_SQLITE", "mysql": "WITH_MYSQL", "postgres": "WITH_POSTGRES"}


@dataclass(frozen=True, slots=True)
class Run:
    """All that one start of the gateway depends on.

    ``parameters``: the ``purple.NAME`` values as texts, complete with ``db_url``, ``internal`` and ``workers``.
    ``web``: the listener of the web page.  ``certificate``, ``private_key``: PEM files, where a listener is TLS.
    ``trusted``: peers in the table ``address`` need no password.
    ``receivers``: processes for each UDP listener of phones. ``threads_mode``: this Kamailio has app_python3's
    ``threads_mode``.
    """

    config: Path
    script: Path
    state: StateDirectory
    listeners: tuple[Listener, ...]
    domains: tuple[str, ...]
    parameters: Mapping[str, str]
    web: Listener | None = None
    receivers: int = 1
    auth: bool = True
    trusted: bool = False
    threads_mode: bool = False
    certificate: Path | None = None
    private_key: Path | None = None

    @property
    def all_listeners(self) -> tuple[Listener, ...]:
        return (*self.listeners, *([self.web] if self.web else []))

    @property
    def tcp(self) -> bool:
        """TLS counts, too."""
        return any(listener.protocol != "udp" for listener in self.all_listeners)

    @property
    def tls(self) -> bool:
        return any(listener.protocol == "tls" for listener in self.all_listeners)

    @property
    def db_url(self) -> str:
        return self.parameters["db_url"]

    @property
    def workers(self) -> int:
        return int(self.parameters["workers"])

    @property
    def udp_listeners(self) -> list[Listener]:
        return [listener for listener in self.listeners if listener.protocol == "udp"]


def write_wrapper(run: Run) -> None:
    """Write the file that Kamailio is started with; it holds the database password, so its mode is 0600."""
    write_private(run.state.wrapper, wrapper_text(run))
    if run.tls:
        write_private(run.state.tls_config, tls_text(run))


def tls_text(run: Run) -> str:
    """TLS 1.2 and 1.3. Phones have passwords, not certificates, and are asked for none."""
    common = ["method = TLSv1.2+", "verify_certificate = no", "require_certificate = no"]
    lines = [
        "# Written by `purplectl run` at every start.",
        *("[server:default]", *common),
        f"certificate = {quoted(str(run.certificate))}",
        f"private_key = {quoted(str(run.private_key))}",
        *("[client:default]", *common),
    ]
    return "\n".join(lines) + "\n"


def wrapper_text(run: Run) -> str:
    lines = [
        "#!KAMAILIO",
        "# Written by `purplectl run` at every start: change its options instead.",
        *(f"#!define {feature}" for feature in _features(run)),
        *define_lines(run.parameters),
        *_server_defines(run),
        *_listen_lines(run),
        *(f"alias={quoted(domain)}" for domain in _aliases(run)),
        f"children={run.receivers}",  # behind `listen` and `alias`, which would take what follows for more of them
        f"include_file {quoted(str(run.config))}",
    ]
    return "\n".join(lines) + "\n"


def _features(run: Run) -> list[str]:
    hosts = {listener.host for listener in run.listeners}
    features = {
        SCHEMES[run.db_url.partition(":")[0]]: True,
        "WITH_AUTH": run.auth,
        "WITH_TCP": run.tcp,
        "WITH_TLS": run.tls,
        "WITH_MHOMED": hosts != {"127.0.0.1"},
        "WITH_THREADS_MODE": run.threads_mode,
        # on loopback all have one address
        "WITH_FLOOD_LIMIT": run.parameters.get("flood_limit") != "0" and not all(map(is_loopback, hosts)),
        "WITH_TRUSTED": run.auth and run.trusted,
    }
    return [name for name, wanted in features.items() if wanted]


def _server_defines(run: Run) -> list[str]:
    values = {
        "KEMI_SCRIPT": str(run.script),
        "CTL_SOCKET": f"unix:{run.state.ctl_socket}",
        "INTERNAL_URI": f"sip:{run.parameters['internal']}",
        "LOCATION_DB_URL": location_url(run.db_url),
        "LISTS_URI": _lists_uri(run.listeners[0]),
        **({"TLS_CONFIG": str(run.state.tls_config)} if run.tls else {}),
    }
    return [f"#!define {name} {quoted(value)}" for name, value in values.items()]


def _aliases(run: Run) -> list[str]:
    """What requests may name this server by beside its listeners: domains, and the address that a router has for it.

    Addresses of loopback are believed more than others (docs/security.md), so only listeners have them.
    """
    listeners = {listener.host for listener in run.listeners}
    return [
        domain
        for domain in run.domains
        if not is_ip_address(domain) or (domain not in listeners and not is_loopback(domain))
    ]


def _lists_uri(listener: Listener) -> str:
    """Where phones send what belongs to the subscription of a list."""
    transport = "" if listener.protocol == "udp" else f";transport={listener.protocol}"
    return f"sip:lists@{listener.host}:{listener.port}{transport}"


def _listen_lines(run: Run) -> list[str]:
    """First one that nobody sends to: its processes get the ranks from 1, in which libpurple runs.

    One that received from the gateway or from phones as well would wait for Python's lock while libpurple is busy, and
    libpurple for it.
    """
    ordered = [*run.udp_listeners, *(other for other in run.listeners if other.protocol != "udp")]
    return [
        f"socket_workers={run.workers}",
        f'listen=udp:127.0.0.1:{_port_of_nobody(run)} name "workers"',
        f"socket_workers={INTERNAL_RECEIVERS}",
        f'listen=udp:{run.parameters["internal"]} name "internal"',
        *(f"listen={listener}" for listener in ordered),
        *_web_lines(run.web),
    ]


def _port_of_nobody(run: Run) -> int:
    """Free, and none of those that are about to be taken."""
    taken = {listener.port for listener in run.udp_listeners} | {int(run.parameters["internal"].rpartition(":")[2])}
    return next(port for port in iter(free_loopback_port, None) if port not in taken)


def _web_lines(listener: Listener | None) -> list[str]:
    """With a process of its own: whoever looks at the page keeps no phone waiting."""
    return ["socket_workers=1", f'listen={listener} name "web"'] if listener else []
