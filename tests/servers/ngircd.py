"""Owns a private ngIRCd and its configuration; knows nothing of SIP."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import ClassVar

from tests.servers.base import Server, run_as
from tests.waiting import free_port

# Nothing that waits (DNS, ident), and no limit that slows a burst of lines.
CONFIG = """\
[Global]
Name = irc.test.example
Info = test server
Listen = 127.0.0.1
Ports = {port}
MotdPhrase = test
{password}
[Limits]
MaxConnections = 0
MaxConnectionsIP = 0
MaxJoins = 0
MaxNickLength = 30
MaxPenaltyTime = {penalty}
PingTimeout = 120
PongTimeout = 20

[Options]
DNS = no
Ident = no
PAM = no
"""

TLS = """\

[SSL]
Ports = {port}
CertFile = {pem}
KeyFile = {pem}
"""


class Ngircd(Server):
    """An IRC server without predefined channels, and without a password unless `password` says which.

    `tls`: a PEM file with certificate and key, for a second port, `tls_port`, where all is encrypted.
    `penalties`: slow a client down that sends many lines at once, as ngIRCd does where nothing is configured.
    """

    name: ClassVar[str] = "ngircd"

    def __init__(
        self,
        directory: Path,
        port: int | None = None,
        *,
        penalties: bool = False,
        tls: Path | None = None,
        password: str = "",
    ) -> None:
        super().__init__(directory, port)
        self._password = f"Password = {password}\n" if password else ""
        self.tls, self.tls_port = tls, free_port() if tls else 0
        self._penalty_seconds = -1 if penalties else 0

    @property
    def config_path(self) -> Path:
        return self.directory / "ngircd.conf"

    def privileges(self) -> list[str]:
        """Started as root it would change to `nobody` itself and so lose its parent death signal."""
        return run_as("nobody")

    def prepare(self) -> None:
        tls = TLS.format(port=self.tls_port, pem=self.tls) if self.tls else ""
        self.config_path.write_text(
            CONFIG.format(port=self.port, penalty=self._penalty_seconds, password=self._password) + tls
        )

    def command(self) -> list[str]:
        return ["ngircd", "--nodaemon", "--config", str(self.config_path)]

    def probe(self) -> bool:
        """A PING before registration is answered: 451, ERR_NOTREGISTERED (RFC 2812 §5.2)."""
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as connection:
                connection.sendall(b"PING probe\r\n")
                return bool(connection.recv(512))
        except OSError:
            return False
