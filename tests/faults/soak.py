"""A time-compressed day: messages both ways, presence changes, reconnects, and bounds on what the gateway may use.

    python -m tests.faults.soak                     # 1,000,000 messages, 50,000 presence changes, 2,000 reconnects
    python -m tests.faults.soak --messages 20000    # the rest in proportion

Breaks nothing; the ends are those of the benchmarks, which cost little. Exit 1 if a bound was passed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.flow import Flow
from bench.sip_end import SipEnd
from bench.xmpp_end import XmppEnd
from purple_bridge.control_client import ask
from tests.agents.pidf import pidf
from tests.faults.processes import Census, census
from tests.gateway import PASSWORD, Gateway, sip, xmpp_contact
from tests.servers.prosody import Prosody
from tests.waiting import wait_until

MESSAGES, PRESENCES, RECONNECTS = 1_000_000, 50_000, 2_000
ROUND = 2_000  # messages, half of them each way
WINDOW = 32  # messages on their way
GROWTH = 0.05  # of memory, after the first tenth
SPARE = 20  # descriptors
RESTLESS = 20  # accounts that reconnect
PROGRESS = 10.0  # seconds


@dataclass
class Totals:
    """``broken``: bounds that were passed, in words."""

    messages: int = 0
    lost: int = 0
    repeated: int = 0
    presences: int = 0
    reconnects: int = 0
    started: float = field(default_factory=time.monotonic)
    broken: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        seconds = time.monotonic() - self.started
        return (
            f"{seconds:6.0f} s: {self.messages} messages ({self.lost} lost, {self.repeated} twice), "
            f"{self.presences} presences, {self.reconnects} reconnects"
        )


class Soak:
    """Owns the site and both ends."""

    def __init__(self, directory: Path, messages: int, growth: float = GROWTH) -> None:
        self._growth = growth
        self.rounds = max(1, messages // ROUND)
        names = ["alice", "bob", "carol", *(f"restless{number}" for number in range(RESTLESS))]
        self._prosody = Prosody(directory / "xmpp", dict.fromkeys(names, PASSWORD), "soak.test")
        self._prosody.plain = True  # which is all that the benchmarks' client knows
        users = dict.fromkeys(["alice", "carol"], PASSWORD)
        self._gateway = Gateway(directory / "gw", users=users, settings={"connect_on": "start"})
        self._stack = ExitStack()
        self.totals = Totals()

    def run(self) -> Totals:
        with self._stack:
            self._start()
            settled, shown = self._census(), time.monotonic()
            for number in range(1, self.rounds + 1):
                self._round(number)
                if number == max(2, self.rounds // 10):
                    settled = self._census()
                    print(f"from here on: {settled}", flush=True)
                if time.monotonic() - shown > PROGRESS:
                    shown = time.monotonic()
                    print(f"{self.totals}; {self._census()}", flush=True)
            self._check(settled)
        return self.totals

    def _start(self) -> None:
        for server in (self._prosody, self._gateway):
            self._stack.enter_context(server)
        for user in ["alice", "carol", *(f"restless{number}" for number in range(RESTLESS))]:
            self._gateway.add_xmpp_account(user, self._prosody)
        wait_until(self._all_online, 60, "all accounts are online")
        proxy = ("127.0.0.1", self._gateway.kamailio.port)
        self._phone = SipEnd(sip("alice"), proxy, PASSWORD)
        self._stack.callback(self._phone.close)
        self._phone.register()
        self._client = XmppEnd("bob", PASSWORD, self._prosody.domain, (self._prosody.host, self._prosody.port))
        self._stack.callback(self._client.close)
        self._out = Flow(self._phone.to(xmpp_contact(f"bob@{self._prosody.domain}")), self._client)
        self._in = Flow(self._client.to(f"alice@{self._prosody.domain}"), self._phone)
        self._publisher = self._gateway.phone("carol")
        self._publisher.trace = _Nothing()
        self._out.at_most(8, 1)  # the challenge, and its answer

    def _all_online(self) -> bool:
        accounts = self._gateway.accounts()
        return len(accounts) == RESTLESS + 2 and all(one["state"] == "online" for one in accounts)

    def _round(self, number: int) -> None:
        for flow in (self._out, self._in):
            result = flow.at_most(ROUND // 2, WINDOW)
            self.totals.messages += result.sent
            # a nonce that has grown old is none that the benchmarks' phone asks with again: that was not accepted
            self.totals.lost += result.lost - self._phone.refused.pop(407, 0)
            self.totals.repeated += result.repeated
        while self.totals.presences < number * ROUND * PRESENCES // MESSAGES:
            self.totals.presences += 1
            status = self._publisher.publish(pidf(sip("carol"), note=f"note {self.totals.presences}")).status
            if status != 200:
                self.totals.broken.append(f"PUBLISH was answered with {status}")
        while self.totals.reconnects < number * ROUND * RECONNECTS // MESSAGES:
            self._reconnect(f"restless{self.totals.reconnects % RESTLESS}@{self._prosody.domain}")
            self.totals.reconnects += 1

    def _reconnect(self, ext_user: str) -> None:
        for worker in range(1, self._gateway.kamailio.workers + 1):
            path = self._gateway.kamailio.state_dir / "run" / f"worker-{worker}.sock"
            ask(path, "reconnect", timeout=10, accounts=[["prpl-jabber", ext_user]])

    def _census(self) -> Census:
        return census(self._gateway.kamailio.pid)

    def _check(self, settled: Census) -> None:
        wait_until(self._all_online, 60, "all accounts are online again")
        now = self._census()
        print(f"{self.totals}; {now}", flush=True)
        bounds = {
            f"{self.totals.lost} messages are lost": self.totals.lost == 0,
            f"{self.totals.repeated} messages came twice": self.totals.repeated == 0,
            f"{now.zombies} zombies": now.zombies == 0,
            f"{now.processes} processes instead of {settled.processes}": now.processes == settled.processes,
            f"{now.descriptors} descriptors after {settled.descriptors}": now.descriptors
            <= settled.descriptors + SPARE,
            f"{now.megabytes:.0f} MB after {settled.megabytes:.0f}": now.megabytes
            <= settled.megabytes * (1 + self._growth),
        }
        self.totals.broken += [what for what, holds in bounds.items() if not holds]


class _Nothing(list[str]):
    """A trace of a phone that forgets: a day of it would be this process's memory."""

    def append(self, _entry: str) -> None:
        return


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--messages", type=int, default=MESSAGES, help="both ways together")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as directory:
        totals = Soak(Path(directory), options.messages).run()
    print("FAILED: " + "; ".join(totals.broken) if totals.broken else "held")
    return int(bool(totals.broken))


if __name__ == "__main__":
    sys.exit(main())
