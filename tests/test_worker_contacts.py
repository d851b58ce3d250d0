"""Watchers are counted by dialog (RFC 6665); when they are told (RFC 3856 §6.10); who watches whom."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from purple_bridge.addresses import GatewayDomain, SipAddress
from purple_bridge.worker.contacts import (
    LONGEST_WAIT,
    NOTIFY_INTERVAL,
    PUBLISH_ANSWER,
    QUIET,
    WatchedContact,
    WatchList,
)

GATEWAY = GatewayDomain("im.example.org")
BOB = GATEWAY.contact_uri("prpl-jabber", "bob@example.org")
NOW = 1_800_000_000.0


def _contact(name: str = "bob@example.org", watcher: str = "alice@example.org") -> WatchedContact:
    address = GATEWAY.contact_uri("prpl-jabber", name)
    return WatchedContact(name, name.lower(), address, GATEWAY.presentity(address, watcher), watcher)


@pytest.fixture
def contact() -> WatchedContact:
    return _contact()


def test_a_presentity_of_the_gateway_is_the_watchers_alone(contact: WatchedContact) -> None:
    assert contact.private
    bob = SipAddress.parse("sip:bob@example.org")
    assert not WatchedContact("bob@xmpp.example", "bob@xmpp.example", bob, bob).private


def test_nobody_watches_a_new_contact(contact: WatchedContact) -> None:
    assert not contact.watched


def test_a_refresh_counts_no_further_watcher(contact: WatchedContact) -> None:
    contact.watch("dialog", expires_at=200, now=100)
    contact.watch("dialog", expires_at=300, now=150)
    assert contact.dialogs == {"dialog": 300}
    contact.watch("dialog", expires_at=160, now=160)
    assert not contact.watched


def test_dialogs_are_counted_apart(contact: WatchedContact) -> None:
    contact.watch("one", expires_at=200, now=100)
    contact.watch("two", expires_at=300, now=100)
    contact.watch("one", expires_at=0, now=110)
    assert contact.watched
    contact.watch("two", expires_at=0, now=110)
    assert not contact.watched


def test_the_end_of_an_unknown_dialog_changes_nothing(contact: WatchedContact) -> None:
    contact.watch("one", expires_at=200, now=100)
    contact.watch("other", expires_at=0, now=100)
    assert contact.dialogs == {"one": 200}


def test_what_is_not_refreshed_ends(contact: WatchedContact) -> None:
    contact.watch("one", expires_at=200, now=100)
    contact.watch("two", expires_at=300, now=100)
    contact.expire(now=199.9)
    assert set(contact.dialogs) == {"one", "two"}
    contact.expire(now=200)
    assert set(contact.dialogs) == {"two"}
    contact.expire(now=1000)
    assert not contact.watched


def test_a_subscription_that_is_over_already_is_none(contact: WatchedContact) -> None:
    contact.watch("one", expires_at=100, now=100)
    assert not contact.watched


# ---- when watchers are told


@pytest.fixture
def watched(contact: WatchedContact) -> WatchedContact:
    contact.watch("dialog", NOW + 3600, NOW)
    return contact


def test_the_first_is_published_at_once(watched: WatchedContact) -> None:
    watched.changed(NOW)
    assert watched.due(NOW)


def test_what_changes_seldom_is_published_at_once(watched: WatchedContact) -> None:
    for start in (NOW, NOW + NOTIFY_INTERVAL, NOW + 60):
        watched.changed(start)
        assert watched.due(start)
        watched.was_published(b"x", start)


def test_there_is_at_most_one_notify_in_five_seconds(watched: WatchedContact) -> None:
    """RFC 3856 §6.10"""
    watched.was_published(b"x", NOW)
    watched.changed(NOW + 1)
    assert not watched.due(NOW + 4.9)
    assert watched.due(NOW + 5), "quiet for four seconds by then"


def test_who_flaps_is_waited_for_until_it_is_quiet(watched: WatchedContact) -> None:
    watched.was_published(b"x", NOW)
    watched.changed(NOW + 4)
    watched.changed(NOW + 5.2)
    assert not watched.due(NOW + 5.6)
    assert watched.due(NOW + 5.7)
    watched.was_published(b"y", NOW + 5.7)
    watched.changed(NOW + 20)
    assert watched.due(NOW + 20), "it is calm again"


def test_but_not_for_ever(watched: WatchedContact) -> None:
    watched.was_published(b"x", NOW)
    for step in range(1, 100):
        watched.changed(NOW + step / 10)
        assert not watched.due(NOW + step / 10)
    watched.changed(NOW + LONGEST_WAIT)
    assert watched.due(NOW + LONGEST_WAIT)


def test_the_end_of_a_publication_waits_for_the_answer_to_the_one_before(contact: WatchedContact) -> None:
    contact.was_published(b"x", NOW)
    contact.changed(NOW + 0.1)
    assert not contact.due(NOW + 0.9)
    assert contact.due(NOW + PUBLISH_ANSWER), "nobody watches: no NOTIFY, no interval"


def _publications(
    contact: WatchedContact, changes: Iterator[float], until: float, tick: float = 0.25
) -> list[tuple[float, int]]:
    """(when, the number of the change) of what is published, as worker.watches does it: at a change, and every tick."""
    published: list[tuple[float, int]] = []
    last, waits = -1, False
    ticks = (NOW + step * tick for step in range(int((until - NOW) / tick) + 1))
    events: list[tuple[float, bool]] = sorted([*((at, True) for at in changes), *((at, False) for at in ticks)])
    for now, is_change in events:
        if is_change:
            last, waits = last + 1, True
            contact.changed(now)
        if waits and contact.due(now):
            waits = False
            contact.was_published(b"%d" % last, now)
            published.append((now, last))
    return published


PATTERNS: dict[str, Callable[[int], float]] = {
    "evenly": lambda number: number / 100,
    "in bursts": lambda number: number // 250 * 3.3 + number % 250 / 1000,
    "at random": lambda _number: random.Random(_number).uniform(0, 10),
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_thousand_changes_in_ten_seconds_are_at_most_three_publications(
    watched: WatchedContact, pattern: str
) -> None:
    times = sorted(NOW + PATTERNS[pattern](number) for number in range(1000))
    published = _publications(watched, iter(times), NOW + 60)
    assert len([at for at, _ in published if at <= NOW + 10]) <= 3
    assert len(published) <= 4, "with the last state, which may come behind the ten seconds"
    assert published[-1][1] == 999, "the last state is the one that stays"
    assert published[-1][0] <= times[-1] + NOTIFY_INTERVAL + QUIET
    steps = [later - earlier for (earlier, _), (later, _) in pairwise(published)]
    assert all(step >= NOTIFY_INTERVAL for step in steps)


def test_a_contact_that_never_rests_is_still_shown(watched: WatchedContact) -> None:
    """Once in ten seconds, and each time what it was then."""
    published = _publications(watched, (NOW + number / 10 for number in range(6000)), NOW + 600)
    assert len(published) == pytest.approx(60, abs=2)
    assert all(number == pytest.approx((at - NOW) * 10, abs=1) for at, number in published)


def test_republishing_without_a_change_does_not_hold_the_next_one_up(watched: WatchedContact) -> None:
    """held is kept when the flapping ended where it began, so nothing was published."""
    watched.was_published(b"x", NOW)
    watched.changed(NOW + 1)
    assert watched.due(NOW + 5)
    watched.changed(NOW + 3600)
    assert watched.due(NOW + 3600)


# ---- who watches whom


def test_watchers_of_one_contact_are_apart() -> None:
    alice, carol = _contact(watcher="alice@example.org"), _contact(watcher="carol@example.org")
    dave = _contact("dave@example.org")
    watches = WatchList()
    for contact in (alice, carol, dave):
        watches.add(contact)
    assert list(watches) == [alice, carol, dave]
    assert watches.of("bob@example.org") == [alice, carol]
    assert watches.at(carol.presentity) is carol
    assert watches.at(BOB) is None
    assert "bob@example.org" in watches
    assert "erin@example.org" not in watches
    assert watches.of("erin@example.org") == []


def test_the_last_watcher_takes_the_contact_along() -> None:
    alice, carol = _contact(watcher="alice@example.org"), _contact(watcher="carol@example.org")
    watches = WatchList()
    watches.add(alice)
    watches.add(carol)
    watches.remove(alice)
    watches.remove(alice)
    assert watches.of("bob@example.org") == [carol]
    assert watches.at(alice.presentity) is None
    watches.remove(carol)
    assert "bob@example.org" not in watches
    assert list(watches) == []


def test_one_that_was_replaced_is_not_removed_for_its_successor() -> None:
    old, new = _contact(), _contact()
    watches = WatchList()
    watches.add(old)
    watches.remove(old)
    watches.add(new)
    watches.remove(old)
    assert watches.at(new.presentity) is new
    assert watches.of("bob@example.org") == [new]


def test_contacts_may_go_while_they_are_walked() -> None:
    watches = WatchList()
    for number in range(10):
        watches.add(_contact(f"u{number}@example.org"))
    for contact in watches:
        watches.remove(contact)
    assert list(watches) == []
