"""Messages the IM server kept while the account was offline: all arrive, with the time they were written."""

from __future__ import annotations

from pathlib import Path

from tests.agents.pidf import pidf
from tests.gateway import Gateway, sip
from tests.servers.prosody import Prosody

MESSAGES = 20


def test_delayed_messages_arrive_with_their_time(tmp_path: Path) -> None:
    """All in one conversation of libpurple's, which is destroyed once: twice would corrupt the worker's memory."""
    users = {"alice": "secret", "bob": "secret"}
    with Prosody(tmp_path / "prosody", users) as prosody, Gateway(tmp_path / "gw") as gateway:
        gateway.add_xmpp_account("alice", prosody)
        bob = gateway.xmpp_user(prosody, "bob")
        texts = [f"while you were away {number}" for number in range(MESSAGES)]
        for _ in range(3):  # memory is reused: a conversation destroyed twice would show by now
            for text in texts:
                bob.send("alice@localhost", text)
            phone = gateway.online_phone("alice", "alice@localhost")
            kept = [phone.wait_message(lambda message: message.text in texts) for _ in texts]
            assert sorted(message.text for message in kept) == sorted(texts)
            assert all(message.headers.get("Date") for message in kept)
            phone.publish(pidf(sip("alice")), expires=0)
            gateway.wait_state("alice@localhost", "offline")
            phone.unregister()
