"""Python functions that C calls: an exception is logged and a harmless value returned, never raised into C."""

from __future__ import annotations

import ctypes
import functools
import logging
from collections.abc import Callable
from typing import Any

logger = logging.getLogger(__name__)

_kept_alive: list[Any] = []


def guarded(function: Callable[..., Any], default: Any = None) -> Callable[..., Any]:
    """``function`` with its exceptions logged; ``default`` goes back to C when it failed."""

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        try:
            return function(*args)
        except Exception:
            logger.exception("callback %s failed", getattr(function, "__qualname__", function))
            return default

    return call


def callback(function_type: Any, function: Callable[..., Any], default: Any = None) -> Any:
    """A C function pointer that lives as long as the process: C may call it at any time."""
    pointer = function_type(guarded(function, default))
    _kept_alive.append(pointer)
    return pointer


def address(pointer: Any) -> int:
    """The address of a C function or of a pointer made by ``callback``, for a structure's field."""
    return ctypes.cast(pointer, ctypes.c_void_p).value or 0


def operations(structure: type[ctypes.Structure], **functions: Any) -> Any:
    """A ui_ops structure, zeroed but for ``functions``, and kept alive: libpurple keeps only the pointer."""
    ops = structure()
    for name, function in functions.items():
        setattr(ops, name, address(function))
    _kept_alive.append(ops)
    return ctypes.byref(ops)
