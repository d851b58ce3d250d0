"""Nothing accepted is lost: a steady stream while the XMPP server, or the gateway, is killed again and again.

The recipients are offline meanwhile: what prosody acknowledges lies in its store on disk, so that whatever a kill may
take is the gateway's to send again, and what arrives twice is seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.agents.flood import Flood
from tests.agents.xmpp import XmppUser
from tests.gateway import Gateway, sip, xmpp_contact
from tests.servers.prosody import Prosody
from tests.waiting import wait_until

MESSAGES, RATE, KILLS = 10_000, 500, 3
RECIPIENTS = [f"user{number}" for number in range(20)]
END = "the end"


@pytest.fixture
def own_prosody(tmp_path: Path) -> Prosody:
    return Prosody(tmp_path / "prosody", dict.fromkeys(["alice", *RECIPIENTS], "secret"))


class Killer:
    """Calls `kill` each time another share of the messages is under way, in one thread that lives as long as this:
    a server ends with the thread that started it."""

    def __init__(self, kill: Callable[[], None]) -> None:
        self._kill = kill
        self._at = [MESSAGES * (place + 1) // (KILLS + 1) for place in range(KILLS)]
        self._thread = ThreadPoolExecutor(1)
        self._kills: list[Future[None]] = []

    def __call__(self, sent: int) -> None:
        if sent in self._at:
            self._kills.append(self._thread.submit(self._kill))

    def wait(self) -> None:
        """Until all is up again; raises what went wrong there."""
        assert len(self._kills) == KILLS
        for kill in self._kills:
            kill.result()

    def close(self) -> None:
        self._thread.shutdown()


def _flood(gateway: Gateway, killer: Killer) -> dict[str, int]:
    flood = Flood(
        ("127.0.0.1", gateway.kamailio.port),
        sip("alice"),
        [xmpp_contact(f"{name}@localhost") for name in RECIPIENTS],
    )
    answers = flood.run(MESSAGES, RATE, killer)
    killer.wait()
    return answers


def _arrived(gateway: Gateway, prosody: Prosody) -> dict[str, list[str]]:
    """What each recipient finds when he signs on, once the gateway has nothing left to send."""
    gateway.wait_state("alice@localhost", "online", timeout=40)
    wait_until(lambda: gateway.account("alice@localhost")["queued"] == 0, 60, "nothing waits any more")
    found = {}
    for name in RECIPIENTS:
        found[name] = _texts(gateway.xmpp_user(prosody, name))
    return found


def _texts(user: XmppUser) -> list[str]:
    """All that waited for the user: what he writes to himself comes behind it. The server's file says less: an item
    that a kill left without its entry in the index is not acknowledged, comes again and is never handed out itself."""
    user.send(user.jid, END)
    user.wait_message(lambda message: message.body == END, 20)
    return [message.body for message in user.messages if message.body != END]


def _check_order(arrived: dict[str, list[str]]) -> None:
    for name, texts in arrived.items():
        numbers = [int(text.partition(":")[2]) for text in dict.fromkeys(texts)]
        assert numbers == sorted(numbers), f"{name}: {_around_the_first_break(numbers)}"


def _around_the_first_break(numbers: list[int]) -> list[int]:
    place = next(place for place in range(1, len(numbers)) if numbers[place] < numbers[place - 1])
    return numbers[max(0, place - 5) : place + 5]


def _check_nothing_lost(answers: dict[str, int], arrived: dict[str, list[str]]) -> None:
    accepted = {text for text, status in answers.items() if 200 <= status < 300}
    assert len(accepted) > MESSAGES / 2, Counter(answers.values())
    assert not accepted - {text for texts in arrived.values() for text in texts}


def _twice(arrived: dict[str, list[str]]) -> int:
    return sum(len(texts) - len(set(texts)) for texts in arrived.values())


@pytest.mark.timeout(300)
def test_prosody_is_killed(tmp_path: Path, own_prosody: Prosody) -> None:
    with own_prosody, Gateway(tmp_path / "gw", auth=False) as gateway:
        gateway.add_xmpp_account("alice", own_prosody)
        gateway.online_phone("alice", "alice@localhost")

        def kill() -> None:
            own_prosody.kill()
            own_prosody.start()

        with closing(Killer(kill)) as killer:
            answers = _flood(gateway, killer)
            arrived = _arrived(gateway, own_prosody)
        assert Counter(answers.values()) == {202: MESSAGES}
        _check_nothing_lost(answers, arrived)
        _check_order(arrived)
        assert _twice(arrived) <= MESSAGES / 1000


@pytest.mark.timeout(300)
def test_kamailio_is_killed(tmp_path: Path, own_prosody: Prosody) -> None:
    with own_prosody, Gateway(tmp_path / "gw", auth=False, settings={"queue": "always"}) as gateway:
        gateway.add_xmpp_account("alice", own_prosody)
        gateway.online_phone("alice", "alice@localhost")

        def kill() -> None:
            gateway.kamailio.kill()
            gateway.kamailio.start()

        with closing(Killer(kill)) as killer:
            answers = _flood(gateway, killer)
            arrived = _arrived(gateway, own_prosody)
        _check_nothing_lost(answers, arrived)
        _check_order(arrived)
        assert _twice(arrived) <= MESSAGES / 1000
