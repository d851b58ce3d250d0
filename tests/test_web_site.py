"""The web page without Kamailio: log-ins, who may see what, forms of other sites, names of strangers, any request."""

from __future__ import annotations

import base64
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from purple_bridge import metrics
from purple_bridge.addresses import GatewayDomain, SipAddress
from purple_bridge.db import key_file, queue
from purple_bridge.db.engine import make_engine
from purple_bridge.db.mapping import Mapping
from purple_bridge.db.passwords import Passwords
from purple_bridge.db.provision import add_account, change_account
from purple_bridge.db.queue import QueueRow
from purple_bridge.db.schema import create_all
from purple_bridge.db.subscribers import add_user, set_password
from purple_bridge.settings import Settings
from purple_bridge.web.http import Response
from purple_bridge.web.sessions import Session, Sessions
from purple_bridge.web.site import Site
from tests.web_client import DOMAIN, HOST, WebClient, header, token_of

ALICE, BOB = SipAddress("alice", DOMAIN), SipAddress("bob", DOMAIN)
ALICES = "alice@<wbr>jabber.example"  # may be cut into lines there
SCRIPT = "<script>alert(1)</script>"
ROOT = SipAddress("root", DOMAIN)


@dataclass(frozen=True)
class World:
    site: Site
    engine: Engine
    state_dir: Path

    def account(self, ext_user: str) -> int:
        rows = Mapping(self.engine).all_accounts()
        return next(row.id for row in rows if row.ext_user == ext_user)

    def client(self, user: str = "", secure: bool = False, address: str = "127.0.0.1") -> WebClient:
        client = WebClient(self.site, address, secure)
        if user:
            assert client.log_in(user, f"{user}-secret").status == 303
        return client


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With three users and two accounts; each test gets a copy."""
    path = tmp_path_factory.mktemp("web") / "purple.db"
    create_all(f"sqlite:///{path}")
    engine = make_engine(f"sqlite:///{path}")
    for user in (ALICE, BOB, ROOT):
        add_user(engine, user, f"{user.user}-secret")
    add_account(engine, ALICE, "prpl-jabber", "alice@jabber.example", "im-secret", {"port": 5223})
    add_account(engine, BOB, "prpl-irc", SCRIPT, None, {})
    engine.dispose()
    return path


@pytest.fixture
def world(tmp_path: Path, database: Path) -> Iterator[World]:
    shutil.copy(database, tmp_path)
    url = f"sqlite:///{tmp_path}/purple.db"
    engine = make_engine(url)
    settings = Settings(
        db_url=url,
        db_table="purplemap",
        http_proxy_host="",
        http_proxy_port=0,
        workers=1,
        gateway=GatewayDomain(f"im.{DOMAIN}"),
        connect_on="publish",
        authorize="ask",
        state_dir=str(tmp_path),
        rpc_socket=str(tmp_path / "rpc"),
        internal="127.0.0.1:5059",
        web=HOST,
    )
    site = Site(settings, lambda: frozenset({ROOT.key}))
    yield World(site, engine, tmp_path)
    site.close()
    engine.dispose()


# ---- log-in


@pytest.mark.parametrize("name", ["alice", "ALICE", "alice@example.org", "sip:alice@EXAMPLE.org", " alice "])
def test_a_user_logs_in_by_address_or_name(world: World, name: str) -> None:
    client = world.client()
    answer = client.log_in(name, "alice-secret")
    assert (answer.status, header(answer, "Location")) == (303, "/")
    assert ALICES in client.get("/").body


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("alice", "wrong"),
        ("alice", ""),
        ("", "alice-secret"),
        ("nobody", "alice-secret"),
        ("nobody", ""),
        ("alice@elsewhere.example", "alice-secret"),
        ("alice", "bob-secret"),
        ("sip:@", "x"),
        ("a" * 4000, "x" * 4000),
        ("alice' OR '1'='1", "x"),
    ],
)
def test_a_wrong_name_or_password_is_refused_in_the_same_words(world: World, name: str, password: str) -> None:
    client = world.client()
    answer = client.log_in(name, password)
    assert answer.status == 403 and "The name or the password is wrong." in answer.body
    assert header(client.get("/"), "Location") == "/login"


def test_the_sixth_wrong_password_in_a_minute_is_not_tried(world: World) -> None:
    client = world.client()
    assert [client.log_in("alice", f"guess {number}").status for number in range(5)] == [403] * 5
    refused = client.log_in("alice", "alice-secret")
    assert refused.status == 429 and "wait a minute" in refused.body
    assert world.client("bob").get("/").status == 200, "another user of the same address"
    assert world.client("alice", address="192.0.2.1").get("/").status == 200, "the same user from another address"


def test_one_address_cannot_try_all_users(world: World) -> None:
    client = world.client()
    answers = [client.log_in(f"user{number}", "password1").status for number in range(31)]
    assert answers == [403] * 30 + [429]


def test_the_cookie_is_for_this_site_alone(world: World) -> None:
    plain, secure = world.client(), world.client(secure=True)
    words = header(plain.log_in("alice", "alice-secret"), "Set-Cookie").split("; ")
    assert {"HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=28800"} <= set(words) and "Secure" not in words
    assert "Secure" in header(secure.log_in("alice", "alice-secret"), "Set-Cookie").split("; ")


def test_the_log_in_makes_a_new_session(world: World) -> None:
    client = world.client()
    client.get("/login")
    before = client.cookie
    client.log_in("alice", "alice-secret")
    assert before.partition(".")[0] != client.cookie.partition(".")[0]


def test_after_the_log_in_comes_the_page_that_was_asked_for(world: World) -> None:
    client = world.client()
    asked = client.get("/queue")
    assert header(asked, "Location") == "/login?next=/queue"
    assert header(client.log_in("alice", "alice-secret", then="/queue"), "Location") == "/queue"


@pytest.mark.parametrize("then", ["//evil.example", "https://evil.example", "/\\evil.example", "/a//b", "javascript:x"])
def test_but_no_page_of_another_site(world: World, then: str) -> None:
    assert header(world.client().log_in("alice", "alice-secret", then=then), "Location") == "/"


def test_a_new_password_ends_all_sessions(world: World) -> None:
    client = world.client("alice")
    assert client.get("/").status == 200
    set_password(world.engine, ALICE, "another")
    assert header(client.get("/"), "Location") == "/login"


def test_after_the_log_out_a_copy_of_the_cookie_is_of_no_use(world: World) -> None:
    client = world.client("alice")
    copy = client.cookie
    assert header(client.submit("/", "/logout"), "Location") == "/login"
    client.cookie = copy
    assert header(client.get("/"), "Location") == "/login"


@pytest.mark.parametrize(
    "cookie", ["purple_session=", "purple_session=a.b.c.d", "x", "purple_session=%ff; a=b", "=;=;"]
)
def test_a_broken_cookie_is_none(world: World, cookie: str) -> None:
    client = world.client()
    client.cookie = cookie
    assert client.get("/login").status == 200


def test_a_cookie_of_before_a_restart_does_not_keep_anybody_out(world: World) -> None:
    client = world.client()
    client.cookie = f"purple_session={Sessions(b'another').cookie(Session.new('', time.time()), '')}"
    assert client.log_in("alice", "alice-secret").status == 303 and client.get("/").status == 200


# ---- who sees what


def test_a_user_sees_his_own_accounts_and_an_administrator_all(world: World) -> None:
    alice, root = world.client("alice").get("/"), world.client("root").get("/")
    assert ALICES in alice.body and "bob@" not in alice.body
    assert ALICES in root.body and "bob@<wbr>example.org" in root.body
    assert "Messages to phones" in root.body and "Messages to phones" not in alice.body


@pytest.mark.parametrize("path", ["", "/edit", "/remove"])
def test_another_users_account_is_not_there(world: World, path: str) -> None:
    number = world.account("alice@jabber.example")
    assert world.client("bob").get(f"/accounts/{number}{path}").status == 404
    if path != "/edit":  # which asks a worker for the networks
        assert world.client("alice").get(f"/accounts/{number}{path}").status == 200
        assert world.client("root").get(f"/accounts/{number}{path}").status == 200


@pytest.mark.parametrize("action", ["edit", "remove", "test", "enable", "disable", "reconnect"])
def test_another_users_account_cannot_be_changed(world: World, action: str) -> None:
    number = world.account("alice@jabber.example")
    bob = world.client("bob")
    answer = bob.submit("/", f"/accounts/{number}/{action}", password="mine")
    assert answer.status == 404
    (row,) = Mapping(world.engine).accounts_between(number, number)
    assert (row.password, row.enabled) == ("im-secret", True)


def test_a_network_that_is_not_allowed_is_refused_with_what_to_do(world: World) -> None:
    site = Site(replace(world.site._settings, protocols=("prpl-jabber",)), lambda: frozenset({ROOT.key}))
    client = WebClient(site, "127.0.0.1", False)
    assert client.log_in("alice", "alice-secret").status == 303
    answer = client.get("/accounts/new?protocol=prpl-irc")
    assert answer.status == 404
    assert "purple.protocols" in answer.body
    site.close()


def test_no_page_waits_for_a_database_that_is_known_not_to_answer(world: World) -> None:
    """The process that serves it serves phones over TCP, too."""
    site = Site(world.site._settings, lambda: frozenset({ROOT.key}), lambda: False)
    client = WebClient(site, "127.0.0.1", False)
    answer = client.get("/login")
    assert (answer.status, header(answer, "Retry-After")) == (503, "5")
    assert "The database does not answer" in answer.body
    assert client.get("/static/style.css").status == 200
    metrics.serve_from(str(world.state_dir))
    assert _metrics(client).status == 200
    assert _metrics(WebClient(site, "192.0.2.1", True), "root", "root-secret").status == 503
    site.close()


def test_an_account_whose_password_cannot_be_read_is_shown_without_it(world: World) -> None:
    key_file.create(world.state_dir / "key", (key_file.new_key(),))
    number = world.account("alice@jabber.example")
    (row,) = Mapping(world.engine).accounts_between(number, number)
    change_account(world.engine, row, password="new", passwords=Passwords(world.state_dir / "key"))
    (row,) = Mapping(world.engine).accounts_between(number, number)
    assert (row.unreadable, row.password) == (True, None)
    assert world.client("alice").get(f"/accounts/{number}").status == 200
    (world.state_dir / "key").unlink()
    answer = world.client("alice").get(f"/accounts/{number}")
    assert answer.status == 200
    assert "enc:" not in answer.body


@pytest.mark.parametrize("number", ["0", "999999999", "99999999999999999999"])
def test_an_account_that_is_not_there(world: World, number: str) -> None:
    assert world.client("root").get(f"/accounts/{number}").status == 404


def test_the_json_of_the_page_has_the_same_accounts(world: World) -> None:
    def names(user: str) -> list[int]:
        return [one["id"] for one in json.loads(world.client(user).get("/api/accounts.json").body)["accounts"]]

    assert names("alice") == [world.account("alice@jabber.example")]
    assert len(names("root")) == 2
    assert world.client().get("/api/accounts.json").status == 401


def test_a_stored_password_is_on_no_page(world: World) -> None:
    client = world.client("alice")
    number = world.account("alice@jabber.example")
    for path in ("/", f"/accounts/{number}", f"/accounts/{number}/remove", "/api/accounts.json", "/queue"):
        assert "im-secret" not in client.get(path).body


def test_disable_and_enable(world: World) -> None:
    client, number = world.client("alice"), world.account("alice@jabber.example")
    client.submit("/", f"/accounts/{number}/disable")
    (row,) = Mapping(world.engine).accounts_between(number, number)
    assert not row.enabled and ("port", 5223) in row.options
    assert ">disabled<" in client.get(f"/accounts/{number}").body
    client.submit("/", f"/accounts/{number}/enable")
    (row,) = Mapping(world.engine).accounts_between(number, number)
    assert row.options == (("port", 5223),)


def test_remove(world: World) -> None:
    client, number = world.client("alice"), world.account("alice@jabber.example")
    assert "Remove alice@jabber.example?" in client.get(f"/accounts/{number}/remove").body
    assert client.submit(f"/accounts/{number}/remove", f"/accounts/{number}/remove").status == 303
    assert client.get(f"/accounts/{number}").status == 404
    assert "There is no account yet" in client.get("/").body


def test_an_open_form_does_not_change_the_account_that_got_the_number_of_a_removed_one(world: World) -> None:
    client, number = world.client("alice"), world.account("alice@jabber.example")
    answer = client.submit(f"/accounts/{number}/remove", f"/accounts/{number}/remove", account="old@jabber.example")
    assert answer.status == 404 and "removed meanwhile" in answer.body
    assert client.get(f"/accounts/{number}").status == 200


# ---- forms of other sites


def test_a_form_without_our_token_changes_nothing(world: World) -> None:
    client, number = world.client("alice"), world.account("alice@jabber.example")
    bobs = token_of(world.client("bob").get("/"))
    for token in ("", "0" * 64, bobs):
        assert client.post(f"/accounts/{number}/remove", {"token": token}).status == 403
    assert client.get(f"/accounts/{number}").status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": f"http://{HOST}.evil.example"},
        {"origin": "", "sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
def test_a_form_of_another_site_is_refused(world: World, headers: dict[str, str]) -> None:
    client, number = world.client("alice"), world.account("alice@jabber.example")
    token = token_of(client.get("/"))
    assert client.post(f"/accounts/{number}/remove", {"token": token}, **headers).status == 403
    assert client.post("/login", {"token": token, "name": "alice", "password": "alice-secret"}, **headers).status == 403
    assert client.get(f"/accounts/{number}").status == 200


def test_a_log_in_form_that_is_too_old_comes_again(world: World) -> None:
    client = world.client()
    answer = client.post("/login", {"token": "0" * 64, "name": "alice", "password": "alice-secret"})
    assert answer.status == 403 and "The form was too old" in answer.body and 'value="alice"' in answer.body


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "", "127.0.0.1.evil.example", "a b", "exämple.org"]
)
def test_a_name_that_is_not_ours_is_refused(world: World, host: str) -> None:
    assert world.client().get("/login", host=host).status == 421


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "example.org", "EXAMPLE.org:1"]
)
def test_our_own_names(world: World, host: str) -> None:
    assert world.client().get("/login", host=host).status == 200


# ---- what strangers write


def test_names_of_strangers_are_text(world: World) -> None:
    root = world.client("root")
    for path in (
        "/",
        f"/accounts/{world.account(SCRIPT)}",
        f"/accounts/{world.account(SCRIPT)}/remove",
        "/?q=" + SCRIPT,
    ):
        body = root.get(path.replace("<", "%3C").replace(">", "%3E")).body
        assert SCRIPT not in body and "&lt;script&gt;" in body


def test_the_name_of_a_failed_log_in_is_text(world: World) -> None:
    body = world.client().log_in('"><script>', "x").body
    assert "<script>" not in body and "&#34;&gt;&lt;script&gt;" in body


# ---- the queue


def _message(number: int, user: SipAddress, held: int = 0) -> QueueRow:
    return QueueRow(
        id=number,
        account="00" * 8,
        ext_prot="prpl-jabber",
        ext_user=f"{user.user}@jabber.example",
        sip_user=user.key,
        contact=f"sip:friend-of-{user.user}*x@xmpp.im.{DOMAIN}",
        call_id="c",
        fingerprint=f"{number:02}",
        created=1_700_000_000,
        expires=4_000_000_000,
        crashes=2 * held,
        held=held,
        message=b'{"text": "top secret"}',
    )


def test_the_queue_shows_who_wrote_to_whom_and_never_what(world: World) -> None:
    queue.insert(world.engine, [_message(1, ALICE), _message(2, BOB, held=1)])
    alice, root = world.client("alice").get("/queue").body, world.client("root").get("/queue").body
    assert "friend-of-alice" in alice and "friend-of-bob" not in alice and 'name="id"' not in alice
    assert "friend-of-alice" in root and "friend-of-bob" in root and "set aside" in root
    assert "top secret" not in alice + root
    held = world.client("root").get("/queue?state=held").body
    assert "friend-of-bob" in held and "friend-of-alice" not in held


def test_an_administrator_sends_again_and_drops(world: World) -> None:
    queue.insert(world.engine, [_message(1, ALICE, held=1), _message(2, BOB, held=1)])
    root = world.client("root")
    root.submit("/queue", "/queue/retry", id="1")
    assert [(row.id, row.held) for row in queue.rows(world.engine)] == [(1, 0), (2, 1)]
    asked = root.submit("/queue", "/queue/drop", id=["1", "2"])
    assert "Drop 2 messages?" in asked.body and len(list(queue.rows(world.engine))) == 2
    done = root.submit("/queue", "/queue/drop", id=["1", "2"], sure="yes")
    assert header(done, "Location") == "/queue?dropped=2" and not list(queue.rows(world.engine))


def test_nobody_else_does(world: World) -> None:
    queue.insert(world.engine, [_message(1, ALICE, held=1)])
    alice = world.client("alice")
    assert alice.submit("/queue", "/queue/retry", id="1").status == 403
    assert alice.submit("/queue", "/queue/drop", id="1", sure="yes").status == 403
    assert [row.held for row in queue.rows(world.engine)] == [1]


def test_a_form_without_a_message_says_so(world: World) -> None:
    root = world.client("root")
    for ids in ([], ["x", "-1", "1.5", "9" * 30]):
        assert root.submit("/queue", "/queue/drop", id=ids).status == 400


# ---- requests of every kind


@pytest.mark.parametrize("path", ["/nope", "/static/nope.css", "/static/../site.py", "/accounts/x", "/api", "/login/"])
def test_unknown_pages_are_404(world: World, path: str) -> None:
    answer = world.client().get(path)
    assert answer.status == 404 and "There is no such" in answer.body


@pytest.mark.parametrize(
    ("method", "path", "allowed"), [("PUT", "/", "GET"), ("DELETE", "/login", "GET, POST"), ("GET", "/logout", "POST")]
)
def test_other_methods_are_405(world: World, method: str, path: str, allowed: str) -> None:
    answer = world.client("alice").send(method, path, "", {})
    assert (answer.status, header(answer, "Allow")) == (405, allowed)


def test_every_answer_has_the_headers_that_protect_it(world: World) -> None:
    client = world.client("alice")
    for answer in (
        client.get("/"),
        client.get("/nope"),
        client.get("/api/accounts.json"),
        client.get("/static/page.js"),
    ):
        policy = header(answer, "Content-Security-Policy")
        assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert header(answer, "X-Content-Type-Options") == "nosniff"
        assert header(answer, "Referrer-Policy") == "same-origin"
        assert header(answer, "Cache-Control") == "no-store"


def test_pages_have_no_script_or_style_of_their_own(world: World) -> None:
    root = world.client("root")
    for path in ("/", "/queue", "/login", f"/accounts/{world.account(SCRIPT)}"):
        body = root.get(path).body
        assert "<style" not in body and " style=" not in body and " onclick" not in body
        assert body.count("<script") == body.count('<script src="/static/')


def test_files_are_kept_by_the_browser_until_they_change(world: World) -> None:
    client = world.client()
    page = client.get("/login").body
    address = page.partition('rel="stylesheet" href="')[2].partition('"')[0]
    assert "immutable" in header(client.get(address), "Cache-Control")
    assert header(client.get(address + "0"), "Cache-Control") == "no-store"


def test_a_database_that_fails_is_told_in_words(world: World) -> None:
    client = world.client("alice")
    with world.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE purplemap")
    answer = client.get("/")
    assert answer.status == 503 and "The database does not answer" in answer.body and "purplemap" not in answer.body


def test_without_a_worker_states_are_not_known(world: World) -> None:
    assert "No worker of the gateway answers" in world.client("alice").get("/").body
    assert world.client("alice").get("/accounts/new").status == 503


# ---- metrics


def _metrics(client: WebClient, name: str = "", password: str = "") -> Response:
    text = base64.b64encode(f"{name}:{password}".encode()).decode()
    return client.get("/metrics", authorization=f"Basic {text}" if name else "")


def test_metrics_need_no_password_on_loopback_and_an_administrators_from_elsewhere(world: World) -> None:
    metrics.serve_from(str(world.state_dir))
    assert _metrics(world.client()).status == 200
    assert world.client().get("/metrics", x_forwarded_for="192.0.2.1").status == 401, "through a proxy on this machine"
    for client in (world.client(address="192.0.2.1"), world.client(secure=True)):
        assert _metrics(client).status == 401
        assert _metrics(client, "alice", "alice-secret").status == 401
        assert _metrics(client, "root", "wrong").status == 401
        assert _metrics(client, "sip:root@example.org", "root-secret").status == 200
        assert "# TYPE purple_messages_total counter" in _metrics(client, "root", "root-secret").body
