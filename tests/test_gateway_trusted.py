"""Trusted peers: whose requests need no password, and what they may not do all the same; hand-written requests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.agents.phone import Phone
from tests.purplectl import run_purplectl
from tests.servers.kamailio import Kamailio
from tests.test_identity import ALICE, BOB, MALLORY, NAMES, Wire, written

DOMAIN = "127.0.0.1"
PEER = "127.0.0.2"


@pytest.fixture(scope="module")
def kamailio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kamailio]:
    users = {name: f"{name}-secret" for name in NAMES}
    with Kamailio(tmp_path_factory.mktemp("kam"), DOMAIN, users=users, options=["--trusted"]) as server:
        yield server


@pytest.fixture(scope="module")
def bob(kamailio: Kamailio) -> Iterator[Phone]:
    with Phone(BOB, "bob-secret", ("127.0.0.1", kamailio.port)) as phone:
        assert phone.register().status == 200
        yield phone


def peer(kamailio: Kamailio, *words: str) -> str:
    done = run_purplectl("peer", *words, "--state-dir", str(kamailio.state_dir))
    assert done.returncode == 0, done.stderr
    assert "does not know" not in done.stderr
    return done.stdout


def message(kamailio: Kamailio, source: str, uri: str = BOB, sender: str = ALICE) -> int:
    with Wire(kamailio.port, source) as wire:
        return wire.exchange(written("MESSAGE", uri, {"From": f"From: <{sender}>;tag=1"})).status


def test_a_peer_needs_no_password_as_long_as_it_is_one(kamailio: Kamailio, bob: Phone) -> None:
    assert message(kamailio, PEER) == 407
    assert peer(kamailio, "add", PEER, "--tag", "office") == f"added {PEER}/32\n"
    assert message(kamailio, PEER) == 200
    assert bob.wait_message().from_uri == ALICE
    assert message(kamailio, "127.0.0.1") == 407
    assert "office" in peer(kamailio, "list")
    assert peer(kamailio, "remove", PEER) == f"removed {PEER}/32\n"
    assert message(kamailio, PEER) == 407


def test_what_a_peer_may_not_do(kamailio: Kamailio, bob: Phone) -> None:
    peer(kamailio, "add", "127.0.0.0/29")
    before = len(bob.messages)
    assert message(kamailio, PEER, sender="sip:alice@elsewhere.example") == 403
    assert message(kamailio, PEER, "sip:bob@elsewhere.example") == 404
    assert message(kamailio, PEER, f"sip:bob@127.0.0.1:{bob.address[1]}") == 404
    with Wire(kamailio.internal_port, PEER) as inside:
        assert inside.exchange(written("MESSAGE", f"{BOB};proto=purple", {})).status == 403
    with Wire(kamailio.port, PEER) as wire:
        third = {"From": f"From: <{ALICE}>;tag=1", "To": f"To: <{BOB}>", "ContentType": ""}
        assert wire.exchange(written("REGISTER", f"sip:{DOMAIN}", third, body="")).status == 403
        other = {"From": f"From: <{ALICE}>;tag=1", "To": f"To: <{ALICE}>"}
        assert wire.exchange(written("PUBLISH", BOB, other)).status == 403
    assert bob.messages[before:] == []
    peer(kamailio, "remove", "127.0.0.0/29")


def test_contacts_of_a_peer_that_lead_back_here_do_not_multiply(kamailio: Kamailio) -> None:
    """A request that this server sends to itself comes from an address that may be a peer's (RFC 5393)."""
    peer(kamailio, "add", "127.0.0.1")
    contacts = ", ".join(f"<sip:mallory@127.0.0.1:{kamailio.port};x={number}>" for number in range(5))
    own = {"From": f"From: <{MALLORY}>;tag=1", "To": f"To: <{MALLORY}>", "ContentType": ""}
    with Wire(kamailio.port) as wire:
        lines = {**own, "Contact": f"Contact: {contacts}"}
        assert wire.exchange(written("REGISTER", f"sip:{DOMAIN}", lines, body="")).status == 200
        assert wire.exchange(written("MESSAGE", MALLORY, {})).status == 482
    peer(kamailio, "remove", "127.0.0.1")
