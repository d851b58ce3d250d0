"""Owns a flood from one address, in a network namespace of its own: for test_gateway_flood.py, which runs it there."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

from purple_bridge import metrics
from tests.network import LOOPBACK, PUBLIC
from tests.servers.kamailio import Kamailio
from tests.waiting import free_port, wait_until

LIMIT = 100  # requests a second
FLOOD = 3000


def options(address: str, number: int) -> bytes:
    return (
        f"OPTIONS sip:{address} SIP/2.0\r\nVia: SIP/2.0/UDP {address}:9;rport;branch=z9hG4bK{address}x{number}\r\n"
        f"Max-Forwards: 70\r\nFrom: <sip:a@example.org>;tag=1\r\nTo: <sip:{address}>\r\nCall-ID: {address}-{number}\r\n"
        f"CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def answered(source: str, target: tuple[str, int], count: int) -> int:
    """How many of so many requests are answered; 20 at a time, so that no buffer overflows."""
    found = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.bind((source, 0))
        for first in range(0, count, 20):
            numbers = range(first, min(first + 20, count))
            for number in numbers:
                phone.sendto(options(source, number), target)
            found += _read(phone, len(numbers))
    return found


def _read(phone: socket.socket, most: int) -> int:
    phone.settimeout(0.05)
    for number in range(most):
        try:
            phone.recv(65535)
        except TimeoutError:
            return number
    return most


def main(directory: Path) -> None:
    port = free_port("udp")
    listen = ["--listen", f"udp:{PUBLIC}:{port}"]
    with Kamailio(directory, settings={"flood_limit": LIMIT}, options=listen) as kamailio:
        result = {
            "loopback": answered(LOOPBACK, (LOOPBACK, kamailio.port), FLOOD),
            "public": answered(PUBLIC, (PUBLIC, port), FLOOD),
            "dropped": metrics.gather(metrics.directory(kamailio.state_dir)).value(metrics.LIMITED, "flood"),
        }
        wait_until(lambda: answered(PUBLIC, (PUBLIC, port), 1), 30, "an answer after the flood")
    print(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
