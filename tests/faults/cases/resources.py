"""Faults of the machine: the disk is full, Kamailio's memory is used up, the clock is set."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from tests.agents.phone import Phone
from tests.faults.load import Load
from tests.faults.namespaces import small_disk
from tests.faults.scenario import Context, Unavailable, scenario
from tests.faults.site import Site
from tests.gateway import PASSWORD, sip
from tests.waiting import wait_until

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
DAY = 86_400


@scenario(
    "disk-full",
    "The disk of state directory and SQLite is full, while an XMPP server is down",
    "A message that has to be written down gets a clear 5xx, the others go on; nothing accepted is lost",
)
def disk_full(context: Context) -> None:
    state = context.directory / "gw" / "state"
    with small_disk(state, 64), Site(context.directory) as site:
        site.begin(context.quick)
        site.sick.kill()
        _fill(state / "filler")
        site.wait_for(4 if context.quick else 30)
        statuses = site.alice.statuses("during")
        context.report.check(any(status >= 500 for status in statuses), f"no 5xx while the disk is full: {statuses}")
        (state / "filler").unlink()
        site.sick.start()
        with context.report.timed("s until a phone registers"):
            wait_until(lambda: site.phones["bob"].register().status == 200, 60, "a phone registers")
        site.finish(context.report)


def _fill(path: Path) -> None:
    """Until there is no room for another octet."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue


@scenario(
    "shm-full",
    "Kamailio's shared memory is used up, by messages to a phone that never answers",
    "Further requests get 5xx; it recovers when the transactions end",
    in_tests=False,
)
def memory_full(context: Context) -> None:
    more_memory = 'if "-m" in words: words[words.index("-m") + 1] = "28"'
    variables = _wrapped(context.directory, more_memory)
    with Site(context.directory, auth=False, variables=variables) as site:
        site.wait_for(4)
        site.phase("during")
        proxy = ("127.0.0.1", site.gateway.kamailio.port)
        with (
            Phone(sip("deaf"), PASSWORD, proxy) as deaf,
            Load(proxy, sip("carol"), "", [sip("deaf")], rate=400, name="carol") as flood,
        ):
            deaf.answer = None
            assert deaf.register().status == 200
            wait_until(lambda: any(status >= 500 for status in flood.statuses()), 120, "there is no memory left")
            site.wait_for(10)
            answers = dict(flood.statuses())
            flood.end()
        context.report.figures["answers to the flood"] = ", ".join(f"{n} x {s}" for s, n in sorted(answers.items()))
        with context.report.timed("s until a phone registers"):
            wait_until(lambda: site.phones["bob"].register().status == 200, 60, "a phone registers")
        site.phase("after")
        site.wait_for(4)
        context.report.check(set(site.bob.statuses("after")) == {202}, f"afterwards: {site.bob.statuses('after')}")
        site.finish(context.report)


def _wrapped(directory: Path, line: str) -> dict[str, str]:
    """Variables with which the launcher finds a `kamailio` that changes its ``words``, or os.environ, by ``line``."""
    real = shutil.which("kamailio", path=f"{os.environ['PATH']}:/usr/sbin")
    program = directory / "bin" / "kamailio"
    program.parent.mkdir(parents=True)
    program.write_text(
        f"#!{sys.executable}\nimport os, sys\nwords = sys.argv[1:]\n{line}\nos.execv({real!r}, ['kamailio', *words])\n"
    )
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:{os.environ['PATH']}"}


@scenario(
    "clock-jump",
    "The clock jumps a day forward and back (libfaketime; the monotonic clock goes on)",
    "Accounts stay or come back, nothing is lost or repeated, phones that refresh are served",
    in_tests=False,
)
def clock(context: Context) -> None:
    if not FAKETIME.exists():
        raise Unavailable("libfaketime is not installed")
    offset = context.directory / "offset"
    offset.write_text("+0")
    faked = {
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    preload = f"os.environ['LD_PRELOAD'] = os.environ.get('LD_PRELOAD', '') + ' {FAKETIME}'"
    variables = _wrapped(context.directory, f"os.environ.update({faked!r}); {preload}")
    with Site(context.directory, variables=variables) as site:
        site.begin(context.quick)
        for jump in (f"+{DAY}", "+0"):
            offset.write_text(jump)
            site.wait_for(4 if context.quick else 15)
            _states(context, site, f"accounts after {jump} s")
            for user in ("alice", "bob"):
                status = site.phones[user].register().status
                assert status == 200, f"REGISTER after {jump} s: {status}"
                site.phones[user].etag = None  # RFC 3903 §4.1: what has expired is published anew, not refreshed
                domain = (site.sick if user == "alice" else site.well).domain
                site.gateway.publish_until_seen(site.phones[user], user, f"{user}@{domain}")
            site.wait_online(60)
        site.finish(context.report)


def _states(context: Context, site: Site, what: str) -> None:
    states = sorted(f"{one['ext_user']} {one['state']}" for one in site.gateway.accounts())
    context.report.figures[what] = ", ".join(states)
