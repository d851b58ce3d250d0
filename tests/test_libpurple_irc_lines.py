"""IRC's lines: each text exact both ways, each message confirmed or failed; pure, then against a real server."""

from __future__ import annotations

import ctypes
import errno
import time
from collections.abc import Callable
from ctypes import CFUNCTYPE, c_char_p, c_void_p
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purple_bridge.libpurple import c, signals
from purple_bridge.libpurple.accounts import Account
from purple_bridge.libpurple.irc import (
    CONDITIONS,
    MOST_LINES,
    MOST_OCTETS,
    Confirmations,
    cut,
    is_of_a_person,
    payloads,
    text_of,
)
from purple_bridge.libpurple.irc_lines import Line, has_long_name, parse
from purple_bridge.libpurple.protocol import OutgoingMessage
from purple_bridge.libpurple.text import escape
from tests import bodies
from tests.agents.irc import IrcUser
from tests.bodies import NICK, NOTHING_IN_IRC, READ_IN_IRC, WORDS, are_pieces, trimmed
from tests.children import run_in_child
from tests.loops import run_for, run_until
from tests.purple_client import IRC, Recorder, started, wait_online
from tests.servers.ngircd import Ngircd

ROOM = 300
BODIES = (*bodies.BODIES, *bodies.OF_CONTACTS, *bodies.CONTROLS)
LONG = [body.text for body in BODIES if body.long]
OUT = {body.text: body.in_irc for body in BODIES if body.in_irc and not body.long}
NOTHING = [body.text for body in BODIES if not body.in_irc]


# ---------------------------------------------------------------- pure
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b":s 401 me you :No such nick", Line(b"s", "401", (b"me", b"you", b"No such nick"))),
        (b":a!b@c PRIVMSG me ::) :x", Line(b"a!b@c", "PRIVMSG", (b"me", b":) :x"))),
        (b":s PONG s token", Line(b"s", "PONG", (b"s", b"token"))),
        (b"ping", Line(b"", "PING", ())),
        (b"", Line(b"", "", ())),
        (b":", Line(b"", "", ())),
        (b":only", Line(b"only", "", ())),
    ],
)
def test_a_line_is_parsed(line: bytes, expected: Line) -> None:
    assert parse(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b":" + b"n" * 510 + b" X", False),  # a line that is no longer than RFC 2812 §2.3 lets it be
        (b":" + b"n" * 512 + b" NICK a", True),
        (b":s NICK :" + b"n" * 512, True),
        (b":s 303 me :" + b"nick " * 200, False),
        (b":s 303 me :nick " + b"n" * 513, True),
        (b":a!b@c PRIVMSG me :" + b"x" * 2000, False),
        (b":a!b@c notice me :" + b"x" * 2000, False),
        (b":a!b@c PRIVMSG " + b"n" * 513 + b" :x", True),
        (b":" + b"n" * 513 + b" PRIVMSG me :x", True),
    ],
)
def test_a_line_has_a_name_that_no_line_has_room_for(line: bytes, expected: bool) -> None:
    assert has_long_name(line) is expected


@pytest.mark.parametrize(
    ("line", "person"),
    [
        (b":bob!~bob@host.example PRIVMSG me :hello", True),
        (b":NickServ!services@services.example NOTICE me :who are you?", True),
        (b":bob NOTICE me :hello", True),
        (b":irc.example.net NOTICE me :*** Looking up your hostname", False),
        (b"NOTICE AUTH :*** Checking ident", False),
    ],
)
def test_what_a_server_says_is_no_message_of_a_person(line: bytes, person: bool) -> None:
    assert is_of_a_person(parse(line)) is person


@pytest.mark.parametrize(("raw", "expected"), READ_IN_IRC)
def test_text_is_read_without_formatting(raw: str, expected: str) -> None:
    assert text_of(raw, NICK) == expected


@pytest.mark.parametrize("raw", NOTHING_IN_IRC)
def test_other_ctcp_is_no_message(raw: str) -> None:
    assert text_of(raw, NICK) is None


@pytest.mark.parametrize(("text", "lines"), OUT.items())
def test_a_text_is_written_exactly(text: str, lines: tuple[str, ...]) -> None:
    assert payloads(text, ROOM, str.encode) == [line.encode() for line in lines]


@pytest.mark.parametrize("text", ["", "\t", "\r\n \r\n", "\x00", "\x01\n\x01", *NOTHING])
def test_nothing_is_no_message(text: str) -> None:
    """RFC 2812 §3.3.1: 412 ERR_NOTEXTTOSEND."""
    with pytest.raises(ValueError, match="no text"):
        payloads(text, ROOM, str.encode)


@settings(deadline=None)
@given(st.text())
def test_no_text_becomes_a_second_line_or_a_request(text: str) -> None:
    try:
        found = payloads(text, ROOM, str.encode)
    except ValueError:
        return
    for payload in found:
        assert payload
        assert not set(payload) & set(b"\r\n\0")
        assert payload.count(b"\x01") == (2 if payload.startswith(b"\x01ACTION ") else 0)


@settings(deadline=None)
@given(st.text(st.sampled_from("ab  é日🐄\u0301\u200d\U0001f3fd"), max_size=400))
def test_what_is_cut_is_not_lost(line: str) -> None:
    pieces = cut(line, 80, str.encode)
    assert "".join(pieces) == line
    assert all(len(piece.encode()) <= 80 for piece in pieces)


def test_a_line_is_cut_behind_a_space() -> None:
    pieces = cut(WORDS, ROOM, str.encode)
    assert "".join(pieces) == WORDS
    assert all(piece.endswith(" ") for piece in pieces[:-1])
    assert len(pieces) <= 4000 // (ROOM - 5) + 1


@pytest.mark.parametrize("character", ["e\u0301", "👩‍👩‍👧‍👦", "👍🏽", "ö", "日"])
def test_a_character_is_not_cut(character: str) -> None:
    for shift in range(6):
        pieces = cut("x" * shift + character * 100, 81, str.encode)
        assert {piece.lstrip("x") for piece in pieces} <= {character * count for count in range(1, 82)}


def test_a_heap_of_accents_is_cut_all_the_same() -> None:
    line = "Z" + "\u0351" * 1000
    pieces = cut(line, 80, str.encode)
    assert "".join(pieces) == line
    assert all(len(piece.encode()) <= 80 for piece in pieces)


# ---------------------------------------------------------------- pure: confirmation
def _message(ident: str, target: str = "you", *texts: bytes) -> tuple[OutgoingMessage, bytes, list[bytes]]:
    return OutgoingMessage(target, "", ident=ident), target.encode(), list(texts or (b"x",))


def _pings(lines: list[bytes]) -> int:
    return sum(line.startswith(b"PING ") for line in b"".join(lines).splitlines())


def test_a_message_is_confirmed_by_the_answer_to_the_ping_behind_it() -> None:
    confirmations = Confirmations()
    confirmations.add(*_message("p1"))
    assert confirmations.next_lines() == [b"PRIVMSG you :x\r\nPING purple-1\r\n"]
    assert confirmations.answered(b"1700000000") is None
    assert confirmations.answered(b"purple-2") is None
    assert confirmations.answered(b"purple-1") == ["p1"]
    assert confirmations.answered(b"purple-1") is None
    assert confirmations.next_lines() == []


def test_one_ping_is_on_its_way_at_a_time() -> None:
    confirmations = Confirmations()
    sent = []
    for number in range(3):
        confirmations.add(*_message(f"p{number}"))
        sent.append(confirmations.next_lines())
    assert [_pings(lines) for lines in sent] == [1, 0, 0]
    assert confirmations.answered(b"purple-1") == ["p0"]
    assert confirmations.next_lines() == [b"PING purple-2\r\n"]
    assert confirmations.answered(b"purple-2") == ["p1", "p2"]


@pytest.mark.parametrize(("size", "most"), [(10, MOST_LINES), (400, MOST_OCTETS // 400), (2000, 1)])
def test_few_lines_are_on_their_way(size: int, most: int) -> None:
    confirmations = Confirmations()
    for number in range(20):
        confirmations.add(*_message(f"p{number}", "you", b"x" * size))
    taken: list[str] = []
    while lines := confirmations.next_lines():
        assert 1 <= b"".join(lines).count(b"PRIVMSG") <= most
        assert _pings(lines) == 1
        taken += confirmations.answered(confirmations.token) or []
    assert taken == [f"p{number}" for number in range(20)]


def test_a_long_message_is_confirmed_when_its_last_line_is() -> None:
    confirmations = Confirmations()
    confirmations.add(*_message("p1", "you", *[b"x"] * 12))
    answers = []
    while confirmations.next_lines():
        answers.append(confirmations.answered(confirmations.token))
    assert answers == [[], [], ["p1"]]


@pytest.mark.parametrize("numeric", [*CONDITIONS, "438", "599"])
def test_an_error_about_the_receiver_fails_the_message_once(numeric: str) -> None:
    confirmations = Confirmations()
    confirmations.add(*_message("p1", "[You]", b"one", b"two"))
    confirmations.next_lines()
    error = parse(f":irc.example {numeric} me {{yOU}} :no".encode())
    assert [message.ident for message in confirmations.failed(error) or ()] == ["p1"]
    assert confirmations.failed(error) == []
    assert confirmations.answered(confirmations.token) == []
    assert confirmations.failed(error) is None


@pytest.mark.parametrize("numeric", ["301", "303", "311", "001", "600", "NOTICE", "4x1", ""])
def test_another_reply_about_the_receiver_fails_nothing(numeric: str) -> None:
    confirmations = Confirmations()
    confirmations.add(*_message("p1"))
    confirmations.next_lines()
    assert confirmations.failed(parse(f":irc.example {numeric} me you :away".encode())) is None
    assert confirmations.answered(confirmations.token) == ["p1"]


def test_an_error_fails_the_messages_to_that_receiver_alone() -> None:
    confirmations = Confirmations()
    confirmations.add(*_message("first"))
    confirmations.next_lines()
    for ident, target in (("p1", "you"), ("p2", "her"), ("p3", "you"), ("p4", "me")):
        confirmations.add(*_message(ident, target))
    confirmations.next_lines()
    assert confirmations.failed(parse(b":s 401 me her :no")) is None, "the server has not come to it"
    assert confirmations.answered(confirmations.token) == ["first"]
    confirmations.next_lines()
    failed = confirmations.failed(parse(b":s 401 me YOU :no")) or []
    assert [message.ident for message in failed] == ["p1", "p3"]
    assert confirmations.answered(confirmations.token) == ["p2", "p4"]


def test_the_rest_of_a_failed_message_is_not_sent() -> None:
    confirmations = Confirmations()
    confirmations.add(*_message("p1", "you", *[b"x"] * 12))
    confirmations.add(*_message("p2", "her"))
    confirmations.next_lines()
    confirmations.failed(parse(b":s 401 me you :no"))
    assert confirmations.answered(confirmations.token) == []
    assert confirmations.next_lines() == [b"PRIVMSG her :x\r\nPING purple-2\r\n"]
    assert confirmations.answered(confirmations.token) == ["p2"]


# ---------------------------------------------------------------- in a child, with a real server
Wire = list[tuple[str, str]]  # ("out" or "in", line)

_Text = CFUNCTYPE(None, c_void_p, ctypes.POINTER(c_char_p), c_void_p)


def _account(nick: str, port: int, **options: bool | int | str) -> Account:
    """Online; without a rate limit, unless ``options`` say so."""
    account = Account(IRC, f"{nick}@127.0.0.1")
    for name, value in {"port": port, "ratelimit-interval": 0, **options}.items():
        account.set_option(name, value)
    account.connect(None)
    wait_online(account)
    return account


def _watch_wire() -> Wire:
    """What libpurple writes and reads; before the application's own handlers change it."""
    wire: Wire = []

    def keep(direction: str) -> Callable[..., None]:
        def line(_connection: int, text: Any, _data: int) -> None:
            wire.extend((direction, part) for part in text[0].decode("utf-8", "replace").split("\r\n") if part)

        return line

    plugin = c.purple.purple_find_prpl(IRC.encode())
    signals.connect(plugin, b"irc-sending-text", _Text, keep("out"))
    signals.connect(plugin, b"irc-receiving-text", _Text, keep("in"))
    return wire


def _raw(account: Account, line: str) -> None:
    plugin = c.purple.purple_find_prpl(IRC.encode())
    details = ctypes.cast(plugin.contents.info.contents.extra_info, ctypes.POINTER(c.ProtocolInfo)).contents
    connection = c.purple_quick.purple_account_get_connection(account.pointer)
    details.send_raw(connection, f"{line}\r\n".encode(), -1)


def _send(account: Account, who: str, text: str, ident: str) -> None:
    assert account.send_im(who, escape(text), text=text, ident=ident) >= 0


def _settled(recorder: Recorder, count: int) -> None:
    """All of ``count`` messages are confirmed or failed."""
    run_until(lambda: len(recorder.acknowledged) + len(recorder.failures) >= count, f"{count} messages settled", 40)


def _texts(peer: IrcUser) -> list[str]:
    return [message.text for message in peer.messages]


def outgoing(port: int, nick: str, peer_nick: str, texts: list[str], **options: Any) -> dict[str, Any]:
    """Each text, and then a last one, so that all before it are there."""
    recorder = started()
    encoding = options.pop("peer_encoding", "utf-8")
    with IrcUser(peer_nick, ("127.0.0.1", port), encoding=encoding) as peer:
        account = _account(nick, port, **options)
        received = []
        for number, text in enumerate(texts):
            known = len(peer.messages)
            _send(account, peer_nick, text, f"p{number}")
            _settled(recorder, number + 1)
            _send(account, peer_nick, "END", "")
            run_until(lambda: "END" in _texts(peer)[known:], "the last line")  # noqa: B023 - called here and now
            received.append(_texts(peer)[known:-1])
        return {"received": received, "acknowledged": recorder.acknowledged, "notices": recorder.notices}


def test_each_text_arrives_exactly(ngircd: Ngircd) -> None:
    seen = run_in_child(outgoing, ngircd.port, "outexact", "inexact", list(OUT))
    expected = {text: list(map(trimmed, lines)) for text, lines in OUT.items()}
    assert dict(zip(OUT, seen["received"], strict=True)) == expected
    assert seen["acknowledged"] == [f"p{number}" for number in range(len(OUT))]
    assert seen["notices"] == []


def long_outgoing(port: int, nick: str, peer_nick: str) -> dict[str, Any]:
    return outgoing(port, nick, peer_nick, LONG)


def test_a_long_text_arrives_whole(ngircd: Ngircd) -> None:
    """RFC 2812 §2.3: the server cuts a line of more than 512 octets, its prefix included."""
    nick = "longest-nick-that-is-possible"
    received = run_in_child(long_outgoing, ngircd.port, f"{nick}1", f"{nick}2")["received"]
    for text, lines in zip(LONG, received, strict=True):
        said = lines
        if text.startswith("/me "):
            assert all(line.startswith("\x01ACTION ") and line.endswith("\x01") for line in lines)
            said = [line.removeprefix("\x01ACTION ").removesuffix("\x01") for line in lines]
        assert are_pieces(said, text.removeprefix("/me ")), text[:80]


def incoming(port: int, nick: str, peer_nick: str, texts: list[str], **options: Any) -> dict[str, Any]:
    recorder, wire = started(), _watch_wire()
    encoding = options.pop("peer_encoding", "utf-8")
    _account(nick, port, **options)
    with IrcUser(peer_nick, ("127.0.0.1", port), encoding=encoding) as peer:
        for text in texts:
            peer.privmsg(nick, text)
        peer.privmsg(nick, "END")
        run_until(lambda: recorder.messages and recorder.messages[-1][1].text == "END", "the last message")
    run_for(0.2)
    return {
        "texts": [message.text for _, message in recorder.messages[:-1]],
        "senders": list({message.sender for _, message in recorder.messages}),
        "notices": recorder.notices,
        "written": [line for direction, line in wire if direction == "out" and "NOTICE" in line],
    }


def test_each_text_is_read_exactly(ngircd: Ngircd) -> None:
    texts = [text for text, _ in READ_IN_IRC]
    seen = run_in_child(incoming, ngircd.port, "readexact", NICK, texts)
    expected = [text_of(trimmed(text), NICK) for text in texts]
    assert dict(zip(texts, seen["texts"], strict=True)) == dict(zip(texts, expected, strict=True))
    assert seen["senders"] == [NICK]


def test_other_ctcp_does_not_reach_the_phone(ngircd: Ngircd) -> None:
    seen = run_in_child(incoming, ngircd.port, "readctcp", NICK, list(NOTHING_IN_IRC))
    assert seen["texts"] == []
    assert seen["notices"] == []
    assert seen["written"] == [], "who sends many must not fill the queue with answers"


# ---- charsets


def in_charset(
    port: int, encoding: str, peer_encoding: str, texts: list[str], back: list[str], detect: bool = False
) -> dict[str, Any]:
    recorder = started()
    account = _account("charset", port, encoding=encoding, autodetect_utf8=detect)
    with IrcUser("peer", ("127.0.0.1", port), encoding=peer_encoding) as peer:
        results = [account.send_im("peer", "", text=text, ident=f"p{n}") for n, text in enumerate(texts)]
        run_until(lambda: len(recorder.acknowledged) == sum(result >= 0 for result in results), "confirmed")
        for text in back:
            peer.privmsg("charset", text)
        run_until(lambda: len(recorder.messages) == len(back), "the messages")
        run_until(lambda: len(peer.messages) == len(recorder.acknowledged), "the contact's messages")
        received = _texts(peer)
    return {"results": results, "received": received, "texts": [message.text for _, message in recorder.messages]}


@pytest.mark.parametrize(
    ("encoding", "peer_encoding", "text", "back"),
    [
        ("ISO-8859-1", "latin-1", "Grüße", "ÄÖÜ ß"),
        ("KOI8-R", "koi8-r", "Привет", "мир"),
        ("windows-1252", "cp1252", "5 € “x”", "„y“"),
        ("SHIFT_JIS", "shift_jis", "日本語", "テキスト"),
        ("UTF-8,ISO-8859-1", "utf-8", "Grüße 🐄", "日本語"),
        ("", "utf-8", "Grüße 🐄", "日本語"),
    ],
)
def test_the_charset_of_the_account_is_used(
    ngircd: Ngircd, encoding: str, peer_encoding: str, text: str, back: str
) -> None:
    seen = run_in_child(in_charset, ngircd.port, encoding, peer_encoding, [text], [back])
    assert seen == {"results": [0], "received": [text], "texts": [back]}


def test_a_second_charset_is_for_reading(ngircd: Ngircd) -> None:
    seen = run_in_child(in_charset, ngircd.port, "UTF-8,ISO-8859-1", "latin-1", [], ["Grüße"])
    assert seen["texts"] == ["Grüße"]


def test_utf_8_is_recognized_where_the_account_says_so(ngircd: Ngircd) -> None:
    for detect, expected in ((True, "Grüße"), (False, "GrÃ¼Ã\x9fe")):
        seen = run_in_child(in_charset, ngircd.port, "ISO-8859-1", "utf-8", [], ["Grüße"], detect)
        assert seen["texts"] == [expected]


def test_what_no_charset_explains_is_replaced(ngircd: Ngircd) -> None:
    seen = run_in_child(in_charset, ngircd.port, "UTF-8", "latin-1", [], ["Grüße"])
    assert seen["texts"] == ["Gr\ufffd\ufffde"]


def test_what_the_charset_lacks_is_refused(ngircd: Ngircd) -> None:
    seen = run_in_child(in_charset, ngircd.port, "ISO-8859-1", "latin-1", ["10 €", "10 EUR"], [])
    assert seen["results"] == [-errno.EILSEQ, 0]
    assert seen["received"] == ["10 EUR"]


def refused(port: int, receivers: list[str], texts: list[str]) -> list[int]:
    started()
    account = _account("refused", port)
    results = [account.send_im(who, "", text="x") for who in receivers]
    results += [account.send_im("peer", "", text=text) for text in texts]
    account.disconnect()
    run_until(lambda: account.disconnected, "signed off")
    return [*results, account.send_im("peer", "", text="x")]


def test_what_is_no_receiver_or_no_text_is_refused(ngircd: Ngircd) -> None:
    receivers = ["", "a b", "a,b", ":a", "a\r\nQUIT", "a\nb", "a\0b", "x" * 300]
    texts = ["\n", "\x01"]
    results = run_in_child(refused, ngircd.port, receivers, texts)
    assert results == [-errno.EINVAL] * (len(receivers) + len(texts)) + [-errno.ENOTCONN]


# ---- confirmation


def burst(port: int, count: int) -> dict[str, Any]:
    recorder, wire = started(), _watch_wire()
    account = _account("burst", port)
    with IrcUser("peer", ("127.0.0.1", port)) as peer:
        for number in range(count):
            _send(account, "peer", f"message {number}", f"p{number}")
        _settled(recorder, count)
        run_until(lambda: len(peer.messages) == count, "all messages")
        _raw(account, "PING :other 1700000000")
        run_until(lambda: recorder.notices, "libpurple's notice")
        texts = _texts(peer)
    return {"acknowledged": recorder.acknowledged, "texts": texts, "wire": wire, "notices": recorder.notices}


def _unanswered(wire: Wire) -> list[tuple[int, int]]:
    """(PINGs, PRIVMSGs) that the server had not answered, before each line was written."""
    found, pings, lines, behind = [], 0, 0, 0
    for direction, line in wire:
        if direction == "out" and line.startswith("PRIVMSG"):
            lines, behind = lines + 1, behind + 1
        elif direction == "out" and line.startswith("PING purple-"):
            pings, behind = pings + 1, 0
        elif direction == "in" and " PONG " in line:
            pings, lines = pings - 1, behind
        found.append((pings, lines))
    return found


def test_a_burst_is_confirmed_in_order(ngircd: Ngircd) -> None:
    seen = run_in_child(burst, ngircd.port, 100)
    assert seen["texts"] == [f"message {number}" for number in range(100)]
    assert seen["acknowledged"] == [f"p{number}" for number in range(100)]
    assert len(seen["notices"]) == 1, "the answer to another's PING reaches libpurple, those to ours do not"
    ours = [(direction, line) for direction, line in seen["wire"] if "1700000000" not in line]
    assert max(pings for pings, _ in _unanswered(ours)) == 1
    assert max(lines for _, lines in _unanswered(ours)) == MOST_LINES


def at_once(port: int) -> list[float]:
    """Seconds to the confirmation; two messages after a pause are within the default rate limit."""
    recorder = started()
    with IrcUser("peer", ("127.0.0.1", port)):
        account = Account(IRC, "atonce@127.0.0.1")
        account.set_option("port", port)
        account.connect(None)
        wait_online(account)
        run_for(6)
        seconds = []
        for number in range(2):
            before = time.monotonic()
            _send(account, "peer", "x", f"p{number}")
            _settled(recorder, number + 1)
            seconds.append(time.monotonic() - before)
            run_for(2.1)
    return seconds


def test_a_message_does_not_wait_for_the_plugins_timer(ngircd: Ngircd) -> None:
    """The timer fires once a second: by itself the two would take a second on average."""
    assert max(run_in_child(at_once, ngircd.port)) < 0.2


def polite(port: int, options: dict[str, int]) -> float:
    recorder = started()
    with IrcUser("peer", ("127.0.0.1", port)):
        account = Account(IRC, "polite@127.0.0.1")
        for name, value in {"port": port, **options}.items():
            account.set_option(name, value)
        account.connect(None)
        wait_online(account)
        before = time.monotonic()
        for number in range(10):
            _send(account, "peer", f"message {number}", f"p{number}")
        _settled(recorder, 10)
        return time.monotonic() - before


@pytest.mark.parametrize(
    ("options", "least", "most"),
    [({}, 3, 8), ({"ratelimit-interval": 2}, 8, 26), ({"ratelimit-interval": 0}, 0, 2)],
)
def test_the_rate_is_that_of_the_account(ngircd: Ngircd, options: dict[str, int], least: float, most: float) -> None:
    assert least < run_in_child(polite, ngircd.port, options) < most


# ---- RFC 2812 §3.3.2: what no person wrote goes as NOTICE, and a NOTICE is never answered


def automatic(port: int) -> dict[str, Any]:
    recorder = started()
    account = _account("robot", port)
    with IrcUser("peer", ("127.0.0.1", port)) as peer:
        _send(account, "peer", "by hand", "p1")
        assert account.send_im("peer", "", text="by itself", automatic=True) >= 0
        run_until(lambda: len(peer.messages) == 2, "both messages")
        peer.privmsg("robot", "by hand")
        peer.raw("NOTICE robot :by itself")
        run_until(lambda: len(recorder.messages) == 2, "both answers")
    received = [(message.text, message.wants_error) for _, message in recorder.messages]
    return {"sent": [(message.text, message.command) for message in peer.messages], "received": received}


def test_nobody_answers_what_no_person_wrote(ngircd: Ngircd) -> None:
    seen = run_in_child(automatic, ngircd.port)
    assert seen["sent"] == [["by hand", "PRIVMSG"], ["by itself", "NOTICE"]]
    assert seen["received"] == [["by hand", True], ["by itself", False]]


# ---- failures


def failing(port: int) -> dict[str, Any]:
    recorder = started()
    account = _account("failing", port)
    with IrcUser("peer", ("127.0.0.1", port)) as peer:
        peer.join("#moderated")
        peer.raw("MODE #moderated +n")
        peer.wait_line(lambda line: line.command == "MODE")
        _send(account, "peer", "first", "p1")
        _send(account, "nobody", "one\ntwo\nthree", "p2")
        _send(account, "peer", "second", "p3")
        _send(account, "#moderated", "hello", "p4")
        _send(account, "#nowhere", "hello", "p5")
        _send(account, "NoBody", WORDS, "p6")
        _send(account, "nobody", "without an ident", "")
        _send(account, "peer", "third", "p7")
        run_until(lambda: "p7" in recorder.acknowledged, "the last message")
        run_until(lambda: len(peer.messages) == 3, "three messages")
        received = _texts(peer)
        notices = list(recorder.notices)
        _raw(account, "PRIVMSG stranger :x")
        run_until(lambda: recorder.notices, "libpurple's notice")
    return {
        "acknowledged": recorder.acknowledged,
        "failures": recorder.failures,
        "received": received,
        "notices": [notices, recorder.notices],
        "messages": len(recorder.messages),
    }


def test_what_the_server_refuses_is_reported(ngircd: Ngircd) -> None:
    seen = run_in_child(failing, ngircd.port)
    assert seen["acknowledged"] == ["p1", "p3", "p7"]
    no_such = "No such nick or channel name"
    assert seen["failures"] == [
        ["p2", "nobody", "item-not-found", no_such],
        ["p4", "#moderated", "forbidden", "Cannot send to channel"],
        ["p5", "#nowhere", "item-not-found", no_such],
        ["p6", "NoBody", "item-not-found", no_such],
        ["", "nobody", "item-not-found", no_such],
    ]
    assert seen["received"] == ["first", "second", "third"]
    before, after = seen["notices"]
    assert before == [], "libpurple shows no window for it"
    assert len(after) == 1, "what we did not write to is libpurple's"


def away(port: int) -> dict[str, Any]:
    recorder = started()
    account = _account("toaway", port)
    with IrcUser("peer", ("127.0.0.1", port)) as peer:
        peer.away("lunch & <coffee>  \x02🍵\x02")
        peer.wait_line(lambda line: line.command == "306")
        _send(account, "peer", "hello", "p1")
        _settled(recorder, 1)
    answer = recorder.messages[0][1]
    return {
        "acknowledged": recorder.acknowledged,
        "answer": [answer.sender, answer.text, bool(answer.flags & c.PURPLE_MESSAGE_AUTO_RESP)],
    }


def test_a_contact_that_is_away_has_the_message(ngircd: Ngircd) -> None:
    """301 RPL_AWAY."""
    seen = run_in_child(away, ngircd.port)
    assert seen == {"acknowledged": ["p1"], "answer": ["peer", "lunch & <coffee>  🍵", True]}


# ---- a server that dies


def killed(directory: str) -> dict[str, Any]:
    """Some messages are in the dead server's socket, more of them still here."""
    recorder = started()
    with Ngircd(Path(directory)) as server:
        account = _account("killed", server.port)
        with IrcUser("peer", ("127.0.0.1", server.port)):
            server.pause()
            for number in range(20):
                _send(account, "peer", f"message {number}", f"p{number}")
            run_for(1.5)
            server.kill()
            run_until(lambda: account.disconnected and recorder.offline, "the end of the connection")
        lost = [*recorder.acknowledged, *recorder.failures]
        server.start()
        return {"lost": lost, **_again(server.port, account, recorder, 20)}


def _again(port: int, account: Account, recorder: Recorder, count: int) -> dict[str, Any]:
    """Whatever comes before the application sends again would come twice."""
    with IrcUser("peer", ("127.0.0.1", port)) as peer:
        account.connect(None)
        wait_online(account)
        run_for(2.5)
        doubled = _texts(peer)
        for number in range(count):
            _send(account, "peer", f"message {number}", f"p{number}")
        _settled(recorder, count)
        run_until(lambda: len(peer.messages) >= count, "all messages")
        texts = _texts(peer)
    return {"doubled": doubled, "acknowledged": recorder.acknowledged, "texts": texts}


def test_what_a_killed_server_did_not_confirm_is_sent_again_by_the_application_alone(tmp_path: Path) -> None:
    seen = run_in_child(killed, str(tmp_path))
    assert seen["lost"] == []
    assert seen["doubled"] == []
    assert seen["texts"] == [f"message {number}" for number in range(20)]
    assert seen["acknowledged"] == [f"p{number}" for number in range(20)]


def queued(directory: str) -> dict[str, Any]:
    """The plugin's rate limit holds all lines back until the server is gone."""
    recorder, wire = started(), _watch_wire()
    with Ngircd(Path(directory)) as server:
        account = _account("queued", server.port)
        account.set_option("ratelimit-interval", 3600)
        for number in range(8):
            _send(account, "peer", f"message {number}", f"p{number}")
        run_for(1.5)
        written = [line for direction, line in wire if direction == "out" and line.startswith("PRIVMSG")]
        server.kill()
        run_until(lambda: account.disconnected and recorder.offline, "the end of the connection")
        account.set_option("ratelimit-interval", 0)
        server.start()
        return {"written": written, **_again(server.port, account, recorder, 8)}


def test_what_the_plugin_had_not_written_is_dropped_with_the_connection(tmp_path: Path) -> None:
    seen = run_in_child(queued, str(tmp_path))
    assert seen["written"] == []
    assert seen["doubled"] == []
    assert seen["texts"] == [f"message {number}" for number in range(8)]
    assert seen["acknowledged"] == [f"p{number}" for number in range(8)]


# ---- a server that slows its clients down


def throttled(directory: str) -> dict[str, Any]:
    """ngIRCd's default: a penalty for who sends more than a few lines in a second."""
    recorder = started()
    with Ngircd(Path(directory), penalties=True) as server, IrcUser("peer", ("127.0.0.1", server.port)) as peer:
        account = _account("throttled", server.port)
        for number in range(50):
            _send(account, "peer", f"message {number}", f"p{number}")
        _settled(recorder, 50)
        run_until(lambda: len(peer.messages) == 50, "all messages")
        texts = _texts(peer)
    return {"texts": texts, "acknowledged": recorder.acknowledged, "errors": len(recorder.errors)}


def test_a_server_that_throttles_loses_nothing(tmp_path: Path) -> None:
    seen = run_in_child(throttled, str(tmp_path))
    assert seen["texts"] == [f"message {number}" for number in range(50)]
    assert seen["acknowledged"] == [f"p{number}" for number in range(50)]
    assert seen["errors"] == 0
