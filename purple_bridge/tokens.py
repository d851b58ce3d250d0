"""Owns unpredictable names, many of them for one question to the kernel; must not know what they name."""

from __future__ import annotations

import os

_AT_ONCE = 256
_OCTETS = 12  # 96 random bits: RFC 3261 §19.3 wants 32

_ready: list[str] = []
os.register_at_fork(after_in_child=_ready.clear)  # no two processes have the same


def new_token() -> str:
    """24 hexadecimal digits that nobody has seen before."""
    try:
        return _ready.pop()
    except IndexError:
        digits = os.urandom(_OCTETS * _AT_ONCE).hex()
        fresh = [digits[at : at + 2 * _OCTETS] for at in range(0, len(digits), 2 * _OCTETS)]
        token = fresh.pop()
        _ready.extend(fresh)
        return token
