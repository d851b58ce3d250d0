"""The web page end to end: a real gateway, Debian's Chromium with and without JavaScript, keyboard, contrast, curl."""

from __future__ import annotations

import http.client
import re
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys
from sqlalchemy import select

from purple_bridge.db import key_file
from purple_bridge.db.engine import make_engine
from purple_bridge.db.tables import purplemap_table
from tests.accessibility import contrast_problems, structure_problems
from tests.agents.browser import Browser, chromium
from tests.gateway import DOMAIN, PASSWORD, Gateway, sip
from tests.servers.prosody import Prosody
from tests.waiting import free_port, wait_until

SCRIPT = "<script>document.title='owned'</script>"
SOON = 9.0  # seconds: the page reads rows that others have written every 5, and looks every 2


class Page:
    """The gateway with its page, and Chromium logged in as somebody."""

    def __init__(self, gateway: Gateway, port: int) -> None:
        self.gateway, self.port = gateway, port
        self.url = f"http://127.0.0.1:{port}"

    def stored_password(self, ext_user: str) -> str:
        engine, table = make_engine(self.gateway.kamailio.db_url), purplemap_table("purplemap", "sqlite")
        with engine.connect() as connection:
            found = connection.execute(select(table.c.ext_pass).where(table.c.ext_user == ext_user)).scalar_one()
        engine.dispose()
        return str(found)

    def log_in(self, browser: Browser, user: str) -> None:
        browser.driver.delete_all_cookies()
        browser.open(f"{self.url}/login")
        browser.fill("SIP address", user)
        browser.fill("SIP password", PASSWORD)
        browser.press("Log in")
        browser.wait_text(f"{user}@{DOMAIN}")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    port = free_port("tcp")
    settings = {"web_admins": sip("root"), "connect_on": "start"}
    users = dict.fromkeys(("alice", "bob", "carol", "root"), PASSWORD)
    options = ["--web", f"127.0.0.1:{port}"]
    with Gateway(tmp_path_factory.mktemp("web"), users=users, settings=settings, options=options) as gateway:
        # made while the gateway runs: what the page writes from now on is encrypted
        key_file.create(gateway.kamailio.state_dir / "key", (key_file.new_key(),))
        yield Page(gateway, port)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Without JavaScript."""
    with chromium(tmp_path_factory.mktemp("profile"), script=False) as started:
        yield started


def row_of(browser: Browser, name: str) -> str:
    """What the list shows of an account, "" for nothing."""
    return next((row for row in browser.texts("#accounts tbody tr") if name in row), "")


# ---- an account from the form to its end


def test_an_account_is_added_tested_changed_disabled_and_removed(
    page: Page, browser: Browser, prosody: Prosody
) -> None:
    name = f"alice@{prosody.domain}"
    page.log_in(browser, "alice")
    browser.press("Add an account")
    browser.press("Continue")
    assert browser.labelled("SIP user").get_attribute("value") == sip("alice")
    browser.fill("Name on XMPP", name)
    browser.fill("Password there", "wrong password")
    browser.fill("Connect port", str(prosody.port))
    browser.fill("Connect server", "127.0.0.1")
    browser.one("#option-connection_security option[value=opportunistic_tls]").click()
    browser.press("Save and test")
    browser.wait_text("It does not work", 30)
    assert "password" in browser.text and "wrong password" not in browser.driver.page_source

    browser.press("Edit the account")
    assert browser.labelled("Connect port").get_attribute("value") == str(prosody.port)
    assert browser.labelled("Password there").get_attribute("value") == ""
    browser.fill("Password there", PASSWORD)
    browser.press("Save")
    browser.wait_text("The change is saved.")
    browser.press("Accounts")
    wait_until(lambda: "online" in row_of(browser, name), SOON, "the page shows the account online, by itself")
    assert page.stored_password(name).startswith("enc:1:")

    browser.press(name)
    browser.press("Disable")
    browser.wait_text("The account is disabled.")
    page.gateway.wait_state(name, "offline", SOON)
    browser.press("Enable")
    wait_until(lambda: browser.texts(".state .word") == ["online"], SOON, "online again")

    browser.press("Edit")
    browser.press("Save")  # an empty password keeps the one that is stored
    browser.press("Test it")
    browser.wait_text("It works", 30)
    assert "Online after" in browser.text

    browser.press(name)
    browser.press("Remove…")
    browser.press("Keep it")
    browser.press("Remove…")
    browser.press("Remove it")
    browser.wait_text("There is no account yet")
    assert page.gateway.account(name)["state"] == "unknown" or page.gateway.wait_state(name, "unknown", SOON)
    assert browser.errors() == [], "nothing that the Content-Security-Policy refused"


def test_errors_of_a_form_are_said_at_its_head_and_get_the_focus(page: Page, browser: Browser) -> None:
    page.log_in(browser, "root")
    browser.open(f"{page.url}/accounts/new?protocol=prpl-irc")
    browser.fill("SIP user", "nobody at all")
    browser.fill("Port", "many")
    browser.press("Save")
    browser.wait_text("Please check these")
    assert browser.driver.title.startswith("Error: ")
    assert browser.run("return document.activeElement.id") == "errors"
    links = [link.text for link in browser.all("#errors a")]
    assert len(links) == 3 and any(link.startswith("Name on IRC") for link in links)
    assert browser.labelled("SIP user").get_attribute("value") == "nobody at all"
    assert browser.labelled("Port").get_attribute("aria-invalid") == "true"
    browser.all("#errors a")[0].click()
    assert browser.run("return document.activeElement.id") == "sip_user"


def test_nobody_gets_the_account_of_another_user(page: Page, browser: Browser, prosody: Prosody) -> None:
    """The gateway would sign on with the password of the first row, and the second user would read along."""
    page.gateway.add_xmpp_account("bob", prosody, "bob")
    page.log_in(browser, "carol")
    browser.open(f"{page.url}/accounts/new?protocol=prpl-jabber")
    browser.fill("Name on XMPP", f"BOB@{prosody.domain}")
    browser.press("Save")
    browser.wait_text("Another SIP user has this account")
    browser.open(f"{page.url}/")
    assert "There is no account yet" in browser.text
    page.gateway.remove_account(f"bob@{prosody.domain}")


def test_markup_of_strangers_is_shown_as_text(page: Page, browser: Browser) -> None:
    page.gateway.add_account("carol", "prpl-jabber", f"{SCRIPT}@x.example")
    page.gateway.wait_state(f"{SCRIPT}@x.example", "error")
    page.log_in(browser, "carol")
    wait_until(lambda: "error" in row_of(browser, SCRIPT), SOON, "the row as text")
    browser.press(f"{SCRIPT}@x.example")
    browser.wait_text("Test it")
    assert SCRIPT in browser.one("h1").text and browser.driver.title != "owned"
    page.gateway.remove_account(f"{SCRIPT}@x.example")


# ---- without JavaScript, without a mouse, without good eyes


def test_reading_and_forms_work_without_javascript(page: Page, plain: Browser, prosody: Prosody) -> None:
    page.log_in(plain, "carol")
    refresh = plain.one("noscript meta[http-equiv=refresh]").get_attribute("content")
    assert refresh == "5", "the page keeps itself current"
    plain.press("Add the first one")
    plain.press("Continue")
    plain.fill("Name on XMPP", f"carol@{prosody.domain}")
    plain.fill("Password there", PASSWORD)
    plain.fill("Connect port", str(prosody.port))
    plain.fill("Connect server", "127.0.0.1")
    plain.one("#option-connection_security option[value=opportunistic_tls]").click()
    plain.press("Save and test")
    plain.wait_text("It works", 30)
    plain.open(f"{page.url}/?q=carol")
    wait_until(lambda: "online" in row_of(plain, "carol"), 12, "online with the next refresh")
    plain.press(f"carol@{prosody.domain}")
    plain.press("Remove…")
    plain.press("Remove it")
    plain.wait_text("There is no account yet")


def test_the_keyboard_is_enough(page: Page, browser: Browser) -> None:
    page.log_in(browser, "root")
    browser.open(f"{page.url}/queue")

    def focused() -> str:
        return str(
            browser.run("const at = document.activeElement; return at.textContent.trim() || at.id || at.tagName")
        )

    def tab() -> str:
        browser.driver.switch_to.active_element.send_keys(Keys.TAB)
        return focused()

    def outline() -> str:
        return str(browser.run("return getComputedStyle(document.activeElement).outlineStyle"))

    seen = []
    for _ in range(8):
        seen.append(tab())
        assert outline() == "solid", f"the focus on {seen[-1]} is to be seen"
    assert seen == [
        "Skip to the content",
        "kamailio-purple",
        "Accounts",
        "Queue",
        "Log out",
        "all",
        "waiting",
        "set aside",
    ]
    browser.open(f"{page.url}/queue")
    assert tab() == "Skip to the content"
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.run("return document.activeElement.id") == "main"
    assert tab() == "all"
    browser.driver.switch_to.active_element.send_keys(Keys.TAB, Keys.ENTER)
    wait_until(lambda: browser.path == "queue?state=waiting", 5, "a link by the keyboard")


PAGES = (
    "login",
    "",
    "queue",
    "accounts/new",
    "accounts/new?protocol=prpl-jabber",
    "nope",
    "accounts/{id}",
    "accounts/{id}/remove",
)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_structure_and_contrast(page: Page, browser: Browser, dark: bool) -> None:
    page.gateway.add_account("carol", "prpl-jabber", "not a name")
    page.gateway.wait_state("not a name", "error")
    page.log_in(browser, "root")
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.command("Emulation.setEmulatedMedia", features=[scheme])
    browser.open(f"{page.url}/?q=not%20a%20name")
    wait_until(lambda: row_of(browser, "not a name"), SOON, "the row")
    number = re.search(r"accounts/(\d+)", browser.one("#accounts a").get_attribute("href") or "")
    assert number
    for path in PAGES:
        if path == "login":
            browser.driver.delete_all_cookies()
        browser.open(f"{page.url}/{path.format(id=number[1])}")
        for details in browser.all("summary"):
            details.click()
        assert structure_problems(browser) == [], path
        assert contrast_problems(browser) == [], path
        if path == "login":
            page.log_in(browser, "root")
    page.gateway.remove_account("not a name")


def test_a_narrow_window_and_large_text_need_no_sideways_scrolling(page: Page, browser: Browser) -> None:
    page.gateway.add_account("carol", "prpl-jabber", "somebody.with.a.long.name@a-rather-long-domain-name.example")
    page.log_in(browser, "root")
    wait_until(lambda: row_of(browser, "somebody.with"), SOON, "the row")
    try:
        for path in ("", "queue", "accounts/new?protocol=prpl-jabber"):
            for width in (360, 640):  # 640: of 1280 at 200 %
                browser.command(
                    "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False
                )
                browser.open(f"{page.url}/{path}")
                assert browser.run("return document.documentElement.scrollWidth") <= width, (path, width)
    finally:
        browser.command("Emulation.clearDeviceMetricsOverride")
        page.gateway.remove_account("somebody.with.a.long.name@a-rather-long-domain-name.example")


# ---- HTTP


def test_many_requests_on_one_connection_and_on_many(page: Page) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", page.port, timeout=10)) as connection:
        for path, status in (("/login", 200), ("/static/style.css", 200), ("/nope", 404), ("/metrics", 200)) * 5:
            connection.request("GET", path)
            answer = connection.getresponse()
            assert (answer.status, len(answer.read()) > 500) == (status, True)

    def look(_number: int) -> int:
        with closing(http.client.HTTPConnection("127.0.0.1", page.port, timeout=20)) as own:
            own.request("GET", "/login")
            return own.getresponse().status

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(look, range(64))) == {200}


def raw(page: Page, octets: bytes) -> bytes:
    """The first line of the answer."""
    with closing(socket.create_connection(("127.0.0.1", page.port), timeout=10)) as connection:
        connection.sendall(octets)
        return connection.recv(4096).partition(b"\r\n")[0]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /%ff HTTP/1.1\r\nHost: localhost\r\n\r\n", b"400"),
        (b"GET /login HTTP/1.1\r\nHost: localhost\r\nCookie: \xff\xfe\r\n\r\n", b"400"),
        (b"GET /login HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"421"),
        (b"GET /login HTTP/1.1\r\nHost: example.org\r\n\r\n", b"200"),
        (b"PUT /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx", b"405"),
        (b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\na=\xff", b"400"),
        (b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\na=\x00b", b"400"),
        (b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 70000\r\n\r\n" + b"a" * 70000, b"413"),
        (b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\nContent-Length: 1\r\n\r\nx", b"415"),
        (b"GET /xcap-root/xcap-caps/global/index HTTP/1.1\r\nHost: localhost\r\n\r\n", b"404"),
    ],
)
def test_broken_requests_are_answered_in_words(page: Page, request_: bytes, status: bytes) -> None:
    assert raw(page, request_).split(b" ")[:2] == [b"HTTP/1.1", status]


def test_sip_has_no_business_there(page: Page) -> None:
    options = (
        "OPTIONS sip:example.org SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKweb\r\nMax-Forwards: 70\r\n"
        "From: <sip:a@example.org>;tag=1\r\nTo: <sip:example.org>\r\nCall-ID: web\r\nCSeq: 1 OPTIONS\r\n"
        "Content-Length: 0\r\n\r\n"
    )
    assert raw(page, options.encode()) == b"SIP/2.0 403 Forbidden"


def test_curl_logs_in_and_reads(page: Page, tmp_path: Path) -> None:
    def curl(path: str, *words: str) -> str:
        jar = ("--cookie", str(tmp_path / "jar"), "--cookie-jar", str(tmp_path / "jar"))
        command = ["curl", "--silent", "--show-error", "--location", "--max-time", "10", *jar, *words, page.url + path]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    found = re.search(r'name="token" value="(\w+)"', curl("/login"))
    assert found
    fields = {"token": found[1], "name": "root", "password": PASSWORD}
    words = [word for name, value in fields.items() for word in ("--data-urlencode", f"{name}={value}")]
    assert "root@example.org" in curl("/login", *words)
    assert '"accounts"' in curl("/api/accounts.json")


def test_nothing_of_it_is_in_the_log_as_an_error(page: Page) -> None:
    lines = [line for line in page.gateway.kamailio.log.splitlines() if "Traceback" in line or "web page: '" in line]
    assert lines == []
