"""Kamailio's module app_python3, as it is: who we are after the fork, and how other Python threads get to run.

Python threads starve under app_python3 by default: the module takes Python's lock with PyGILState_Ensure while the main
thread holds it since Py_Initialize, so that nothing ever lets go of it while the worker waits for a SIP request.

Kamailio 6.0.1 and later: ``modparam("app_python3", "threads_mode", 1)`` cures it.
Kamailio 5.6 and 5.7: one more PyGILState_Release in child_init makes the module's own Release drop the lock; one
PyGILState_Ensure in the first call of the script, from cfgengine "python" or by python_exec, keeps the state that makes
every later Release a PyEval_SaveThread.  Only in a process that has another Python thread: without one, Python 3.11
aborts.
Kamailio 5.8 and 6.0.0: neither works; refused.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
from collections.abc import Callable
from typing import Any

from purple_bridge.errors import ConfigurationError

SWITCH_SECONDS = 0.0005  # how long a SIP worker may wait for the loop's thread; Python's default is ten times that

Version = tuple[int, int, int]


def version_of(text: str) -> Version:
    """``5.6.3`` or ``6.0.1-pre0`` as numbers; what follows a number does not count."""
    numbers = [int(re.match("[0-9]*", part)[0] or 0) for part in text.split(".")[:3]]  # type: ignore[index]
    major, minor, patch = (*numbers, 0, 0, 0)[:3]
    return major, minor, patch


def check_version(version: Version, threads_mode: int | None) -> None:
    """``threads_mode``: app_python3's parameter, None where the module has none. Raises ConfigurationError."""
    shown = ".".join(map(str, version))
    if version >= (6, 0, 1):
        if threads_mode != 1:
            raise ConfigurationError('add modparam("app_python3", "threads_mode", 1) to kamailio.cfg')
    elif not (5, 6, 0) <= version < (5, 8, 0):
        raise ConfigurationError(f"Kamailio {shown} cannot run Python threads: use 5.6, 5.7, or 6.0.1 and later")


def threads_mode() -> int | None:
    """The value of app_python3's parameter ``threads_mode``; None where the module does not know it."""
    return _int_in_process("_ksr_apy3_threads_mode")


def rank() -> int | None:
    """This process's rank: at least 1 in a SIP worker; None outside Kamailio."""
    return _int_in_process("_apy_process_rank")


def _int_in_process(name: str) -> int | None:
    try:
        return ctypes.c_int.in_dll(ctypes.CDLL(None), name).value
    except ValueError:
        return None


def _handler() -> Any:
    """The object that the script's mod_init returned."""
    return ctypes.py_object.in_dll(ctypes.CDLL(None), "_sr_apy_handler_obj").value


def on_child_init(function: Callable[[int], bool]) -> None:
    """Call ``function(rank)`` in every SIP worker, in front of the script's own child_init.

    It returns what ``let_threads_run`` returns, or False.
    app_python3 forks through Python's fork hooks, with the rank known and the handler made.
    """
    parent = os.getpid()

    def after_fork() -> None:
        number = rank()
        if number is not None and number >= 1 and os.getppid() == parent:
            _wrap_child_init(_handler(), function)

    os.register_at_fork(after_in_child=after_fork)


def _wrap_child_init(handler: Any, function: Callable[[int], bool]) -> None:
    original = handler.child_init

    def child_init(number: int) -> Any:
        keep = function(number)
        result = original(number)
        if keep:
            _keep_state_in_first_call(handler)
        return result

    handler.child_init = child_init


def forbid_reload() -> None:
    """Before the fork, with threads_mode: ``app_python.reload`` answers 500 then.

    Kamailio 6.0.1 takes Python's lock twice to read the script again, which ends each process at its next request.
    """
    with contextlib.suppress(ValueError):
        ctypes.c_void_p.in_dll(ctypes.CDLL(None), "_sr_python_reload_version").value = None


def script_is_reloaded() -> None:
    """In mod_init of a reload: the handler gives way to a new one, and may not have been called yet."""
    if (rank() or 0) >= 1:
        _handler().child_init  # noqa: B018 - looking it up is the call


def let_threads_run(native: bool) -> bool:
    """In child_init, once the other thread runs; ``native``: app_python3 does it (threads_mode).

    True: the first call of the script has to keep the state.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    if not native:
        ctypes.PyDLL(None).PyGILState_Release(0)
    return not native


def _keep_state_in_first_call(handler: Any) -> None:
    """app_python3 looks up the method that it calls: any of them, since python_exec takes every name."""
    own = type(handler)

    def look_up(self: Any, name: str) -> Any:
        object.__setattr__(self, "__class__", own)
        ctypes.PyDLL(None).PyGILState_Ensure()
        return getattr(self, name)

    handler.__class__ = type(own.__name__, (own,), {"__slots__": (), "__getattribute__": look_up})
