"""The worker's Unix socket for purplectl and the launcher: one JSON object a line in, one line out."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from purple_bridge.libpurple import glib

logger = logging.getLogger(__name__)

LONGEST_REQUEST = 65536

Answer = Callable[[dict[str, Any]], dict[str, Any]]


def socket_path(state_dir: str, worker: int) -> Path:
    """Where worker 1..N listens."""
    return Path(state_dir) / "run" / f"worker-{worker}.sock"


class ControlServer:
    """Accepts connections and answers each line through the function of its ``command``."""

    def __init__(self, path: Path, commands: Mapping[str, Answer]) -> None:
        self._commands = commands
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.bind(str(path))
        path.chmod(0o600)
        self._socket.listen(16)
        glib.watch(self._socket.fileno(), glib.READ, self._accept)

    def _accept(self, _descriptor: int, _condition: int) -> None:
        try:
            client, _ = self._socket.accept()
        except OSError:
            return
        client.setblocking(False)
        Conversation(client, self.answer)

    def answer(self, line: bytes) -> bytes:
        try:
            request = msgspec.json.decode(line, type=dict[str, Any])
            command = self._commands[request["command"]]
        except (msgspec.MsgspecError, KeyError, TypeError):
            return _line({"ok": False, "error": "unknown command"})
        try:
            return _line({"ok": True, **command(request)})
        except Exception:  # one bad request must not leave its client without an answer
            logger.exception("control command %s failed", request["command"])
            return _line({"ok": False, "error": "the command failed, see the log"})


def _line(answer: dict[str, Any]) -> bytes:
    return msgspec.json.encode(answer) + b"\n"


class Conversation:
    """One client: reads lines, writes answers as fast as the client takes them."""

    def __init__(self, client: socket.socket, answer: Callable[[bytes], bytes]) -> None:
        self._client, self._answer = client, answer
        self._received, self._unsent = b"", b""
        self._ended = False
        self._reading = glib.watch(client.fileno(), glib.READ, self._readable)
        self._writing = 0

    def _readable(self, _descriptor: int, _condition: int) -> None:
        try:
            data = self._client.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            return self._end()
        if len(self._received) > LONGEST_REQUEST:
            return self._close()
        *lines, self._received = (self._received + data).split(b"\n")
        self._unsent += b"".join(self._answer(line) for line in lines)
        return self._write()

    def _end(self) -> None:
        """The client asks nothing more; what it is still owed goes out first."""
        self._ended = True
        glib.remove(self._reading)
        self._write()

    def _write(self) -> None:
        try:
            sent = self._client.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            return self._close()
        self._unsent = self._unsent[sent:]
        if self._ended and not self._unsent:
            return self._close()
        if self._unsent and not self._writing:
            self._writing = glib.watch(self._client.fileno(), glib.WRITE, lambda _fd, _condition: self._write())
        elif not self._unsent and self._writing:
            glib.remove(self._writing)
            self._writing = 0
        return None

    def _close(self) -> None:
        glib.remove(self._reading)
        if self._writing:
            glib.remove(self._writing)
        self._client.close()
