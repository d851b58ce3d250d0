"""The order of what goes to SIP users, and what becomes of each letter by the answer that Kamailio's routes give."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from purple_bridge.addresses import SipAddress
from purple_bridge.bodies import outgoing
from purple_bridge.db.silo import KeptRow, StoredMessage, owner
from purple_bridge.kept_users import KeptUsers
from purple_bridge.libpurple import glib
from purple_bridge.worker import postman as postman_module
from purple_bridge.worker.kept import MOST_LEFT, PAGE, Shelf
from purple_bridge.worker.postman import Letter, Postman
from purple_bridge.worker.typist import Typist
from purple_bridge.worker.uac import UserAgentClient, open_socket
from tests.agents.sip import Request
from tests.loops import run_for, run_until
from tests.sip_listener import Listener, sip_client

BOB = SipAddress.parse("sip:bob*jabber.org@xmpp.im.example.org")
ALICE, CAROL = "alice@example.org", "carol@example.org"
CPIM = "message/cpim"


class Office:
    """A postman, the routes that answer it, and what it stored and gave up; implements the rows in memory.

    ``rows``: Alice's, by id. ``looks``: ids after which rows were asked for. ``late``: who registered late, or
    has more rows (False).
    ``no_cpim``: whose phone does not read CPIM.
    """

    def __init__(self, listener: Listener, client: UserAgentClient) -> None:
        self.listener, self.client = listener, client
        self.users = KeptUsers()
        self.no_cpim: list[str] = []
        self.postman = Postman(self.client, Shelf(self, self.users), self._failed, self._late, self.no_cpim.append)
        self.rows: dict[int, KeptRow] = {}
        self.looks: list[int] = []
        self.late: list[tuple[str, bool]] = []
        self.stored: list[StoredMessage] = []
        self.failed: list[tuple[Letter, int, str]] = []
        self.database_works = True
        self.attempts = 0
        self._seen = 0

    def store_kept(self, messages: list[StoredMessage], done: Callable[[bool], None]) -> None:
        self.attempts += 1
        works = self.database_works
        self.stored += messages if works else []
        glib.call_soon(lambda: done(works))

    def load_kept(self, user: str, after: int, limit: int, done: Callable[[list[KeptRow] | None], None]) -> None:
        assert user == ALICE
        self.looks.append(after)
        rows = [row for number, row in sorted(self.rows.items()) if number > after][:limit]
        found = rows if self.database_works else None
        glib.call_soon(lambda: done(found))

    def erase_kept(self, number: int, done: Callable[[bool], None]) -> None:
        works = self.database_works
        if works:
            del self.rows[number]
        glib.call_soon(lambda: done(works))

    def _late(self, user: str, registered: bool) -> None:
        self.late.append((user, registered))

    def keep(self, *texts: str, **more: Any) -> None:
        """Rows of Alice, as somebody has stored them."""
        for text in texts:
            number = max(self.rows, default=0) + 1
            values = {"src_addr": BOB.uri, "inc_time": 1_700_000_000, "ctype": "text/plain", "extra_hdrs": "", **more}
            self.rows[number] = KeptRow(id=number, body=text.encode(), **values)
        self.users.mark(*owner(ALICE))

    def register(self) -> None:
        self.postman.registered(ALICE)

    def _failed(self, letter: Letter, status: int, reason: str) -> None:
        self.failed.append((letter, status, reason))

    def post(self, body: str, user: str = ALICE, **more: Any) -> Letter:
        letter = Letter(BOB, user, body.encode(), **more)
        self.postman.post(letter)
        return letter

    def next(self, timeout: float = 5.0) -> Request:
        """The next request; it is left unanswered."""
        self._seen += 1
        return self.listener.wait(self._seen, timeout)[self._seen - 1]

    def answer_next(self, status: int, reason: str = "OK") -> Request:
        request = self.next()
        self.listener.answer(request, status, reason)
        return request

    def nothing_more(self) -> bool:
        run_for(0.15)
        return len(self.listener.read()) == self._seen


@pytest.fixture
def office() -> Iterator[Office]:
    with Listener() as listener, open_socket(listener.address) as opened, sip_client(opened) as client:
        made = Office(listener, client)
        yield made
        for writing in made.postman._typist._writing.values():
            glib.remove(writing.timer)


# ---- the order


def test_one_is_outstanding_for_each_user(office: Office) -> None:
    """RFC 3428 §8."""
    for number in range(3):
        office.post(f"alice {number}")
    office.post("carol 0", CAROL)
    assert [office.next().body, office.next().body] == [b"alice 0", b"carol 0"]
    assert office.nothing_more()
    assert office.postman.waiting == 4
    alice, carol = office.listener.read()
    office.listener.answer(carol, 200)
    office.listener.answer(alice, 202)
    assert office.answer_next(200).body == b"alice 1"
    assert office.answer_next(200).body == b"alice 2"
    run_until(lambda: office.postman.waiting == 0, "all answered")
    assert (office.failed, office.stored) == ([], [])


def test_the_headers(office: Office) -> None:
    office.post("x", written_at=1_700_000_000, subject="Grüße\r\nX: y", language="de-CH")
    request = office.answer_next(200)
    assert request.uri == "sip:alice@example.org;proto=purple"
    assert re.fullmatch(r"<sip:bob\*jabber\.org@xmpp\.im\.example\.org>;tag=\w+", request.headers["From"])
    assert request.headers["To"] == "<sip:alice@example.org>"
    assert request.headers["Content-Type"] == "text/plain;charset=utf-8"
    assert request.headers["Date"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert request.headers["Subject"] == "Grüße X: y"
    assert request.headers["Content-Language"] == "de-CH"
    office.post("y", language="x\r\ny", subject="")
    request = office.answer_next(200)
    assert not {"Date", "Subject", "Content-Language", "Contact"} & set(request.headers)


def test_a_letter_that_cannot_be_written_fails_and_the_next_goes(office: Office) -> None:
    bad = office.post("x", content_type="text/plain\r\nRoute: <sip:evil>")
    office.post("y")
    assert office.answer_next(200).body == b"y"
    assert [(letter, status) for letter, status, _ in office.failed] == [(bad, 400)]


def test_what_cannot_be_written_does_not_stop_what_is_kept(office: Office) -> None:
    office.post("x")
    bad = office.post("y", content_type="no type")
    office.post("z")
    office.answer_next(480, "Nobody")
    run_until(lambda: office.stored, "the rows")
    assert [message.body for message in office.stored] == [b"x", b"z"]
    assert office.failed == [(bad, 480, "Nobody")]


def test_an_error_of_the_one_who_is_told_stops_nothing(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(_letter: Letter, _status: int, _reason: str) -> None:
        raise RuntimeError("no way to tell")

    monkeypatch.setattr(office.postman, "_failed", raises)
    office.post("x")
    office.post("y")
    office.answer_next(404)
    assert office.answer_next(200).body == b"y"


# ---- too large for a phone over UDP


def test_parts(office: Office) -> None:
    """Before anything later for that user, each small enough with what Kamailio adds."""
    text = "Straße 👩‍👩‍👧 " * 200
    office.post(text, subject="long")
    office.post("after")
    office.answer_next(513, "Message Too Large")
    parts = []
    while (request := office.answer_next(200)).body != b"after":
        assert ";size=any" in request.uri
        parts.append(request.body.decode())
        assert len(office.listener.datagrams[-1]) <= 1300 - 300
    assert "".join(parts) == text
    assert len(parts) == len({request.headers["Call-ID"] for request in office.listener.read()}) - 2


def test_what_is_no_text_stays_whole(office: Office) -> None:
    office.post("x" * 3000, content_type=CPIM)
    office.answer_next(513)
    again = office.answer_next(200)
    assert (again.body, ";size=any" in again.uri) == (b"x" * 3000, True)
    assert office.nothing_more()


def test_a_phone_that_finds_it_too_large_itself(office: Office) -> None:
    letter = office.post("x" * 3000, content_type=CPIM)
    office.answer_next(513)
    office.answer_next(513, "Too Large")
    run_until(lambda: office.failed, "the failure")
    assert office.failed == [(letter, 513, "Too Large")]


def test_a_part_that_is_refused_ends_the_letter(office: Office) -> None:
    letter = office.post("x" * 3000)
    office.post("after")
    office.answer_next(513)
    office.answer_next(200)
    office.answer_next(415, "Unsupported Media Type")
    assert office.answer_next(200).body == b"after"
    assert office.failed == [(letter, 415, "Unsupported Media Type")]


# ---- no phone is there


@pytest.mark.parametrize("status", [408, 430, 477, 478, 480, 500, 503, 504])
def test_nobody_there(office: Office, status: int) -> None:
    """All that waits for the user is kept at once, and the gateway asks for a phone that registered meanwhile."""
    before = int(time.time())
    office.post("first", written_at=1_700_000_000)
    office.post("second", subject="s", language="en")
    office.post("third", content_type=CPIM)
    office.answer_next(status)
    question = office.next()
    now = int(time.time())
    assert question.method == "OPTIONS"
    since = int(re.fullmatch(r"sip:alice@example\.org;proto=purple;since=(\d+)", question.uri)[1])  # type: ignore[index]
    assert before <= since + (1 if status == 480 else -1) <= now
    first, second, third = office.stored
    assert [message.body for message in office.stored] == [b"first", b"second", b"third"]
    assert (first.src_addr, first.dst_addr) == (BOB.uri, "sip:alice@example.org")
    assert (first.username, first.domain) == ("alice", "example.org")
    assert first.inc_time == 1_700_000_000
    assert before <= second.inc_time <= now
    assert first.exp_time - second.inc_time == pytest.approx(7 * 24 * 3600, abs=2)
    assert second.extra_hdrs == "Subject: s\r\nContent-Language: en\r\n"
    assert (first.ctype, third.ctype) == ("text/plain;charset=utf-8", CPIM)
    office.post("behind")
    assert office.nothing_more(), "it must not overtake what is delivered because of the question"
    office.listener.answer(question, 480)
    assert office.answer_next(200).body == b"behind"
    assert office.failed == []


def test_long_texts_are_kept_in_parts(office: Office) -> None:
    """Alike as the parts are, none is lost."""
    office.post("x" * 5000)
    office.answer_next(480)
    run_until(lambda: office.stored, "the rows")
    assert b"".join(message.body for message in office.stored) == b"x" * 5000
    assert max(len(message.body) for message in office.stored) < 1000


def test_the_parts_that_were_taken_are_not_kept(office: Office) -> None:
    office.post("x" * 1500 + "y" * 10)
    office.answer_next(513)
    taken = office.answer_next(200).body
    office.answer_next(408)
    run_until(lambda: office.stored, "the rows")
    assert taken + b"".join(message.body for message in office.stored) == b"x" * 1500 + b"y" * 10


def test_what_is_not_to_be_kept_fails(office: Office) -> None:
    lost = office.post("for now only", keep=False)
    office.post("for later")
    also_lost = office.post("for now only, too", keep=False)
    office.answer_next(480, "Temporarily Unavailable")
    run_until(lambda: office.stored, "the rows")
    assert [message.body for message in office.stored] == [b"for later"]
    assert office.failed == [(lost, 480, "Temporarily Unavailable"), (also_lost, 480, "Temporarily Unavailable")]


def test_a_sender_with_an_address_too_long_for_the_table(office: Office) -> None:
    sender = SipAddress("x" * 300, "xmpp.im.example.org")
    letter = Letter(sender, ALICE, b"x")
    office.postman.post(letter)
    office.post("next")
    office.answer_next(480, "Nobody")
    run_until(lambda: office.stored, "the rows")
    assert office.failed == [(letter, 480, "Nobody")]
    assert [message.body for message in office.stored] == [b"next"]


def test_a_database_that_fails_for_a_while(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postman_module, "STORE_AGAIN", (0.1, 0.1, 0.1))
    office.database_works = False
    office.post("x")
    office.answer_next(480)
    run_until(lambda: office.attempts == 2, "another attempt")
    office.database_works = True
    run_until(lambda: office.stored, "the row")
    assert office.attempts == 3
    assert office.failed == []


def test_a_database_that_stays_away(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postman_module, "STORE_AGAIN", (0.05, 0.05))
    office.database_works = False
    letters = [office.post("x" * 2000), office.post("y")]
    office.answer_next(480, "Nobody")
    run_until(lambda: office.failed, "the failure")
    assert office.failed == [(letter, 480, "Nobody") for letter in letters]
    office.post("z")
    assert office.answer_next(200).body == b"z"


def test_the_end_of_the_process(office: Office) -> None:
    """All that no phone has taken yet is kept, and what still comes."""
    office.post("taken")
    office.post("outstanding")
    office.post("x" * 3000)
    office.post("for now only", keep=False)
    office.post("to carol", CAROL)
    office.answer_next(200)
    office.next()
    outstanding = office.next()
    office.postman.close()
    office.post("late")
    bodies = b"|".join(message.body for message in office.stored)
    assert bodies.replace(b"x|x", b"xx") in (
        b"outstanding|" + b"x" * 3000 + b"|to carol|late",
        b"to carol|outstanding|" + b"x" * 3000 + b"|late",
    )
    rows = len(office.stored)
    office.listener.answer(outstanding, 480)
    assert office.nothing_more()
    assert len(office.stored) == rows


# ---- what was kept


def _bodies(office: Office, count: int) -> list[str]:
    return [office.answer_next(200).body.decode() for _ in range(count)]


def _settled(office: Office) -> bool:
    run_until(lambda: office.postman.waiting == 0, "nothing is under way")
    return office.nothing_more()


def test_kept_messages_go_out_one_by_one(office: Office) -> None:
    """Across pages; each row goes when a phone has it, before the next one leaves."""
    texts = [f"row {number}" for number in range(2 * PAGE + 3)]
    office.keep(*texts)
    office.register()
    for number, text in enumerate(texts):
        request = office.next()
        assert request.body.decode() == text
        assert len(office.rows) == len(texts) - number
        office.listener.answer(request, 200)
    assert _settled(office)
    assert (office.rows, office.looks) == ({}, [0, PAGE, 2 * PAGE])


def test_the_headers_of_a_kept_message(office: Office) -> None:
    office.keep("x", extra_hdrs="Subject: Grüße: zwei\r\nContent-Language: de\r\n", ctype=CPIM)
    office.register()
    request = office.answer_next(200)
    assert request.uri == "sip:alice@example.org;proto=purple;size=any"
    assert re.fullmatch(r"<sip:bob\*jabber\.org@xmpp\.im\.example\.org>;tag=\w+", request.headers["From"])
    assert request.headers["To"] == "<sip:alice@example.org>"
    assert request.headers["Content-Type"] == CPIM
    assert request.headers["Date"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert request.headers["Subject"] == "Grüße: zwei"
    assert request.headers["Content-Language"] == "de"


def test_without_kept_messages_the_database_is_not_asked(office: Office) -> None:
    office.register()
    assert office.looks == []
    office.keep("x")
    office.register()
    assert _bodies(office, 1) == ["x"]
    assert _settled(office)
    looks = len(office.looks)
    office.register()
    assert _settled(office)
    assert len(office.looks) == looks
    office.keep("y")
    office.register()
    assert _bodies(office, 1) == ["y"]


def test_what_is_posted_meanwhile_comes_after(office: Office) -> None:
    office.post("outstanding")
    office.keep("kept 1", "kept 2")
    office.register()
    office.post("live")
    assert _bodies(office, 4) == ["outstanding", "kept 1", "kept 2", "live"]
    assert office.stored == []


def test_registered_again_meanwhile(office: Office) -> None:
    """Nothing comes twice; what was stored behind the back of the hand-out comes at its end."""
    office.keep("1", "2")
    office.register()
    office.register()
    first = office.next()
    office.register()
    office.keep("3")
    office.listener.answer(first, 200)
    assert _bodies(office, 2) == ["2", "3"]
    assert _settled(office)


@pytest.mark.parametrize("status", [408, 480, 503])
def test_nobody_there_for_what_is_kept(office: Office, status: int) -> None:
    """The rows stay, what waits behind them is stored behind them."""
    office.keep("1", "2", "3")
    office.register()
    office.answer_next(200)
    office.next()
    office.post("live")
    office.listener.answer(office.listener.read()[-1], status)
    run_until(lambda: office.stored, "the live one is stored")
    question = office.answer_next(200)
    assert question.method == "OPTIONS"
    run_until(lambda: office.late, "told that a phone has registered")
    assert _settled(office)
    assert [row.body for row in office.rows.values()] == [b"2", b"3"]
    assert [message.body for message in office.stored] == [b"live"]
    office.register()
    assert _bodies(office, 2) == ["2", "3"]


@pytest.mark.parametrize("status", [500, 504])
def test_a_row_on_which_a_phone_fails_blocks_nothing(office: Office, status: int) -> None:
    """It stays, and comes again at the next REGISTER, where all behind it has gone long ago."""
    office.keep("1", "bad", "2", "bad, too", "3")
    office.register()
    for text, answer in {"1": 200, "bad": status, "2": 200, "bad, too": status, "3": 200}.items():
        assert office.answer_next(answer).body.decode() == text
    office.post("live")
    assert _bodies(office, 1) == ["live"]
    assert _settled(office)
    assert [row.body for row in office.rows.values()] == [b"bad", b"bad, too"]
    office.register()
    assert office.answer_next(status).body == b"bad"
    assert _bodies(office, 1) == ["bad, too"]
    assert _settled(office)
    office.register()
    assert _bodies(office, 1) == ["bad"]
    assert _settled(office)
    assert (office.rows, office.stored, office.late) == ({}, [], [])


def test_a_phone_that_fails_on_everything(office: Office) -> None:
    """It need not be asked for each of a thousand rows; what waits behind them is kept, too."""
    office.keep(*(f"row {number}" for number in range(2 * MOST_LEFT)))
    office.register()
    assert office.answer_next(200).body == b"row 0"
    for number in range(1, MOST_LEFT):
        assert office.answer_next(500).body.decode() == f"row {number}"
    office.next()
    office.post("live")
    office.listener.answer(office.listener.read()[-1], 500)
    run_until(lambda: office.stored, "the live one is stored")
    assert office.answer_next(480).method == "OPTIONS"
    assert _settled(office)
    assert len(office.rows) == 2 * MOST_LEFT - 1
    office.register()
    assert _bodies(office, 2) == ["row 1", "row 2"]


def test_registered_while_a_phone_was_silent(office: Office) -> None:
    """Another phone may have come: it is tried once more."""
    office.keep("1", "2")
    office.register()
    silent = office.next()
    office.register()
    office.listener.answer(silent, 408)
    assert _bodies(office, 2) == ["1", "2"]
    assert _settled(office)


@pytest.mark.parametrize("status", [400, 413, 415, 488, 603])
def test_a_kept_message_that_is_refused(office: Office, status: int) -> None:
    office.keep("1", "2")
    office.register()
    office.answer_next(status, "No, thanks")
    assert _bodies(office, 1) == ["2"]
    assert _settled(office)
    assert (office.rows, office.failed) == ({}, [])


def test_a_kept_message_for_a_phone_that_does_not_read_cpim(office: Office) -> None:
    """It comes again as text, in its place; the row goes when that has arrived."""
    content_type, body = outgoing.cpim_message(BOB.uri, f"sip:{ALICE}", "Grüße", 1, "im-1", ("positive-delivery",))
    office.keep(body.decode(), ctype=content_type, extra_hdrs="Subject: s\r\n")
    office.keep("2")
    office.register()
    enveloped = office.answer_next(415, "Unsupported Media Type")
    plain = office.next()
    assert len(office.rows) == 2
    assert (plain.headers["Content-Type"], plain.body.decode()) == ("text/plain;charset=utf-8", "Grüße")
    assert (plain.headers["Subject"], plain.headers["Date"]) == ("s", enveloped.headers["Date"])
    assert plain.headers["Call-ID"] != enveloped.headers["Call-ID"]
    office.listener.answer(plain, 200)
    assert _bodies(office, 1) == ["2"]
    assert _settled(office)
    assert (office.rows, office.no_cpim) == ({}, [ALICE])


def test_a_kept_message_whose_text_no_phone_takes_now(office: Office) -> None:
    content_type, body = outgoing.cpim_message(BOB.uri, f"sip:{ALICE}", "x", 1)
    office.keep(body.decode(), ctype=content_type)
    office.register()
    office.answer_next(415)
    assert office.answer_next(480).body == b"x"
    assert _settled(office)
    office.register()
    assert office.answer_next(415).headers["Content-Type"] == CPIM
    assert office.answer_next(415).body == b"x", "it does not read text either"
    assert _settled(office)
    assert office.rows == {}


@pytest.mark.parametrize("row", ["receipt", "no CPIM"])
def test_what_is_no_text_without_cpim_is_given_up(office: Office, row: str) -> None:
    receipt = outgoing.imdn_message(f"sip:{ALICE}", BOB.uri, "im-2", "im-1", "delivered", 1)
    content_type, body = receipt if row == "receipt" else (CPIM, b"x")
    office.keep(body.decode(), ctype=content_type)
    office.keep("2")
    office.register()
    office.answer_next(415)
    assert _bodies(office, 1) == ["2"]
    assert _settled(office)
    assert (office.rows, office.no_cpim) == ({}, [])


@pytest.mark.parametrize("status", [404, 405])
def test_no_phone_takes_messages(office: Office, status: int) -> None:
    """That says nothing of the row, so it stays; a live one is refused as ever."""
    office.keep("1")
    office.register()
    office.next()
    letter = office.post("live")
    office.listener.answer(office.listener.read()[-1], status, "No")
    assert office.answer_next(status, "No").body == b"live"
    run_until(lambda: office.failed, "the failure")
    assert office.failed == [(letter, status, "No")]
    assert _settled(office)
    assert len(office.rows) == 1


@pytest.mark.parametrize("bad", [{"src_addr": "nobody"}, {"ctype": "x\r\nRoute: y"}, {"extra_hdrs": "no header\r\n"}])
def test_a_row_that_cannot_be_sent_blocks_nothing(office: Office, bad: dict[str, str]) -> None:
    office.keep("bad", **bad)
    office.keep("good")
    office.register()
    assert _bodies(office, 1) == ["good"]
    assert _settled(office)
    assert office.rows == {}


def test_a_database_that_cannot_be_read(office: Office) -> None:
    office.keep("kept")
    office.database_works = False
    office.register()
    office.post("live")
    assert _bodies(office, 1) == ["live"]
    office.database_works = True
    office.register()
    assert _bodies(office, 1) == ["kept"]


def test_a_row_that_cannot_be_erased_is_not_sent_again(office: Office) -> None:
    office.keep("1", "2")
    office.register()
    first = office.next()
    office.database_works = False
    office.listener.answer(first, 200)
    run_until(lambda: office.postman.waiting == 0, "it stops")
    office.register()
    assert _settled(office)
    office.database_works = True
    office.register()
    assert _bodies(office, 1) == ["2"]
    assert _settled(office)
    assert office.rows == {}


def test_the_end_of_the_process_while_rows_are_handed_out(office: Office) -> None:
    """They are in the database, so none of them is written down a second time."""
    office.keep("1", "2")
    office.register()
    first = office.next()
    office.post("live")
    office.postman.close()
    assert [message.body for message in office.stored] == [b"live"]
    office.listener.answer(first, 200)
    run_until(lambda: len(office.rows) == 1, "what the phone has is erased")
    office.register()
    assert office.nothing_more()


# ---- what comes while another worker hands out what was kept


def test_it_goes_behind(office: Office) -> None:
    """Also as long as that worker has not read that there is more."""
    user = owner(ALICE)
    asked = office.users.ask(*user)
    office.post("1")
    office.post("2 " * 1000, subject="s")
    office.post("to carol", CAROL)
    assert office.answer_next(200).body == b"to carol"
    run_until(lambda: office.postman.waiting == 0, "the rows")
    office.users.done(*user, asked)
    office.post("3")
    assert _settled(office)
    first, *second, third = office.stored
    assert (first.body, b"".join(row.body for row in second).decode(), third.body) == (b"1", "2 " * 1000, b"3")
    assert len(second) > 1
    assert office.late == [(ALICE, False)] * 3
    office.users.done(*user, office.users.asked(*user))
    office.post("4")
    assert _bodies(office, 1) == ["4"]
    assert (len(office.late), office.failed) == (3, [])


def test_it_leaves_at_once_if_it_cannot_be_stored(office: Office) -> None:
    office.users.ask(*owner(ALICE))
    office.postman.post(Letter(SipAddress("x" * 300, "xmpp.im.example.org"), ALICE, b"too long an address"))
    assert _bodies(office, 1) == ["too long an address"]
    office.database_works = False
    office.post("without a database")
    assert _bodies(office, 1) == ["without a database"]
    assert (office.failed, office.late) == ([], [])


@pytest.mark.parametrize("status", [200, 404, 480, 500])
def test_others_see_that_rows_are_handed_out(office: Office, status: int) -> None:
    office.keep("1")
    office.register()
    office.next()
    assert office.users.is_handing_out(*owner(ALICE))
    assert not office.users.is_handing_out(*owner(CAROL))
    office.listener.answer(office.listener.read()[-1], status)
    assert _settled(office)
    assert not office.users.is_handing_out(*owner(ALICE))


def test_what_another_worker_has_put_behind(office: Office) -> None:
    """It comes at the end, without another try of what the phone has failed on."""
    office.keep("bad", "1")
    office.register()
    office.answer_next(500)
    last = office.next()
    office.keep("2")
    office.users.ask(*owner(ALICE))
    office.postman.added(ALICE)
    office.listener.answer(last, 200)
    assert _bodies(office, 1) == ["2"]
    assert _settled(office)
    assert not office.users.is_handing_out(*owner(ALICE))
    office.register()
    assert _bodies(office, 1) == ["bad"]
    assert _settled(office)
    assert office.rows == {}


def test_another_worker_was_told_too_late(office: Office) -> None:
    """The row had been handed out with those before it: nobody waits for it any more."""
    office.keep("1")
    office.register()
    office.next()
    office.users.ask(*owner(ALICE))
    office.listener.answer(office.listener.read()[-1], 200)
    assert _settled(office)
    looks = len(office.looks)
    assert office.users.is_handing_out(*owner(ALICE))
    office.postman.added(ALICE)
    assert not office.users.is_handing_out(*owner(ALICE))
    assert len(office.looks) == looks


def test_a_silent_phone_is_not_asked_again_for_what_was_put_behind(office: Office) -> None:
    office.keep("1")
    office.register()
    silent = office.next()
    office.keep("2")
    office.postman.added(ALICE)
    office.listener.answer(silent, 408)
    assert _settled(office)
    office.register()
    assert _bodies(office, 2) == ["1", "2"]


# ---- refused for good


@pytest.mark.parametrize("status", [403, 404, 405, 415, 486, 488, 603, 606])
def test_refused(office: Office, status: int) -> None:
    origin = object()
    letter = office.post("x", origin=origin)
    office.post("y")
    office.answer_next(status, "No, thanks")
    assert office.answer_next(200).body == b"y"
    assert office.failed == [(letter, status, "No, thanks")]
    assert office.failed[0][0].origin is origin
    assert office.stored == []


# ---- typing notices (RFC 3994)


def _state(request: Request) -> str:
    assert request.headers["Content-Type"] == "application/im-iscomposing+xml"
    return request.body.decode().partition("<state>")[2].partition("</state>")[0]


def test_typing_and_not(office: Office) -> None:
    office.postman.typing(BOB, ALICE, True)
    active = office.answer_next(200)
    assert _state(active) == "active"
    assert b"<refresh>90</refresh>" in active.body
    run_until(lambda: office.postman.waiting == 0, "the answer")
    office.postman.typing(BOB, ALICE, True)
    assert office.nothing_more(), "once is enough"
    office.postman.typing(BOB, ALICE, False)
    assert _state(office.answer_next(200)) == "idle"
    office.postman.typing(BOB, ALICE, False)
    assert office.nothing_more()


def test_a_message_implies_idle(office: Office) -> None:
    """§3.3"""
    office.postman.typing(BOB, ALICE, True)
    office.answer_next(200)
    run_until(lambda: office.postman.waiting == 0, "the answer")
    office.post("x")
    office.answer_next(200)
    run_until(lambda: office.postman.waiting == 0, "the answer")
    office.postman.typing(BOB, ALICE, False)
    assert office.nothing_more()


def test_a_notice_waits_for_what_is_outstanding(office: Office) -> None:
    office.post("x")
    office.postman.typing(BOB, ALICE, True)
    office.answer_next(200)
    assert _state(office.answer_next(200)) == "active"
    assert office.nothing_more()


def test_the_end_of_typing_is_told_after_what_is_outstanding(office: Office) -> None:
    """Else the phone would show it for 90 s."""
    office.postman.typing(BOB, ALICE, True)
    office.postman.typing(BOB, ALICE, False)
    other = SipAddress.parse("sip:dave@xmpp.im.example.org")
    office.postman.post(Letter(other, ALICE, b"from another"))
    assert _state(office.answer_next(200)) == "active"
    assert office.answer_next(200).body == b"from another"
    assert _state(office.answer_next(200)) == "idle"
    assert office.nothing_more()
    assert office.postman.waiting == 0


def test_a_message_says_it_instead(office: Office) -> None:
    office.postman.typing(BOB, ALICE, True)
    office.postman.typing(BOB, ALICE, False)
    office.post("x")
    assert _state(office.answer_next(200)) == "active"
    assert office.answer_next(200).body == b"x"
    assert office.nothing_more()


def test_a_notice_that_no_phone_takes_is_forgotten(office: Office) -> None:
    office.postman.typing(BOB, ALICE, True)
    office.answer_next(480)
    assert office.nothing_more()
    assert (office.failed, office.stored) == ([], [])
    assert office.postman.waiting == 0


def test_a_silent_phone_found_out_by_a_notice(office: Office) -> None:
    """What was posted behind it is kept without another wait."""
    office.postman.typing(BOB, ALICE, True)
    office.next()
    office.post("x")
    office.listener.answer(office.listener.read()[0], 408)
    run_until(lambda: office.stored, "the row")
    assert office.next().method == "OPTIONS"


def test_a_phone_that_does_not_know_notices(office: Office) -> None:
    """§4: after a 415 none is sent; a phone that has registered since then is asked again."""
    office.postman.typing(BOB, ALICE, True)
    office.answer_next(415)
    run_until(lambda: office.postman.waiting == 0, "the answer")
    office.postman.typing(BOB, ALICE, False)
    question = office.answer_next(480)
    assert question.method == "OPTIONS"
    assert int(question.uri.rpartition("=")[2]) > time.time() - 2
    assert office.nothing_more()
    office.postman.typing(BOB, ALICE, True)
    assert office.answer_next(200).method == "OPTIONS"
    assert _state(office.answer_next(200)) == "active"
    office.postman.typing(BOB, ALICE, False)
    assert _state(office.answer_next(200)) == "idle"


def test_a_refusal_is_forgotten_after_an_hour(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    office.postman.typing(BOB, ALICE, True)
    office.answer_next(415)
    run_until(lambda: office.postman.waiting == 0, "the answer")
    monkeypatch.setattr(postman_module, "FORGET_REFUSAL", 0.0)
    office.postman.typing(BOB, ALICE, False)
    assert _state(office.answer_next(200)) == "idle"


def test_active_is_refreshed_until_it_has_lasted_too_long() -> None:
    """§3.2; an IM contact that went away never says that it stopped."""
    told: list[tuple[float, bool]] = []
    started = time.monotonic()
    typist = Typist(lambda _sender, _user, active: told.append((time.monotonic() - started, active)), 0.2, 0.5)
    typist.typing(BOB, ALICE, True)
    run_until(lambda: told[-1][1] is False, "idle")
    assert [active for _, active in told] == [True, True, True, False]
    assert [at for at, _ in told] == pytest.approx([0, 0.2, 0.4, 0.6], abs=0.15)
    run_for(0.5)
    assert len(told) == 4


def test_who_types_to_whom_is_kept_apart() -> None:
    told: list[tuple[str, str, bool]] = []
    typist = Typist(lambda sender, user, active: told.append((sender.user, user, active)))
    other = SipAddress.parse("sip:dave@xmpp.im.example.org")
    for sender, user in ((BOB, ALICE), (BOB, CAROL), (other, ALICE)):
        typist.typing(sender, user, True)
    typist.typing(BOB, ALICE, False)
    typist.wrote(BOB, CAROL)
    typist.typing(other, ALICE, False)
    assert told == [
        ("bob*jabber.org", ALICE, True),
        ("bob*jabber.org", CAROL, True),
        ("dave", ALICE, True),
        ("bob*jabber.org", ALICE, False),
        ("dave", ALICE, False),
    ]
