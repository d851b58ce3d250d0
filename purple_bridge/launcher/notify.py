"""Owns what systemd is told about this service (sd_notify(3)). Knows no Kamailio; without systemd nothing happens."""

from __future__ import annotations

import contextlib
import os
import socket

VARIABLE = "NOTIFY_SOCKET"


def notify(*assignments: str) -> None:
    """Tell the service manager ``READY=1``, ``STOPPING=1``, ``STATUS=text``; one that has gone is no error."""
    address = os.environ.get(VARIABLE, "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):  # an address without a file (unix(7))
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
        link.sendto("\n".join(assignments).encode(), address)
