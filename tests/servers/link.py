"""Owns links between a client and a server that can be slow or lossy; knows nothing of what goes through."""

from __future__ import annotations

import heapq
import itertools
import random
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Self

HOST = "127.0.0.1"
Address = tuple[str, int]


class _Link:
    """A thread with a selector, and what it does later."""

    def __init__(self, name: str) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake, self._waker = socket.socketpair()
        self._selector.register(self._wake, selectors.EVENT_READ, lambda: None)
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = True
        self._waker.send(b"x")
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()
        self._waker.close()

    def _run(self) -> None:
        while not self._ending:
            pause = max(0.0, self._later[0][0] - time.monotonic()) if self._later else None
            for key, _ in self._selector.select(pause):
                key.data()
            while self._later and self._later[0][0] <= time.monotonic():
                heapq.heappop(self._later)[2]()

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        if seconds <= 0:
            action()
        else:
            heapq.heappush(self._later, (time.monotonic() + seconds, next(self._order), action))


class TcpLink(_Link):
    """Takes connections on ``port`` for ``target``. ``delay``: seconds by which all that the server says is late."""

    def __init__(self, target: Address) -> None:
        super().__init__("tcp-link")
        self.delay = 0.0
        self._target = target
        self._listener = socket.create_server((HOST, 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(self._target, 5)
        except OSError:
            client.close()
            return
        self._join(client, server, lambda: 0.0)
        self._join(server, client, lambda: self.delay)

    def _join(self, source: socket.socket, sink: socket.socket, delay: Callable[[], float]) -> None:
        def copy() -> None:
            try:
                data = source.recv(65536)
            except OSError:
                data = b""
            if not data:
                self._selector.unregister(source)
            self._after(delay(), lambda: _pass_on(sink, data))

        self._selector.register(source, selectors.EVENT_READ, copy)


def _pass_on(sink: socket.socket, data: bytes) -> None:
    try:
        if data:
            sink.sendall(data)
        else:
            sink.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


class UdpLink(_Link):
    """Between phones and ``target``, datagrams both ways: each is lost, or comes twice, with these shares.

    A phone behind it is known to the server by a port of the link's own, which stays the phone's. ``seed``: the same
    losses for the same traffic.
    """

    def __init__(self, target: Address, loss: float = 0.0, duplication: float = 0.0, seed: int = 1) -> None:
        super().__init__("udp-link")
        self.loss, self.duplication = loss, duplication
        self.lost = self.doubled = self.passed = 0
        self._target, self._random = target, random.Random(seed)
        self._front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._front.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._front.bind((HOST, 0))
        self._backs: dict[Address, socket.socket] = {}
        self._selector.register(self._front, selectors.EVENT_READ, self._from_phone)

    @property
    def address(self) -> Address:
        """What phones take for the server."""
        host, port = self._front.getsockname()
        return host, port

    def _from_phone(self) -> None:
        data, phone = self._front.recvfrom(65536)
        back = self._backs.get(phone) or self._open(phone)
        self._send(lambda: back.sendto(data, self._target))

    def _open(self, phone: Address) -> socket.socket:
        back = self._backs[phone] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        back.bind((HOST, 0))
        self._selector.register(back, selectors.EVENT_READ, lambda: self._to_phone(back, phone))
        return back

    def _to_phone(self, back: socket.socket, phone: Address) -> None:
        data = back.recv(65536)
        self._send(lambda: self._front.sendto(data, phone))

    def _send(self, send: Callable[[], object]) -> None:
        if self._random.random() < self.loss:
            self.lost += 1
            return
        copies = 1 + (self._random.random() < self.duplication)
        self.doubled += copies - 1
        self.passed += 1
        for _ in range(copies):
            try:
                send()
            except OSError:
                return
