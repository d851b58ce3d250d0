"""The gateway as a watcher against a real UDP peer: one dialog of RFC 6665, and what it says of the permission."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from purple_bridge.addresses import SipAddress
from purple_bridge.worker import sip_watch
from purple_bridge.worker.sip_watch import SipWatch
from purple_bridge.worker.uac import UserAgentClient, open_socket
from tests.agents.sip import Request, parameter
from tests.loops import run_for, run_until
from tests.presence_peer import CONTACT, PresencePeer
from tests.sip_listener import Listener, sip_client

CAROL = SipAddress.parse("sip:carol*xmpp.example@xmpp.im.example.org")
ALICE = SipAddress.parse("sip:alice@example.org")


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as made:
        yield made


@pytest.fixture
def peer(listener: Listener) -> PresencePeer:
    return PresencePeer(listener)


@pytest.fixture
def opened(listener: Listener) -> Iterator[socket.socket]:
    with open_socket(listener.address) as made:
        yield made


@pytest.fixture
def client(opened: socket.socket) -> Iterator[UserAgentClient]:
    with sip_client(opened) as made:
        yield made


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def watch(client: UserAgentClient, told: list[str]) -> Iterator[SipWatch]:
    made = SipWatch(client, CAROL, ALICE, told.append)
    made.start()
    yield made
    made.decided()


@pytest.fixture
def subscribe(watch: SipWatch, peer: PresencePeer) -> Request:
    """The first one, not answered yet."""
    assert not watch._ended
    return peer.wait(1)


def test_the_first_subscribe(subscribe: Request, client: UserAgentClient) -> None:
    """RFC 8048 §5.2.1, RFC 3856 §6"""
    headers = subscribe.headers
    assert subscribe.uri == "sip:alice@example.org;proto=purple"
    assert headers["From"].startswith(f"<{CAROL.uri}>;tag=")
    assert headers["To"] == "<sip:alice@example.org>"
    assert headers["Contact"] == f"<sip:carol*xmpp.example@{client.sent_by}>"
    assert (headers["CSeq"], headers["Event"], headers["Expires"]) == ("1 SUBSCRIBE", "presence", "3600")
    assert headers["Accept"] == "application/pidf+xml"
    assert subscribe.body == b""


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("active", ["active"]),
        ("Active;expires=3600", ["active"]),
        ("pending;expires=3600", ["pending"]),
        ("pending ; expires=3600", ["pending"]),
        ("terminated;reason=rejected", ["rejected"]),
        ("Terminated; Reason = Rejected", ["rejected"]),
        ("terminated;expires=0;reason=rejected", ["rejected"]),
        ("nonsense", []),
        ("", []),
    ],
)
def test_what_the_server_tells(
    subscribe: Request, peer: PresencePeer, told: list[str], state: str, expected: list[str]
) -> None:
    peer.answer(subscribe, 202)
    assert peer.notify(subscribe, state).status == 200
    run_for(0.05)
    assert told == expected


@pytest.mark.parametrize("reason", ["", ";reason=timeout", ";reason=deactivated;retry-after=1"])
def test_an_end_that_is_no_refusal_refuses_nothing(
    subscribe: Request, peer: PresencePeer, told: list[str], monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    """RFC 6665 §4.1.3: the watcher may subscribe again, in a dialog of its own."""
    monkeypatch.setattr(sip_watch, "AGAIN", 0.2)
    peer.answer(subscribe, 202)
    assert peer.notify(subscribe, f"terminated{reason}").status == 200
    run_for(0.05)
    assert len(peer.subscribes()) == 1, "after a while"
    second = peer.wait(2)
    assert told == []
    assert second.uri == "sip:alice@example.org;proto=purple"
    assert second.headers["Call-ID"] != subscribe.headers["Call-ID"]
    assert parameter(second.headers["To"], "tag") is None


def test_every_change_is_told(subscribe: Request, peer: PresencePeer, told: list[str]) -> None:
    peer.answer(subscribe, 202)
    for state in ("pending", "active", "terminated;reason=rejected"):
        peer.notify(subscribe, state)
    run_until(lambda: len(told) == 3, "three states")
    assert told == ["pending", "active", "rejected"]


def test_a_notify_may_come_before_the_answer(subscribe: Request, peer: PresencePeer, told: list[str]) -> None:
    """RFC 6665 §4.1.3: it makes the dialog."""
    assert peer.notify(subscribe, "active").status == 200
    run_until(lambda: told, "the state")
    peer.answer(subscribe, 202)
    run_for(0.05)
    assert told == ["active"]


@pytest.mark.usefixtures("subscribe")
def test_who_is_told_may_end_it_at_once(peer: PresencePeer, client: UserAgentClient) -> None:
    other = SipWatch(client, CAROL, ALICE, lambda _state: other.end())
    other.start()
    second = peer.wait(2)
    assert peer.notify(second, "active").status == 200
    assert peer.wait(3).headers["Expires"] == "0"


@pytest.mark.parametrize("status", [403, 489, 603])
def test_an_answer_that_refuses(subscribe: Request, peer: PresencePeer, told: list[str], status: int) -> None:
    """RFC 8048 §5.2.2"""
    peer.answer(subscribe, status, "No")
    run_until(lambda: told, "the state")
    assert told == ["rejected"]


@pytest.mark.parametrize("status", [404, 408, 423, 481, 500, 503])
def test_an_answer_that_says_nothing_of_the_permission(
    subscribe: Request, peer: PresencePeer, told: list[str], status: int
) -> None:
    peer.answer(subscribe, status, "Sorry")
    run_until(lambda: told, "the state")
    assert told == ["pending"]


# ---- refreshes


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sip_watch, "REFRESH", 0.2)


@pytest.mark.usefixtures("_quick")
def test_a_refresh_is_in_the_dialog(peer: PresencePeer, watch: SipWatch, told: list[str]) -> None:
    first = peer.wait(1)
    peer.answer(first, 202)
    peer.notify(first, "pending")
    second = peer.wait(2)
    assert second.uri == CONTACT  # RFC 3261 §12.2.1.1: the remote target
    assert second.headers["To"] == "<sip:alice@example.org>;tag=servertag"
    assert second.headers["CSeq"] == "2 SUBSCRIBE"
    for name in ("Call-ID", "From", "Contact", "Expires"):
        assert second.headers[name] == first.headers[name]
    peer.answer(second, 200)
    peer.wait(3)
    assert told == ["pending"]
    assert watch._cseq == 3


@pytest.mark.usefixtures("_quick", "watch")
@pytest.mark.parametrize("status", [481, 408])
def test_a_dialog_that_is_gone_is_made_anew(peer: PresencePeer, told: list[str], status: int) -> None:
    """RFC 6665 §4.1.2.2; RFC 8048 §5.2.2: it says nothing about the permission."""
    first = peer.wait(1)
    peer.answer(first, 202)
    peer.notify(first, "active")
    peer.answer(peer.wait(2), status, "Gone")
    third = peer.wait(3)
    assert third.headers["Call-ID"] != first.headers["Call-ID"]
    assert third.headers["From"] != first.headers["From"]
    assert third.headers["CSeq"] == "1 SUBSCRIBE"
    assert parameter(third.headers["To"], "tag") is None
    assert third.uri == "sip:alice@example.org;proto=purple"
    assert peer.notify(first, "active").status == 481, "the old dialog"
    assert peer.notify(third, "active", tag="other").status == 200
    run_until(lambda: len(told) == 2, "both states")
    assert told == ["active", "active"]


@pytest.mark.usefixtures("_quick", "watch")
def test_a_refresh_that_is_refused(peer: PresencePeer, told: list[str]) -> None:
    first = peer.wait(1)
    peer.answer(first, 202)
    peer.notify(first, "active")
    peer.answer(peer.wait(2), 403, "Forbidden")
    run_until(lambda: len(told) == 2, "both states")
    assert told == ["active", "rejected"]


# ---- the end


def test_the_end(
    subscribe: Request, peer: PresencePeer, watch: SipWatch, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 8048 §5.2.3; the NOTIFY that follows is still answered, and tells nothing."""
    monkeypatch.setattr(sip_watch, "LAST_NOTIFY", 0.3)
    peer.answer(subscribe, 202)
    peer.notify(subscribe, "active")
    run_until(lambda: told, "the state")
    watch.end()
    last = peer.wait(2)
    assert (last.headers["Expires"], last.headers["CSeq"]) == ("0", "2 SUBSCRIBE")
    assert last.headers["Call-ID"] == subscribe.headers["Call-ID"]
    peer.answer(last, 200)
    assert peer.notify(subscribe, "terminated;reason=rejected").status == 200
    run_until(lambda: peer.notify(subscribe, "terminated").status == 481, "the dialog is forgotten")
    assert told == ["active"]


@pytest.mark.usefixtures("_quick")
def test_nothing_is_refreshed_or_told_after_the_decision(
    subscribe: Request, peer: PresencePeer, watch: SipWatch, told: list[str]
) -> None:
    peer.answer(subscribe, 202)
    peer.notify(subscribe, "pending")
    run_until(lambda: told, "the state")
    watch.decided()
    assert peer.notify(subscribe, "active").status == 200
    run_for(0.5)
    assert len(peer.subscribes()) == 1
    assert told == ["pending"]


@pytest.mark.usefixtures("_quick")
def test_an_answer_behind_the_decision_starts_no_refreshes(
    subscribe: Request, peer: PresencePeer, watch: SipWatch, told: list[str]
) -> None:
    watch.decided()
    peer.answer(subscribe, 202)
    run_for(0.5)
    assert len(peer.subscribes()) == 1
    assert told == []


def test_a_watch_that_the_server_knows_nothing_of_ends_in_silence(
    subscribe: Request, peer: PresencePeer, watch: SipWatch
) -> None:
    peer.answer(subscribe, 403, "Forbidden")
    run_for(0.05)
    watch.end()
    run_for(0.1)
    assert len(peer.subscribes()) == 1


def test_another_request_in_the_dialog_is_not_understood(subscribe: Request, peer: PresencePeer) -> None:
    assert peer.notify(subscribe, "", method="MESSAGE").status == 405
