"""The way from every SIP worker to the worker that owns an account: socket pairs made before the fork.

SOCK_SEQPACKET keeps the frames apart and the order, for any number of senders, and never blocks: a full queue is an
error the sender can answer with.
"""

from __future__ import annotations

import contextlib
import socket

from purple_bridge.errors import Overloaded

QUEUE_BYTES = 8 << 20  # asked for; the kernel grants net.core.wmem_max to those who may not force it
FRAME_BYTES = 1 << 20  # larger than any SIP message


class Channels:
    """One queue of frames for each worker; made in the parent, used on both sides of the fork."""

    def __init__(self, workers: int) -> None:
        self._pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(workers)]
        for sender, receiver in self._pairs:
            sender.setblocking(False)
            receiver.setblocking(False)
            _enlarge(sender)

    def send(self, worker: int, frame: bytes) -> None:
        """Queue ``frame`` for ``worker`` (1..N). Raises Overloaded when its queue is full or it is gone."""
        try:
            self._pairs[worker - 1][0].send(frame)
        except BlockingIOError:
            raise Overloaded(f"The queue of IM worker {worker} is full") from None
        except OSError as error:
            raise Overloaded(f"IM worker {worker} cannot be reached: {error.strerror}") from None

    def descriptor(self, worker: int) -> int:
        """The receiving end, to be watched for reading."""
        return self._pairs[worker - 1][1].fileno()

    def receive(self, worker: int) -> bytes | None:
        """The next frame, None when there is none."""
        try:
            return self._pairs[worker - 1][1].recv(FRAME_BYTES)
        except BlockingIOError:
            return None


def _enlarge(sender: socket.socket) -> None:
    forced = getattr(socket, "SO_SNDBUFFORCE", 32)  # socket(7): root may exceed wmem_max
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, QUEUE_BYTES)
    with contextlib.suppress(PermissionError):
        sender.setsockopt(socket.SOL_SOCKET, forced, QUEUE_BYTES)
