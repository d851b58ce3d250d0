"""Owns what presence costs: an IM contact that many SIP users watch, and a SIP user whom as many watch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from bench import table
from bench.gateways import ThisGateway, Variant
from bench.peer import BOB, SEVERAL
from bench.results import Figures, Measured
from bench.servers import cpu_seconds
from bench.watchers_end import WatchersEnd
from tests.agents.pidf import pidf
from tests.gateway import DOMAIN, sip, xmpp_contact
from tests.servers.base import HOST
from tests.waiting import wait_until

CASE = "presence"
FROM_CONTACT, LIMIT = "this gateway: an XMPP contact", "limit: Kamailio alone: a SIP user"
CHANGES = 5
APART_SECONDS = 5.5  # the gateway tells a watcher no more than one change in 5 s
LONGEST_SECONDS = 30.0
PUBLISHER = "publisher"

Show = Callable[[int], None]


def measure(name: str, directory: Path, watchers: int) -> Iterator[Measured]:
    """``watchers``: SIP users, each with an account of his own, and the contact on its list."""
    names = [f"watcher{number}" for number in range(watchers)]
    variant = Variant(settings=(("connect_on", "start"),))
    with ThisGateway(directory, variant, names) as peer:
        kamailio = peer.gateway.kamailio
        table.add(kamailio.db_url, table.rows_of(names, peer.prosody))
        wait_until(lambda: peer.online() == SEVERAL + watchers, 120, "the watchers' accounts are online")
        with closing(WatchersEnd([sip(user) for user in names], (HOST, kamailio.port))) as ends:
            yield Measured(CASE, name, FROM_CONTACT, _contact(peer, ends))
            yield Measured(CASE, name, LIMIT, _user(peer, ends))


def _contact(peer: ThisGateway, ends: WatchersEnd) -> Figures:
    ends.subscribe(xmpp_contact(peer.bob.jid))

    def show(number: int) -> None:
        peer.bob.show(f"#{number}")

    def approved() -> bool:
        """RFC 6121 §3.1.5: what has not been asked for yet is approved in vain."""
        for user in ends.users:
            peer.bob.approve(user.removeprefix("sip:").replace(DOMAIN, peer.prosody.domain))
        show(0)
        return len(ends.seen(0, APART_SECONDS)) == len(ends.users)

    wait_until(approved, LONGEST_SECONDS, f"all see {BOB}")
    return _fan_out(peer, ends, show)


def _user(peer: ThisGateway, ends: WatchersEnd) -> Figures:
    """The presence server alone: the gateway has no account of this user."""
    phone = peer.gateway.phone(PUBLISHER)
    ends.subscribe(sip(PUBLISHER))

    def show(number: int) -> None:
        status = phone.publish(pidf(sip(PUBLISHER), note=f"#{number}")).status
        assert status == 200, f"PUBLISH: {status}"

    return _fan_out(peer, ends, show)


def _fan_out(peer: ThisGateway, ends: WatchersEnd, show: Show) -> Figures:
    """``first``, ``median``, ``last``: milliseconds from the change until they know; ``cpu``: µs for each of them."""
    delays, missing, cpu = [], 0, 0.0
    for number in range(1, CHANGES + 1):
        time.sleep(APART_SECONDS)
        before, begin = cpu_seconds(peer.processes()), time.monotonic()
        show(number)
        times = sorted(ends.seen(number, LONGEST_SECONDS).values())
        cpu += cpu_seconds(peer.processes()) - before
        missing += len(ends.users) - len(times)
        delays.append([1000 * (seen - begin) for seen in times])
    peer.check()
    figures = {
        "first": statistics.median(each[0] for each in delays),
        "median": statistics.median(statistics.median(each) for each in delays),
        "last": statistics.median(each[-1] for each in delays),
    }
    each = 1e6 * cpu / (CHANGES * len(ends.users))
    return figures | {"watchers": float(len(ends.users)), "missing": float(missing), "cpu": each}
