"""Messages stored for a phone that is not there: what ``load`` finds; and Kamailio's own msilo can send them, too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from sqlalchemy import Engine, delete, func, select, update

from purple_bridge.db.engine import make_engine
from purple_bridge.db.schema import create_all
from purple_bridge.db.silo import (
    CHUNK,
    LONGEST_BODY,
    LONGEST_HEADERS,
    STAY_SECONDS,
    KeptRow,
    StoredMessage,
    erase,
    erase_expired,
    load,
    owner,
    owners,
    store,
)
from purple_bridge.db.tables import silo
from tests.agents.phone import Phone, Received
from tests.databases import KINDS, empty_database
from tests.servers.base import Server
from tests.waiting import wait_until

BOB = "sip:bob@example.org"
BOB_KEY = "bob@example.org"
ALICE = "sip:alice*xmpp.example@xmpp.im.example.org"
NOW = 1_800_000_000
CONFIG = """\
children=1
disable_tcp=yes
auto_aliases=no
log_stderror=yes
listen=udp:{host}:{port}
loadmodule "db_sqlite.so"
loadmodule "db_mysql.so"
loadmodule "db_postgres.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "pv.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "msilo.so"
modparam("usrloc", "db_mode", 0)
modparam("msilo", "db_url", "{db_url}")
modparam("msilo", "outbound_proxy", "sip:{host}:{port}")
modparam("msilo", "add_date", 0)
modparam("msilo", "check_time", 1)
modparam("tm", "fr_timer", 1500)
request_route {{
    if (method == "REGISTER") {{
        save("location");
        m_dump("$tu");
        exit;
    }}
    if (lookup("location")) {{
        t_relay();
    }} else {{
        sl_send_reply("404", "Not Found");
    }}
}}
"""


class Kamailio(Server):
    """A registrar that sends a phone its stored messages when it registers; a MESSAGE goes to the phone."""

    name: ClassVar[str] = "kamailio"

    def __init__(self, directory: Path, db_url: str) -> None:
        super().__init__(directory)
        self.db_url = db_url

    def prepare(self) -> None:
        text = CONFIG.format(host=self.host, port=self.port, db_url=self.db_url)
        (self.directory / "kamailio.cfg").write_text(text)

    def command(self) -> list[str]:
        options = ["-DD", "-E", "-m", "16", "-M", "4", "-Y", str(self.directory)]
        return ["kamailio", *options, "-f", str(self.directory / "kamailio.cfg")]

    def probe(self) -> bool:
        with Phone("sip:probe@example.org", proxy=(self.host, self.port)) as phone:
            phone.t1 = 0.01
            try:
                return phone.options().status == 404
            except TimeoutError:
                return False


@pytest.fixture(params=KINDS, scope="module")
def kamailio(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kamailio]:
    directory = tmp_path_factory.mktemp("silo")
    url = empty_database(request.param, request, directory)
    create_all(url)
    with Kamailio(directory, url) as server:
        yield server


@pytest.fixture
def engine(kamailio: Kamailio) -> Iterator[Engine]:
    """With an empty silo."""
    engine = make_engine(kamailio.db_url)
    with engine.begin() as connection:
        connection.execute(delete(silo))
    yield engine
    engine.dispose()


@pytest.fixture
def bob(kamailio: Kamailio) -> Iterator[Phone]:
    with Phone(BOB, proxy=(kamailio.host, kamailio.port)) as phone:
        yield phone
        phone.unregister()


def message(text: str = "Hello", **changes: Any) -> StoredMessage:
    plain = StoredMessage(
        src_addr=ALICE,
        dst_addr=BOB,
        username="bob",
        domain="example.org",
        inc_time=1_700_000_000,
        exp_time=2_000_000_000,
        ctype="text/plain;charset=UTF-8",
        body=text.encode(),
    )
    return replace(plain, **changes)


def _count(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(select(func.count()).select_from(silo)).scalar_one())


def _delivered(bob: Phone, engine: Engine, count: int) -> list[Received]:
    """What comes when the phone registers; msilo then empties the table."""
    before = len(bob.messages)
    bob.register()
    wait_until(lambda: len(bob.messages) >= before + count, 10, f"{count} messages")
    wait_until(lambda: _count(engine) == 0, 10, "the silo is empty")
    return bob.messages[before:]


TEXTS = (
    "Grüße \N{SMILING FACE WITH SUNGLASSES}\r\nzwei\n\n drei '\" \\ %s \0 \x07",
    "ä" * 650,  # 1300 octets: RFC 3428 §8
    "x" * 1024,  # msilo's own buffer
    "x" * 978,  # the longest in front of which msilo would have room for a date
    "x",
)
TYPES = ("text/plain", "text/plain;charset=UTF-8", "message/imdn+xml")


def test_the_body_arrives_as_it_was_stored(engine: Engine, bob: Phone) -> None:
    """Also as text/plain, in front of which msilo may write a date."""
    stored = [message(text, ctype=ctype) for text in TEXTS for ctype in TYPES]
    store(engine, stored)
    delivered = _delivered(bob, engine, len(stored))
    found = sorted((received.headers["Content-Type"], received.body) for received in delivered)
    assert found == sorted((one.ctype, one.body) for one in stored)


def test_the_headers(engine: Engine, bob: Phone) -> None:
    extra = "Message-ID: abc\r\nSubject: Grüße\r\n"
    store(engine, [message(extra_hdrs=extra, callid="stored@example.org")])
    (received,) = _delivered(bob, engine, 1)
    assert received.from_uri == ALICE
    assert received.headers["To"] == f"<{BOB}>"
    assert received.headers["Date"] == "Tue, 14 Nov 2023 22:13:20 GMT"
    assert received.headers["Message-ID"] == "abc"
    assert received.headers["Subject"] == "Grüße"
    assert "Contact" not in received.headers  # RFC 3428 §4


def test_the_longest_headers_that_are_stored(engine: Engine, bob: Phone) -> None:
    extra = f"X-Long: {'x' * (LONGEST_HEADERS - 10)}\r\n"
    ctype = "application/" + "x" * 20
    store(engine, [message(extra_hdrs=extra, ctype=ctype, src_addr="sip:" + "a" * 235 + "@" + "b.example.org")])
    (received,) = _delivered(bob, engine, 1)
    assert received.headers["X-Long"] == "x" * (LONGEST_HEADERS - 10)
    assert received.headers["Content-Type"] == ctype


def test_all_of_one_user_and_no_other(engine: Engine, bob: Phone) -> None:
    mine = [message(f"{number}") for number in range(20)]
    store(engine, [*mine, message(username="bo"), message(domain="example.com")])
    bob.register()
    wait_until(lambda: len(bob.messages) >= 20, 10, "20 messages")
    wait_until(lambda: _count(engine) == 2, 10, "the rows of others are left")
    assert {received.text for received in bob.messages} == {f"{number}" for number in range(20)}


def test_what_the_phone_refuses_stays(engine: Engine, bob: Phone) -> None:
    bob.answer = (480, "Temporarily Unavailable")
    store(engine, [message()])
    bob.register()
    bob.wait_message()
    wait_until(lambda: _sent_again(bob), 10, "a later REGISTER has it sent again")
    assert _count(engine) == 1


def _sent_again(bob: Phone) -> bool:
    bob.register()
    return len(bob.messages) > 1


def _loaded(engine: Engine, user: str = BOB_KEY, after: int = 0, limit: int = 1000, now: int = NOW) -> list[str]:
    return [row.body.decode() for row in load(engine, user, after, limit, now)]


def test_rows_are_loaded_in_their_order_page_by_page(engine: Engine) -> None:
    texts = [f"{number}" for number in range(25)]
    store(engine, [message(text) for text in texts])
    found: list[KeptRow] = []
    while page := load(engine, BOB_KEY, found[-1].id if found else 0, 10, NOW):
        assert len(page) <= 10
        found += page
    assert [row.body.decode() for row in found] == texts


def test_a_loaded_row_is_what_was_stored(engine: Engine) -> None:
    body, extra = "Grüße 😀\r\n\0".encode(), "Subject: Grüße\r\n"
    store(engine, [message(ctype="message/cpim", extra_hdrs=extra, body=body)])
    (row,) = load(engine, BOB_KEY, 0, 10, NOW)
    assert row == KeptRow(row.id, ALICE, 1_700_000_000, "message/cpim", body, extra)


def test_rows_of_others_expired_rows_and_reminders_are_not_loaded(engine: Engine) -> None:
    store(engine, [message("reminder")])
    with engine.begin() as connection:
        connection.execute(update(silo).values(snd_time=1))
    store(engine, [message("mine"), message(username="bo"), message(domain="example.com"), message(exp_time=NOW)])
    assert _loaded(engine) == ["mine"]
    assert _loaded(engine, "nobody@example.org") == []


def test_a_row_without_body_and_headers(engine: Engine) -> None:
    """Its columns allow it, so another program may have written it."""
    store(engine, [message()])
    with engine.begin() as connection:
        connection.execute(update(silo).values(body=None, extra_hdrs=None))
    (row,) = load(engine, BOB_KEY, 0, 10, NOW)
    assert (row.body, row.extra_hdrs) == (b"", "")


def test_erased_rows_are_gone(engine: Engine) -> None:
    store(engine, [message(f"{number}") for number in range(CHUNK + 10)])
    rows = load(engine, BOB_KEY, 0, CHUNK + 10, NOW)
    erase(engine, [row.id for row in rows[:-1]])
    assert _loaded(engine) == [f"{CHUNK + 9}"]
    erase(engine, [rows[0].id])
    erase(engine, [])
    assert _count(engine) == 1


def test_expired_rows_are_deleted_after_a_while(engine: Engine) -> None:
    times = (NOW - STAY_SECONDS - 1, NOW - STAY_SECONDS, NOW - STAY_SECONDS + 1, NOW + 1)
    store(engine, [message(exp_time=exp_time) for exp_time in times])
    assert erase_expired(engine, NOW) == 2
    assert _count(engine) == 2
    assert len(_loaded(engine)) == 1


def test_who_has_rows(engine: Engine) -> None:
    assert owners(engine) == []
    store(engine, [message(), message(), message(username="carol"), message(domain="example.com")])
    assert sorted(owners(engine)) == [("bob", "example.com"), ("bob", "example.org"), ("carol", "example.org")]


@pytest.mark.parametrize(
    ("user", "row"),
    [
        ("bob@example.org", ("bob", "example.org")),
        ("o'hara b@[::1]", ("o'hara%20b", "[::1]")),
        ("jürgen@example.org", ("j%c3%bcrgen", "example.org")),
    ],
)
def test_whose_rows_they_are(user: str, row: tuple[str, str]) -> None:
    assert owner(user) == row


def test_times_after_2038(engine: Engine) -> None:
    store(engine, [message(exp_time=1 << 40)])
    with engine.connect() as connection:
        assert connection.execute(select(silo.c.exp_time)).scalar_one() == 2**31 - 1


def test_nothing_to_store(engine: Engine) -> None:
    store(engine, [])
    assert _count(engine) == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"src_addr": "s" * 256}, "src_addr is longer than 255"),
        ({"dst_addr": "s" * 256}, "dst_addr"),
        ({"username": "s" * 65}, "username"),
        ({"domain": "s" * 65}, "domain"),
        ({"ctype": "s" * 33}, "ctype is longer than 32"),
        ({"callid": "s" * 129}, "callid"),
        ({"body": b""}, "empty"),
        ({"dst_addr": ""}, "empty"),
        ({"body": b"x" * (LONGEST_BODY + 1)}, "body is longer"),
        ({"extra_hdrs": f"X: {'ä' * 450}\r\n"}, "extra headers are longer than 900"),
        ({"extra_hdrs": "X: y"}, "CRLF"),
        ({"extra_hdrs": "\r\n"}, "CRLF"),
        ({"extra_hdrs": "X: y\r\n\r\n"}, "CRLF"),
        ({"extra_hdrs": "X: y\r\n\r\nX: z\r\n"}, "CRLF"),
    ],
)
def test_what_msilo_cannot_send_is_not_stored(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        message(**changes)
