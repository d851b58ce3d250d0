"""Owns phones that know the gateway by an address that is none of its listeners', in a network namespace of its own.

For test_identity.py, which runs it there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from purple_bridge.launcher import rpc
from tests.agents.phone import Phone, pidf
from tests.gateway import PASSWORD
from tests.network import ELSEWHERE, PUBLIC
from tests.servers.kamailio import Kamailio
from tests.waiting import free_port

ALICE, BOB = f"sip:alice@{ELSEWHERE}", f"sip:bob@{ELSEWHERE}"


def main(directory: Path) -> None:
    port = free_port("udp")
    users = dict.fromkeys(("alice", "bob"), PASSWORD)
    options = ["--listen", f"udp:{PUBLIC}:{port}"]
    with (
        Kamailio(directory, ELSEWHERE, users=users, options=options) as kamailio,
        Phone(ALICE, PASSWORD, (PUBLIC, port), host=PUBLIC) as alice,
        Phone(BOB, PASSWORD, (PUBLIC, port), host=PUBLIC) as bob,
        Phone(ALICE, PASSWORD, ("127.0.0.1", kamailio.internal_port), host=ELSEWHERE) as stranger,
    ):
        result = {
            "registered": [alice.register().status, bob.register().status],
            "message": alice.message(BOB, "to bob").status,
            "stranger": stranger.message(f"{BOB};proto=purple", "forged").status,
            "watch": (watch := alice.subscribe(BOB)).status,
        }
        publication = [BOB, "3600", "presence", "application/pidf+xml", "id-1", ".", ".", "."]
        rpc.call(kamailio.rpc_socket, "pua.send_publish", *publication, pidf(BOB, note="at home").decode())
        seen = watch.wait_notify(lambda notify: notify.presence is not None).presence
        print(json.dumps(result | {"notes": seen and seen.notes, "messages": [one.text for one in bob.messages]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
