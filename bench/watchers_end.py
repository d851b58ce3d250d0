"""Owns phones that watch somebody, all on one socket, as cheaply as can be; knows no more of SIP than that needs."""

from __future__ import annotations

import re
import secrets
import select
import socket
import time
from collections.abc import Sequence

from bench.sip_end import BUFFER, ok

_CALL_ID = re.compile(rb"^Call-ID: (\d+)-", re.MULTILINE)
_NUMBER = re.compile(rb">#(\d+)<")
ANSWER_SECONDS = 5.0


class WatchersEnd:
    """``users``: SIP addresses, each of which watches. Requests are not authenticated, and none is repeated."""

    def __init__(self, users: Sequence[str], proxy: tuple[str, int]) -> None:
        self.users = users
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.connect(proxy)
        self._token = secrets.token_hex(4)

    def subscribe(self, uri: str) -> None:
        """All of them, one after the other (RFC 6665). Raises ConnectionError if one is refused."""
        host, port = self._socket.getsockname()
        for watcher, user in enumerate(self.users):
            unique = f"{watcher}-{self._token}-{abs(hash(uri))}"
            self._socket.send(
                f"SUBSCRIBE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {host}:{port};rport;branch=z9hG4bK{unique}\r\n"
                f"Max-Forwards: 70\r\nFrom: <{user}>;tag={unique}\r\nTo: <{uri}>\r\nCall-ID: {unique}\r\n"
                f"CSeq: 1 SUBSCRIBE\r\nContact: <sip:watcher{watcher}@{host}:{port}>\r\nEvent: presence\r\n"
                "Accept: application/pidf+xml\r\nExpires: 3600\r\nContent-Length: 0\r\n\r\n".encode()
            )
            self._wait_answer(user)

    def seen(self, number: int, seconds: float) -> dict[int, float]:
        """By watcher, when the document with the note ``#number`` came, by the monotonic clock; until all have it, or
        for so long."""
        times: dict[int, float] = {}
        end = time.monotonic() + seconds
        while len(times) < len(self.users) and (datagram := self._next(end)) is not None:
            shown = _NUMBER.search(datagram)
            if datagram.startswith(b"NOTIFY ") and shown and int(shown[1]) == number:
                times.setdefault(_watcher(datagram), time.monotonic())
        return times

    def close(self) -> None:
        self._socket.close()

    def _wait_answer(self, user: str) -> None:
        end = time.monotonic() + ANSWER_SECONDS
        while (datagram := self._next(end)) is not None:
            if datagram.startswith(b"SIP/2.0 2"):
                return
            if datagram.startswith(b"SIP/2.0 "):
                raise ConnectionError(f"SUBSCRIBE of {user}: {datagram[:60].decode(errors='replace')}")
        raise ConnectionError(f"SUBSCRIBE of {user} is not answered")

    def _next(self, end: float) -> bytes | None:
        """What has come, a NOTIFY answered already; None when the time is over."""
        left = end - time.monotonic()
        if left <= 0 or not select.select([self._socket], [], [], left)[0]:
            return None
        datagram = self._socket.recv(65536)
        if datagram.startswith(b"NOTIFY "):
            self._socket.send(ok(datagram))
        return datagram


def _watcher(datagram: bytes) -> int:
    found = _CALL_ID.search(datagram)
    return int(found[1]) if found else -1
