"""Owns a Linphone on its console, a phone as people have it; knows no gateway beyond its address."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import ClassVar

from tests.servers.base import Server

CONFIGURATION = """\
[sip]
sip_port={port}
sip_tcp_port={port}
sip_tls_port=0
default_proxy=0
[proxy_0]
reg_proxy=<sip:{proxy}>
reg_route=<sip:{proxy}>
reg_identity=<{address}>
reg_expires=600
reg_sendregister=1
publish=1
[auth_info_0]
username={user}
passwd={password}
realm={domain}
[friend_0]
url=<{friend}>
pol=accept
subscribe=1
"""


class Linphone(Server):
    """`address`: its SIP address; `proxy`: HOST:PORT of its server, with parameters. It registers and publishes.

    It watches the presence of its `friend`, a SIP URI. What it shows, and what it is told, is in `screen`.
    """

    name: ClassVar[str] = "linphonec"
    stdin: ClassVar[int] = subprocess.PIPE

    def __init__(self, directory: Path, address: str, password: str, proxy: str, friend: str) -> None:
        super().__init__(directory)
        self.address, self._password, self._proxy, self._friend = address, password, proxy, friend

    @property
    def screen(self) -> str:
        return self.log_path.read_text(errors="replace")

    def prepare(self) -> None:
        (self.directory / ".local" / "share" / "linphone").mkdir(parents=True, exist_ok=True)  # it makes none itself
        user, _, domain = self.address.removeprefix("sip:").partition("@")
        text = CONFIGURATION.format(
            port=self.port,
            proxy=self._proxy,
            address=self.address,
            user=user,
            domain=domain,
            password=self._password,
            friend=self._friend,
        )
        (self.directory / "linphonerc").write_text(text)

    def command(self) -> list[str]:
        """stdbuf(1): 5.3 shows what it was told about a friend only when the next command is typed."""
        traffic = self.directory / "traffic"
        return ["stdbuf", "-oL", "linphonec", "-c", str(self.directory / "linphonerc"), "-d", "6", "-l", str(traffic)]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "HOME": str(self.directory)}

    def probe(self) -> bool:
        self.type("status register")
        return f"registered, identity={self.address}" in self.screen

    def type(self, line: str) -> None:
        """Into its console, such as `chat sip:bob@example.org Hello`."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()

    def kill(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        super().kill()

    def quit(self) -> None:
        """As a person does: it signs off. subprocess.TimeoutExpired if it does not end."""
        assert self._process is not None
        assert self._process.stdin is not None
        self.type("quit")
        self._process.stdin.close()  # Linphone 5.3 reads on until then
        self._process.wait(10)
