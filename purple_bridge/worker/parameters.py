"""Asks Kamailio for the group ``purple``, in worker 1 alone: owns when; does not know what a parameter means."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

logger = logging.getLogger(__name__)

GROUP = "purple"
# Kamailio's RPC process takes a change over after it has answered the question that came next: two looks see it
LOOK_SECONDS = 1.5
LOST_SECONDS = 15.0  # an answer that has not come by then will not come


class Rpc(Protocol):
    """rpc.RpcClient"""

    def ask(self, method: str, parameters: Sequence[str | int], done: Callable[[Any], None]) -> None: ...


class ParameterWatch:
    """``follow``: gets name -> value of all parameters with each look."""

    def __init__(
        self, rpc: Rpc, follow: Callable[[Mapping[str, object]], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rpc, self._follow, self._clock = rpc, follow, clock
        self._asked_at: float | None = None
        self._ended = False

    def look(self) -> None:
        """One question at a time: a Kamailio that is busy must not be asked for the same again and again."""
        waits = self._asked_at is not None and self._clock() - self._asked_at < LOST_SECONDS
        if not waits and not self._ended:
            self._asked_at = self._clock()
            self._rpc.ask("cfg.get", [GROUP], self._answered)

    def _answered(self, values: Any) -> None:
        self._asked_at = None
        if isinstance(values, dict):
            self._follow(values)
        else:  # without the module each question would be an error in Kamailio's log
            self._ended = True
            logger.info("parameters cannot change at run time: Kamailio answers no cfg.get; load the module cfg_rpc")
