"""Owns one run of the gateway from the start of Kamailio to its end: check the file, start, wait for ready, watch."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO

from purple_bridge.control_client import ask
from purple_bridge.errors import ConfigurationError
from purple_bridge.launcher import rpc
from purple_bridge.launcher.environment import command_line, environment, program
from purple_bridge.launcher.notify import notify
from purple_bridge.launcher.readiness import answers, worker_is_ready
from purple_bridge.launcher.supervisor import StopRequested, Supervisor
from purple_bridge.launcher.versions import Kamailio
from purple_bridge.launcher.wrapper import Run

READY_SECONDS = 60.0
POLL_SECONDS = 0.05
DRAIN_SECONDS = 3.0


def check_configuration(run: Run, kamailio: Kamailio) -> None:
    """Let Kamailio read the configuration. Raises ConfigurationError with its first complaint."""
    result = subprocess.run(
        [*program(kamailio, run.state), "-c"],
        env=environment(run.state, os.environ),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=READY_SECONDS,
        check=False,
    )
    if result.returncode != 0:
        raise ConfigurationError(f"{run.config} is not accepted by kamailio -c: {_complaint(result.stderr)}")


def _complaint(log: str) -> str:
    """The text of the first error line; before it stand process number, level and place in Kamailio's source."""
    lines = [line.strip() for line in log.splitlines() if "ERROR" in line or "CRITICAL" in line]
    return lines[0].rpartition("(): ")[2] if lines else "no reason given"


def run_gateway(run: Run, kamailio: Kamailio, log: IO[bytes] | int, announce: Callable[[], None]) -> None:
    """Run until SIGTERM or SIGINT; ``announce`` is called once everything is up. Nothing is left when it returns.

    Raises ConfigurationError if the gateway does not come up, ProcessDied if one of its processes ends by itself.
    """
    with Supervisor() as supervisor:
        supervisor.start(command_line(kamailio, run.state, run.tcp), environment(run.state, os.environ), log)
        try:
            _wait_until_ready(run, supervisor)
            _watch_processes(run, supervisor)
            announce()
            notify("READY=1")
            supervisor.wait()
        except StopRequested:
            notify("STOPPING=1")
            _drain(run)


def _drain(run: Run) -> None:
    """Let the workers write down what they hold in memory, all at once; one that does not answer in time is left."""
    end = time.monotonic() + DRAIN_SECONDS
    sockets = [run.state.worker_socket(number) for number in range(1, run.workers + 1)]
    threads = [threading.Thread(target=_drain_worker, args=(path,), daemon=True) for path in sockets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))


def _drain_worker(path: Path) -> None:
    with contextlib.suppress(OSError, ValueError):
        ask(path, "drain", timeout=DRAIN_SECONDS)


def _wait_until_ready(run: Run, supervisor: Supervisor) -> None:
    deadline = time.monotonic() + READY_SECONDS
    waiting = _conditions(run)
    while waiting:
        waiting = {what: is_met for what, is_met in waiting.items() if not is_met()}
        if waiting and time.monotonic() > deadline:
            raise ConfigurationError(f"not ready after {READY_SECONDS:g} s: {', '.join(waiting)}; see the log above")
        supervisor.wait(POLL_SECONDS if waiting else 0)


def _conditions(run: Run) -> dict[str, Callable[[], bool]]:
    listeners = {f"{each} does not answer": partial(answers, each) for each in run.listeners}
    workers = {
        f"libpurple of worker {number} is not up": partial(_worker_is_ready, run, number)
        for number in range(1, run.workers + 1)
    }
    return {**listeners, **workers}


def _worker_is_ready(run: Run, number: int) -> bool:
    try:
        return worker_is_ready(run.state.worker_socket(number))
    except ConfigurationError as error:
        raise ConfigurationError(f"worker {number}: {error}") from error


def _watch_processes(run: Run, supervisor: Supervisor) -> None:
    for process in rpc.call(run.state.rpc_socket, "core.psa")[1:]:
        supervisor.watch(process["pid"], _description(process["rank"], process["description"], run.workers))


def _description(rank: int, description: str, workers: int) -> str:
    return f"worker {rank}" if 1 <= rank <= workers else f"Kamailio's {description}"
