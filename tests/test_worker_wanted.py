"""What a user's phones publish, as one presence, and when nothing is left of it (RFC 3903 §4.1, RFC 8048 §6.2)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from purple_bridge.presence import AVAILABLE, OFFLINE, Presence, Show
from purple_bridge.worker.wanted import ALWAYS, Publication, Wanted

AWAY = Presence(open=True, activity=Show.AWAY, note="lunch")
DND = Presence(open=True, activity=Show.DND)
IDLE = Presence(open=True, activity=Show.AVAILABLE, idle_since=datetime(2024, 1, 1, tzinfo=UTC))


def _wanted(*phones: tuple[Presence, float], here_until: float | None = None) -> Wanted:
    return Wanted(tuple(Publication(presence, end) for presence, end in phones), here_until)


@pytest.mark.parametrize(
    ("wanted", "presence", "expires_at"),
    [
        # purple.connect_on = publish: only publications count
        (_wanted(), OFFLINE, 0),
        (_wanted((AWAY, 100)), AWAY, 100),
        (_wanted((AWAY, 300), (AVAILABLE, 200)), AVAILABLE, 300),
        (_wanted((IDLE, 300), (AVAILABLE, 200)), AVAILABLE, 300),
        (_wanted((OFFLINE, 900), (DND, 200)), DND, 200),
        (_wanted((OFFLINE, 900)), OFFLINE, 0),
        # register: as long as a phone is registered, shown as it publishes
        (_wanted(here_until=0.0), OFFLINE, 0),
        (_wanted(here_until=500.0), AVAILABLE, 500),
        (_wanted((AWAY, 100), here_until=500.0), AWAY, 500),
        (_wanted((OFFLINE, 100), here_until=500.0), AVAILABLE, 500),
        (_wanted((AWAY, 900), here_until=0.0), OFFLINE, 0),
        # start
        (_wanted(here_until=ALWAYS), AVAILABLE, ALWAYS),
        (_wanted((DND, 100), here_until=ALWAYS), DND, ALWAYS),
    ],
)
def test_all_phones_are_one_presence(wanted: Wanted, presence: Presence, expires_at: float) -> None:
    assert wanted.presence == presence
    assert wanted.expires_at == expires_at


@pytest.mark.parametrize(
    ("wanted", "left"),
    [
        (_wanted((AWAY, 100.5)), None),
        (_wanted((AWAY, 100)), _wanted()),
        (_wanted((AVAILABLE, 99), (AWAY, 300)), _wanted((AWAY, 300))),
        (_wanted((AVAILABLE, 300), (AWAY, 99)), _wanted((AVAILABLE, 300))),
        (_wanted(here_until=101.0), None),
        (_wanted(here_until=100.0), _wanted(here_until=0.0)),
        (_wanted(here_until=0.0), None),
        (_wanted(here_until=ALWAYS), None),
        (_wanted((AWAY, 50), here_until=ALWAYS), _wanted(here_until=ALWAYS)),
        (_wanted((AWAY, 900), here_until=50.0), _wanted((AWAY, 900), here_until=0.0)),
        (_wanted(), None),
    ],
)
def test_what_is_not_refreshed_is_gone(wanted: Wanted, left: Wanted | None) -> None:
    """At the time 100; None: the same object, which says that nothing has changed."""
    found = wanted.at(100)
    assert found == (left or wanted)
    assert (found is wanted) == (left is None)


def test_the_end_of_a_publication_shows_the_next_best_phone() -> None:
    wanted = _wanted((AVAILABLE, 100), (AWAY, 200), (DND, 150))
    shown = [wanted.at(now).presence for now in (99, 100, 150, 200)]
    assert shown == [AVAILABLE, DND, AWAY, OFFLINE]
