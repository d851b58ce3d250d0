"""Presence: every row of the tables for libpurple and RPID, notes, and several phones as one."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purple_bridge.presence import (
    ACTIVITY_OF_SHOW,
    AVAILABLE,
    MAX_NOTE,
    MOODS,
    NO_MOODS,
    OFFLINE,
    PRIMITIVE_OF_SHOW,
    SHOW_OF_ACTIVITY,
    SHOW_OF_FOREIGN_ACTIVITY,
    ContactPresence,
    Note,
    Presence,
    Resource,
    Show,
    StatusPrimitive,
    clean_note,
    most_available,
    most_available_resource,
    show_from_activities,
)

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def short(value: object) -> str:
    """A parameter as a test id that fits on a line."""
    return ascii(value)[:40]


TO_LIBPURPLE = [
    (Show.CHAT, 2),
    (Show.AVAILABLE, 2),
    (Show.DND, 3),
    (Show.AWAY, 5),
    (Show.XA, 6),
    (Show.OFFLINE, 1),
]


@pytest.mark.parametrize(("show", "primitive"), TO_LIBPURPLE)
def test_to_libpurple(show: Show, primitive: int) -> None:
    assert PRIMITIVE_OF_SHOW[show] == primitive


def test_primitives_have_the_numbers_of_status_h() -> None:
    names = [
        "UNSET",
        "OFFLINE",
        "AVAILABLE",
        "UNAVAILABLE",
        "INVISIBLE",
        "AWAY",
        "EXTENDED_AWAY",
        "MOBILE",
        "TUNE",
        "MOOD",
    ]
    assert [(primitive.name, int(primitive)) for primitive in StatusPrimitive] == list(
        zip(names, range(10), strict=True)
    )


def test_the_tables_are_whole() -> None:
    assert set(PRIMITIVE_OF_SHOW) == set(ACTIVITY_OF_SHOW) == set(Show)
    assert {show for show, _ in TO_LIBPURPLE} == set(Show)


@pytest.mark.parametrize(
    ("show", "activity"),
    [
        (Show.CHAT, None),
        (Show.AVAILABLE, None),
        (Show.DND, "busy"),
        (Show.AWAY, "away"),
        (Show.XA, "away"),
        (Show.OFFLINE, None),
    ],
)
def test_to_rpid(show: Show, activity: str | None) -> None:
    assert ACTIVITY_OF_SHOW[show] == activity


FROM_RPID = {
    Show.DND: "appointment busy meeting on-the-phone performance presentation steering worship",
    Show.AWAY: "away breakfast dinner in-transit lunch meal playing shopping spectator tv",
    Show.XA: "holiday permanent-absence sleeping travel vacation",
    Show.AVAILABLE: "looking-for-work other unknown working",
}
# RFC 4480 §3.2 lists 27 activities.
ROWS = [(name, show) for show, names in FROM_RPID.items() for name in names.split()]


@pytest.mark.parametrize(("activity", "show"), ROWS)
def test_from_rpid(activity: str, show: Show) -> None:
    assert show_from_activities([activity]) is show


def test_every_activity_has_a_row() -> None:
    assert {name for name, _ in ROWS} == set(SHOW_OF_ACTIVITY)
    assert len(ROWS) == 27


@pytest.mark.parametrize(("word", "show"), [("available", Show.AVAILABLE), ("dnd", Show.DND), ("idle", Show.AWAY)])
def test_activities_of_others(word: str, show: Show) -> None:
    assert show_from_activities([word]) is show
    assert len(SHOW_OF_FOREIGN_ACTIVITY) == 3
    assert not set(SHOW_OF_FOREIGN_ACTIVITY) & set(SHOW_OF_ACTIVITY)


@pytest.mark.parametrize(
    ("activities", "show"),
    [
        ([], None),
        (["note"], None),
        (["gardening", ""], None),
        (["vacation", "breakfast", "other"], Show.XA),  # the example of RFC 4480 §3.2
        (["breakfast", "vacation"], Show.XA),
        (["working", "on-the-phone"], Show.DND),
        (["busy", "away"], Show.AWAY),
        (["gardening", "busy"], Show.DND),
    ],
)
def test_several_activities(activities: list[str], show: Show | None) -> None:
    assert show_from_activities(activities) is show


# --- Presence ------------------------------------------------------------------------------------------


def test_open_and_activity_agree() -> None:
    assert Presence(False, Show.OFFLINE) == OFFLINE
    assert Presence(True, Show.AVAILABLE) == AVAILABLE
    with pytest.raises(ValueError, match="contradicts"):
        Presence(True, Show.OFFLINE)
    with pytest.raises(ValueError, match="contradicts"):
        Presence(False, Show.AWAY)


def test_idle_since_has_a_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        Presence(True, Show.AWAY, idle_since=datetime(2024, 5, 1))


def test_a_note_is_cleaned() -> None:
    assert Presence(True, Show.AWAY, " at\r\nlunch\x00 ").note == "at lunch"


def test_moods_are_those_of_rpid() -> None:
    assert len(MOODS) == 59  # RFC 4480 §3.5 lists 61 with "other" and "unknown"
    assert not MOODS & NO_MOODS
    for mood in MOODS:
        assert Presence(True, Show.AVAILABLE, mood=mood).mood == mood
    for word in (*NO_MOODS, "amorous", "Happy", "<happy/>"):
        assert Presence(True, Show.AVAILABLE, mood=word).mood == ""


def test_libpurple_knows_every_mood_by_its_name() -> None:
    (library, *_) = Path("/usr/lib").glob("*/purple-2/libjabber.so")
    strings = set(library.read_bytes().split(b"\0"))
    assert {mood for mood in MOODS if mood.encode() not in strings} == set()


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("", ""),
        (" \r\n\t ", ""),
        ("lunch", "lunch"),
        ("  at\r\n\tlunch  ", "at lunch"),
        ("a\u2028b\u00a0c\x85d", "a b c d"),
        ("a\x00b\x07c\x1b[0m\x7f\x80", "abc[0m"),
        ("a \x00 b", "a b"),
        ("a\ud800b\ufffec\uffff", "abc"),
        ("שלום \u202eabc", "שלום \u202eabc"),
        ("x" * 600, "x" * 600),
        ("x" * MAX_NOTE, "x" * 1_000),
        ("x" * (MAX_NOTE + 1), "x" * MAX_NOTE),
        ("x" * (MAX_NOTE - 1) + " y", "x" * (MAX_NOTE - 1)),
        ("😀" * 2_000, "😀" * MAX_NOTE),
        ("x" * (MAX_NOTE - 1) + "e\u0301", "x" * (MAX_NOTE - 1)),
        ("x" * (MAX_NOTE - 2) + "e\u0301y", "x" * (MAX_NOTE - 2) + "e\u0301"),
        ("e" + "\u0301" * 2_000, ""),
    ],
    ids=short,
)
def test_clean_note(text: str, note: str) -> None:
    assert clean_note(text) == note


@settings(deadline=None)
@given(st.text(max_size=3_000))
def test_a_clean_note_stays(text: str) -> None:
    note = clean_note(text)
    assert clean_note(note) == note
    assert len(note) <= MAX_NOTE
    assert note.encode().decode() == note
    assert not any(ord(char) < 32 for char in note)


# --- several phones ------------------------------------------------------------------------------------

ORDER = [Show.CHAT, Show.AVAILABLE, Show.DND, Show.AWAY, Show.XA, Show.OFFLINE]


def of(show: Show, note: str = "", idle_since: datetime | None = None) -> Presence:
    return Presence(show is not Show.OFFLINE, show, note, idle_since)


@pytest.mark.parametrize(("more", "less"), itertools.combinations(ORDER, 2))
def test_the_most_available_wins(more: Show, less: Show) -> None:
    lively, idle = of(less, "note"), of(more, idle_since=NOON)
    assert most_available([lively, idle]) == idle
    assert most_available([idle, lively]) == idle


def test_the_example_of_rfc_8048() -> None:
    assert most_available([of(Show.AWAY), of(Show.DND), AVAILABLE]) == AVAILABLE


def test_no_phone_is_offline() -> None:
    assert most_available([]) == OFFLINE
    assert most_available(iter([])) == OFFLINE


EARLIER = NOON.astimezone(timezone(timedelta(hours=5))) - timedelta(minutes=1)


@pytest.mark.parametrize(
    ("winner", "loser"),
    [
        (of(Show.AWAY), of(Show.AWAY, "note", NOON)),
        (of(Show.AWAY, idle_since=NOON), of(Show.AWAY, "note", EARLIER)),
        (of(Show.AWAY, "note", NOON), of(Show.AWAY, "", NOON)),
        (of(Show.OFFLINE, "gone"), of(Show.OFFLINE)),
    ],
)
def test_among_equals(winner: Presence, loser: Presence) -> None:
    assert most_available([winner, loser]) == winner
    assert most_available([loser, winner]) == winner


def test_the_first_of_two_alike() -> None:
    assert most_available([of(Show.AWAY, "a"), of(Show.AWAY, "b")]).note == "a"


def test_the_winner_keeps_its_mood() -> None:
    happy, sad = Presence(True, Show.CHAT, mood="happy"), Presence(True, Show.AWAY, mood="sad")
    assert most_available([sad, happy]).mood == "happy"


# --- an IM contact and its clients ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "kept"),
    [
        *[(tag, tag) for tag in ("", "en", "de-AT", "zh-Hans-CN", "x-klingon", "es-419", "i-default")],
        *[(tag, "") for tag in ("e n", "en_US", "-en", "en-", "abcdefghi", "en\n", "é", "1", "en'/><")],
    ],
)
def test_language_of_a_note(language: str, kept: str) -> None:
    assert Note(" a\x00\n", language) == Note("a", kept)


def test_a_resource_is_online() -> None:
    for show in Show:
        if show is not Show.OFFLINE:
            assert Resource("home", show).show is show
    with pytest.raises(ValueError, match="offline"):
        Resource("home", Show.OFFLINE)


@pytest.mark.parametrize("priority", [-129, 128])
def test_priority_of_a_resource(priority: int) -> None:
    assert Resource("", Show.AWAY, priority=-128).priority == -128
    assert Resource("", Show.AWAY, priority=127).priority == 127
    with pytest.raises(ValueError, match="priority"):
        Resource("", Show.AWAY, priority=priority)


def test_idle_since_of_a_resource_has_a_zone() -> None:
    assert Resource("", Show.AWAY, idle_since=NOON).idle_since == NOON
    with pytest.raises(ValueError, match="time zone"):
        Resource("", Show.AWAY, idle_since=datetime(2024, 5, 1))


def test_a_contact_is_open_with_a_resource() -> None:
    assert ContactPresence((Resource("", Show.XA),)).open
    assert not ContactPresence(notes=(Note("gone"),)).open


def test_a_contact_is_cleaned() -> None:
    contact = ContactPresence(display_name=" Bob\x07\n B. ", mood=" in_awe\x00")
    assert (contact.display_name, contact.mood) == ("Bob B.", "in_awe")


@pytest.mark.parametrize(
    ("icon", "kept"),
    [
        *[(uri, True) for uri in ("https://example.org/a.png?b=%20&c", "data:image/png;base64,iVB+/w==", "cid:a@b")],
        *[(text, False) for text in ("", "a.png", "https://a/\x00", "https://a/ b", "data:", "x:%zz", "x:é", 'x:"<>')],
    ],
)
def test_an_icon_is_a_uri(icon: str, kept: bool) -> None:
    assert ContactPresence(icon=icon).icon == (icon if kept else "")


SHOWN = ORDER[:-1]


def client(show: Show, priority: int | None = None, note: str = "", idle_since: datetime | None = None) -> Resource:
    return Resource("", show, (Note(note),), priority, idle_since)


@pytest.mark.parametrize(("more", "less"), itertools.combinations(SHOWN, 2))
def test_the_most_available_resource(more: Show, less: Show) -> None:
    winner, loser = client(more, -128, idle_since=NOON), client(less, 127, "note")
    assert most_available_resource([loser, winner]) is winner
    assert most_available_resource([winner, loser]) is winner


@pytest.mark.parametrize(
    ("winner", "loser"),
    [
        (client(Show.AWAY, 2, "", NOON), client(Show.AWAY, 1, "note")),
        (client(Show.AWAY), client(Show.AWAY, -1, "note")),
        (client(Show.AWAY, 1), client(Show.AWAY, None, "note")),
        (client(Show.AWAY, 0), client(Show.AWAY, None, "note", NOON)),
        (client(Show.AWAY, None, "", NOON), client(Show.AWAY, 0, "note", EARLIER)),
        (client(Show.AWAY, None, "note", NOON), client(Show.AWAY, 0, "", NOON)),
    ],
)
def test_among_equal_resources(winner: Resource, loser: Resource) -> None:
    assert most_available_resource([winner, loser]) is winner
    assert most_available_resource([loser, winner]) is winner


def test_the_first_of_two_resources_alike() -> None:
    first = Resource("a", Show.AWAY)
    assert most_available_resource([first, Resource("b", Show.AWAY)]) is first
    assert most_available_resource([]) is None
