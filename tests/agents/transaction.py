"""Owns one non-INVITE client transaction (RFC 3261 §17.1.2); knows nothing of headers."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable

from tests.agents.sip import Response

T2 = 4.0  # seconds, RFC 3261 table 4


class ClientTransaction:
    """Sends a request, again at timer E while unanswered, and gives up at timer F (64 * T1)."""

    def __init__(self, send: Callable[[], None], reliable: bool, t1: float) -> None:
        self._send = send
        self._reliable = reliable
        self._t1 = t1
        self._responses: queue.SimpleQueue[Response] = queue.SimpleQueue()

    def receive(self, response: Response) -> None:
        """From the reading thread."""
        self._responses.put(response)

    def run(self) -> Response:
        """The final response. Raises TimeoutError at timer F, OSError when nothing can be sent."""
        give_up = time.monotonic() + 64 * self._t1
        interval = self._t1
        self._send()
        resend_at = give_up if self._reliable else time.monotonic() + interval
        while time.monotonic() < give_up:
            response = self._next(min(resend_at, give_up))
            if response is not None and response.status >= 200:
                return response
            if response is not None:
                interval = T2  # in the state "Proceeding" timer E is T2
            elif time.monotonic() >= resend_at and not self._reliable:
                self._send()
                interval = min(2 * interval, T2)
                resend_at = time.monotonic() + interval
        raise TimeoutError(f"no final response within {64 * self._t1:g} s")

    def _next(self, until: float) -> Response | None:
        try:
            return self._responses.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            return None
