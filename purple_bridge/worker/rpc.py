"""Kamailio's JSON-RPC over a Unix datagram socket (module jsonrpcs, transport 4): owns the socket and what waits."""

from __future__ import annotations

import logging
import socket
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from purple_bridge.libpurple import glib

logger = logging.getLogger(__name__)

ANSWER_BYTES = 1 << 18
RECONNECT_SECONDS = 0.5
MOST_ASKED = 10_000  # calls whose answer is still looked for; Kamailio may die with some of them

Done = Callable[[], None]
Result = Callable[[Any], None]


class RpcError(msgspec.Struct):
    code: int = 0
    message: str = ""


class RpcAnswer(msgspec.Struct):
    id: int = 0
    error: RpcError | None = None
    result: Any = None


class RpcClient:
    """Sends calls in order; what Kamailio cannot take now waits here, so nothing is lost and nothing blocks."""

    def __init__(self, server: str, own: Path) -> None:
        self._server, self._own = server, own
        self._socket: socket.socket | None = None
        self._waiting: deque[bytes] = deque()
        self._asked: dict[int, Callable[[RpcAnswer], None]] = {}
        self._last_id = 0
        self._paused = False
        self._watch = 0

    def call(self, method: str, parameters: Sequence[str | int], subject: str, done: Done | None = None) -> None:
        """``parameters``: in the types that the RPC wants; ``subject``: the log's words should the call fail.

        ``done`` comes with the answer, be it an error.
        """

        def answered(answer: RpcAnswer) -> None:
            if answer.error is not None:
                logger.error("%s: Kamailio refused it: %d %s", subject, answer.error.code, answer.error.message)
            if done is not None:
                done()

        self._request(method, parameters, answered)

    def ask(self, method: str, parameters: Sequence[str | int], done: Result) -> None:
        """``done`` gets the result, None for an error."""
        self._request(method, parameters, lambda answer: done(None if answer.error is not None else answer.result))

    def _request(self, method: str, parameters: Sequence[str | int], answered: Callable[[RpcAnswer], None]) -> None:
        self._last_id += 1
        self._asked[self._last_id] = answered
        if len(self._asked) > MOST_ASKED:
            del self._asked[next(iter(self._asked))]
        request: dict[str, Any] = {
            "jsonrpc": "2.0",
            "method": method,
            "params": parameters,
            "id": self._last_id,
        }
        self._waiting.append(msgspec.json.encode(request))
        if not self._paused:
            self._send()

    @property
    def waiting(self) -> int:
        """Calls that Kamailio has not taken yet."""
        return len(self._waiting)

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self._own.unlink(missing_ok=True)
            client = self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            client.setblocking(False)
            client.bind(str(self._own))
            # connected, the socket becomes writable only when the server's queue has room
            client.connect(self._server)
            self._watch = glib.watch(client.fileno(), glib.READ, self._readable)
        return self._socket

    def _send(self) -> None:
        while self._waiting:
            try:
                self._connected().send(self._waiting[0])
            except BlockingIOError:
                return self._pause_until_writable(self._connected())
            except OSError as error:
                return self._reconnect(error)
            self._waiting.popleft()
        return None

    def _pause_until_writable(self, client: socket.socket) -> None:
        self._paused = True

        def writable(_descriptor: int, _condition: int) -> None:
            glib.remove(key)
            self._resume()

        key = glib.watch(client.fileno(), glib.WRITE, writable)

    def _reconnect(self, error: OSError) -> None:
        logger.warning("RPC socket %s: %s; %d calls wait", self._server, error.strerror, len(self._waiting))
        if self._socket is not None:
            glib.remove(self._watch)
            self._socket.close()
            self._socket = None
        self._paused = True
        glib.add_timer(RECONNECT_SECONDS, self._resume)

    def _resume(self) -> None:
        self._paused = False
        self._send()

    def _readable(self, _descriptor: int, _condition: int) -> None:
        """Answers must be read, or the server's socket fills up."""
        while self._socket is not None:
            try:
                datagram = self._socket.recv(ANSWER_BYTES)
            except OSError:  # BlockingIOError: all read; else the next call reconnects
                return
            self._answered(datagram)

    def _answered(self, datagram: bytes) -> None:
        try:
            answer = msgspec.json.decode(datagram, type=RpcAnswer)
        except msgspec.MsgspecError:
            # never what it says: the parameters, with the database's password, may be in it
            logger.warning("RPC: an answer of %d octets that cannot be read", len(datagram))
            return
        answered = self._asked.pop(answer.id, None)
        if answered is not None:
            answered(answer)
