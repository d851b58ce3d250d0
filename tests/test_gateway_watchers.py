"""What watchers of IM contacts are told, and when, end to end (RFC 3856 §6.10, RFC 6665, RFC 8048 §5.3)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import func, select

from purple_bridge.addresses import GatewayDomain, SipAddress
from purple_bridge.db.engine import make_engine
from purple_bridge.db.tables import active_watchers, presentity, watchers, xcap
from tests.agents.phone import Subscription
from tests.agents.pidf import Presence
from tests.agents.subscription import Notify
from tests.at_once import Running, Together, at_once
from tests.gateway import DOMAIN, Gateway, sip
from tests.pairs import Pair, is_in, make_pair, shows
from tests.servers.mariadb import MariaDB
from tests.servers.postgres import Postgres
from tests.servers.prosody import Prosody
from tests.waiting import wait_equal, wait_until

RESTORED = 30.0  # seconds after a restart until all watchers see the truth
INTERVAL = 5.0  # RFC 3856 §6.10
CLOCKS = 0.3  # how much the measuring itself may be off

together = Together[Pair]()  # each waits for seconds, and none disturbs another


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with Gateway(tmp_path_factory.mktemp("watchers"), keeps_chat_clients=True, users={}) as running:
        yield running


@pytest.fixture(scope="module")
def running(gateway: Gateway, prosody: Prosody) -> Iterator[Running]:
    with together.started(lambda: make_pair(gateway, prosody)) as scenes:
        yield scenes


@pytest.fixture
def own_prosody(tmp_path: Path) -> Iterator[Prosody]:
    """One that may die."""
    with Prosody(tmp_path / "prosody") as server:
        yield server


# ---- how often


def test_a_contact_that_flaps(pair: Pair) -> None:
    """1,000 changes in 10 s are few NOTIFYs, and the last one is true."""
    watch = pair.watch_allowed()
    wait_until_quiet(watch)
    before, start = len(watch.notifies), time.monotonic()
    for batch in range(100):
        pair.contact.send_xml("".join(_flap(batch * 10 + number) for number in range(10)))
        wait_for(start + batch / 10 + 0.1)
    took = time.monotonic() - start
    assert 9.5 < took < 14
    pair.contact.presence(show="dnd", status="the end")
    last = presence_in(watch.wait_notify(lambda notify: b"the end" in notify.body, 2 * INTERVAL))
    assert (last.basic, last.activities, last.note) == ("open", ("busy",), "the end")
    wait_for(time.monotonic() + INTERVAL + 1)
    told = watch.notifies[before:]
    assert presence_in(told[-1]) == last
    # the first at once, one for each interval that ended before the last change, and that one
    assert len(told) <= 2 + took // (INTERVAL - CLOCKS), [notify.at - start for notify in told]
    assert all(later.at - earlier.at > INTERVAL - CLOCKS for earlier, later in pairwise(told))


@together
def test_a_change_comes_at_once_and_the_next_one_after_five_seconds(pair: Pair) -> None:
    watch = pair.watch_allowed()
    wait_until_quiet(watch)
    changed = time.monotonic()
    pair.contact.presence(show="away")
    first = watch.wait_notify(shows("open", "away"))
    assert first.at - changed < 1.5
    pair.contact.presence(show="dnd")
    second = watch.wait_notify(shows("open", "busy"))
    assert INTERVAL - CLOCKS < second.at - first.at < INTERVAL + 2.5
    pair.contact.presence(show="xa")
    pair.contact.presence(type="unavailable")
    third = watch.wait_notify(shows("closed"))
    assert INTERVAL - CLOCKS < third.at - second.at < INTERVAL + 2.5


@together
def test_what_does_not_change_is_not_told(pair: Pair) -> None:
    watch = pair.watch_allowed()
    pair.contact.presence(show="away")
    watch.wait_notify(shows("open", "away"))
    wait_until_quiet(watch)
    before = len(watch.notifies)
    for _ in range(3):
        pair.contact.presence(show="away")
    pair.contact.presence(show="dnd")
    watch.wait_notify(shows("open", "busy"))
    assert len(watch.notifies) == before + 1


# ---- who watches


@together
def test_each_phone_of_a_user_is_told(pair: Pair) -> None:
    other = pair.gateway.phone(pair.user)
    first = pair.watch_allowed()
    second = other.subscribe(pair.contact_uri)
    second.wait_notify(shows("open"))
    pair.contact.presence(show="away")
    for watch in (first, second):
        watch.wait_notify(shows("open", "away"))
    assert second.unsubscribe().status == 200
    assert second.wait_notify(is_in("terminated")).reason == "timeout"
    pair.contact.presence(show="dnd")
    first.wait_notify(shows("open", "busy"))
    assert len(pair.told("subscribe")) == 1


@together
def test_two_subscriptions_of_one_phone_are_two(pair: Pair) -> None:
    """Watchers are counted by dialog, never by request."""
    first = pair.watch_allowed()
    second = pair.watch()
    second.wait_notify(shows("open"))
    assert second.refresh().status == 200
    assert second.unsubscribe().status == 200
    pair.contact.presence(show="away")
    first.wait_notify(shows("open", "away"))


@together
def test_a_refresh_gets_a_notify(pair: Pair) -> None:
    """RFC 8048 §5.3.2"""
    watch = pair.watch_allowed()
    wait_until_quiet(watch)
    for _ in range(2):
        before = len(watch.notifies)
        assert watch.refresh().status == 200
        wait_count(watch, before + 1)
        assert presence_in(watch.notifies[-1]).basic == "open"


@together
def test_who_unsubscribes_leaves_nothing(pair: Pair) -> None:
    watch = pair.watch_allowed()
    wait_published(pair)
    assert watch.unsubscribe().status == 200
    watch.wait_notify(is_in("terminated"))
    wait_forgotten(pair, 20)
    again = pair.watch()
    again.wait_notify(shows("open"))
    wait_published(pair)


@together
def test_who_does_not_refresh_leaves_nothing(pair: Pair) -> None:
    pair.watch_allowed().unsubscribe()
    watch = pair.phone.subscribe(pair.contact_uri, expires=6)
    assert watch.status == 200
    watch.wait_notify(shows("open"))
    ended = watch.wait_notify(is_in("terminated"), timeout=40)
    assert ended.reason == "timeout"
    wait_forgotten(pair, 40)


@together
def test_a_refusal_leaves_nothing(pair: Pair) -> None:
    watch = pair.watch()
    pair.wait_told("subscribe")
    pair.contact.presence(type="unsubscribed", to=pair.jid)
    watch.wait_notify(is_in("terminated"))
    wait_forgotten(pair, 40)


@together
def test_who_unsubscribes_and_subscribes_at_once_sees_the_contact(pair: Pair) -> None:
    """What is left of the old subscription must not take the new one with it."""
    watch = pair.watch_allowed()
    for _ in range(5):
        assert watch.unsubscribe().status == 200
        watch = pair.watch()
    watch.wait_notify(shows("open"))
    wait_until_quiet(watch)
    pair.contact.presence(show="away")
    watch.wait_notify(shows("open", "away"))
    assert not watch.terminated


@together
def test_the_account_goes_and_comes(pair: Pair) -> None:
    """An account that is offline sees nobody; when it is back, it does."""
    watch = pair.watch_allowed()
    assert pair.phone.publish(None, expires=0).status == 200
    watch.wait_notify(shows("closed"))
    pair.gateway.publish_until_seen(pair.phone, pair.user, pair.jid)
    watch.wait_notify(shows("open"))


@together
def test_a_subscription_before_the_account_is_online(pair: Pair) -> None:
    assert pair.phone.publish(None, expires=0).status == 200
    pair.gateway.wait_state(pair.jid, "offline")
    watch = pair.watch()
    pair.gateway.publish_until_seen(pair.phone, pair.user, pair.jid)
    pair.wait_told("subscribe")
    pair.contact.approve(pair.jid)
    watch.wait_notify(shows("open"))


# ---- what survives


def test_watchers_see_the_truth_after_a_crash_and_after_a_restart(
    tmp_path: Path, prosody: Prosody, mariadb: MariaDB, postgres: Postgres
) -> None:
    """A crash on each database, since the server keeps its tables in ways of its own; and a restart."""
    urls = {name: server.create_database("watchers") for name, server in (("mariadb", mariadb), ("postgres", postgres))}

    def crash_or_stop(name: str) -> None:
        with Gateway(tmp_path / name, users={}, db_url=urls.get(name)) as gateway:
            _check_restart(gateway, prosody, gateway.kamailio.stop if name == "stop" else gateway.kamailio.kill)

    at_once(crash_or_stop, {name: name for name in ("sqlite", "mariadb", "postgres", "stop")})


def _check_restart(gateway: Gateway, prosody: Prosody, end: Callable[[], None]) -> None:
    """Of four contacts one goes offline while the gateway is down, one away, one comes, and one stays."""
    pairs = [make_pair(gateway, prosody) for _ in range(5)]
    gone, away, comes, stays, waits = pairs
    watches = [pair.watch_allowed() for pair in pairs[:4]]
    waiting = waits.watch()
    waits.wait_told("subscribe")
    comes.contact.presence(type="unavailable")
    watches[2].wait_notify(shows("closed"))
    for watch in watches[:2]:  # what the phones have seen last is the answer to a refresh
        assert watch.refresh().status == 200
        watch.wait_notify(shows("open"))

    end()
    gone.contact.close()
    away.contact.presence(show="away", status="meanwhile")
    comes.contact.presence()
    counts = [len(watch.notifies) for watch in watches]
    waiting_count = len(waiting.notifies)
    for watch in watches:
        watch.forget()
    gateway.kamailio.start()

    started = time.monotonic()
    watches[0].wait_notify(shows("closed"), RESTORED)
    watches[1].wait_notify(shows("open", "away"), RESTORED)
    watches[2].wait_notify(shows("open"), RESTORED)
    watches[3].wait_notify(shows("open"), RESTORED)
    assert time.monotonic() - started < RESTORED
    wait_for(started + 12)
    for watch, count, truth in zip(watches, counts, ("closed", "open", "open", "open"), strict=True):
        assert presence_in(watch.notifies[-1]).basic == truth
        assert not watch.terminated
        assert watch.refresh().status == 200
        assert count < len(watch.notifies)
    told = [notify.presence for notify in watches[3].notifies[counts[3] :]]
    assert all(presence is not None and presence.basic == "open" for presence in told), told
    assert {notify.state for notify in waiting.notifies[waiting_count:]} <= {"pending"}
    waits.contact.approve(waits.jid)  # what was asked before the restart is answered after it
    waiting.wait_notify(shows("open"))
    stays.contact.presence(show="dnd")
    watches[3].wait_notify(shows("open", "busy"))
    assert watches[3].unsubscribe().status == 200
    wait_forgotten(stays, 40)


def test_the_im_server_goes_and_comes(gateway: Gateway, own_prosody: Prosody) -> None:
    pair = make_pair(gateway, own_prosody)
    watch = pair.watch_allowed()
    own_prosody.kill()
    watch.wait_notify(shows("closed"))
    own_prosody.start()
    pair.contact.connect()
    watch.wait_notify(shows("open"), timeout=RESTORED)
    assert not watch.terminated


def test_the_gateway_starts_while_the_im_server_is_down(tmp_path: Path, own_prosody: Prosody) -> None:
    with Gateway(tmp_path / "gw", users={}) as gateway:
        pair = make_pair(gateway, own_prosody)
        watch = pair.watch_allowed()
        gateway.kamailio.kill()
        own_prosody.stop()
        gateway.kamailio.start()
        watch.wait_notify(shows("closed"), timeout=RESTORED)
        own_prosody.start()
        pair.contact.connect()
        watch.wait_notify(shows("open"), timeout=RESTORED)


# ---- parts


def _flap(number: int) -> str:
    """Each is another presence than the one before, and all kinds come."""
    if number % 5 == 4:
        return "<presence type='unavailable'/>"
    show = ("away", "dnd", "xa", "chat")[number % 5]
    return f"<presence><show>{show}</show><status>change {number}</status></presence>"


def presence_in(notify: Notify) -> Presence:
    assert notify.presence is not None, notify
    return notify.presence


def wait_for(moment: float) -> None:
    """``moment``: of time.monotonic()"""
    wait_until(lambda: time.monotonic() >= moment, 60, "the next moment")


def wait_count(watch: Subscription, count: int) -> None:
    wait_until(lambda: len(watch.notifies) >= count, 15, f"{count} NOTIFYs")


def wait_forgotten(pair: Pair, timeout: float) -> None:
    """The presence server's tables have nothing of the contact for the user any more."""
    nothing: tuple[int, ...] = (0, 0, 0, 0)
    wait_equal(lambda: left(pair), nothing, timeout, "no publications, dialogs, watchers, rules")


def wait_until_quiet(watch: Subscription) -> None:
    """So long after the last NOTIFY that the next change may be told at once."""
    wait_until(lambda: time.monotonic() - watch.notifies[-1].at > INTERVAL + 1, 30, "no NOTIFY for some seconds")


def presentity_of(pair: Pair) -> SipAddress:
    user = SipAddress.parse(sip(pair.user))
    return GatewayDomain(f"im.{DOMAIN}").presentity(SipAddress.parse(pair.contact_uri), user.key)


def wait_published(pair: Pair) -> None:
    """The presence server has one document of the contact, for the user; it may tell a watcher first, then commit."""
    wait_until(lambda: left(pair)[0] == 1, 15, "one publication")


def left(pair: Pair) -> tuple[int, ...]:
    """Rows about the contact for the user: publications, dialogs, watchers, rules."""
    address = presentity_of(pair)
    conditions = (
        presentity.c.username == address.user,
        active_watchers.c.presentity_uri == address.uri,
        watchers.c.presentity_uri == address.uri,
        xcap.c.username == address.user,
    )
    engine = make_engine(pair.gateway.kamailio.db_url)
    with engine.connect() as connection:
        counts = tuple(
            connection.execute(select(func.count()).where(condition)).scalar_one() for condition in conditions
        )
    engine.dispose()
    return counts
