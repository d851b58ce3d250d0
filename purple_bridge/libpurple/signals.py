"""Handlers of libpurple's signals, kept alive as long as the process; signals.h."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from . import c
from .callbacks import callback


def connect(instance: Any, name: bytes, kind: Any, function: Callable[..., Any], default: int = 0) -> None:
    """Call ``function`` at every emission; ``kind``: its C type; ``default``: C's result when it raises."""
    handle = ctypes.cast(callback(kind, function, default), ctypes.c_void_p)
    c.purple.purple_signal_connect(instance, name, handle, handle, None)
