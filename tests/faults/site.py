"""Owns a site that something happens to: a gateway, two IM servers, phones that go on writing. Breaks nothing itself.

Alice's account is on the server that suffers, bob's on one that is well. Whom they write to is offline, so what their
servers have acknowledged lies there until the end, when each text is counted.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from tests.agents.phone import Phone
from tests.agents.xmpp import XmppUser
from tests.faults.load import Delays, Load
from tests.faults.processes import Census, census
from tests.faults.scenario import Report
from tests.gateway import PASSWORD, Gateway, sip, xmpp_contact
from tests.servers.kamailio import Kamailio
from tests.servers.prosody import Prosody
from tests.waiting import wait_until

RECIPIENTS = [f"user{number}" for number in range(4)]
END = "the end"
UNCHANGED = 1.2  # p99 while a neighbour hangs, at most so many times that before: by so much the gateway may be slower


class Site:
    """``sick``, ``well``: the servers; ``alice``, ``bob``: what their phones send. ``options``: of the gateway."""

    def __init__(
        self,
        directory: Path,
        rate: float = 40.0,
        sick: Prosody | None = None,
        address: str = "",
        registers: bool = False,
        **options: Any,
    ) -> None:
        """``address``: under which alice's account looks for its server; ``registers``: phones do so all the time."""
        names = dict.fromkeys(["alice", "bob", "writer", *RECIPIENTS], PASSWORD)
        self.sick = sick or Prosody(directory / "sick", names, "sick.test")
        self.well = Prosody(directory / "well", names, "well.test")
        prefix, variables = options.pop("prefix", []), options.pop("variables", {})
        self.gateway = Gateway(directory / "gw", **options)
        self.gateway.kamailio.prefix, self.gateway.kamailio.variables = prefix, variables
        self.rate, self.address, self._registers = rate, address or self.sick.host, registers
        self._directory = directory
        self._control: Load | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for server in (self.sick, self.well, self.gateway):
                stack.enter_context(server)
            self._sign_on()
            self.alice = stack.enter_context(self.load("alice", self.sick))
            self.bob = stack.enter_context(self.load("bob", self.well))
            self.before = census(self.gateway.kamailio.pid)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _sign_on(self) -> None:
        self.gateway.add_xmpp_account("alice", self.sick, connect_server=self.address)
        self.gateway.add_xmpp_account("bob", self.well)
        self.phones: dict[str, Phone] = {
            "alice": self.gateway.online_phone("alice", "alice@sick.test"),
            "bob": self.gateway.online_phone("bob", "bob@well.test"),
        }

    def load(self, user: str, server: Prosody) -> Load:
        contacts = [xmpp_contact(f"{name}@{server.domain}") for name in RECIPIENTS]
        proxy = ("127.0.0.1", self.gateway.kamailio.port)
        return Load(proxy, sip(user), PASSWORD, contacts, self.rate, user, self._registers)

    # ------------------------------------------------------------ while it lasts
    def phase(self, name: str) -> None:
        for load in self._loads():
            load.phase = name

    def _loads(self) -> list[Load]:
        return [self.alice, self.bob, *([self._control] if self._control else [])]

    def begin(self, quick: bool, compared: bool = False) -> None:
        """Steady work to compare with; what comes then is during the fault.

        ``compared``: for a minute, so that p99 is more than a handful of requests; ``check_answers`` compares then,
        with what a second gateway shows meanwhile, to which nothing happens: how busy the machine is changes as well.
        """
        if compared and not quick:
            self.phase("while another gateway starts")
            other = self._stack.enter_context(Kamailio(self._directory / "control"))
            self._control = self._stack.enter_context(
                Load(("127.0.0.1", other.port), sip("alice"), PASSWORD, [], 2 * self.rate, name="control")
            )
            self.phase("before")
        self.wait_for(1.5 if quick else 60 if compared else 10)
        self.phase("during")

    def wait_for(self, seconds: float) -> None:
        """So long the fault lasts: the phones go on meanwhile, and the requests of all that time are counted."""
        end = time.monotonic() + seconds
        wait_until(lambda: time.monotonic() >= end, seconds + 5, "the time of the fault is over")

    def wait_online(self, seconds: float, *users: str) -> None:
        for user in users or ("alice", "bob"):
            domain = (self.sick if user == "alice" else self.well).domain
            self.gateway.wait_state(f"{user}@{domain}", "online", timeout=seconds)

    # ------------------------------------------------------------ at the end
    def settle(self, seconds: float = 60.0) -> None:
        """Nothing new; all is answered, and all that the gateway has taken has left it."""
        for load in self._loads():
            load.end()
        self.wait_online(seconds)
        wait_until(lambda: all(not one["queued"] for one in self.gateway.accounts()), seconds, "nothing waits any more")

    def arrived(self, server: Prosody) -> dict[str, list[tuple[str, str]]]:
        """Recipient's SIP address -> (who wrote, text), as they find it when they sign on."""
        found = {}
        for name in RECIPIENTS:
            user = self.gateway.xmpp_user(server, name)
            user.send(user.jid, END)
            user.wait_message(lambda message: message.body == END, 60)
            found[xmpp_contact(f"{name}@{server.domain}")] = _written(user)
        return found

    def check_messages(self, report: Report, most_twice: int = 6) -> None:
        """What was accepted has arrived, where it was sent and under its writer's name.

        ``most_twice``: how many may come a second time, where somebody died before he acknowledged them.
        """
        accepted = arrived = lost = foreign = twice = 0
        for load, server in ((self.alice, self.sick), (self.bob, self.well)):
            jid = f"{load.name}@{server.domain}"
            there = self.arrived(server)
            for recipient, texts in load.accepted().items():
                counted = Counter(text for _, text in there[recipient])
                accepted += len(texts)
                arrived += len(counted)
                lost += len(texts - counted.keys())
                twice += sum(counted.values()) - len(counted)
                sent = {one.text for one in load.of("MESSAGE") if one.recipient == recipient}
                foreign += sum(writer != jid or text not in sent for writer, text in there[recipient])
        report.figures |= {"accepted": accepted, "lost": lost, "twice": twice, "under another's name": foreign}
        report.check(lost == 0, f"{lost} accepted messages are lost")
        report.check(foreign == 0, f"{foreign} messages are not those of their sender")
        report.check(twice <= most_twice, f"{twice} messages came twice")

    def check_answers(self, report: Report, during: str = "during") -> None:
        """Each request has an answer; the figures say how soon."""
        unanswered = self.alice.unanswered() + self.bob.unanswered()
        report.check(unanswered == 0, f"{unanswered} requests have no answer")
        both, machine = [self.alice, self.bob], 1.0
        if self._control is not None:
            before, now = (self._control.delays("OPTIONS", phase) for phase in ("before", during))
            report.figures["OPTIONS p99 of another gateway, ms"] = f"{before.p99:.1f}/{now.p99:.1f}"
            machine = max(1.0, now.p99 / before.p99)
        for kind, loads in (("OPTIONS", both), ("MESSAGE", both)):
            before, now = (
                Delays.of(one for load in loads for one in load.of(kind, phase)) for phase in ("before", during)
            )
            report.figures[f"{kind} p99 before/during, ms"] = f"{before.p99:.1f}/{now.p99:.1f}"
            report.figures[f"{kind} longest, ms"] = round(now.worst)
            if self._control is not None:
                longer = now.p99 / before.p99
                report.check(longer <= UNCHANGED * machine, f"p99 of {kind} is {longer:.2f} times that before")
        for kind in ("MESSAGE", "REGISTER"):
            statuses = self.alice.statuses(during, kind) + self.bob.statuses(during, kind)
            if statuses:
                report.figures[f"{kind} answers"] = ", ".join(
                    f"{count} x {status}" for status, count in sorted(statuses.items())
                )

    def check_processes(self, report: Report, spare: int = 40) -> Census:
        """As many processes as before, no zombie, no descriptors that stay. ``spare``: descriptors, of pools."""
        now = census(self.gateway.kamailio.pid)
        report.figures["after"] = str(now)
        report.check(now.zombies == 0, f"{now.zombies} zombies")
        report.check(
            now.processes == self.before.processes, f"{now.processes} processes instead of {self.before.processes}"
        )
        report.check(
            now.descriptors <= self.before.descriptors + spare,
            f"{now.descriptors} descriptors after {self.before.descriptors}",
        )
        return now

    def finish(self, report: Report, most_twice: int = 0, spare: int = 40) -> None:
        """All checks that every fault has in common."""
        self.settle()
        self.check_answers(report)
        self.check_messages(report, most_twice)
        self.check_processes(report, spare)


def _written(user: XmppUser) -> list[tuple[str, str]]:
    return [(message.from_bare, message.body) for message in user.messages if message.body != END]
