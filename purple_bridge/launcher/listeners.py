"""Owns the listeners: how ``--listen`` is written, and whether an address can be had. Knows no Kamailio."""

from __future__ import annotations

import ipaddress
import random
import re
import socket
from contextlib import suppress
from dataclasses import dataclass

from purple_bridge.errors import ConfigurationError

_FORM = re.compile(r"(?P<protocol>udp|tcp|tls):(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):(?P<port>[0-9]{1,5})")
_BELOW_EPHEMERAL = range(20000, 32768)  # Linux begins with 32768 (net.ipv4.ip_local_port_range)
_KINDS = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM, "tls": socket.SOCK_STREAM}


@dataclass(frozen=True, slots=True)
class Listener:
    """``host`` as in kamailio.cfg: a name, an IPv4 address or an IPv6 address in brackets."""

    protocol: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.protocol}:{self.host}:{self.port}"

    @property
    def address(self) -> tuple[str, int]:
        """What a socket binds or connects to."""
        return self.host.strip("[]"), self.port

    @property
    def kind(self) -> socket.SocketKind:
        return _KINDS[self.protocol]

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if self.host.startswith("[") else socket.AF_INET


def parse_listener(text: str, option: str = "--listen") -> Listener:
    """``udp:HOST:PORT``, ``tcp:…`` or ``tls:…``. Raises ConfigurationError for anything else, naming the option.

    The address that stands for all addresses is refused: a SIP server writes its address into Via and
    Contact headers (RFC 3261 section 18.1.1), and nobody can answer to 0.0.0.0.
    """
    match = _FORM.fullmatch(text.strip().lower())
    if match is None or not 0 < int(match["port"]) < 65536:
        raise ConfigurationError(f"{option} {text}: write udp:HOST:PORT, tcp:HOST:PORT or tls:HOST:PORT")
    if match["host"] in ("0.0.0.0", "[::]"):  # noqa: S104 - refused, not bound
        raise ConfigurationError(f"{option} {text}: name the address that phones reach this server under")
    return Listener(match["protocol"], match["host"], int(match["port"]))


def is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    return host == "localhost" or (is_ip_address(host) and ipaddress.ip_address(host.strip("[]")).is_loopback)


def check_free(listener: Listener) -> None:
    """Raises ConfigurationError if the address cannot be bound, with the reason."""
    with socket.socket(listener.family, listener.kind) as probe:
        if listener.kind is socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections in TIME_WAIT do no harm
        try:
            probe.bind(listener.address)
        except OSError as error:
            advice = "stop what uses it (ss -lnp) or choose another --listen"
            if isinstance(error, PermissionError):
                advice = "a port below 1024 is for root, or whoever has CAP_NET_BIND_SERVICE"
            raise ConfigurationError(f"{listener}: {error.strerror}; {advice}") from error


def free_loopback_port() -> int:
    """A UDP port on 127.0.0.1 that is free now, for the internal listener.

    One that the kernel gives to no outgoing socket, of which any could take it before Kamailio does.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for port in (*random.sample(_BELOW_EPHEMERAL, 20), 0):
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                break
        taken: int = probe.getsockname()[1]
        return taken
