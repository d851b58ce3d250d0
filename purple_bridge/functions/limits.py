"""How much a user may ask for; the buckets are in shared memory (``rates.py``), so they count for all processes."""

from __future__ import annotations

from purple_bridge.addresses import SipAddress
from purple_bridge.errors import TooFast
from purple_bridge.functions.process import Process
from purple_bridge.live import LiveSettings
from purple_bridge.metrics import LIMITED
from purple_bridge.rates import BURST_SECONDS, Buckets


class Limits:
    """Counts in ``purple_limited_total`` what it refuses."""

    def __init__(self, live: LiveSettings, process: Process, rates: Buckets) -> None:
        self._live, self._process, self._rates = live, process, rates

    def take_user(self, user: SipAddress) -> None:
        """A request of the user. Raises TooFast. A retransmission is known before, and counts as nothing."""
        if rate := self._live.now.user_rate:
            self.take("user", f"user {user.key}", rate)

    def take(self, limit: str, key: str, rate: int, seconds: float = 1.0) -> None:
        """One of those that ``key`` has: ``rate`` in so many ``seconds``. Raises TooFast."""
        wait = self._rates.take(key, rate / seconds, max(BURST_SECONDS, seconds))
        if wait:
            self.count(limit)
            raise TooFast(f"Too many requests: at most {rate} in {seconds:.0f} s", wait)

    def count(self, limit: str) -> None:
        """One more that was refused or dropped under this name."""
        self._process.meter.count(LIMITED, limit)
