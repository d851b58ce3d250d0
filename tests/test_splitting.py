"""Long texts: nothing lost, nothing cut that belongs together, as few parts as that allows."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purple_bridge.bodies.splitting import split

FAMILY = "👨\u200d👩\u200d👧\u200d👦"
ENGLAND = "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"

CLUSTERS = [
    "e\u0301", "\u0928\u093f", "a\u0301\u0302\u0303", "❤\ufe0f", "👍🏽", FAMILY, "🏳\ufe0f\u200d🌈", "🇩🇪", ENGLAND,
    "1\ufe0f\u20e3", "\u1112\u1161\u11ab", "\ud55c", "\uac00\u11a8", "\r\n", "ｶ\uff9e", "กำ", "\u0600\u0661",
    "\u0915\u094d\u0937", "葛\U000e0100",
]  # fmt: skip


@pytest.mark.parametrize("cluster", CLUSTERS, ids=ascii)
def test_what_belongs_together_stays_together(cluster: str) -> None:
    """At every limit at which the cut would fall into the cluster."""
    whole = len(cluster.encode())
    for before in range(1, 8):
        text = "x" * before + cluster + "yz"
        for limit in range(max(whole, 4), before + whole + 1):
            parts = split(text, limit)
            assert "".join(parts) == text
            assert any(cluster in part for part in parts), (text, limit, parts)


@pytest.mark.parametrize(
    ("text", "limit", "parts"),
    [
        ("", 10, []),
        ("a", 4, ["a"]),
        ("abcd", 4, ["abcd"]),
        ("abcde", 4, ["abcd", "e"]),
        ("äöü", 4, ["äö", "ü"]),
        ("€€", 5, ["€", "€"]),
        ("😀😀", 7, ["😀", "😀"]),
        # after a line break rather than after a space, and both only in the last third
        ("aaaa bb\nc dddd", 12, ["aaaa bb\n", "c dddd"]),
        ("aaaaaaaa bb cc", 12, ["aaaaaaaa bb ", "cc"]),
        ("a bbbbbbbbbbbbbb", 12, ["a bbbbbbbbbb", "bbbb"]),
        ("a\nbbbbbbbbbbbbbb", 12, ["a\nbbbbbbbbbb", "bbbb"]),
        ("aaaaaaaaaa\r\nbbbb", 12, ["aaaaaaaaaa\r\n", "bbbb"]),
        ("aaaaaaaaaaa\r\nbbbb", 12, ["aaaaaaaaaaa", "\r\nbbbb"]),
        ("aaaaaaaaa  bbbb", 12, ["aaaaaaaaa  ", "bbbb"]),
        # a space with a combining mark is a character to keep whole
        ("aaaaaaaaa \u0301bbbbb", 12, ["aaaaaaaaa \u0301", "bbbbb"]),
        ("aaaaaaaaaa \u0301bbb", 12, ["aaaaaaaaaa", " \u0301bbb"]),
        # flags go in pairs from the start of their run
        ("🇩🇪🇫🇷🇮🇹", 20, ["🇩🇪🇫🇷", "🇮🇹"]),
        ("🇩🇪🇫🇷🇮🇹", 12, ["🇩🇪", "🇫🇷", "🇮🇹"]),
        # a cluster that alone is too long is cut between characters
        ("a\u0301\u0301\u0301\u0301", 5, ["a\u0301\u0301", "\u0301\u0301"]),
        ("xa\u0301\u0301\u0301\u0301", 5, ["x", "a\u0301\u0301", "\u0301\u0301"]),
        (FAMILY, 8, ["👨\u200d", "👩\u200d", "👧\u200d", "👦"]),
        ("🇩🇪", 4, ["🇩", "🇪"]),
    ],
)
def test_parts(text: str, limit: int, parts: list[str]) -> None:
    assert split(text, limit) == parts


ANY = st.lists(st.characters(exclude_categories=["Cs"]) | st.sampled_from(["ab ", "\n", *CLUSTERS])).map("".join)


@settings(deadline=None)
@given(ANY, st.integers(4, 40))
def test_nothing_is_lost_and_no_part_is_too_long(text: str, limit: int) -> None:
    parts = split(text, limit)
    assert "".join(parts) == text
    assert all(0 < len(part.encode()) <= limit for part in parts)


@settings(deadline=None)
@given(st.text("abc \n", max_size=300), st.integers(6, 40))
def test_no_more_parts_than_two_thirds_full_ones(text: str, limit: int) -> None:
    assert all(len(part) >= limit * 2 // 3 for part in split(text, limit)[:-1])


@pytest.mark.parametrize("limit", [-1, 0, 3])
def test_a_limit_below_one_character(limit: int) -> None:
    with pytest.raises(ValueError, match="at least 4"):
        split("a", limit)


def test_lone_surrogates_cannot_be_sent() -> None:
    with pytest.raises(UnicodeEncodeError):
        split("a\ud800", 10)


@pytest.mark.parametrize(
    "seed",
    ["a", "ä ", "\u0301", "🇩", FAMILY, "a" + "\u0301" * 700, "\r\n", " ", "\u200d", "\u1100", "\u0600"],
    ids=ascii,
)
@pytest.mark.parametrize("limit", [4, 100, 1300, 60_000])
def test_linear_time(seed: str, limit: int) -> None:
    text = seed * (60_000 // len(seed))
    start = time.perf_counter()
    assert "".join(split(text, limit)) == text
    assert time.perf_counter() - start < 2.0
