"""Owns a private Prosody: its configuration, accounts and certificate; knows nothing of SIP."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from tests.servers.base import Server
from tests.servers.certificates import issue, make_authority

# mod_limits is not loaded: Prosody would slow down a burst of messages on purpose.
# Prosody 13 drops a message to somebody who blocks its sender, unless told to answer it with an error (XEP-0191).
CONFIG = """\
run_as_root = true
daemonize = false
pidfile = "{directory}/prosody.pid"
data_path = "{directory}/data"
plugin_paths = {{ }}
log = {{ {{ levels = {{ min = "info" }}, to = "console", timestamps = true }} }}

interfaces = {{ "{host}" }}
c2s_ports = {{ {port} }}
c2s_direct_tls_ports = {{ }}
s2s_ports = {{ }}
modules_enabled = {{
  "roster"; "saslauth"; "disco"; "presence"; "message"; "iq"; "offline"; "ping"; "smacks"; "carbons";
  "pep"; "private"; "blocklist"; "vcard4"; "vcard_legacy"; "version"; "time"; "posix"; {tls_module}
}}
modules_disabled = {{ "s2s"; "tls_policy"; "limits"; "http" }}

authentication = "internal_plain"
storage = "internal"
bounce_blocked_messages = true
c2s_require_encryption = {require_encryption}
allow_unencrypted_plain_auth = {plain}
{ssl}
VirtualHost "{domain}"

Component "conference.{domain}" "muc"
  muc_room_locking = false
"""

SSL = """\
ssl = {{ certificate = "{certificate}"; key = "{key}" }}
"""

STREAM = (
    "<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' xmlns='jabber:client' "
    "xmlns:stream='http://etherx.jabber.org/streams'>"
)


class Prosody(Server):
    """An XMPP server with accounts; they, their rosters and offline messages survive stop() and start().

    Without `tls` it offers no encryption and takes SCRAM in clear; with `tls` it requires STARTTLS and
    `ca_file` is the PEM file of the authority that signed its certificate. Rooms: conference.DOMAIN.
    """

    name: ClassVar[str] = "prosody"

    def __init__(
        self,
        directory: Path,
        users: Mapping[str, str] | None = None,
        domain: str = "localhost",
        tls: bool = False,
        port: int | None = None,
    ) -> None:
        super().__init__(directory, port)
        self.domain = domain
        self.tls = tls
        self.ca_file: Path | None = None
        self.plain = False  # whether clients may send their password in clear
        self.prefix: list[str] = []  # what runs it, in a network of its own for example
        self._ssl = self._make_certificate() if tls else ""
        for user, password in (users or {}).items():
            self.add_user(user, password)

    def add_user(self, name: str, password: str) -> None:
        """Create the account, or change its password; works while the server runs, too."""
        accounts = self.directory / "data" / _file_name(self.domain) / "accounts"
        accounts.mkdir(parents=True, exist_ok=True)
        new = accounts / f"{_file_name(name)}.new"
        new.write_text(f'return {{ ["password"] = {_lua_string(password)}; }};\n')
        new.replace(accounts / f"{_file_name(name)}.dat")

    @property
    def account_options(self) -> dict[str, Any]:
        """Of an account here, as the XMPP plugin names them."""
        return {"connect_server": self.host, "port": self.port, "connection_security": "opportunistic_tls"}

    def prepare(self) -> None:
        text = CONFIG.format(
            directory=self.directory,
            host=self.host,
            port=self.port,
            domain=self.domain,
            ssl=self._ssl,
            plain="true" if self.plain else "false",
            tls_module='"tls";' if self.tls else "",
            require_encryption="true" if self.tls else "false",
        )
        (self.directory / "prosody.cfg.lua").write_text(text)

    def command(self) -> list[str]:
        return [*self.prefix, "prosody", "-F", "--config", str(self.directory / "prosody.cfg.lua")]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "HOME": str(self.directory)}

    def probe(self) -> bool:
        """A stream is opened and its features arrive (RFC 6120 §4.3.2)."""
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as stream:
                stream.sendall(STREAM.format(domain=self.domain).encode())
                received = b""
                while chunk := stream.recv(4096):
                    received += chunk
                    if b"</stream:features>" in received:
                        return True
        except OSError:
            return False
        return False

    def _make_certificate(self) -> str:
        directory = self.directory / "certificates"
        authority = make_authority(directory)
        server = issue(authority, directory, self.domain)
        self.ca_file = authority.certificate
        return SSL.format(certificate=server.certificate, key=server.key)


def _file_name(name: str) -> str:
    """Prosody's file names: everything but ASCII letters and digits as %xx."""
    return "".join(chr(c) if chr(c).isalnum() and c < 128 else f"%{c:02x}" for c in name.encode())


def _lua_string(text: str) -> str:
    return '"' + "".join(f"\\{byte:03d}" for byte in text.encode()) + '"'
