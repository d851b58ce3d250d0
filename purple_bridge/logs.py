"""Where the gateway's log lines go: beside Kamailio's own, from any thread (KSR's log functions are for one thread)."""

from __future__ import annotations

import ctypes
import logging
import logging.handlers
import sys
from pathlib import Path

FORMAT = "purple %(processName)s %(levelname)s %(message)s"
SYSLOG = Path("/dev/log")


def set_up(process: str) -> None:
    """``process``: what the lines of this process say of it, e.g. ``worker 1``."""
    logging.getLogger().handlers.clear()
    handler = _handler()
    handler.setFormatter(logging.Formatter(FORMAT.replace("%(processName)s", process)))
    root = logging.getLogger("purple_bridge")
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    root.propagate = False


def _handler() -> logging.Handler:
    if not _kamailio_logs_to_stderr() and SYSLOG.exists():
        return logging.handlers.SysLogHandler(address=str(SYSLOG), facility=logging.handlers.SysLogHandler.LOG_DAEMON)
    return logging.StreamHandler(sys.stderr)


def _kamailio_logs_to_stderr() -> bool:
    """core/dprint.h: log_stderr (Kamailio's option -E or log_stderror)"""
    try:
        return ctypes.c_int.in_dll(ctypes.CDLL(None), "log_stderr").value != 0
    except ValueError:
        return True
