"""The loop's thread: start waits until libpurple is up and raises what went wrong there in the caller."""

from __future__ import annotations

import logging
import resource
import threading

from purple_bridge.libpurple.glib import MainLoop
from purple_bridge.worker.worker import Worker

logger = logging.getLogger(__name__)

START_SECONDS = 30.0
MOST_DESCRIPTORS = 1 << 16  # each account needs one


class LoopThread:
    """Owns the thread in which libpurple and everything of the worker run."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._started = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="purple-loop", daemon=True)

    def start(self) -> None:
        """Raises RuntimeError with the thread's own error, or when it takes too long."""
        self._thread.start()
        if not self._started.wait(START_SECONDS):
            raise RuntimeError(f"libpurple did not start within {START_SECONDS:.0f} s")
        if self._error is not None:
            raise RuntimeError(f"libpurple did not start: {self._error}") from self._error

    def _run(self) -> None:
        try:
            _raise_limit()
            self._worker.start()
            loop = MainLoop()
        except BaseException as error:  # handed to the caller
            self._error = error
            return
        finally:
            self._started.set()
        loop.run()


def _raise_limit() -> None:
    """RLIMIT_NOFILE is 1024 on many systems, and may be raised that far without being root."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
