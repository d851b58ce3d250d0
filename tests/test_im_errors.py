"""RFC 7247 §7, every row both ways, and words for people."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purple_bridge.im_errors import CONDITIONS, MAX_WORDS, condition_of, in_words, new_address, sip_in_words, sip_status

# condition, SIP status for a full JID, for a bare JID
TO_SIP = [
    ("bad-request", 400, 400),
    ("conflict", 400, 400),
    ("feature-not-implemented", 405, 501),
    ("forbidden", 403, 603),
    ("gone", 410, 410),
    ("internal-server-error", 500, 500),
    ("item-not-found", 404, 604),
    ("jid-malformed", 400, 400),
    ("not-acceptable", 406, 606),
    ("not-allowed", 403, 403),
    ("not-authorized", 401, 401),
    ("policy-violation", 403, 403),
    ("recipient-unavailable", 480, 600),
    ("redirect", 302, 302),
    ("registration-required", 407, 407),
    ("remote-server-not-found", 404, 404),
    ("remote-server-timeout", 408, 408),
    ("resource-constraint", 500, 500),
    ("service-unavailable", 403, 403),
    ("subscription-required", 400, 400),
    ("undefined-condition", 400, 400),
    ("unexpected-request", 491, 491),
]

FROM_SIP = {
    "gone": [301, 410],
    "redirect": [300, 302, 305, 303, 399],
    "not-acceptable": [380, 406, 415, 416, 421, 482, 483, 488, 505, 606],
    "bad-request": [400, 402, 493, 409, 411, 422, 428, 436, 469, 494, 499],
    "not-authorized": [401],
    "forbidden": [403],
    "registration-required": [407],
    "item-not-found": [404, 481, 484, 485, 604],
    "feature-not-implemented": [405, 420, 439, 501],
    "remote-server-timeout": [408, 504],
    "policy-violation": [413, 414, 440, 489, 513],
    "resource-constraint": [423],
    "recipient-unavailable": [430, 480, 486, 487, 600, 603, 607, 699],
    "unexpected-request": [491],
    "internal-server-error": [500, 503, 506, 580, 599],
    "remote-server-not-found": [502],
    "undefined-condition": [-1, 0, 100, 200, 202, 299, 700, 1000],
}


@pytest.mark.parametrize(("condition", "full", "bare"), TO_SIP)
def test_conditions(condition: str, full: int, bare: int) -> None:
    assert sip_status(condition, full_jid=True) == full
    assert sip_status(condition) == bare


def test_every_condition_of_rfc_6120_is_a_row() -> None:
    assert {condition for condition, _, _ in TO_SIP} == CONDITIONS
    assert len(TO_SIP) == len(CONDITIONS) == 22


@pytest.mark.parametrize("condition", ["", "unknown", "Item-Not-Found"])
def test_an_unknown_condition_is_undefined(condition: str) -> None:
    assert sip_status(condition) == sip_status("undefined-condition") == 400


@pytest.mark.parametrize(("status", "condition"), [(s, c) for c, statuses in FROM_SIP.items() for s in statuses])
def test_statuses(status: int, condition: str) -> None:
    assert condition_of(status) == condition


@settings(deadline=None)
@given(st.integers(-10, 1000))
def test_every_status_is_a_condition(status: int) -> None:
    assert condition_of(status) in CONDITIONS


@pytest.mark.parametrize("condition", sorted(CONDITIONS))
def test_every_condition_has_words(condition: str) -> None:
    words = in_words(condition)
    assert words == in_words(condition, "") == in_words(condition, condition) == in_words(condition, words)
    assert condition not in words
    assert len(words) < 80
    assert (words == in_words("undefined-condition")) == (condition == "undefined-condition")


@pytest.mark.parametrize(
    ("condition", "text", "words"),
    [
        ("item-not-found", "", "no such user"),
        ("item-not-found", "Item not found", "no such user"),
        ("item-not-found", "No such user.", "no such user"),
        ("item-not-found", "bob: No such nick/channel", "no such user (bob: No such nick/channel)"),
        ("forbidden", "", "blocked you or does not accept messages from you"),
        ("not-allowed", "", "blocked you or does not accept messages from you"),
        ("service-unavailable", "", "is offline, blocked you or does not accept messages from you"),
        ("unknown", "", "the network refused it"),
        ("unknown", "it is full", "the network refused it (it is full)"),
        ("gone", " two\r\nlines\t \x00\x1b[31m ", "can no longer be reached at this address (two lines [31m)"),
        ("gone", "x" * 1000, f"can no longer be reached at this address ({'x' * MAX_WORDS})"),
        ("gone", " \n\u202e...", "can no longer be reached at this address"),
        ("gone", "<xmpp:bob@new.example>", "has moved to another address: xmpp:bob@new.example"),
        ("gone", "Bye <xmpp:bob@new.example>", "has moved to another address: xmpp:bob@new.example (Bye)"),
        ("redirect", "<xmpp:b@new>", "can be reached at another address now: xmpp:b@new"),
        ("redirect", "<b@new>", "can be reached at another address now (<b@new>)"),
        ("redirect", "<xmpp:b\u202e@new>", "can be reached at another address now (<xmpp:b@new>)"),
        ("forbidden", "<xmpp:b@new>", "blocked you or does not accept messages from you (<xmpp:b@new>)"),
    ],
    ids=ascii,
)
def test_words_for_conditions(condition: str, text: str, words: str) -> None:
    assert in_words(condition, text) == words


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        (404, "Not Found", "no such user"),
        (404, "not here", "no such user (not here)"),
        (404, "", "no such user"),
        (403, "Forbidden", "the phone refused it"),
        (405, "Method Not Allowed", "the phone does not take messages"),
        (408, "Request Timeout", "the phone does not answer"),
        (415, "Unsupported Media Type", "the phone cannot show messages of this kind"),
        (480, "Temporarily Unavailable", "is not reachable"),
        (480, "On holiday\r\nVia: x", "is not reachable (On holiday Via: x)"),
        (486, "Busy Here", "is busy"),
        (503, "Service Unavailable", "the phone's server is too busy or down"),
        (513, "Message Too Large", "it is too long for the phone"),
        (603, "Decline", "the phone refused it"),
        (399, "", "can be reached at another address now"),
        (301, "Moved Permanently <sip:a@new>", "has moved to another address: sip:a@new"),
        (302, "Moved Temporarily <sip:a@new;x=y>", "can be reached at another address now: sip:a@new;x=y"),
        (302, "Away <sip:a@new>", "can be reached at another address now: sip:a@new (Away)"),
        (302, "a < b > c", "can be reached at another address now (a < b > c)"),
        (404, "Try <sip:a@new>", "no such user (Try <sip:a@new>)"),
        (499, "Odd", "the phone refused it (Odd)"),
        (599, "", "the phone or its server had an error"),
        (699, "", "the phone refused it"),
        (0, "", "it failed"),
    ],
)
def test_words_for_statuses(status: int, reason: str, words: str) -> None:
    assert sip_in_words(status, reason) == words


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", ""),
        ("Bye", ""),
        ("<xmpp:b@new>", "xmpp:b@new"),
        ("Bye <xmpp:b@new> \n", "xmpp:b@new"),
        ("<sip:old@x> <sip:b@new>", "sip:b@new"),
        ("<sip:b@new> Bye", ""),
        ("<sip:b@new", ""),
        ("sip:b@new>", ""),
        ("<sip:b @new>", ""),
        ("<b@new>", ""),
        ("<sip:b\u200b@new>", ""),
        (f"<sip:{'b' * (MAX_WORDS - 4)}>", f"sip:{'b' * (MAX_WORDS - 4)}"),
        (f"<sip:{'b' * MAX_WORDS}>", ""),
    ],
    ids=ascii,
)
def test_the_new_address(text: str, address: str) -> None:
    assert new_address(text) == address


@settings(deadline=None)
@given(
    st.sampled_from([*sorted(CONDITIONS), "?"]),
    st.integers(0, 999),
    st.text() | st.builds("{} <sip:{}>".format, st.text(), st.text("ab@. <>\u202e", max_size=MAX_WORDS)),
)
def test_words_are_one_short_line(condition: str, status: int, text: str) -> None:
    for words in (in_words(condition, text), sip_in_words(status, text)):
        assert words.splitlines() == [words]
        assert len(words) < 80 + MAX_WORDS
        words.encode()
