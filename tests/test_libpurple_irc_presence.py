"""Who of a contact list is on IRC, and who is away: what is asked, how answers are read, and a real server."""

from __future__ import annotations

import time
from typing import Any

import pytest

from purple_bridge.libpurple import buddies, irc
from purple_bridge.libpurple.accounts import Account
from purple_bridge.libpurple.irc_lines import parse
from purple_bridge.libpurple.irc_presence import AVAILABLE, AWAY, ISON_OCTETS, OFFLINE, Changes, Watch
from tests.agents.irc import IrcUser
from tests.children import run_in_child
from tests.loops import run_until
from tests.purple_client import irc_account, started, wait_online
from tests.servers.ngircd import Ngircd

# ---- what is asked, and what the answers say


def _watch(*nicks: bytes) -> Watch:
    watch = Watch()
    watch.watch(nicks)
    return watch


def _answer(watch: Watch, line: bytes) -> Changes | None:
    return watch.answered(parse(line))


def _pong(watch: Watch) -> Changes | None:
    return _answer(watch, b":irc.example PONG irc.example :" + watch.token)


def test_who_comes_and_goes_is_seen_by_ison() -> None:
    """RFC 2812 §4.9"""
    watch = _watch(b"Bob", b"carol")
    assert watch.question() == b"ISON Bob carol\r\nPING purple-watch-1\r\n"
    assert _answer(watch, b":irc.example 303 me :bob ") == [(b"Bob", AVAILABLE)]
    assert _pong(watch) == []
    assert watch.question() == b"ISON Bob carol\r\nUSERHOST Bob\r\nPING purple-watch-2\r\n"
    assert _answer(watch, b":irc.example 303 me :") == []
    assert _pong(watch) == [(b"Bob", OFFLINE)]


def test_who_is_away_is_seen_by_userhost() -> None:
    """RFC 2812 §4.8; an operator has a star"""
    watch = _watch(b"bob", b"[carol]")
    watch.question()
    _answer(watch, b":irc.example 303 me :bob {CAROL}")
    assert watch.question_about_new() == b"", "one question at a time"
    _pong(watch)
    question = watch.question_about_new()
    assert question.startswith(b"USERHOST ")
    assert {*question.splitlines()[0].split()[1:]} == {b"bob", b"[carol]"}
    assert _answer(watch, b":irc.example 302 me :bob=-~b@host [carol]*=+c@host dave=-d@host ") == [(b"bob", AWAY)]
    assert _pong(watch) == [], "nobody was asked whether they are there"
    watch.question()
    assert _answer(watch, b":irc.example 302 me :bob=+~b@host") == [(b"bob", AVAILABLE)]


def test_an_answer_that_is_not_there_yet_is_waited_for() -> None:
    watch = _watch(b"bob")
    assert watch.question()
    assert watch.question() == b""
    assert _answer(watch, b":irc.example PONG irc.example :purple-7") is None, "somebody else's"
    assert _answer(watch, b":irc.example 401 me bob :No such nick") is None
    _pong(watch)
    assert _answer(watch, b":irc.example PONG irc.example :" + watch.token) is None, "answered already"
    assert watch.question()


def test_nobody_on_the_list_is_no_question() -> None:
    assert _watch().question() == b""


def test_who_leaves_the_list_is_no_news() -> None:
    watch = _watch(b"bob")
    watch.question()
    _answer(watch, b":irc.example 303 me :bob")
    watch.watch([b"carol"])
    assert _pong(watch) == []
    assert watch.question() == b"ISON carol\r\nPING purple-watch-2\r\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b":bob!b@host QUIT :bye", [(b"bob", OFFLINE)]),
        (b":BOB!b@host NICK :robert", [(b"bob", OFFLINE)]),
        (b":carol!c@host JOIN #room", [(b"carol", AVAILABLE)]),
        (b":bob!b@host JOIN #room", []),
        (b":dave!d@host QUIT :bye", []),
        (b":bob!b@host PART #room", []),
    ],
)
def test_what_happens_in_rooms_is_seen_at_once(line: bytes, expected: Changes) -> None:
    watch = _watch(b"bob", b"carol")
    watch.question()
    _answer(watch, b":irc.example 303 me :bob")
    assert watch.happened(parse(line)) == expected


def test_a_long_list_is_asked_for_in_turn_in_lines_that_fit() -> None:
    nicks = [b"nick-%03d" % number for number in range(120)]
    watch, asked = _watch(*nicks), list[bytes]()
    for _ in range(3):
        lines = watch.question().split(b"\r\n")
        assert all(len(line) <= 2 + ISON_OCTETS + 8 for line in lines)
        here = lines[0].split()[1:]
        asked += here
        _answer(watch, b":irc.example 303 me :" + b" ".join(here))
        _pong(watch)
    assert set(asked) == set(nicks)


def test_everybody_is_asked_about_in_turn() -> None:
    nicks = [b"nick-%03d" % number for number in range(12)]
    watch, asked = _watch(*nicks), set[bytes]()
    watch.question()
    _answer(watch, b":irc.example 303 me :" + b" ".join(nicks))
    _pong(watch)
    for _ in range(3):
        question = watch.question_about_new()
        asked |= {*question.splitlines()[0].split()[1:]}
        assert len(question.splitlines()[0].split()) <= 6
        _pong(watch)
    assert asked == set(nicks)
    assert watch.question_about_new() == b""
    again = set[bytes]()
    for _ in range(3):
        again |= {*watch.question().splitlines()[1].split()[1:]}
        _answer(watch, b":irc.example 303 me :" + b" ".join(nicks))
        _pong(watch)
    assert again == set(nicks)


# ---- a real server

QUICK = 5.0  # seconds between two questions, instead of ten


def _show(account: Account, name: str) -> str | None:
    """None: offline."""
    status = account.contact_status(name)
    return status.resources[0].show if status and status.resources else None


def contact(port: int, nick: str, other: str) -> dict[str, Any]:
    pytest.MonkeyPatch().setattr(irc, "SECONDS", QUICK)
    recorder, seen = started(), dict[str, Any]()
    account = irc_account(nick, port)
    wait_online(account)
    with IrcUser(other, ("127.0.0.1", port)) as user:
        user.away("tea")
        user.wait_line(lambda line: line.command == "306")
        account.ask_contact(other.upper())
        seen["away"] = run_until(lambda: _show(account, other), "away, asked at once", QUICK - 0.5)
        run_until(lambda: recorder.buddies, "told")
        user.away()
        run_until(lambda: _show(account, other) == "", "back", QUICK + 2)
    start = time.monotonic()
    run_until(lambda: _show(account, other) is None, "gone", QUICK + 2)
    seen["seconds"] = time.monotonic() - start
    with IrcUser(other, ("127.0.0.1", port)):
        run_until(lambda: _show(account, other) == "", "there again", QUICK + 2)
        account.disconnect()
        run_until(lambda: account.disconnected, "signed off")
        seen["signed off"] = account.contact_status(other)
        account.connect(None)
        wait_online(account)
        run_until(lambda: _show(account, other) == "", "there after the sign-on", 5)
    run_until(lambda: len(recorder.buddies) >= 5, "all of it told")
    return {**seen, "notices": recorder.notices, "failures": recorder.failures}


def test_a_contact_is_seen_to_come_go_and_be_away(ngircd: Ngircd) -> None:
    seen = run_in_child(contact, ngircd.port, "watchpurple", "watchedone")
    assert seen["away"] == "away"
    assert seen["seconds"] <= QUICK + 1
    assert seen["signed off"] is None
    assert (seen["notices"], seen["failures"]) == ([], [])


def shown(port: int, nick: str, other: str, text: str) -> list[str]:
    started()
    account = irc_account(nick, port)
    account.set_status(buddies.AWAY, text)  # before the sign-on
    wait_online(account)
    seen = list[str]()
    with IrcUser(other, ("127.0.0.1", port)) as user:
        for message in (None, "two\nlines", ""):
            if message is not None:
                account.set_status(buddies.UNAVAILABLE, message, idle_since=1, mood="happy", chat=True)
            seen.append(_whois(user, nick, lambda texts: bool(texts) and texts != seen[-1:])[-1])
        account.set_status(buddies.AVAILABLE, "not shown")
        _whois(user, nick, lambda texts: not texts)
    return seen


def _whois(user: IrcUser, nick: str, fits: Any) -> list[str]:
    """The away text that WHOIS tells, once it fits; asked again and again: the account's line may be on its way."""

    def ask() -> list[list[str]]:
        before = len(user.lines)
        user.raw(f"WHOIS {nick}")
        run_until(lambda: any(line.command == "318" for line in user.lines[before:]), "the end of WHOIS")
        texts = [line.parameters[-1] for line in user.lines[before:] if line.command == "301"]
        return [texts] if fits(texts) else []

    return run_until(ask, f"WHOIS {nick}")[0]


def test_away_messages_are_shown_exactly_also_at_the_sign_on(ngircd: Ngircd) -> None:
    text = 'a < b & "c" <b>d</b>'
    assert run_in_child(shown, ngircd.port, "awaypurple", "lookingon", text) == [text, "two lines", "Away"]
