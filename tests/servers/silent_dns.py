"""Owns a name server that never answers, and the resolv.conf that names it; reads no query."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Self

ADDRESS, PORT = "127.0.53.53", 53  # resolv.conf(5) knows no other port


class SilentDns:
    """``resolv_conf``: the file that names it as the only server. Raises OSError where port 53 is not for us."""

    def __init__(self, directory: Path) -> None:
        self.resolv_conf = directory / "resolv.conf"
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind((ADDRESS, PORT))
        except OSError:
            self._socket.close()
            raise
        self.resolv_conf.write_text(f"nameserver {ADDRESS}\n")

    @property
    def queries(self) -> int:
        """How many have come since the last time."""
        count = 0
        self._socket.setblocking(False)
        while True:
            try:
                self._socket.recv(4096)
            except BlockingIOError:
                return count
            count += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
