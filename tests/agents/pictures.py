"""Owns the pictures of the web page in docs/: `python -m tests.agents.pictures docs` takes them anew.

The gateway, the XMPP server, the accounts and the browser are real; the half hour before is made up.
"""

from __future__ import annotations

import math
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from purple_bridge import history
from purple_bridge.db import queue
from purple_bridge.db.engine import make_engine
from purple_bridge.db.queue import QueueRow
from purple_bridge.history import Recorder, Sample
from tests.agents.browser import Browser, chromium
from tests.gateway import PASSWORD, Gateway, sip
from tests.servers.prosody import Prosody
from tests.waiting import free_port, wait_until

ONLINE = ("alice", "bob", "carol", "dave", "erin")
DOMAIN = "jabber.example"
WIDE, NARROW = (1200, 800), (390, 844)
LARGEST = 150_000  # octets


def _people(gateway: Gateway, prosody: Prosody) -> None:
    """Who is online, and what can be wrong with an account."""
    for user in ONLINE:
        gateway.add_xmpp_account(user, prosody)
    gateway.add_xmpp_account("mallory", prosody)
    gateway.set_password(f"mallory@{DOMAIN}", "not this one")
    gateway.add_account("oscar", "prpl-irc", "oscar@127.0.0.1", None, port=free_port("tcp"))
    gateway.add_xmpp_account("peggy", prosody, enabled=False)


def _messages(gateway: Gateway) -> None:
    """Three that wait, one that was set aside."""
    now = int(time.time())
    friends = (("oscar", "zoe", 0), ("oscar", "yuri", 0), ("oscar", "zoe", 0), ("mallory", "walter", 1))
    rows = [
        QueueRow(
            id=(now - 600 * place) * 1_024_000_000 + place,
            account=f"{place:016x}",
            ext_prot="prpl-irc" if user == "oscar" else "prpl-jabber",
            ext_user="oscar@127.0.0.1" if user == "oscar" else f"mallory@{DOMAIN}",
            sip_user=f"{user}@example.org",
            contact=f"sip:{friend}@irc.im.example.org"
            if user == "oscar"
            else f"sip:{friend}*{DOMAIN}@xmpp.im.example.org",
            call_id=f"call-{place}",
            fingerprint=f"{place:016x}",
            created=now - 600 * place - 90,
            expires=now + 250_000 - 600 * place,
            crashes=2 * held,
            held=held,
            message=b"{}",
        )
        for place, (user, friend, held) in enumerate(friends)
    ]
    engine = make_engine(gateway.kamailio.db_url)
    queue.insert(engine, rows)
    engine.dispose()


def _half_an_hour(gateway: Gateway) -> None:
    """Figures as a morning of a small office has them, up to this moment."""
    chance, recorder, now = random.Random(5), Recorder(gateway.kamailio.state_dir), time.time()
    to_im = to_phones = 0.0
    for step in range(history.RECORDS - 1, -1, -1):
        busy = 0.6 + 0.4 * math.sin(step / 28) + 0.25 * math.sin(step / 7)
        to_im -= max(0, chance.gauss(5 * busy, 1.5))
        to_phones -= max(0, chance.gauss(7 * busy, 2))
    for step in range(history.RECORDS - 1, -1, -1):
        busy = 0.6 + 0.4 * math.sin(step / 28) + 0.25 * math.sin(step / 7)
        to_im += max(0, chance.gauss(5 * busy, 1.5))
        to_phones += max(0, chance.gauss(7 * busy, 2))
        online = 5 if step < 250 else 3 + (step < 300)
        recorder.write(
            Sample(now - step * history.STEP_SECONDS, to_im, to_phones, 4 if step < 60 else 1 + (step < 90), online)
        )


class Pictures:
    """One browser that goes from page to page."""

    def __init__(self, directory: Path, url: str) -> None:
        self._directory, self._url = directory, url

    def log_in(self, browser: Browser) -> None:
        browser.open(f"{self._url}/login")
        browser.fill("SIP address", "alice")
        browser.fill("SIP password", PASSWORD)
        browser.press("Log in")
        browser.wait_text("Add an account")

    def take(self, browser: Browser, path: str, name: str, size: tuple[int, int] = WIDE) -> None:
        """``path``: of the page, "" for the one that is shown."""
        browser.command(
            "Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=False
        )
        if path:
            browser.open(self._url + path)
        file = self._directory / f"web-{name}.png"
        browser.driver.save_screenshot(str(file))
        octets = file.stat().st_size
        print(f"{file} {octets}")
        assert octets < LARGEST, file


def main() -> None:
    """The argument is the directory for the pictures."""
    target, here = Path(sys.argv[1]), Path(tempfile.mkdtemp(prefix="pictures-"))
    port = free_port("tcp")
    with ExitStack() as running:
        (here / "prosody").mkdir()
        (here / "gateway").mkdir()
        users = dict.fromkeys((*ONLINE, "mallory", "peggy"), PASSWORD)
        prosody = running.enter_context(Prosody(here / "prosody", users, domain=DOMAIN))
        gateway = running.enter_context(
            Gateway(
                here / "gateway",
                users=dict.fromkeys((*users, "oscar"), PASSWORD),
                settings={"web_admins": sip("alice"), "connect_on": "start"},
                options=["--web", f"127.0.0.1:{port}"],
            )
        )
        _people(gateway, prosody)
        for user in ONLINE:
            gateway.wait_state(f"{user}@{DOMAIN}", "online")
        wait_until(lambda: gateway.account("oscar@127.0.0.1").get("retries", 0) >= 2, 30, "oscar tries again")
        pictures = Pictures(target, f"http://127.0.0.1:{port}")
        light = running.enter_context(chromium(here / "light", size=WIDE))
        dark = running.enter_context(chromium(here / "dark", size=WIDE, dark=True))
        for browser in (light, dark):
            pictures.log_in(browser)
        _messages(gateway)
        _half_an_hour(gateway)
        pictures.take(light, "/", "accounts")
        pictures.take(dark, "/", "accounts-dark")
        pictures.take(light, "/", "accounts-narrow", NARROW)
        pictures.take(light, "/accounts/new?protocol=prpl-jabber", "form")
        pictures.take(light, "/queue", "queue", (1200, 560))
        light.open(f"http://127.0.0.1:{port}/?q=mallory")
        light.press(f"mallory@{DOMAIN}")
        light.press("Test it")
        light.wait_text("It does not work", 40)
        pictures.take(light, "", "test", (1200, 640))


if __name__ == "__main__":
    main()
