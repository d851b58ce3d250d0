"""The other end of a worker's control socket: asks one question, waits for one line; knows no answer's meaning."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

LONGEST_ANSWER = 64 << 20


def ask(path: Path, command: str, timeout: float = 2.0, **arguments: Any) -> dict[str, Any]:
    """The worker's answer. Raises OSError when nobody listens or answers in time, ValueError for a broken answer."""
    line = json.dumps({"command": command, **arguments}).encode() + b"\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(str(path))
        connection.sendall(line)
        with connection.makefile("rb") as answer:
            decoded = json.loads(answer.readline(LONGEST_ANSWER))
    if not isinstance(decoded, dict):
        raise ValueError(f"not an answer: {decoded!r}")
    return decoded
