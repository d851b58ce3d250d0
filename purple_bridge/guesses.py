"""Wrong passwords of SIP users: who has tried too many waits. Owns the numbers; the buckets are in shared memory.

They count for a user and an address together: nobody shuts a user out who comes from elsewhere. All who are on this
machine have one address, loopback, which has no limit, as with ``purple.flood_limit``.
"""

from __future__ import annotations

import ipaddress
import math
import unicodedata
from functools import lru_cache

from purple_bridge.rates import Buckets

AT_ONCE = 20
SECONDS = 120.0  # in which so many come back
NAME = 128  # characters of a name that count: `subscriber` has 64, and to normalize takes quadratic time
SITE = 64  # bits of an IPv6 address: whoever has one has all addresses of its /64 (RFC 4291 §2.5.4)
_RATE = AT_ONCE / SECONDS


class Guesses:
    """``name``: in the credentials; ``realm``: the SIP domain; ``address``: where the request came from."""

    def __init__(self, rates: Buckets) -> None:
        """``rates``: nobody else's, since names without an end could push out all that is in it."""
        self._rates = rates

    def wait(self, name: str, realm: str, address: str) -> int:
        """Whole seconds until another password may be tried; 0: now."""
        key = _key(name[:NAME], realm, address)
        return math.ceil(self._rates.wait(key, _RATE, SECONDS)) if key else 0

    def count(self, name: str, realm: str, address: str) -> None:
        """One that was wrong."""
        if key := _key(name[:NAME], realm, address):
            self._rates.take(key, _RATE, SECONDS)


@lru_cache(maxsize=1024)
def _key(name: str, realm: str, address: str) -> str:
    """One for all spellings that a database may take for the same name: MySQL compares without case, accents and
    spaces at the end. Empty for loopback."""
    source = ipaddress.ip_address(address.strip("[]"))
    if source.is_loopback:
        return ""
    letters = "".join(one for one in unicodedata.normalize("NFKD", name).casefold() if one.isalnum())
    return f"{letters} {realm} {source if source.version == 4 else int(source) >> 128 - SITE}"
