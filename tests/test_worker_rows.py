"""What one worker makes of rows that are added, changed or removed: with a real store, on SQLite, and real accounts.

No account signs on: there is no IM network here, and what they want is enough.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, insert, text, update

from purple_bridge.addresses import GatewayDomain, SipAddress
from purple_bridge.board import AccountBoard, State, Way
from purple_bridge.commands import AccountSpec, RowsChanged
from purple_bridge.db.engine import make_engine
from purple_bridge.db.presence import WantedPresence, save_presence
from purple_bridge.db.subscribers import add_user
from purple_bridge.db.tables import presentity, purplemap_table, subscriber
from purple_bridge.ownership import account_digest, owner_of
from purple_bridge.presence import AVAILABLE
from purple_bridge.settings import Settings
from purple_bridge.worker import rows as rows_module
from purple_bridge.worker.account import DISABLED, OwnedAccount
from purple_bridge.worker.outbox import Outbox
from purple_bridge.worker.queue_rows import QueueRows
from purple_bridge.worker.rows import Rows
from purple_bridge.worker.store import Store
from purple_bridge.worker.wanted import ALWAYS, Publication, Wanted
from tests.account_host import NoHost
from tests.agents.pidf import pidf
from tests.databases import create_ours
from tests.loops import run_for, run_until

ALICE, BOB = "alice@example.org", "bob@example.org"
JABBER, GTALK = "prpl-jabber", "gtalk"
HERE = Wanted((Publication(AVAILABLE, time.time() + 3600),))
WORKERS = 2


def _name(worker: int = 1, start: int = 0) -> str:
    """An XMPP account that this worker owns."""
    names = (f"im{number}@xmpp.example" for number in range(start, start + 100))
    return next(name for name in names if owner_of(JABBER, name, WORKERS) == worker)


IM, OTHER = _name(), _name(start=50)
ELSEWHERE = _name(worker=2)


class Host(NoHost):
    """What an account needs of its worker; it signs on in its own time, which never comes."""

    def submit_login(self, server: str, login: Callable[[], bool]) -> None:
        """Never its turn."""

    def account_changed(self, account: OwnedAccount) -> None:
        """Its state is what the tests look at."""

    way_changed = account_changed


class Household:
    """Worker 1 of two, with nothing but accounts and rows; ``told`` is what the other worker was told."""

    def __init__(self, directory: Path, connect_on: str = "publish") -> None:
        path = directory / "kamailio.db"
        path.touch()
        url = f"sqlite:///{path}"
        self.engine = make_engine(url)
        create_ours(self.engine)
        presentity.create(self.engine, checkfirst=True)
        self.connect_on = connect_on
        self.board = AccountBoard(WORKERS)
        self.store = Store(url, "purplemap", GatewayDomain("im.example.org"), self.board.rows_generation)
        self.rows = Rows(_settings(url, connect_on), 1, self.board, self.store, self)
        self.accounts: dict[bytes, OwnedAccount] = {}
        self.told: list[RowsChanged] = []
        self.full = False  # the other worker's queue
        self.gone: list[tuple[str, frozenset[str]]] = []
        self.forgotten: list[str] = []
        self.watched: set[str] = set()
        self.kept_for_next_start: list[str] = []
        self.registered: dict[str, float] = {}
        self.restored = 0

    # ------------------------------------------------------------ what the rows need
    def account(self, spec: AccountSpec) -> OwnedAccount:
        digest = account_digest(*spec.key)
        if digest not in self.accounts:
            outbox = Outbox(QueueRows(self.store, *spec.key))
            self.accounts[digest] = OwnedAccount(spec, Host(), outbox)
            self.rows.check(self.accounts[digest])
        elif self.accounts[digest].share(spec.sip_user):
            self.rows.check(self.accounts[digest])
        return self.accounts[digest]

    def find(self, digest: bytes) -> OwnedAccount | None:
        return self.accounts.get(digest)

    def all(self) -> list[OwnedAccount]:
        return list(self.accounts.values())

    def kept(self, presence: WantedPresence) -> Wanted:
        until = float(presence.expires)
        return Wanted((Publication(AVAILABLE, until),), None if self.connect_on == "publish" else until)

    def nothing_wanted(self) -> Wanted:
        return Wanted((), ALWAYS if self.connect_on == "start" else None)

    def sign_on(self, account: OwnedAccount, sip_user: str, wanted: Wanted, keep: bool) -> None:
        if sip_user not in account.told:
            account.want(sip_user, wanted)
            self.kept_for_next_start += [sip_user] if keep else []

    def ask_registered(self, sip_user: str, done: Callable[[float], None]) -> None:
        done(self.registered.get(sip_user, 0.0))

    def restore_watches(self, sip_users: frozenset[str]) -> None:
        self.watched |= sip_users

    def users_gone(self, account: OwnedAccount, sip_users: frozenset[str]) -> None:
        self.gone.append((account.ext_user, sip_users))

    def forget(self, account: OwnedAccount) -> None:
        self.forgotten.append(account.ext_user)
        account.remove()
        del self.accounts[account_digest(account.protocol, account.ext_user)]

    def tell(self, worker: int, command: RowsChanged) -> bool:
        assert worker == 2
        if not self.full:
            self.told.append(command)
        return not self.full

    # ------------------------------------------------------------ what happens
    def start(self) -> None:
        def restored() -> None:
            self.restored += 1

        self.rows.start(restored)
        run_until(lambda: self.restored, "the start")

    def online(self, ext_user: str, sip_user: str = ALICE, protocol: str = JABBER) -> OwnedAccount:
        """A row, and a phone that wants it."""
        self.add(sip_user, ext_user, protocol)
        account = self.account(AccountSpec(protocol, ext_user, sip_user))
        account.want(sip_user, HERE)
        return account

    def add(self, sip_user: str, ext_user: str, protocol: str = JABBER, **options: Any) -> None:
        row = {"sip_user": f"sip:{sip_user}", "ext_user": ext_user, "ext_prot": protocol}
        self._run(insert(TABLE).values(**row, ext_options=json.dumps(options) if options else None))

    def change(self, ext_user: str, /, **values: Any) -> None:
        self._run(update(TABLE).where(TABLE.c.ext_user == ext_user).values(values))

    def remove(self, ext_user: str, sip_user: str = ALICE) -> None:
        self._run(delete(TABLE).where(TABLE.c.ext_user == ext_user, TABLE.c.sip_user == f"sip:{sip_user}"))

    def publish(self, user: str, expires: float = 3600, domain: str = "example.org") -> None:
        """As a phone does, at the presence server."""
        body = pidf(f"sip:{user}@{domain}", note="there")
        row = {
            "username": user,
            "domain": domain,
            "event": "presence",
            "etag": f"a.{user}.1",
            "sender": "",
            "body": body,
        }
        times = {"expires": int(time.time() + expires), "received_time": int(time.time())}
        self._run(insert(presentity).values(**row, **times))

    def keep(self, user: str) -> None:
        save_presence(self.engine, WantedPresence(user, int(time.time() + 600), "{}"))

    def _run(self, statement: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(statement)

    def wanted(self, ext_user: str, protocol: str = JABBER) -> bool:
        account = self.find(account_digest(protocol, ext_user))
        return account is not None and account.is_wanted


TABLE = purplemap_table("purplemap", "sqlite")


def _settings(url: str, connect_on: str) -> Settings:
    values: dict[str, Any] = {"db_url": url, "db_table": "purplemap", "http_proxy_host": "", "http_proxy_port": 0}
    values |= {"workers": WORKERS, "gateway": GatewayDomain("im.example.org"), "connect_on": connect_on}
    values |= {"authorize": "ask", "state_dir": "/nonexistent", "rpc_socket": "", "internal": ""}
    return Settings(**values)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(rows_module, "LOOK_SHARE", 1)
    monkeypatch.setattr(rows_module, "AGAIN_SECONDS", 0.1)


@pytest.fixture(params=["publish"])
def home(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Household]:
    household = Household(tmp_path, request.param)
    yield household
    household.rows.end()
    run_for(0.3)  # what is still on its way from the store's thread
    household.store._thread.shutdown()
    household.store._engine.dispose()
    household.engine.dispose()


# --- rows that come ---------------------------------------------------------------------------------------


def test_a_row_for_a_user_whose_phone_publishes(home: Household) -> None:
    home.start()
    home.publish("alice")
    home.add(ALICE, IM)
    run_until(lambda: home.wanted(IM), "the account")
    assert home.accounts[account_digest(JABBER, IM)].wanted[ALICE].presence.note == "there"
    assert home.kept_for_next_start == [ALICE]
    assert home.watched == {ALICE}  # what his phones are subscribed to


def test_a_row_for_a_user_who_is_not_there(home: Household) -> None:
    home.start()
    home.publish("bob", expires=-10)
    home.add(ALICE, IM)
    home.add(BOB, OTHER)
    run_until(lambda: home.told, "the look")
    run_for(0.3)
    assert home.accounts == {}


def test_a_row_for_a_user_whose_presence_was_kept(home: Household) -> None:
    """Of a phone that publishes to a server of its own: the worker's memory says so."""
    home.start()
    home.keep(ALICE)
    home.add(ALICE, IM)
    run_until(lambda: home.wanted(IM), "the account")
    assert home.kept_for_next_start == []


def test_the_other_workers_row(home: Household) -> None:
    home.start()
    home.publish("alice")
    home.add(ALICE, ELSEWHERE)
    home.add(ALICE, IM)
    run_until(lambda: home.wanted(IM), "the own account")
    assert [account.ext_user for account in home.all()] == [IM]
    assert RowsChanged((0,)) in home.told


def test_who_cannot_be_told_is_told_later(home: Household) -> None:
    home.start()
    home.full = True
    home.publish("alice")
    home.add(ALICE, IM)
    run_until(lambda: home.wanted(IM), "the account")
    assert home.told == []
    home.full = False
    run_until(lambda: home.told == [RowsChanged((0,))], "the other worker")


@pytest.mark.parametrize("home", ["start"], indirect=True)
def test_every_row_where_accounts_are_always_online(home: Household) -> None:
    home.add(ALICE, IM)
    home.start()
    assert home.wanted(IM)
    home.add(BOB, OTHER)
    run_until(lambda: home.wanted(OTHER), "the new row's account")
    assert home.kept_for_next_start == []


@pytest.mark.parametrize("home", ["register"], indirect=True)
def test_a_row_for_a_user_whose_phone_is_registered(home: Household) -> None:
    home.start()
    home.registered[ALICE] = time.time() + 100
    home.publish("bob")  # which says nothing here
    home.add(ALICE, IM)
    home.add(BOB, OTHER)
    run_until(lambda: home.wanted(IM), "the account")
    assert [account.ext_user for account in home.all()] == [IM]


def test_the_start_signs_on_what_was_kept(home: Household) -> None:
    home.keep(ALICE)
    home.add(ALICE, IM)
    home.add(BOB, OTHER)
    home.start()
    assert home.wanted(IM)
    assert (len(home.all()), home.restored) == (1, 1)


def test_the_start_waits_for_the_database(home: Household) -> None:
    home.keep(ALICE)
    home.add(ALICE, IM)
    _rename(home.engine, "purplemap", "elsewhere")
    home.rows.start(lambda: None)
    run_for(0.3)
    assert home.accounts == {}
    _rename(home.engine, "elsewhere", "purplemap")
    run_until(lambda: home.wanted(IM), "the account", timeout=20)


def _rename(engine: Engine, name: str, other: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE {name} RENAME TO {other}"))


# --- rows that change or go -------------------------------------------------------------------------------


def test_a_row_that_goes(home: Household) -> None:
    home.start()
    account = home.online(IM)
    home.remove(IM)
    run_until(lambda: home.forgotten == [IM], "the account goes")
    assert (account.state, account.way, account.users) == (State.OFFLINE, Way.QUEUE, frozenset())


def test_another_users_row_now(home: Household) -> None:
    home.start()
    account = home.online(IM)
    home.publish("bob")
    home.change(IM, sip_user=f"sip:{BOB}")
    run_until(lambda: BOB in account.wanted, "the account is Bob's")
    assert (account.sip_users, set(account.wanted), account.told) == ((BOB,), {BOB}, {BOB})
    assert home.gone == [(IM, frozenset({ALICE}))]


def test_another_name_is_another_account(home: Household) -> None:
    home.start()
    home.online(IM)
    home.publish("alice")
    home.change(IM, ext_user=OTHER)
    run_until(lambda: home.wanted(OTHER), "the new account")
    assert home.forgotten == [IM]


def test_one_of_two_users_goes(home: Household) -> None:
    home.start()
    account = home.online(IM)
    home.online(IM, BOB)
    home.remove(IM, BOB)
    run_until(lambda: home.gone, "Bob goes")
    assert (account.sip_users, account.is_wanted, home.forgotten) == ((ALICE,), True, [])


def test_the_same_account_under_both_names_of_its_protocol(home: Household) -> None:
    """``gtalk`` and ``prpl-jabber`` are one network; the account stays as long as one of its rows does."""
    home.start()
    account = home.online(IM, ALICE, GTALK)
    home.online(IM, BOB)
    home.remove(IM, ALICE)
    run_until(lambda: home.gone, "Alice goes")
    assert (account.protocol, account.sip_users, home.forgotten) == (JABBER, (BOB,), [])


def test_words_for_options_that_cannot_be_read(home: Household) -> None:
    home.start()
    account = home.online(IM)
    home.change(IM, ext_options="{broken")
    run_until(lambda: "is not JSON" in (account._spec.error or ""), "words")


def test_whatever_is_remembered_of_rows_is_old_then(home: Household) -> None:
    home.start()
    generation = home.board.rows_generation()
    home.add(ALICE, IM)
    run_until(lambda: home.board.rows_generation() > generation, "another generation")


def test_one_account_that_goes_wrong_does_not_stop_the_others(
    home: Household, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    home.start()
    wrong = home.online(IM)
    home.online(OTHER)

    def fail() -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(wrong, "remove", fail)
    home.remove(IM)
    home.remove(OTHER)
    run_until(lambda: OTHER in home.forgotten, "the other one goes")
    home.add(ALICE, IM)
    home.add(ALICE, OTHER)
    home.publish("alice")
    run_until(lambda: home.wanted(OTHER), "it comes back")
    assert f"account {IM} cannot follow its row" in caplog.text


# --- SIP users, whose passwords the routes remember -------------------------------------------------------


def test_a_look_at_the_sip_users_ends_what_is_remembered(home: Household) -> None:
    """The first one, too: what changed between the start and that look is not found by any later one."""
    subscriber.create(home.engine, checkfirst=True)
    settings = replace(_settings(str(home.engine.url), "publish"), auth=True)
    home.rows = Rows(settings, 1, home.board, home.store, home)
    home.rows.start(lambda: None)
    run_until(lambda: home.board.rows_generation() == 2, "the first looks, at the mapping and at the users")
    run_for(0.5)
    assert home.board.rows_generation() == 2
    assert add_user(home.engine, SipAddress.parse("sip:alice@example.org"), "secret")
    run_until(lambda: home.board.rows_generation() == 3, "the new user")


# --- whoever changes rows may say so ----------------------------------------------------------------------


def test_purplectl_need_not_wait(home: Household, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "LOOK_SECONDS", 60.0)
    home.start()
    home.publish("alice")
    home.add(ALICE, IM)
    generation = home.board.rows_generation()
    assert home.rows.told({"users": [ALICE, 7]}) == {}
    assert home.board.rows_generation() > generation
    run_until(lambda: home.wanted(IM), "the new row")
    home.remove(IM)
    home.rows.told({"users": [ALICE]})
    run_until(lambda: home.forgotten == [IM], "the removed row")


def test_a_command_may_be_older_than_the_rows(home: Household, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SIP worker remembered a row that is gone, and another one's user."""
    monkeypatch.setattr(rows_module, "LOOK_SECONDS", 60.0)
    home.start()
    account = home.online(IM)
    home.account(AccountSpec(JABBER, OTHER, ALICE)).want(ALICE, HERE)
    home.account(AccountSpec(JABBER, IM, BOB)).want(BOB, HERE)
    run_until(lambda: home.forgotten == [OTHER] and home.gone, "what is not true any more")
    assert (account.sip_users, home.gone) == ((ALICE,), [(IM, frozenset({BOB}))])


def test_what_a_failing_database_leaves_is_read_later(home: Household) -> None:
    home.start()
    home.online(IM)
    home.remove(IM)
    _rename(home.engine, "purplemap", "elsewhere")
    home.rows.told({"users": [ALICE]})
    run_for(0.3)
    assert home.forgotten == []
    _rename(home.engine, "elsewhere", "purplemap")

    def worked() -> bool:
        home.rows.work()  # the worker does it once a second
        return home.forgotten == [IM]

    run_until(worked, "the removed row")


# --- the account itself -----------------------------------------------------------------------------------


def _spec(sip_user: str = ALICE, **more: Any) -> AccountSpec:
    return AccountSpec(**{"protocol": JABBER, "ext_user": IM, "sip_user": sip_user, "password": "secret", **more})


OFF: dict[str, Any] = {"options": (("enabled", False),)}


@pytest.fixture
def account(home: Household) -> OwnedAccount:
    account = home.account(_spec())
    account.want(ALICE, HERE)
    return account


def test_disabled_and_enabled(account: OwnedAccount) -> None:
    account.renew([_spec(**OFF)])
    assert (account.is_wanted, account.state, account.error, account.way) == (
        False,
        State.OFFLINE,
        DISABLED,
        Way.CLOSED,
    )
    account.want(ALICE, HERE)  # his phone publishes again
    assert (account.is_wanted, account.state, account.error) == (False, State.OFFLINE, DISABLED)
    account.renew([_spec()])
    assert (account.is_wanted, account.state, account.error, account.way) == (True, State.CONNECTING, "", Way.QUEUE)


@pytest.mark.parametrize("value", [False, 0, "false", "No", "off", "0"])
def test_how_a_row_says_that_it_is_disabled(value: bool | int | str, account: OwnedAccount) -> None:
    account.renew([_spec(options=(("enabled", value),))])
    assert account.is_disabled


@pytest.mark.parametrize("value", [True, 1, "true", "yes", "on", "perhaps"])
def test_how_a_row_says_that_it_is_enabled(value: bool | int | str, account: OwnedAccount) -> None:
    account.renew([_spec(options=(("enabled", value),))])
    assert not account.is_disabled


def test_disabled_for_one_of_two_users(account: OwnedAccount) -> None:
    account.share(BOB)
    account.want(BOB, HERE)
    account.renew([_spec(**OFF), _spec(BOB)])
    assert (account.sip_users, set(account.disabled), account.is_wanted) == ((BOB,), {ALICE}, True)
    account.renew([_spec(**OFF), _spec(BOB, **OFF)])
    assert (account.is_wanted, account.error) == (False, DISABLED)


def test_the_first_row_that_is_enabled_counts(account: OwnedAccount) -> None:
    account.renew([_spec(password="one", **OFF), _spec(BOB, password="two")])
    assert account._spec.password == "two"


@pytest.mark.parametrize(
    "change",
    [
        {"password": "another"},
        {"options": (("port", 5223),)},
        {"error": "row 1: broken"},
        {"protocol": GTALK},
        {"ext_user": IM.upper()},
    ],
)
def test_what_signs_on_anew(change: dict[str, Any], account: OwnedAccount) -> None:
    account._given_up = True
    account.renew([_spec(**change)])
    assert (account._given_up, account.state) == (False, State.CONNECTING)


@pytest.mark.parametrize("specs", [[_spec()], [_spec(), _spec(BOB)], [_spec(options=(("enabled", True),))]])
def test_what_does_not(specs: list[AccountSpec], account: OwnedAccount) -> None:
    account._given_up = True
    assert account.renew(specs) == frozenset()
    assert account._given_up


def test_reconnect_also_after_an_error_that_does_not_pass(account: OwnedAccount) -> None:
    account._give_up("wrong password")
    assert account.way is Way.CLOSED
    account.reconnect()
    assert (account.state, account.error, account.way) == (State.CONNECTING, "", Way.QUEUE)


def test_reconnect_of_an_account_that_nobody_wants(account: OwnedAccount) -> None:
    account.want(ALICE, Wanted())
    account.reconnect()
    assert account.state is State.OFFLINE
