"""Owns one JSON-RPC question to a running Kamailio, over its Unix datagram socket. Knows no method's meaning."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from purple_bridge.errors import ConfigurationError

LONGEST_ANSWER = 1 << 18


def call(rpc_socket: Path, method: str, *parameters: str | int, timeout: float = 5.0) -> Any:
    """The ``result`` of ``method``. ``timeout``: seconds to wait for the answer.

    Raises ConfigurationError if nobody answers or the answer is an error.
    """
    question = {"jsonrpc": "2.0", "method": method, "params": list(parameters), "id": 1}
    try:
        answer = json.loads(_exchange(rpc_socket, json.dumps(question).encode(), timeout))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"Kamailio does not answer on {rpc_socket}: {error}") from error
    if "error" in answer:
        raise ConfigurationError(f"{method}: {answer['error'].get('message', answer['error'])}")
    return answer["result"]


def _exchange(rpc_socket: Path, question: bytes, timeout: float) -> bytes:
    """Kamailio answers to the address that the question came from. The kernel chooses one without a file (unix(7)):
    a file in /tmp would be another one for a service with a /tmp of its own.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.settimeout(timeout)
        connection.bind("")
        connection.connect(str(rpc_socket))
        connection.send(question)
        return connection.recv(LONGEST_ANSWER)
