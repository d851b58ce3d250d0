"""Watchers are counted by dialog, never by request (RFC 6665)."""

from __future__ import annotations

import pytest

from purple_bridge.addresses import SipAddress
from purple_bridge.worker.contacts import WatchedContact


@pytest.fixture
def contact() -> WatchedContact:
    return WatchedContact("bob@example.org", SipAddress.parse("sip:bob*example.org@xmpp.im.example.org"))


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
