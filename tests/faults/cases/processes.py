"""Faults of the gateway itself: a process is killed, the script is read again, all accounts come back at once."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections import Counter
from pathlib import Path

from sqlalchemy import insert

from purple_bridge.db.engine import make_engine
from purple_bridge.errors import ConfigurationError
from purple_bridge.launcher import rpc
from tests.faults.scenario import Context, scenario
from tests.faults.site import Site
from tests.gateway import PASSWORD, Gateway, sip
from tests.servers.prosody import Prosody
from tests.waiting import wait_until

ACCOUNTS = 500
FEW = 60
LOGINS_A_SECOND = 20
RELOADS = 100
_CLOCK = re.compile(r"(\d\d):(\d\d):(\d\d)")


@scenario(
    "worker-killed",
    f"A worker is killed (SIGKILL) under load, then the main process; {ACCOUNTS} accounts",
    "SIP answers again within 5 s, all accounts are online within 60 s; nothing with a row is lost",
)
def killed(context: Context) -> None:
    count = FEW if context.quick else ACCOUNTS
    settings = {"connect_on": "start", "queue": "always"}
    with _crowd(context, count) as crowd, Site(context.directory, settings=settings) as site:
        _add_accounts(site.gateway, crowd, count)
        _wait_all_online(site.gateway, count + 2, 120)
        site.phase("during")
        for victim, index in (("worker", 1), ("main process", 0)):
            os.kill(int(site.gateway.kamailio.processes()[index]["pid"]), signal.SIGKILL)
            killed_at = time.monotonic()
            wait_until(lambda: not site.gateway.kamailio.running, 15, "the launcher ends")
            ended = time.monotonic() - killed_at
            site.gateway.kamailio.start()
            ready = time.monotonic() - killed_at
            _wait_all_online(site.gateway, count + 2, 120)
            online = time.monotonic() - killed_at
            context.report.figures[f"{victim}: s until ended/SIP ready/{count + 2} accounts online"] = (
                f"{ended:.1f}/{ready:.1f}/{online:.1f}"
            )
            context.report.check(context.quick or online < 60, f"{victim}: accounts online after {online:.0f} s")
        site.settle()
        site.check_answers(context.report)
        site.check_messages(context.report, most_twice=12)


@scenario(
    "reconnect-storm",
    f"{ACCOUNTS} accounts lose their server at once (SIGKILL), and it comes back",
    f"At most {LOGINS_A_SECOND} logins a second, all online within 60 s",
)
def storm(context: Context) -> None:
    count = FEW if context.quick else ACCOUNTS
    with _crowd(context, count) as crowd, Site(context.directory, settings={"connect_on": "start"}) as site:
        _add_accounts(site.gateway, crowd, count)
        _wait_all_online(site.gateway, count + 2, 120)
        site.wait_for(2)
        site.phase("during")
        crowd.kill()
        wait_until(lambda: 0 <= _online(site.gateway) <= 2, 60, "the accounts have noticed")
        length = crowd.log_path.stat().st_size
        crowd.start()
        with context.report.timed(f"s until {count} accounts are online"):
            _wait_all_online(site.gateway, count + 2, 120)
        most = _most_logins(crowd.log_path, length)
        context.report.figures["most logins a second"] = most
        context.report.check(most <= LOGINS_A_SECOND + 2, f"{most} logins a second")
        site.finish(context.report, spare=40 + count)


@scenario(
    "script-reload",
    f"The route script is read again (app_python.reload) {RELOADS} times under load",
    "No request fails; on Kamailio 6 the command says that it is not enabled",
)
def reload(context: Context) -> None:
    with Site(context.directory) as site:
        site.wait_for(1.5)
        site.phase("during")
        refused = 0
        for _ in range(FEW if context.quick else RELOADS):
            try:
                rpc.call(site.gateway.kamailio.rpc_socket, "app_python.reload")
            except ConfigurationError as error:
                refused += 1
                context.report.figures["the command said"] = str(error)
            site.wait_for(0.05)
        context.report.figures["reloads refused"] = refused
        site.finish(context.report)


def _crowd(context: Context, count: int) -> Prosody:
    users = {f"crowd{number}": PASSWORD for number in range(count)}
    return Prosody(context.directory / "crowd", users, "crowd.test")


def _add_accounts(gateway: Gateway, server: Prosody, count: int) -> None:
    rows = [
        {
            "sip_user": sip(f"crowd{number}"),
            "ext_prot": "prpl-jabber",
            "ext_user": f"crowd{number}@{server.domain}",
            "ext_pass": PASSWORD,
            "ext_options": json.dumps(server.account_options),
        }
        for number in range(count)
    ]
    engine = make_engine(gateway.kamailio.db_url)
    with engine.begin() as connection:
        connection.execute(insert(gateway._table()), rows)
    engine.dispose()


def _online(gateway: Gateway) -> int:
    try:
        return sum(one["state"] == "online" for one in gateway.accounts())
    except TimeoutError:  # a worker that signs many on may be busy for a moment
        return -1


def _wait_all_online(gateway: Gateway, count: int, seconds: float) -> None:
    """Seldom asked: the answer is long, and whoever asks takes time from the phones that are measured."""
    pause = threading.Event()
    wait_until(lambda: _online(gateway) >= count or pause.wait(1.0), seconds, f"{count} accounts are online")


def _most_logins(log: Path, start: int) -> float:
    """A second, over any five seconds of the server's log from that place on: a busy machine ends some together."""
    with log.open(errors="replace") as lines:
        lines.seek(start)
        found = [_CLOCK.search(line) for line in lines if "Authenticated as" in line]
    seconds = Counter(int(one[1]) * 3600 + int(one[2]) * 60 + int(one[3]) for one in found if one)
    return max((sum(seconds[first + more] for more in range(5)) / 5 for first in list(seconds)), default=0.0)
