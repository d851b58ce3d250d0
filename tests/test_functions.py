"""What KSR.purple's functions return to a route, and the commands that reach the worker, for every kind of request.

KSR is a stand-in that holds one request's values and records replies; mapping, queues and board are the real ones.
"""

from __future__ import annotations

import binascii
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from typing import Any

import pytest

from purple_bridge.addresses import GatewayDomain, SipAddress
from purple_bridge.board import State, Way
from purple_bridge.bodies import composing, outgoing
from purple_bridge.bodies.content import ACCEPTED, MAX_BODY
from purple_bridge.commands import (
    AccountSpec,
    Command,
    Delivered,
    DeliverKept,
    ListChanged,
    Published,
    Registered,
    RulesChanged,
    SendMessage,
    Typing,
    Watch,
    decode,
)
from purple_bridge.db import contacts, presence_server, queue
from purple_bridge.db.contacts import ListedContact
from purple_bridge.db.engine import make_engine
from purple_bridge.db.queue import QueueRow
from purple_bridge.db.scripts import kamailio_scripts, our_scripts
from purple_bridge.errors import Overloaded
from purple_bridge.functions import PurpleFunctions, subscribe
from purple_bridge.functions.request import MAX_NOT_UTF_8
from purple_bridge.ownership import account_digest
from purple_bridge.presence import Show
from purple_bridge.queued import account_key, message_of
from purple_bridge.settings import Settings
from purple_bridge.shared import Shared

ALICE, BOB, NOBODY = "sip:alice@example.org", "sip:bob@example.org", "sip:nobody@example.org"
BOB_XMPP = "sip:bob*xmpp.example@xmpp.im.example.org"
CAROL_IRC = "sip:carol@irc.im.example.org"

# sip_user, ext_user, ext_prot, ext_pass, ext_options
ROWS = [
    ("sip:alice@example.org", "alice@xmpp.example", "prpl-jabber", "secret", '{"port": 5222}'),
    ("sip:alice@example.org", "alice@gtalk.example", "gtalk", "secret", None),
    ("bob@example.org", "bob@xmpp.example", "prpl-jabber", "secret", None),
    ("sip:dave@example.org", "dave@off.example", "prpl-jabber", "secret", '{"enabled": false}'),
    ("sip:dave@example.org", "dave@xmpp.example", "prpl-jabber", "secret", None),
    ("sip:erin@example.org", "erin@off.example", "prpl-jabber", "secret", '{"enabled": false}'),
    ("sip:frank@example.org", "frank@home.example", "prpl-jabber", "secret", None),
    ("sip:frank@example.org", "frank@work.example", "prpl-jabber", "secret", None),
    ("sip:frank@example.org", "frank@irc.one.example", "prpl-irc", None, None),
    ("sip:frank@example.org", "frank@irc.two.example", "prpl-irc", None, None),
]

PIDF = """<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:alice@example.org">
<tuple id="a"><status><basic>{basic}</basic></status><note>{note}</note></tuple></presence>"""

RICH = """<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
 xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" entity="sip:alice@example.org">
<tuple id="a"><status><basic>open</basic></status><contact priority="0.5">sip:alice@192.0.2.1</contact>
<note xml:lang="en">lunch</note></tuple>
<dm:person id="p"><rpid:activities><rpid:away/></rpid:activities><rpid:mood><rpid:happy/></rpid:mood>
<rpid:user-input last-input="2023-11-14T22:13:20Z">idle</rpid:user-input></dm:person></presence>"""

REQUEST = {
    "$rm": "MESSAGE",
    "$fu": ALICE,
    "$tu": BOB,
    "$ru": BOB,
    "$ou": BOB,
    "$tt": None,
    "$ft": "fromtag",
    "$ci": "call-1@host",
    "$mi": "1",
    "$Ri": "192.0.2.10",
    "$Rp": "5060",
    "$cs": "1",
    "$cT": None,
    "$rb": None,
    "$hdr(Event)": None,
    "$hdr(Expires)": None,
    "$hdr(SIP-If-Match)": None,
    "$hdr(Subject)": None,
    "$hdr(Content-Language)": None,
    "$hdr(Content-Encoding)": None,
}


class Pv:
    """KSR.pv for one request."""

    def __init__(self) -> None:
        self.values: dict[str, str | bytes | None] = dict(REQUEST)
        self.body: bytes | None = None

    def get(self, name: str) -> str | None:
        if name == "$rb" and self.body is not None:
            return self.body.decode()  # Kamailio's module raises UnicodeDecodeError here, too
        if name == "$(rb{s.encode.base64})":
            encoded = binascii.b2a_base64(self.body or b"", newline=False).decode()
            return encoded if len(encoded) < 65_536 else None
        if name.startswith("$_s("):
            parts = name[len("$_s(") : -1].split("\x1f")
            return "\x1f".join(":".join(map(self._as_text, part.split(":"))) for part in parts)
        if name.startswith("$hdrc("):
            return str(int(self.values[f"$hdr({name.removeprefix('$hdrc(')}"] is not None))
        value = self.values[name]
        return value.decode() if isinstance(value, bytes) else value  # as Kamailio's module does it

    def _as_text(self, name: str) -> str:
        """Kamailio writes what is not there like this."""
        value = self.get(name)
        return "<null>" if value is None else value

    def sets(self, name: str, value: str) -> int:
        assert name == "$ru"
        self.values[name] = value
        return 1


class Ksr:
    """The parts of KSR in use; ``headers`` and ``replies`` are what the route sent."""

    def __init__(self) -> None:
        self.pv = Pv()
        self.hdr = self.sl = self
        self.registrar: object = None
        self.headers: list[str] = []
        self.replies: list[tuple[int, str]] = []

    def append_to_reply(self, header: str) -> int:
        self.headers.append(header)
        return 1

    def send_reply(self, status: int, reason: str) -> int:
        self.replies.append((status, reason))
        return 1


class Gateway:
    """The functions of one SIP worker with one IM worker's queue, and one request at a time."""

    def __init__(self, settings: Settings) -> None:
        self.ksr = Ksr()
        shared = Shared.make(settings.workers)
        self.channels, self.board, self.kept_users = shared.channels, shared.board, shared.kept_users
        self.heard = shared.heard
        self.purple = PurpleFunctions(self.ksr, settings, shared)
        self.purple.open_database(5)
        self.board.set_ready(1, True)
        self._cseq, self._db_url = count(1), settings.db_url

    def online(self, *users: str, protocol: str = "prpl-jabber") -> None:
        for user in users:
            self.board.set_state(protocol, user, State.ONLINE, Way.DIRECT)

    def request(self, body: str | bytes | None = None, **values: str | bytes | None) -> None:
        """The request being handled: REQUEST with ``values``; ``Event=…`` is a header, ``fu=…`` a variable."""
        self.ksr.pv = Pv()
        self.ksr.pv.body = body.encode() if isinstance(body, str) else body
        for name, value in values.items():
            variable = f"${name}" if f"${name}" in REQUEST else f"$hdr({name.replace('_', '-')})"
            assert variable in REQUEST
            self.ksr.pv.values[variable] = value

    def message(self, body: str | bytes | None = "Hello", **values: str | bytes | None) -> int:
        """A new one, unless ``cs`` says that it is another's retransmission."""
        self.request(body, **{"cs": str(next(self._cseq)), **values})
        return self.purple.send_message()

    def publish(self, body: str | bytes | None = None, **values: str | None) -> int:
        self.request(
            body, **{"rm": "PUBLISH", "ru": ALICE, "Event": "presence", "cT": "application/pidf+xml", **values}
        )
        return self.purple.handle_publish()

    def subscription(self, **values: str | None) -> None:
        """A SUBSCRIBE; ``ru``: its request URI, before a route rewrites it."""
        self.request(**{"rm": "SUBSCRIBE", "ru": BOB_XMPP, "Event": "presence", **values})
        self.ksr.pv.values["$ou"] = self.ksr.pv.values["$ru"]

    def subscribe(self, **values: str | None) -> int:
        self.subscription(**values)
        return self.purple.handle_subscribe()

    def prepare(self, **values: str | None) -> int:
        self.subscription(**values)
        return self.purple.prepare_subscribe()

    @property
    def commands(self) -> list[Command]:
        """What has reached the worker since the last look."""
        frames = iter(lambda: self.channels.receive(1), None)
        return [decode(frame) for frame in frames]

    @property
    def published(self) -> list[Published]:
        """The same, where nothing else may come."""
        commands = self.commands
        published = [command for command in commands if isinstance(command, Published)]
        assert published == commands
        return published

    @property
    def watch(self) -> Watch:
        """The command of the one subscription."""
        (first, *_) = self.commands
        assert isinstance(first, Watch)
        return first

    @property
    def rows(self) -> list[QueueRow]:
        """What is in the message queue."""
        engine = make_engine(self._db_url)
        try:
            return list(queue.rows(engine))
        finally:
            engine.dispose()

    @contextmanager
    def without_users(self) -> Iterator[None]:
        """Whoever looks for a SIP user now gets an error of the database."""
        engine = make_engine(self._db_url)
        try:
            with engine.begin() as connection:
                connection.exec_driver_sql("ALTER TABLE subscriber RENAME TO elsewhere")
            yield
            with engine.begin() as connection:
                connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO subscriber")
        finally:
            engine.dispose()

    def error(self) -> tuple[int, str, list[str]]:
        """Status, reason and headers of reply_error."""
        self.ksr.headers, self.ksr.replies = [], []
        assert self.purple.reply_error() == 1
        ((status, reason),) = self.ksr.replies
        return status, reason, self.ksr.headers


def _settings(directory: Path, **changes: Any) -> Settings:
    values: dict[str, Any] = {
        "db_url": f"sqlite:///{directory}/kamailio.db",
        "db_table": "purplemap",
        "http_proxy_host": "",
        "http_proxy_port": 0,
        "workers": 1,
        "gateway": GatewayDomain("im.example.org"),
        "connect_on": "publish",
        "authorize": "ask",
        "state_dir": str(directory),
        "rpc_socket": str(directory / "rpc.sock"),
        "internal": "127.0.0.1:5070",
    }
    return Settings(**{**values, **changes})


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the database of ROWS."""
    made = tmp_path_factory.mktemp("functions")
    connection = sqlite3.connect(made / "kamailio.db")
    kamailios = kamailio_scripts("sqlite", ("standard", "auth_db", "presence"))
    for script in (*kamailios, *our_scripts("sqlite", "purplemap")):
        connection.executescript(";".join(script.statements))
    connection.executemany(
        "INSERT INTO purplemap (sip_user, ext_user, ext_prot, ext_pass, ext_options) VALUES (?, ?, ?, ?, ?)", ROWS
    )
    connection.commit()
    connection.close()
    return made


def _closed(gateway: Gateway) -> None:
    for end in chain.from_iterable(gateway.channels._pairs):
        end.close()
    gateway.purple._process.engine.dispose()
    gateway.purple._process.queue._connection.close()


@pytest.fixture(autouse=True)
def _empty_queue(directory: Path) -> None:
    connection = sqlite3.connect(directory / "kamailio.db")
    with connection:
        connection.execute("DELETE FROM purple_queue")
    connection.close()


@pytest.fixture
def gateway(directory: Path) -> Iterator[Gateway]:
    made = Gateway(_settings(directory))
    yield made
    _closed(made)


@pytest.fixture
def register_gateway(directory: Path) -> Iterator[Gateway]:
    """purple.connect_on = register"""
    made = Gateway(_settings(directory, connect_on="register"))
    yield made
    _closed(made)


ALICE_XMPP = AccountSpec("prpl-jabber", "alice@xmpp.example", "alice@example.org", "secret", (("port", 5222),))
ALICE_GTALK = AccountSpec("gtalk", "alice@gtalk.example", "alice@example.org", "secret")


# ---- MESSAGE


@pytest.mark.parametrize("destination", [BOB, BOB_XMPP, "sip:Bob@EXAMPLE.org:5080;transport=tcp"])
def test_a_message_goes_to_the_contact_from_the_senders_account(gateway: Gateway, destination: str) -> None:
    gateway.online("alice@xmpp.example")
    assert gateway.message("x < y & 🐄\nnext", ru=destination) == 1
    (command,) = gateway.commands
    assert isinstance(command, SendMessage)
    assert (command.protocol, command.ext_user, command.contact, command.text, command.sip_user, command.call_id) == (
        "prpl-jabber",
        "alice@xmpp.example",
        "bob@xmpp.example",
        "x < y & 🐄\nnext",
        "alice@example.org",
        "call-1@host",
    )
    assert not command.stored
    assert gateway.rows == []


def test_an_account_that_is_offline_yields_to_a_kindred_one_that_is_online(gateway: Gateway) -> None:
    gateway.online("alice@gtalk.example", protocol="gtalk")
    assert gateway.message() == 1
    (command,) = gateway.commands
    assert isinstance(command, SendMessage)
    assert (command.protocol, command.ext_user) == ("gtalk", "alice@gtalk.example")


@pytest.mark.parametrize(
    ("destination", "contact"),
    [
        (f"{BOB_XMPP};gr=Phone", "bob@xmpp.example/Phone"),
        ("sip:o'malley*xmpp.example@xmpp.im.example.org", "o\\27malley@xmpp.example"),
        (f"{BOB};gr=urn:uuid:f81d4fae", "bob@xmpp.example"),  # of a phone of his (RFC 5627), no resource
    ],
)
def test_whom_a_message_is_for(gateway: Gateway, destination: str, contact: str) -> None:
    gateway.online("alice@xmpp.example")
    assert gateway.message(ru=destination) == 1
    (command,) = gateway.commands
    assert isinstance(command, SendMessage)
    assert command.contact == contact


# ---- which of several accounts

FRANK = "sip:frank@example.org"
AT_HOME, AT_WORK = ("prpl-jabber", "frank@home.example"), ("prpl-jabber", "frank@work.example")


def _leaves_by(gateway: Gateway, body: str | bytes = "Hello", **values: str) -> list[str]:
    """The account of each command."""
    assert gateway.message(body, **{"fu": FRANK, "ru": BOB_XMPP, **values}) == 1
    found = [command for command in gateway.commands if isinstance(command, SendMessage | Typing | Delivered)]
    return [command.ext_user for command in found]


def test_an_answer_leaves_by_the_account_to_which_the_contact_wrote_last(gateway: Gateway) -> None:
    gateway.online("frank@home.example", "frank@work.example")
    assert _leaves_by(gateway) == ["frank@home.example"]
    for account in (AT_WORK, AT_HOME, AT_WORK):
        gateway.heard.note("frank@example.org", *account, "bob@xmpp.example")
        assert _leaves_by(gateway) == [account[1]]
    gateway.heard.note("frank@example.org", *AT_HOME, "eve@xmpp.example")
    assert _leaves_by(gateway, ru="sip:Bob*XMPP.example@xmpp.im.example.org") == ["frank@work.example"]


def test_typing_and_receipts_leave_by_the_account_to_which_the_contact_wrote_last(gateway: Gateway) -> None:
    gateway.online("frank@home.example", "frank@work.example")
    gateway.heard.note("frank@example.org", *AT_WORK, "bob@xmpp.example")
    typing = composing.build(active=True)
    report = outgoing.imdn_message(FRANK, BOB_XMPP, "own", outgoing.message_id_of_ident("s-1"), "displayed", 1)
    assert _leaves_by(gateway, typing, cT=composing.MEDIA_TYPE) == ["frank@work.example"]
    assert _leaves_by(gateway, report[1], cT=report[0]) == ["frank@work.example"]
    gateway.board.set_state(*AT_WORK, State.CONNECTING, Way.QUEUE)
    assert _leaves_by(gateway, typing, cT=composing.MEDIA_TYPE) == []


@pytest.mark.parametrize(
    ("way", "expires", "account"),
    [
        (Way.QUEUE, "60", "frank@work.example"),  # it is back soon
        (Way.QUEUE, "0", "frank@home.example"),
        (Way.CLOSED, "60", "frank@home.example"),
    ],
)
def test_an_answer_waits_for_the_account_unless_that_is_of_no_use(
    gateway: Gateway, way: Way, expires: str, account: str
) -> None:
    gateway.online("frank@home.example")
    gateway.board.set_state(*AT_WORK, State.ERROR, way)
    gateway.heard.note("frank@example.org", *AT_WORK, "bob@xmpp.example")
    assert _leaves_by(gateway, Expires=expires) == [account]


def test_before_the_contact_has_written_the_account_that_has_it_on_its_list(gateway: Gateway, directory: Path) -> None:
    gateway.online("frank@home.example", "frank@work.example")
    key = account_digest(*AT_WORK).hex()
    engine = make_engine(f"sqlite:///{directory}/kamailio.db")
    contacts.save(engine, key, [ListedContact("grace@xmpp.example")])
    engine.dispose()
    grace = "sip:grace*xmpp.example@xmpp.im.example.org"
    assert _leaves_by(gateway, ru=grace) == ["frank@work.example"]
    _sql(directory, "DELETE FROM purple_contact")
    assert _leaves_by(gateway, ru=grace) == ["frank@work.example"], "no query for each message"
    gateway.heard.note("frank@example.org", *AT_HOME, "grace@xmpp.example")
    assert _leaves_by(gateway, ru=grace) == ["frank@home.example"]


@pytest.mark.parametrize(
    ("uri", "account"),
    [
        ("sip:bob@irc.im.example.org", "frank@irc.one.example"),
        ("sip:bob*irc.one.example@irc.im.example.org", "frank@irc.one.example"),
        ("sip:bob*IRC.two.example@irc.im.example.org", "frank@irc.two.example"),
    ],
)
def test_a_nick_goes_to_no_other_irc_server(gateway: Gateway, uri: str, account: str) -> None:
    """Also while the account on its own is away: there it may be somebody else."""
    for online in ((), ("frank@irc.one.example",), ("frank@irc.two.example",)):
        gateway.online(*online, protocol="prpl-irc")
        assert _leaves_by(gateway, ru=uri) == [account]


def test_a_disabled_account_yields_to_another_one_of_its_network(gateway: Gateway) -> None:
    gateway.online("dave@off.example")  # a worker may not have read the row yet
    assert gateway.message(fu="sip:dave@example.org", ru=BOB_XMPP) == 1
    (command,) = gateway.commands
    assert isinstance(command, SendMessage)
    assert command.ext_user == "dave@xmpp.example"


def test_a_message_from_a_disabled_account(gateway: Gateway) -> None:
    gateway.online("erin@off.example")
    assert gateway.message(fu="sip:erin@example.org", ru=BOB_XMPP) == -480
    assert gateway.error()[:2] == (480, "Your account erin@off.example is disabled")
    assert (gateway.commands, gateway.rows) == ([], [])


def test_presence_of_a_user_with_a_disabled_account_is_known_when_it_is_enabled(gateway: Gateway) -> None:
    assert gateway.publish(PIDF.format(basic="open", note="here"), ru="sip:erin@example.org") == 1
    (command,) = gateway.commands
    assert isinstance(command, Published)
    assert command.account.ext_user == "erin@off.example"


def test_a_change_of_rows_ends_what_is_remembered(gateway: Gateway, directory: Path) -> None:
    """Somebody has changed them and said so: no three seconds then."""
    assert gateway.message(fu="sip:erin@example.org", ru=BOB_XMPP) == -480
    _sql(directory, "UPDATE purplemap SET ext_options = NULL WHERE ext_user = 'erin@off.example'")
    assert gateway.message(fu="sip:erin@example.org", ru=BOB_XMPP) == -480
    gateway.board.rows_changed(1)
    assert gateway.message(fu="sip:erin@example.org", ru=BOB_XMPP) == 1
    _sql(directory, """UPDATE purplemap SET ext_options = '{"enabled": false}' WHERE ext_user = 'erin@off.example'""")


def _sql(directory: Path, statement: str) -> None:
    connection = sqlite3.connect(directory / "kamailio.db")
    with connection:
        connection.execute(statement)
    connection.close()


@pytest.mark.parametrize("state", State)
def test_what_cannot_leave_at_once_has_a_row_before_the_answer(gateway: Gateway, state: State) -> None:
    gateway.board.set_state("prpl-jabber", "alice@xmpp.example", state, Way.QUEUE)
    assert gateway.message("later", Expires="60") == 1
    (command,) = gateway.commands
    assert isinstance(command, SendMessage)
    assert command.stored
    (row,) = gateway.rows
    assert (row.id, row.account) == (command.id, account_key("prpl-jabber", "alice@xmpp.example"))
    assert 58 <= row.expires - time.time() <= 61
    assert message_of(row) == command


def test_messages_keep_their_order_in_the_table(gateway: Gateway) -> None:
    for number in range(50):
        assert gateway.message(str(number)) == 1
    read = [message_of(row) for row in gateway.rows]
    assert [message.text for message in read if message] == [str(number) for number in range(50)]


def test_a_wait_ends_after_the_ttl(directory: Path) -> None:
    gateway = Gateway(_settings(directory, queue_ttl=100))
    for expires in (None, "90000", "nonsense"):
        assert gateway.message(Expires=expires) == 1
    assert all(98 <= row.expires - time.time() <= 101 for row in gateway.rows)
    _closed(gateway)


def test_always_writes_a_row(directory: Path) -> None:
    gateway = Gateway(_settings(directory, queue="always"))
    gateway.online("alice@xmpp.example")
    assert gateway.message() == 1
    (command,) = gateway.commands
    assert isinstance(command, SendMessage)
    assert command.stored
    assert [row.id for row in gateway.rows] == [command.id]
    _closed(gateway)


@pytest.mark.parametrize(
    ("state", "way", "expires", "says"),
    [
        (State.ERROR, Way.CLOSED, None, "purplectl status"),
        (State.CONNECTING, Way.QUEUE, "0", "connecting"),
        (State.OFFLINE, Way.QUEUE, "0", "offline"),
    ],
)
def test_what_must_not_or_cannot_wait_is_an_answer(
    gateway: Gateway, state: State, way: Way, expires: str | None, says: str
) -> None:
    gateway.board.set_state("prpl-jabber", "alice@xmpp.example", state, way)
    gateway.board.set_state("gtalk", "alice@gtalk.example", state, way)
    assert gateway.message(Expires=expires) == -480
    status, reason, headers = gateway.error()
    assert status == 480
    assert says in reason
    assert any(header.startswith("Retry-After: ") and header.endswith("\r\n") for header in headers)
    assert (gateway.commands, gateway.rows) == ([], [])


def test_a_retransmission_is_answered_as_before_and_goes_nowhere(gateway: Gateway) -> None:
    gateway.online("alice@xmpp.example")
    assert gateway.message(cs="7") == 1
    assert len(gateway.commands) == 1
    assert gateway.message(cs="7") == 1
    assert gateway.commands == []
    for other in ({"cs": "8"}, {"cs": "7", "ft": "another"}, {"cs": "7", "ci": "another"}):
        assert gateway.message(**other) == 1
    assert len(gateway.commands) == 3


def test_what_was_refused_is_no_retransmission(gateway: Gateway) -> None:
    gateway.board.set_ready(1, False)
    gateway.online("alice@xmpp.example")
    assert gateway.message(cs="7") == -503
    gateway.board.set_ready(1, True)
    assert gateway.message(cs="7") == 1
    assert len(gateway.commands) == 1


def test_a_queue_that_cannot_be_written_is_503(gateway: Gateway, directory: Path) -> None:
    lock = sqlite3.connect(directory / "kamailio.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    try:
        assert gateway.message() == -503
        assert gateway.error()[2] == ["Retry-After: 5\r\n"]
        started = time.monotonic()
        assert gateway.message() == -503
        assert time.monotonic() - started < 0.5, "not asked again at once"
    finally:
        lock.close()


def test_a_row_whose_worker_cannot_be_told_is_read_later(gateway: Gateway) -> None:
    gateway.board.set_ready(1, False)
    assert gateway.message() == 1
    assert len(gateway.rows) == 1
    assert gateway.board.reload_requested(1)


def test_typing_and_receipts_do_not_wait(gateway: Gateway) -> None:
    composing_type, typing = composing.MEDIA_TYPE, composing.build(active=True)
    report = outgoing.imdn_message(
        ALICE, BOB_XMPP, "own", outgoing.message_id_of_ident("stanza-1"), "delivered", 1_700_000_000
    )
    assert gateway.message(typing, cT=composing_type) == 1
    assert gateway.message(report[1], cT=report[0]) == 1
    assert (gateway.commands, gateway.rows) == ([], [])
    gateway.online("alice@xmpp.example")
    assert gateway.message(typing, cT=composing_type) == 1
    assert gateway.message(report[1], cT=report[0]) == 1
    account = ("prpl-jabber", "alice@xmpp.example", "bob@xmpp.example")
    assert gateway.commands == [Typing(*account, active=True, refresh=90), Delivered(*account, "stanza-1")]


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"fu": NOBODY}, -403),
        ({"fu": BOB}, -403),  # bob's only account is the destination itself
        ({"ru": CAROL_IRC}, -403),
        ({"ru": NOBODY}, -404),
        ({"ru": "sip:bob@no-network.im.example.net"}, -404),
        ({"ru": "sip:bob*xmpp.example@im.example.org"}, -404),
        ({"ru": "tel:+123"}, -400),
        ({"fu": "nonsense"}, -400),
        ({"ru": "sip:%ff@example.org"}, -400),
    ],
)
def test_who_cannot_write_to_whom(gateway: Gateway, values: dict[str, str], code: int) -> None:
    gateway.online("alice@xmpp.example", "bob@xmpp.example")
    assert gateway.message(**values) == code
    status, reason, _ = gateway.error()
    assert status == -code
    assert reason
    assert reason.isprintable()
    assert gateway.commands == []


@pytest.mark.parametrize(
    ("body", "content_type", "code"),
    [
        (None, "text/plain", -400),
        ("", "text/plain", -400),
        ("x" * (MAX_BODY + 1), "text/plain", -413),
        (b"\xfc" * (MAX_NOT_UTF_8 + 1), "text/plain;charset=iso-8859-1", -413),
        ("<b>x</b>", "text/x-markdown", -415),
        ("x", "message/cpim", -400),
        ("x", "application/im-iscomposing+xml", -400),
        ("x", "text/plain;charset=x-cow", -400),
        ("x", "nonsense", -400),
        (b"Gr\xfc\xdfe", "text/plain", -400),
        (b"Gr\xfc\xdfe", "text/plain;charset=utf-8", -400),
        ("bell \a", "text/plain", -400),
    ],
)
def test_bodies_that_cannot_be_sent(gateway: Gateway, body: str | bytes | None, content_type: str, code: int) -> None:
    gateway.online("alice@xmpp.example")
    assert gateway.message(body, cT=content_type) == code
    assert gateway.error()[0] == -code
    assert gateway.commands == []


def test_a_wrong_type_is_told_what_is_right(gateway: Gateway) -> None:
    assert gateway.message("*x*", cT="text/x-markdown") == -415
    assert gateway.error()[2] == [f"Accept: {', '.join(ACCEPTED)}\r\n"]


@pytest.mark.parametrize(
    ("body", "content_type", "text"),
    [
        ("x" * MAX_BODY, "text/plain", "x" * MAX_BODY),
        ("Grüße", None, "Grüße"),
        ("Grüße", "text/plain; charset=UTF-8", "Grüße"),
        (b"Gr\xfc\xdfe", "text/plain;charset=iso-8859-1", "Grüße"),
        (b"Gr\xfc\xdfe", 'TEXT/Plain; charset="latin1"', "Grüße"),
        ("Grüße".encode("utf-16"), "text/plain;charset=utf-16", "Grüße"),
        (b"\xfc" * MAX_NOT_UTF_8, "text/plain;charset=iso-8859-1", "ü" * MAX_NOT_UTF_8),
    ],
)
def test_bodies_that_can(gateway: Gateway, body: str | bytes, content_type: str | None, text: str) -> None:
    gateway.online("alice@xmpp.example")
    assert gateway.message(body, cT=content_type) == 1
    (command,) = gateway.commands
    assert isinstance(command, SendMessage)
    assert command.text == text


def test_a_full_queue_is_503_with_retry_after(gateway: Gateway) -> None:
    gateway.online("alice@xmpp.example")
    code = next(code for _ in range(100_000) if (code := gateway.message("x" * 10_000)) != 1)
    assert code == -503
    status, reason, headers = gateway.error()
    assert (status, headers) == (503, ["Retry-After: 2\r\n"])
    assert "queue" in reason
    assert gateway.commands, "what was taken over is still there"
    assert gateway.message() == 1


def test_a_worker_that_does_not_run_is_503(gateway: Gateway) -> None:
    gateway.online("alice@xmpp.example")
    gateway.board.set_ready(1, False)
    assert gateway.message() == -503
    assert gateway.error()[2] == ["Retry-After: 2\r\n"]


def test_an_error_of_our_own_is_500_and_logged_with_the_call_id(
    gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    gateway.request("Hello")
    del gateway.ksr.pv.values["$fu"]
    with caplog.at_level("ERROR", "purple_bridge"):
        assert gateway.purple.send_message() == -500
    assert "[call-1@host]" in caplog.text
    assert gateway.error()[:2] == (500, "Server Internal Error")


def test_one_error_is_not_answered_for_the_next_request(gateway: Gateway) -> None:
    gateway.online("alice@xmpp.example")
    assert gateway.message(ru=NOBODY) == -404
    assert gateway.message() == 1
    assert gateway.error()[0] == 500


# ---- PUBLISH


@pytest.mark.parametrize(
    ("basic", "note", "show"),
    [("open", "here", Show.AVAILABLE), ("closed", "", Show.OFFLINE), ("open", "ä & 🐄", Show.AVAILABLE)],
)
def test_a_publication_reaches_every_account_of_the_user(gateway: Gateway, basic: str, note: str, show: Show) -> None:
    body = PIDF.format(basic=basic, note=note.replace("&", "&amp;"))
    before = time.time()
    assert gateway.publish(body, Expires="600") == 1
    first, second = gateway.published
    assert (first.account, second.account) == (ALICE_XMPP, ALICE_GTALK)
    assert (first.show, first.note, first.etag, first.call_id) == (show, note, "", "call-1@host")
    assert before + 600 <= first.expires_at <= time.time() + 600
    assert (first.keep, second.keep) == (True, False), "one of the owners stores it"


@pytest.mark.parametrize("address", [ALICE, "sip:Alice@EXAMPLE.org:5080;transport=tcp"])
def test_the_user_is_named_as_the_presence_server_spells_him(gateway: Gateway, address: str) -> None:
    assert gateway.publish(PIDF.format(basic="open", note=""), ru=address) == 1
    expected = {ALICE: ALICE}.get(address, "sip:Alice@example.org")
    assert {command.user for command in gateway.published} == {expected}


def test_all_that_a_phone_says_is_passed_on(gateway: Gateway) -> None:
    """RPID (RFC 4480): activities, moods and user-input."""
    assert gateway.publish(RICH) == 1
    command = gateway.published[0]
    assert (command.show, command.note, command.mood) == (Show.AWAY, "lunch", "happy")
    assert command.idle_since == 1_700_000_000
    assert (command.priority, command.language) == (64, "en")


@pytest.mark.parametrize(("expires", "seconds"), [(None, 3600), ("60", 60), ("soon", 3600), ("99999999999", 2**31)])
def test_expires_has_a_default_and_an_end(gateway: Gateway, expires: str | None, seconds: int) -> None:
    assert gateway.publish(PIDF.format(basic="open", note=""), Expires=expires) == 1
    assert gateway.published[0].expires_at == pytest.approx(time.time() + seconds, abs=5)


def test_a_refresh_without_a_body_extends(gateway: Gateway) -> None:
    """RFC 3903 §4.1: the state is not changed."""
    assert gateway.publish(SIP_If_Match=" etag ", Expires="600", cT=None) == 1
    first, second = gateway.published
    assert (first.account, second.account) == (ALICE_XMPP, ALICE_GTALK)
    assert (first.show, first.etag) == ("", "etag")
    assert first.expires_at == pytest.approx(time.time() + 600, abs=5)


def test_a_change_names_the_publication_it_changes(gateway: Gateway) -> None:
    assert gateway.publish(PIDF.format(basic="open", note="now"), SIP_If_Match="etag") == 1
    assert [(command.show, command.etag) for command in gateway.published] == [(Show.AVAILABLE, "etag")] * 2


@pytest.mark.parametrize("body", [None, PIDF.format(basic="open", note="")])
def test_expires_0_removes_with_or_without_a_body(gateway: Gateway, body: str | None) -> None:
    assert gateway.publish(body, SIP_If_Match="etag", Expires="0") == 1
    command = gateway.published[0]
    assert (command.show, command.etag) == (Show.OFFLINE, "etag")
    assert command.expires_at <= time.time()


@pytest.mark.parametrize(
    ("body", "values", "code"),
    [
        (None, {}, -400),
        ("<presence", {}, -400),
        ("not xml", {}, -400),
        (b"\xff\xfe\xfd", {}, -400),
        ("<presence/>", {}, -400),
        ("x", {"cT": "text/plain"}, -415),
        (PIDF.format(basic="open", note="x" * 70_000), {}, -413),
        (PIDF.format(basic="open", note=""), {"ru": NOBODY}, -403),
        (PIDF.format(basic="open", note=""), {"ru": "nonsense"}, -400),
    ],
)
def test_publications_that_are_refused(
    gateway: Gateway, body: str | bytes | None, values: dict[str, str], code: int
) -> None:
    assert gateway.publish(body, **values) == code
    assert gateway.error()[0] == -code
    assert gateway.commands == []


def test_a_publication_of_a_wrong_type_is_told_what_is_right(gateway: Gateway) -> None:
    assert gateway.publish("x", cT="text/plain") == -415
    assert "application/pidf+xml" in "".join(gateway.error()[2])


def test_a_publication_of_another_event_changes_nothing(gateway: Gateway) -> None:
    assert gateway.publish("whatever", Event="dialog", cT="application/dialog-info+xml") == 1
    assert gateway.commands == []


def test_check_publish_only_looks(gateway: Gateway) -> None:
    gateway.request(PIDF.format(basic="open", note=""), ru=ALICE, Event="presence", cT="application/pidf+xml")
    assert gateway.purple.check_publish() == 1
    gateway.request("<presence", ru=ALICE, Event="presence", cT="application/pidf+xml")
    assert gateway.purple.check_publish() == -400
    assert gateway.commands == []


@pytest.mark.parametrize(("expires", "code"), [("1", -423), ("4", -423), ("5", 1), ("0", 1)])
def test_a_publication_that_would_end_too_soon_is_423(gateway: Gateway, expires: str, code: int) -> None:
    """RFC 3903 §6 step 4; watchers hear of a change every five seconds at most (RFC 3856 §6.10)."""
    values = {"ru": ALICE, "Event": "presence", "cT": "application/pidf+xml", "Expires": expires}
    gateway.request(PIDF.format(basic="open", note=""), **values)
    assert gateway.purple.check_publish() == code
    if code < 0:
        assert gateway.error() == (423, "Interval Too Brief", ["Min-Expires: 5\r\n"])


# ---- REGISTER


def test_a_registration_signs_on_and_off_where_it_is_told_to(register_gateway: Gateway) -> None:
    register_gateway.request(tu=ALICE)
    assert register_gateway.purple.handle_register(300) == 1
    first, second = register_gateway.commands
    assert isinstance(first, Registered)
    assert isinstance(second, Registered)
    assert (first.account, second.account) == (ALICE_XMPP, ALICE_GTALK)
    assert (first.keep, second.keep) == (True, False), "one of the owners stores it"
    assert first.call_id == "call-1@host"
    assert first.expires_at == pytest.approx(time.time() + 300, abs=5)
    assert register_gateway.purple.handle_register(0) == 1
    first, _ = register_gateway.commands
    assert first == Registered(ALICE_XMPP, 0.0, True, "call-1@host")


class Registrar:
    """KSR.registrar with one user's contacts: when each registered last, and when it expires."""

    def __init__(self, gateway: Gateway, contacts: list[tuple[int, int]]) -> None:
        self._values, self._contacts = gateway.ksr.pv.values, contacts

    def reg_fetch_contacts(self, table: str, uri: str, name: str) -> int:
        assert (table, uri) == ("location", ALICE)
        self._values[f"$ulc({name}=>count)"] = str(len(self._contacts))
        for place, (modified, expires) in enumerate(self._contacts):
            self._values[f"$(ulc({name}=>modified)[{place}])"] = str(modified)
            self._values[f"$(ulc({name}=>expires)[{place}])"] = str(expires)
        return 1 if self._contacts else -1

    def reg_free_contacts(self, name: str) -> int:
        return 1


@pytest.mark.parametrize(("contacts", "seconds"), [([(10, 100), (20, 300), (30, 200)], 300), ([], 0), ([(10, -5)], 0)])
def test_registrar_knows_for_how_long(register_gateway: Gateway, contacts: list[tuple[int, int]], seconds: int) -> None:
    now = int(time.time())
    register_gateway.request(tu=ALICE)
    bindings = [(modified, now + expires) for modified, expires in contacts]
    register_gateway.ksr.registrar = Registrar(register_gateway, bindings)
    assert register_gateway.purple.handle_register() == 1
    first, _second = register_gateway.commands
    assert isinstance(first, Registered)
    assert first.expires_at == pytest.approx(now + seconds if seconds else 0.0, abs=5)


@pytest.mark.parametrize(
    ("since", "contacts", "code"),
    [
        ("20", [(10, 100), (20, 100)], 1),
        ("21", [(10, 100), (20, 100)], -480),
        ("20", [], -480),
        ("", [(20, 100)], -480),
        ("x", [(20, 100)], -480),
    ],
)
def test_has_registered_since(gateway: Gateway, since: str, contacts: list[tuple[int, int]], code: int) -> None:
    gateway.request(ru=ALICE)
    gateway.ksr.pv.values["$(ru{uri.param,since})"] = since
    gateway.ksr.registrar = Registrar(gateway, contacts)
    assert gateway.purple.has_registered() == code


def test_a_user_without_an_account_may_register(register_gateway: Gateway) -> None:
    register_gateway.request(tu=NOBODY)
    assert register_gateway.purple.handle_register(300) == 1
    assert register_gateway.commands == []


def test_a_registration_has_what_was_kept_delivered(gateway: Gateway) -> None:
    gateway.request(tu="<sip:Alice@Example.org>;tag=x")
    assert gateway.purple.handle_register(300) == 1
    assert gateway.commands == [], "nothing is kept"
    gateway.kept_users.mark("alice", "example.org")
    assert gateway.purple.handle_register(0) == 1
    assert gateway.commands == [], "no phone is left"
    assert gateway.purple.handle_register(300) == 1
    assert gateway.commands == [DeliverKept("alice@example.org")]
    gateway.board.set_ready(1, False)
    assert gateway.purple.handle_register(300) == 1
    assert gateway.commands == [DeliverKept("alice@example.org")], "a worker that starts reads it then"


def test_a_registration_while_the_queue_is_full(register_gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    register_gateway.request(tu=NOBODY)
    register_gateway.kept_users.mark("nobody", "example.org")
    _fill(register_gateway)
    assert register_gateway.purple.handle_register(300) == 1
    assert "nobody@example.org waits for the next REGISTER" in caplog.text


def _fill(gateway: Gateway) -> None:
    with pytest.raises(Overloaded):
        while True:
            gateway.channels.send(1, bytes(1 << 16))


def test_a_registration_does_nothing_where_publish_signs_on(gateway: Gateway) -> None:
    gateway.request(tu=ALICE)
    assert gateway.purple.handle_register(300) == 1
    assert gateway.commands == []


# ---- SUBSCRIBE


def _presentity(contact: str, watcher: str = "alice@example.org") -> str:
    return GatewayDomain("im.example.org").presentity(SipAddress.parse(contact), watcher).uri


def test_a_contact_is_watched_under_a_presentity_of_the_watcher_alone(gateway: Gateway) -> None:
    assert gateway.prepare() == 1
    assert gateway.ksr.pv.get("$ru") == _presentity(BOB_XMPP)
    assert gateway.commands == []


def test_two_watchers_have_two_presentities_and_two_spellings_one() -> None:
    assert _presentity(BOB_XMPP) == _presentity("sip:Bob*XMPP.example@xmpp.im.example.org")
    assert _presentity(BOB_XMPP) != _presentity(BOB_XMPP, "bob@example.org")


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"tt": "totag"}, 1),  # in a dialog the presence server knows whom it is about
        ({"Event": "presence.winfo"}, 1),
        ({"Event": "dialog"}, 1),
        ({"fu": NOBODY}, -403),
        ({"fu": BOB}, -403),  # himself
        ({"ru": CAROL_IRC}, -403),
        ({"ru": "nonsense"}, -400),
        ({"fu": "nonsense"}, -400),
        ({"ru": "sip:a%20b@irc.im.example.org"}, -400),
    ],
)
def test_a_request_that_is_not_prepared_stays_as_it_is(
    gateway: Gateway, directory: Path, values: dict[str, str], code: int
) -> None:
    assert gateway.prepare(**values) == code
    assert gateway.ksr.pv.get("$ru") == values.get("ru", BOB_XMPP)
    assert _watchers(directory) == []
    if code < 0:
        assert gateway.error()[0] == -code


@pytest.mark.usefixtures("_no_watchers")
def test_a_contact_that_has_refused_is_asked_anew(gateway: Gateway, directory: Path) -> None:
    """RFC 8048 §5.3.1: what the presence server remembers of the refusal goes; of another's nothing."""
    connection = sqlite3.connect(directory / "kamailio.db")
    with connection:
        for uri in (_presentity(BOB_XMPP), _presentity(CAROL_IRC)):
            connection.execute(
                "INSERT INTO watchers (presentity_uri, watcher_username, watcher_domain, event, status, inserted_time) "
                "VALUES (?, 'alice', 'example.org', 'presence', 3, 0)",
                (uri,),
            )
    connection.close()
    assert gateway.prepare() == 1
    assert [row[0] for row in _watchers(directory)] == [_presentity(CAROL_IRC)]


def _watchers(directory: Path) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(directory / "kamailio.db")
    try:
        columns = "presentity_uri, watcher_username, watcher_domain, event, status"
        return connection.execute(f"SELECT {columns} FROM watchers").fetchall()
    finally:
        connection.close()


@pytest.fixture
def _no_watchers(directory: Path) -> Iterator[None]:
    yield
    connection = sqlite3.connect(directory / "kamailio.db")
    with connection:
        connection.execute("DELETE FROM watchers")
        connection.execute("DELETE FROM xcap")
    connection.close()


@pytest.mark.usefixtures("_no_watchers")
def test_a_local_user_may_watch_one_without_rules(gateway: Gateway, directory: Path) -> None:
    """Also one whom nobody knows: the presence server finds nothing to show."""
    assert gateway.prepare(ru=BOB) == 1
    assert gateway.prepare(ru=BOB, fu="sip:Alice@EXAMPLE.org;transport=tcp") == 1
    assert gateway.ksr.pv.get("$ru") == BOB
    assert _watchers(directory) == [
        (BOB, "alice", "example.org", "presence", 1),
        (BOB, "Alice", "example.org", "presence", 1),
    ]


@pytest.mark.usefixtures("_no_watchers")
def test_who_has_rules_lets_them_decide(gateway: Gateway, directory: Path) -> None:
    connection = sqlite3.connect(directory / "kamailio.db")
    with connection:
        connection.execute(
            "INSERT INTO xcap (username, domain, doc, doc_type, etag, source, doc_uri, port) "
            "VALUES ('bob', 'example.org', '<ruleset/>', 2, '1', 0, 'u', 0)"
        )
    connection.close()
    assert gateway.prepare(ru=BOB) == 1
    assert _watchers(directory) == []


def test_a_contact_that_watches_a_user_is_admitted_by_him_alone(gateway: Gateway, directory: Path) -> None:
    assert gateway.prepare(fu=BOB_XMPP, ru=ALICE) == 1
    assert _watchers(directory) == []


@pytest.mark.usefixtures("_no_watchers")
def test_a_database_that_cannot_be_written_refuses_the_subscription(gateway: Gateway, directory: Path) -> None:
    gateway.purple._process.engine.dispose()
    gateway.purple._process.engine = make_engine(f"sqlite:///{directory}/kamailio.db", timeout=0.05)
    lock = sqlite3.connect(directory / "kamailio.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    try:
        assert gateway.prepare(ru=BOB) == -503
        assert gateway.error()[:2] == (503, "The database does not answer")
    finally:
        lock.close()


def test_subscriptions_of_one_user_to_one_address_are_limited(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it is spelled; each change of it would be a NOTIFY for each of them, and everybody would wait."""
    monkeypatch.setattr(subscribe, "MOST_OF_ONE", 3)

    def check(number: int, **values: str) -> int:
        gateway.subscription(ci=f"call-{number}@host", **values)
        return gateway.purple.check_watcher()

    spellings = (BOB_XMPP, BOB_XMPP.replace("bob", "BOB"), BOB_XMPP.replace("bob", "%62ob"), BOB_XMPP)
    assert [check(number, ru=uri) for number, uri in enumerate(spellings)] == [1, 1, 1, -503]
    assert check(5, ru=BOB) == 1
    assert check(6, ru=BOB_XMPP, fu="sip:dave@example.org") == 1


def test_a_subscription_watches_the_contact(gateway: Gateway) -> None:
    """As the route does it: prepare_subscribe, the presence server, then its presentity."""
    assert gateway.prepare(Expires="600") == 1
    assert gateway.purple.handle_subscribe(_presentity(BOB_XMPP), 600) == 1
    watch = gateway.watch
    assert watch.account == ALICE_XMPP
    assert (watch.contact, watch.contact_uri) == ("bob@xmpp.example", BOB_XMPP)
    assert (watch.presentity, watch.watcher) == (_presentity(BOB_XMPP), "alice@example.org")
    assert (watch.dialog, watch.initial, watch.listed) == ("call-1@host;fromtag", True, False)
    assert watch.expires_at == pytest.approx(time.time() + 600, abs=5)


def test_a_subscription_of_the_list_server_is_one(gateway: Gateway) -> None:
    """It comes to the internal listener."""
    assert gateway.prepare(Expires="600", Ri="127.0.0.1", Rp="5070") == 1
    assert gateway.purple.handle_subscribe(_presentity(BOB_XMPP), 600) == 1
    assert gateway.watch.listed


def test_a_user_is_watched_under_his_own_presentity(gateway: Gateway) -> None:
    """Also his IM contact; each of the watcher's accounts that reaches it sees it."""
    assert gateway.subscribe(ru=BOB, Expires="600") == 1
    first, second = gateway.commands
    assert isinstance(first, Watch)
    assert isinstance(second, Watch)
    assert (first.account, second.account) == (ALICE_XMPP, ALICE_GTALK)
    assert {(watch.contact, watch.contact_uri, watch.presentity) for watch in (first, second)} == {
        ("bob@xmpp.example", BOB, BOB)
    }


def test_a_refresh_is_of_the_same_dialog_and_contact(gateway: Gateway) -> None:
    """Within the dialog the request URI is the server's own contact; To is the target."""
    presentity = _presentity(BOB_XMPP)
    assert gateway.prepare() == 1
    assert gateway.purple.handle_subscribe(presentity, 600) == 1
    first = gateway.watch
    gateway.subscription(ru="sip:127.0.0.1:5060", tu=BOB_XMPP, tt="totag")
    assert gateway.purple.handle_subscribe(presentity, 600) == 1
    second = gateway.watch
    assert (first.dialog, first.contact, first.contact_uri) == (second.dialog, second.contact, second.contact_uri)
    assert (first.presentity, first.initial) == (presentity, True)
    assert (second.presentity, second.initial) == (presentity, False)


def test_a_contact_a_route_has_rewritten_the_request_to(gateway: Gateway) -> None:
    """A script's own aliases: the request URI as the script has made it counts, with prepare_subscribe and without."""
    gateway.subscription(ru=NOBODY)
    gateway.ksr.pv.values["$ru"] = BOB_XMPP
    assert gateway.purple.handle_subscribe() == 1
    watch = gateway.watch
    assert (watch.contact_uri, watch.presentity) == (BOB_XMPP, BOB_XMPP)
    gateway.subscription(ru=NOBODY)
    gateway.ksr.pv.values["$ru"] = BOB_XMPP
    assert gateway.purple.prepare_subscribe() == 1
    assert gateway.purple.handle_subscribe(_presentity(BOB_XMPP), 600) == 1
    watch = gateway.watch
    assert (watch.contact_uri, watch.presentity) == (BOB_XMPP, _presentity(BOB_XMPP))


def test_what_was_prepared_counts_for_that_request_only(gateway: Gateway) -> None:
    assert gateway.prepare(ci="another@host") == 1
    gateway.subscription(ru=NOBODY)
    assert gateway.purple.handle_subscribe(_presentity(BOB_XMPP), 600) == -404
    assert gateway.commands == []


@pytest.mark.parametrize("expires", ["0", "00"])
def test_expires_0_ends_it(gateway: Gateway, expires: str) -> None:
    assert gateway.subscribe(Expires=expires) == 1
    assert gateway.watch.expires_at == 0


def test_a_route_may_say_whom_and_for_how_long(gateway: Gateway) -> None:
    gateway.subscription(ru=NOBODY, Expires="600")
    assert gateway.purple.handle_subscribe(BOB_XMPP, 60) == 1
    watch = gateway.watch
    assert (watch.contact, watch.contact_uri, watch.presentity) == ("bob@xmpp.example", BOB_XMPP, BOB_XMPP)
    assert watch.expires_at == pytest.approx(time.time() + 60, abs=5)
    assert gateway.purple.handle_subscribe(BOB_XMPP, 0) == 1
    assert gateway.watch.expires_at == 0


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"ru": NOBODY}, -404),
        ({"fu": NOBODY}, -403),
        ({"ru": CAROL_IRC}, -403),
        ({"ru": "nonsense"}, -400),
        ({"fu": "nonsense"}, -400),
    ],
)
def test_subscriptions_that_are_refused(gateway: Gateway, values: dict[str, str], code: int) -> None:
    assert gateway.subscribe(**values) == code
    assert gateway.error()[0] == -code
    assert gateway.commands == []


def test_a_subscription_to_another_event_changes_nothing(gateway: Gateway) -> None:
    assert gateway.subscribe(Event="presence.winfo") == 1
    assert gateway.subscribe(Event="dialog") == 1
    assert gateway.commands == []


# ---- XCAP


@pytest.mark.parametrize("auid", ["pres-rules", "org.openmobilealliance.pres-rules"])
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_changed_rules_reach_every_account_of_the_user(gateway: Gateway, auid: str, method: str) -> None:
    assert gateway.purple.handle_xcap(auid, ALICE, method) == 1
    assert gateway.commands == [RulesChanged(ALICE_XMPP, ALICE), RulesChanged(ALICE_GTALK, ALICE)]


@pytest.mark.parametrize(
    ("method", "conditional", "command"),
    [
        ("GET", 0, ListChanged(ALICE, changed=False)),
        ("PUT", 0, ListChanged(ALICE, changed=True)),
        ("PUT", 1, ListChanged(ALICE, changed=True, known=True)),
        ("DELETE", 1, ListChanged(ALICE, changed=True, known=True)),
    ],
)
def test_one_worker_has_the_contact_list_of_a_user(
    gateway: Gateway, method: str, conditional: int, command: ListChanged
) -> None:
    assert gateway.purple.handle_xcap("resource-lists", ALICE, method, conditional) == 1
    assert gateway.commands == [command]


@pytest.mark.parametrize(
    ("auid", "uri", "method", "code"),
    [
        ("pres-rules", ALICE, "GET", 1),
        ("pres-rules", NOBODY, "PUT", 1),
        ("resource-lists", NOBODY, "GET", 1),
        ("rls-services", ALICE, "PUT", 1),
        ("xcap-caps", ALICE, "GET", 1),
        ("pres-rules", "nonsense", "PUT", -400),
    ],
)
def test_documents_that_are_nobodys_affair(gateway: Gateway, auid: str, uri: str, method: str, code: int) -> None:
    assert gateway.purple.handle_xcap(auid, uri, method) == code
    assert gateway.commands == []


def test_a_document_while_the_queue_is_full(gateway: Gateway) -> None:
    _fill(gateway)
    assert gateway.purple.handle_xcap("resource-lists", ALICE, "PUT") == -503
    assert gateway.purple.handle_xcap("pres-rules", ALICE, "PUT") == -503


# ---- the rest


@pytest.mark.parametrize(
    ("uri", "code"),
    [(BOB_XMPP, 1), (CAROL_IRC, 1), (BOB, -404), ("sip:im.example.org", -404), ("nonsense", -404), ("", -404)],
)
def test_addresses_of_the_gateway_are_known(gateway: Gateway, uri: str, code: int) -> None:
    assert gateway.purple.is_contact(uri) == code


@pytest.mark.parametrize("header", ["Subject", "Content_Language", "Content_Encoding", "Expires"])
def test_a_header_that_is_not_utf_8_is_refused(gateway: Gateway, header: str) -> None:
    assert gateway.message(ru=BOB_XMPP, **{header: b"\xff\xfe"}) == -400
    assert gateway.error()[:2] == (400, "Headers are not UTF-8")


def test_a_no_is_an_error_only_where_nothing_else_has_failed_for_the_request(gateway: Gateway) -> None:
    """A script asks what an address is to find out where else a message goes, then says why it went nowhere."""
    assert gateway.message(ru=BOB_XMPP, fu="sip:nobody@example.org", mi="1") == -403
    assert gateway.purple.is_contact("sip:nowhere.example.org") == -404
    assert gateway.purple.is_user("sip:nowhere@example.org") == -404
    assert gateway.error()[0] == 403
    gateway.request(mi="2")
    assert gateway.purple.is_contact("sip:nowhere.example.org") == -404
    assert gateway.error()[:2] == (404, "sip:nowhere.example.org is no address of the gateway")


def test_a_user_who_cannot_be_looked_up_is_not_missing(gateway: Gateway) -> None:
    assert gateway.purple.is_user(ALICE) == -404
    assert gateway.purple.is_user("nonsense") == -400
    with gateway.without_users():
        assert gateway.purple.is_user(ALICE) == -503
        assert gateway.error()[0] == 503


def test_a_database_that_fails_is_503(tmp_path: Path) -> None:
    gateway = Gateway(_settings(tmp_path))
    try:
        assert gateway.message() == -503
        assert gateway.error()[2] == ["Retry-After: 5\r\n"]
    finally:
        _closed(gateway)


# ---- contact lists

SERVICES = "/xcap-root/rls-services/users/sip:alice@example.org/index"


def test_a_list_is_made_for_a_user_with_accounts(gateway: Gateway) -> None:
    gateway.subscription(fu=ALICE, ru="sip:alice-contacts@example.org")
    assert gateway.purple.prepare_list() == 1
    found = presence_server.load_document(gateway.purple._process.engine, SERVICES)
    assert found is not None
    assert b'uri="sip:alice-contacts@example.org"' in found.body
    assert gateway.purple.prepare_list() == 1
    assert presence_server.load_document(gateway.purple._process.engine, SERVICES) == found


def test_nobody_else_has_a_list(gateway: Gateway) -> None:
    gateway.subscription(fu=NOBODY, ru="sip:nobody-contacts@example.org")
    assert gateway.purple.prepare_list() == -404


@pytest.mark.parametrize("subject", ["<null>", "two\x1fparts", "Lunch"])
def test_any_subject_arrives_as_it_is(gateway: Gateway, subject: str) -> None:
    assert gateway.message(ru=BOB_XMPP, Subject=subject) == 1
    (command,) = gateway.commands
    assert isinstance(command, SendMessage)
    assert command.subject == subject


def test_the_next_message_sees_that_a_row_is_gone(gateway: Gateway, directory: Path) -> None:
    def execute(statement: str, values: tuple[str, ...]) -> None:
        with sqlite3.connect(directory / "kamailio.db") as connection:
            connection.execute(statement, values)
        connection.close()
        gateway.board.rows_changed(1)

    row = ("sip:zoe@example.org", "zoe@jabber.org", "prpl-jabber", "secret")
    execute("INSERT INTO purplemap (sip_user, ext_user, ext_prot, ext_pass) VALUES (?, ?, ?, ?)", row)
    for _ in range(2):
        assert gateway.message(fu=row[0], ru=BOB_XMPP) == 1
    execute("DELETE FROM purplemap WHERE sip_user = ?", row[:1])
    assert gateway.message(fu=row[0], ru=BOB_XMPP) == -403
