"""Owns a Prosody with several domains, each with a certificate of its own; all else as ``Prosody``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.servers.made_certificates import Made
from tests.servers.prosody import CONFIG, SSL, Prosody

HOST = """\
VirtualHost "{domain}"
  ssl = {{ certificate = "{file}"; key = "{file}" }}
"""


class ManyHosts(Prosody):
    """``hosts``: domain -> certificate; ``users``: accounts that each of the domains has, with ``password``."""

    def __init__(self, directory: Path, hosts: Mapping[str, Made], users: Iterable[str], password: str) -> None:
        super().__init__(directory, domain=next(iter(hosts)))
        self.hosts = dict(hosts)
        for self.domain in hosts:
            for user in users:
                self.add_user(user, password)

    def prepare(self) -> None:
        """Also for the next start, when a certificate has changed."""
        files = {domain: made.write(self.directory / f"{domain}.pem") for domain, made in self.hosts.items()}
        first = next(iter(files.values()))
        text = CONFIG.format(
            directory=self.directory,
            port=self.port,
            host=self.host,
            plain="false",
            domain=self.domain,
            ssl=SSL.format(certificate=first, key=first),
            tls_module='"tls";',
            require_encryption="true",
        )
        head = text[: text.index("VirtualHost")]
        hosts = "".join(HOST.format(domain=domain, file=file) for domain, file in files.items())
        (self.directory / "prosody.cfg.lua").write_text(head + hosts)
