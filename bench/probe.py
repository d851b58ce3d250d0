"""Owns how long a listener keeps a small request waiting: OPTIONS, one after the other; knows no message."""

from __future__ import annotations

import socket
import time

from tests.servers.base import HOST

PAUSE_SECONDS = 0.005  # between an answer and the next request
LOST_SECONDS = 1.0


class Probe:
    """``delays``: seconds of each answer so far; what is not answered counts as LOST_SECONDS."""

    def __init__(self, port: int) -> None:
        self.delays: list[float] = []
        self._port, self._number = port, 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect((HOST, port))
        self._socket.settimeout(LOST_SECONDS)

    def measure(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.delays.append(self._ask())
            time.sleep(PAUSE_SECONDS)

    def p99(self) -> float:
        """Milliseconds, of all since the last call."""
        delays, self.delays = sorted(self.delays), []
        return 1000 * delays[min(int(0.99 * len(delays)), len(delays) - 1)] if delays else float("nan")

    def close(self) -> None:
        self._socket.close()

    def _ask(self) -> float:
        self._number += 1
        started = time.monotonic()
        self._socket.send(self._request())
        ident = b"Call-ID: probe-%d\r\n" % self._number
        try:
            while ident not in self._socket.recv(65536):
                pass
        except TimeoutError:
            return LOST_SECONDS
        return time.monotonic() - started

    def _request(self) -> bytes:
        host, port = self._socket.getsockname()
        return (
            f"OPTIONS sip:{HOST}:{self._port} SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {host}:{port};branch=z9hG4bKp{self._number}\r\n"
            f"Max-Forwards: 1\r\nFrom: <sip:probe@{host}>;tag=p{self._number}\r\nTo: <sip:{HOST}:{self._port}>\r\n"
            f"Call-ID: probe-{self._number}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        ).encode()
