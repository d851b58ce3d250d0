"""Faults of an IM server: it dies, stands still, or hardly moves."""

from __future__ import annotations

import threading

from tests.faults.scenario import Context, scenario
from tests.faults.site import Site


@scenario(
    "im-killed",
    "An XMPP server is killed (SIGKILL) under load, and comes back",
    "Nothing accepted is lost; the other server's accounts notice nothing; the account is online again by itself",
)
def killed(context: Context) -> None:
    with Site(context.directory) as site:
        site.begin(context.quick)
        site.sick.kill()
        site.wait_for(2 if context.quick else 20)
        site.sick.start()
        with context.report.timed("s until the account is online"):
            site.wait_online(60)
        site.finish(context.report, most_twice=8)  # what is in flight on a connection that has lasted


@scenario(
    "im-stopped",
    "An XMPP server is stopped (SIGSTOP) and continued: connections stay open, nothing is answered",
    "Messages of its accounts are written down and arrive when it goes on; nobody else waits",
)
def stopped(context: Context) -> None:
    with Site(context.directory) as site:
        site.begin(context.quick, compared=True)
        site.sick.pause()
        try:
            site.wait_for(5 if context.quick else 120)
        finally:
            site.sick.resume()
        with context.report.timed("s until the account is online"):
            site.wait_online(90)
        site.finish(context.report, most_twice=8)  # what was in flight when the connection was given up


@scenario(
    "im-slow",
    "An XMPP server that runs one tenth of the time (SIGSTOP and SIGCONT by turns)",
    "Its messages arrive later; nobody else waits",
)
def slow(context: Context) -> None:
    with Site(context.directory) as site:
        site.begin(context.quick)
        ending = threading.Event()
        duty = threading.Thread(target=_tenth, args=(site, ending))
        duty.start()
        site.wait_for(4 if context.quick else 60)
        ending.set()
        duty.join()
        site.finish(context.report)


def _tenth(site: Site, ending: threading.Event) -> None:
    while not ending.is_set():
        site.sick.pause()
        ending.wait(0.45)
        site.sick.resume()
        ending.wait(0.05)
