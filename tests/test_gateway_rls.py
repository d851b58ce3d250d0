"""Contact lists end to end (RFC 4662): a phone subscribes once, to its user's own list, and sees all who are on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import column, insert, table

from purple_bridge.db.engine import make_engine
from tests.agents.pidf import pidf
from tests.agents.rlmi import ListPhone, ListState, ListSubscription, list_state
from tests.at_once import at_once
from tests.gateway import DOMAIN, PASSWORD, Gateway, sip
from tests.servers.mariadb import MariaDB
from tests.servers.postgres import Postgres
from tests.waiting import wait_until

RLS_SERVICE = 8  # doc_type, xcap_client/xcap_callbacks.h
ROOT = "/xcap-root"
XCAP = table("xcap", *map(column, ("username", "domain", "doc", "doc_type", "etag", "source", "doc_uri", "port")))
TIMEOUT = 30.0
USERS = ("alice", "bob", "dave")
_numbers = count()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with Gateway(tmp_path, users=dict.fromkeys(USERS, PASSWORD)) as running:
        yield running


def services(user: str, *contacts: str) -> bytes:
    """RFC 4826 §4, with the list inside."""
    entries = "".join(f'<rl:entry uri="{contact}"/>' for contact in contacts)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<rls-services xmlns="urn:ietf:params:xml:ns:rls-services" xmlns:rl="urn:ietf:params:xml:ns:resource-lists">'
        f'<service uri="{sip(f"{user}-contacts")}"><list name="{user}">{entries}</list>'
        "<packages><package>presence</package></packages></service></rls-services>"
    ).encode()


def store_list(gateway: Gateway, user: str, *contacts: str) -> None:
    row = {
        "username": user,
        "domain": DOMAIN,
        "doc": services(user, *contacts),
        "doc_type": RLS_SERVICE,
        "etag": "first",
        "source": 0,
        "doc_uri": f"{ROOT}/rls-services/users/{sip(user)}/index",
        "port": 0,
    }
    engine = make_engine(gateway.kamailio.db_url)
    with engine.begin() as connection:
        connection.execute(insert(XCAP).values(row))
    engine.dispose()


def list_phone(gateway: Gateway, user: str) -> ListPhone:
    phone = ListPhone(sip(user), PASSWORD, ("127.0.0.1", gateway.kamailio.port))
    assert phone.register().status == 200
    return phone


def wait_list(subscription: ListSubscription, wanted: Callable[[ListState], bool]) -> ListState:
    return list_state(subscription.wait_notify(lambda notify: wanted(list_state(notify)), TIMEOUT))


@pytest.fixture
def on_each_database(tmp_path: Path, mariadb: MariaDB, postgres: Postgres) -> Iterator[dict[str, Gateway]]:
    """The list server writes them in ways of its own."""
    name = f"lists_{next(_numbers)}"
    urls = {"sqlite": None, "mariadb": mariadb.create_database(name), "postgres": postgres.create_database(name)}
    users = dict.fromkeys(USERS, PASSWORD)
    with ExitStack() as stack:
        yield {
            database: stack.enter_context(Gateway(tmp_path / database, users=users, db_url=url))
            for database, url in urls.items()
        }


def test_one_subscription_sees_all_contacts_come_and_go(on_each_database: dict[str, Gateway]) -> None:
    at_once(_come_and_go, on_each_database)


def _come_and_go(gateway: Gateway) -> None:
    bob, dave = sip("bob"), sip("dave")
    store_list(gateway, "alice", bob, dave)
    with list_phone(gateway, "alice") as phone:
        watch = phone.subscribe_list(sip("alice-contacts"))
        assert watch.status == 200
        assert watch.response is not None
        assert "eventlist" in watch.response.headers["Require"]
        first = wait_list(watch, lambda state: state.full)
        assert first.uri == sip("alice-contacts")
        assert set(first.resources) == {bob, dave}

        bobs, daves = gateway.phone("bob"), gateway.phone("dave")
        assert bobs.publish(pidf(bob, note="hello")).status == 200
        assert daves.publish(pidf(dave)).status == 200
        seen = wait_list(watch, lambda state: state.basic(bob) == "open").resources[bob]
        assert seen.state == "active"
        assert seen.presence is not None
        assert seen.presence.note == "hello"
        wait_until(lambda: any(list_state(one).basic(dave) == "open" for one in watch.notifies), TIMEOUT, "dave")
        assert bobs.publish(None, expires=0).status == 200
        gone = wait_list(watch, lambda state: state.basic(bob) == "closed")
        assert gone.version > first.version

        assert watch.refresh().status == 200
        whole = wait_list(watch, lambda state: state.full)  # RFC 4662 §5.2: a refresh gets everything
        assert (whole.basic(bob), whole.basic(dave)) == ("closed", "open")
        assert watch.unsubscribe().status == 200


def test_nobody_on_a_long_list_is_left_out(on_each_database: dict[str, Gateway]) -> None:
    """Neither by the order of the names, which differs between databases, nor by what fits into a datagram."""
    for gateway in on_each_database.values():
        gateway.kamailio.stop()
        publish_all(gateway, LONG_LIST, pidf("sip:x@example.org", note="long" * 120))
        store_list(gateway, "alice", *LONG_LIST)
        gateway.kamailio.start()
    at_once(_see_all, on_each_database)


def _long_list() -> list[str]:
    names = [f"{first}{sign}{last}" for first in "abc" for sign in "_.-~" for last in "xyz0"]
    names += ["b", "b_", "ba", "a.b.c"]
    return [sip(name) for name in names] + [sip(f"user{number:02}") for number in range(60)]


LONG_LIST = _long_list()


def _see_all(gateway: Gateway) -> None:
    with list_phone(gateway, "alice") as phone:
        watch = phone.subscribe_list(sip("alice-contacts"))
        seen: set[str] = set()
        while len(seen) < len(LONG_LIST):
            notify = watch.wait_notify(timeout=TIMEOUT)
            assert len(notify.body) < 50_000
            state = list_state(notify)
            seen |= {uri for uri in state.resources if state.basic(uri) == "open"}
        assert seen == set(LONG_LIST)


def publish_all(gateway: Gateway, contacts: list[str], document: bytes) -> None:
    """As if each of them had published the document; the presence server reads it when it starts."""
    now = int(time.time())
    rows = [
        {
            "username": contact.removeprefix("sip:").partition("@")[0],
            "domain": DOMAIN,
            "event": "presence",
            "etag": f"a.{number}",
            "expires": now + 3000,
            "received_time": now,
            "body": document,
            "sender": "",
            "priority": 0,
            "ruid": f"ruid-{number}",
        }
        for number, contact in enumerate(contacts)
    ]
    engine = make_engine(gateway.kamailio.db_url)
    with engine.begin() as connection:
        connection.execute(insert(table("presentity", *map(column, rows[0]))), rows)
    engine.dispose()


def test_a_list_is_its_owners_alone(gateway: Gateway) -> None:
    store_list(gateway, "alice", sip("dave"))
    with list_phone(gateway, "bob") as phone:
        assert phone.subscribe_list(sip("alice-contacts")).status == 403
        assert phone.subscribe(sip("alice-contacts")).status == 403
        assert phone.subscribe_list(sip("bob-contacts")).status == 404  # he has none


def test_a_phone_that_knows_no_lists_is_told_so(gateway: Gateway) -> None:
    """RFC 3261 §21.4.15."""
    store_list(gateway, "alice", sip("dave"))
    phone = gateway.phone("alice")
    refused = phone.subscribe(sip("alice-contacts"))
    assert refused.status == 421
    assert refused.response is not None
    assert refused.response.headers["Require"] == "eventlist"


def test_a_list_is_true_again_after_a_crash(gateway: Gateway) -> None:
    """The dialogs of the list outlive the server; what it watches is asked for anew when the phone refreshes."""
    bob = sip("bob")
    store_list(gateway, "alice", bob)
    with list_phone(gateway, "alice") as phone:
        watch = phone.subscribe_list(sip("alice-contacts"))
        wait_list(watch, lambda state: state.full)
        gateway.kamailio.kill()
        gateway.kamailio.start()
        bobs = gateway.phone("bob")
        assert bobs.publish(pidf(bob)).status == 200
        assert watch.refresh().status == 200
        wait_list(watch, lambda state: state.basic(bob) == "open")


def test_a_list_is_there_before_its_account_has_signed_on(gateway: Gateway) -> None:
    """Phones that get 404 at their first start may never ask again."""
    gateway.add_account("alice", "prpl-jabber", "alice@localhost")
    assert list_phone(gateway, "alice").subscribe_list(sip("alice-contacts")).status == 200
    assert list_phone(gateway, "bob").subscribe_list(sip("bob-contacts")).status == 404
