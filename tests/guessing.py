"""Owns somebody who guesses passwords, in a network namespace of its own: for test_guesses.py, which runs it there."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from purple_bridge import metrics
from purple_bridge.guesses import AT_ONCE
from tests.agents.phone import Phone
from tests.agents.xcap import XcapClient
from tests.gateway import PASSWORD, sip
from tests.network import ELSEWHERE, LOOPBACK, PUBLIC
from tests.servers.kamailio import Kamailio
from tests.waiting import free_port

WRONG = "a guess"
DOCUMENT = "resource-lists/users/{}/index"


class Guesser:
    """Asks from one address or another, with one password or another."""

    def __init__(self, port: int) -> None:
        self._proxy = (PUBLIC, port)

    def register(self, user: str, password: str, host: str = PUBLIC) -> int:
        with self._phone(user, password, host) as phone:
            return phone.register().status

    def write(self, user: str, password: str, host: str = PUBLIC) -> tuple[int, str]:
        """The status and Retry-After."""
        with self._phone(user, password, host) as phone:
            answer = phone.message(sip("carol"), "hello")
            return answer.status, answer.headers.get("Retry-After", "")

    def read(self, user: str, password: str) -> int:
        """A document by HTTP."""
        return XcapClient(user, password, self._proxy).get(DOCUMENT.format(sip(user))).status

    @contextmanager
    def _phone(self, user: str, password: str, host: str) -> Iterator[Phone]:
        proxy = (LOOPBACK, self._proxy[1]) if host == LOOPBACK else self._proxy
        with Phone(sip(user), password, proxy, host=host) as phone:
            yield phone


def main(directory: Path) -> None:
    port = free_port("udp")
    listen = [word for kind in ("udp", "tcp") for word in ("--listen", f"{kind}:{PUBLIC}:{port}")]
    users = dict.fromkeys(("alice", "bob", "carol"), PASSWORD)
    with Kamailio(directory, users=users, options=listen) as kamailio:
        guesser = Guesser(port)
        result = {
            "guesses": [guesser.register("alice", WRONG) for _ in range(AT_ONCE + 2)],
            "right": guesser.register("alice", PASSWORD),
            "message": guesser.write("alice", PASSWORD),
            "other spelling": guesser.register("ALICE", WRONG),
            "document": guesser.read("alice", PASSWORD),
            "elsewhere": guesser.register("alice", PASSWORD, ELSEWHERE),
            "somebody else": guesser.register("bob", PASSWORD),
            "documents": [guesser.read("carol", WRONG) for _ in range(AT_ONCE + 1)],
            "unknown": [guesser.register("nobody", WRONG) for _ in range(AT_ONCE + 1)],
            "limited": metrics.gather(metrics.directory(kamailio.state_dir)).value(metrics.LIMITED, "password"),
            "log": kamailio.log,
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
