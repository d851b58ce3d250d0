"""A few hundred messages a second from sipp: every one that got a 202 arrives, once."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.gateway import Gateway, xmpp_contact
from tests.servers.prosody import Prosody
from tests.waiting import wait_until

SCENARIO = Path(__file__).parent / "sipp" / "message.xml"
MESSAGES, RATE = 1000, 250


def test_every_accepted_message_arrives_once(tmp_path: Path, prosody: Prosody) -> None:
    with Gateway(tmp_path, auth=False) as gateway:
        gateway.add_xmpp_account("alice", prosody)
        bob = gateway.xmpp_user(prosody, "bob")
        gateway.online_phone("alice", "alice@localhost")
        _run_sipp(tmp_path, gateway.kamailio.port)
        wait_until(lambda: len(bob.messages) >= MESSAGES, 20, f"{MESSAGES} messages")
        numbers = [int(message.body.removeprefix("number ")) for message in bob.messages]
        assert sorted(numbers) == list(range(1, MESSAGES + 1))


def _run_sipp(directory: Path, port: int) -> None:
    command = ["sipp", f"127.0.0.1:{port}", "-sf", str(SCENARIO), "-s", xmpp_contact("bob@localhost")[4:]]
    command += ["-i", "127.0.0.1", "-m", str(MESSAGES), "-r", str(RATE), "-nostdin", "-timeout", "60"]
    environment = {"TERM": "dumb", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
