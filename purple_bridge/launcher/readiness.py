"""Owns the two questions that tell a gateway is ready: SIP OPTIONS to a listener, ping to a worker."""

from __future__ import annotations

import secrets
import socket
import ssl
from pathlib import Path

from purple_bridge.control_client import ask
from purple_bridge.errors import ConfigurationError
from purple_bridge.launcher.listeners import Listener

ANSWER_SECONDS = 0.5
LONGEST_DATAGRAM = 65535


def answers(listener: Listener) -> bool:
    """True if the listener is up: on UDP it answers OPTIONS with 200 (RFC 3261 section 11), on TCP it accepts.

    On TLS it shakes hands, whatever its certificate says.
    """
    ask_it = {"udp": _answers_options, "tcp": _accepts, "tls": _shakes_hands}
    return ask_it[listener.protocol](listener)


def _accepts(listener: Listener) -> bool:
    try:
        socket.create_connection(listener.address, ANSWER_SECONDS).close()
    except OSError:
        return False
    return True


def _shakes_hands(listener: Listener) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(listener.address, ANSWER_SECONDS) as connection:
            context.wrap_socket(connection).close()
    except OSError:
        return False
    return True


def _answers_options(listener: Listener) -> bool:
    with socket.socket(listener.family, listener.kind) as connection:
        connection.settimeout(ANSWER_SECONDS)
        try:
            connection.connect(listener.address)
            connection.send(_options(listener, connection.getsockname()))
            return connection.recv(LONGEST_DATAGRAM).startswith(b"SIP/2.0 200 ")
        except OSError:
            return False


def _options(listener: Listener, sender: tuple[str, int]) -> bytes:
    host = f"[{sender[0]}]" if listener.family is socket.AF_INET6 else sender[0]
    token = secrets.token_hex(8)
    return (
        f"OPTIONS sip:{listener.host}:{listener.port} SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP {host}:{sender[1]};branch=z9hG4bK{token}\r\n"
        "Max-Forwards: 1\r\n"
        f"From: <sip:launcher@{host}:{sender[1]}>;tag={token}\r\n"
        f"To: <sip:{listener.host}:{listener.port}>\r\n"
        f"Call-ID: {token}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def worker_is_ready(control_socket: Path) -> bool:
    """True once the worker's libpurple is up. Raises ConfigurationError with its text if it cannot come up."""
    try:
        answer = ask(control_socket, "ping", ANSWER_SECONDS)
    except (OSError, ValueError):
        return False  # not listening yet, or the connection broke in the middle of the answer
    if answer.get("error"):
        raise ConfigurationError(str(answer["error"]))
    return bool(answer.get("ready"))
