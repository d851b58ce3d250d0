"""docs/examples: an existing site's Kamailio, started with exactly these files and without the launcher."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from purple_bridge.db.urls import location_url
from purple_bridge.errors import ConfigurationError
from purple_bridge.launcher import rpc
from purple_bridge.launcher.versions import find_kamailio
from tests.agents.phone import Phone, pidf
from tests.agents.subscription import Notify
from tests.agents.xmpp import XmppUser
from tests.gateway import PASSWORD, Gateway, sip, xmpp_contact
from tests.purplectl import run_purplectl
from tests.servers.kamailio import PROJECT
from tests.servers.prosody import Prosody
from tests.servers.site import Site
from tests.waiting import wait_until

DOCS = PROJECT / "docs"
EXAMPLES = DOCS / "examples"
SCRIPTS = {"own-kemi": "routes.py", "native": "purple.py"}
JID = "sonja@localhost"  # of alice; the XMPP server is shared, and this name is of this module alone


class ExistingSite(Gateway):
    """What the other end-to-end tests have, around one of the examples."""

    def __init__(self, directory: Path, example: str, config: Path | None = None) -> None:
        super().__init__(directory)
        folder = EXAMPLES / example
        self.kamailio: Site = Site(directory, config or folder / "kamailio.cfg", folder / SCRIPTS[example])

    def status(self) -> list[dict[str, Any]]:
        """`purplectl status --state-dir`, which finds a gateway without the launcher, too."""
        done = run_purplectl("status", "--json", "--state-dir", str(self.kamailio.state_dir))
        assert done.returncode == 0, done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    def try_reload(self) -> None:
        """Kamailio 6 would crash of it, so there it is refused, in words."""
        if find_kamailio().threads_mode:
            with pytest.raises(ConfigurationError, match="Reload not enabled"):
                rpc.call(self.kamailio.rpc_socket, "app_python.reload")
        else:
            rpc.call(self.kamailio.rpc_socket, "app_python.reload")


@pytest.fixture(scope="module", params=SCRIPTS)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, prosody: Prosody
) -> Iterator[ExistingSite]:
    prosody.add_user("sonja", PASSWORD)
    with ExistingSite(tmp_path_factory.mktemp("site"), request.param) as running:
        running.add_xmpp_account("alice", prosody, "sonja")
        yield running
        assert not re.search("Traceback|Unhandled exception|method callback not found", running.kamailio.log)


@pytest.fixture(scope="module")
def alice(site: ExistingSite) -> Phone:
    return site.online_phone("alice", JID)


@pytest.fixture
def friend(site: ExistingSite, prosody: Prosody) -> XmppUser:
    return site.xmpp_user(prosody, "bob")


def test_both_ways(site: ExistingSite, alice: Phone, friend: XmppUser) -> None:
    assert alice.message(xmpp_contact("bob@localhost"), "from an existing site").status == 202
    assert friend.wait_message().body == "from an existing site"
    friend.send(JID, "and back")
    assert alice.wait_message().text == "and back"
    assert [account["state"] for account in site.status()] == ["online"]


def test_presence_both_ways(site: ExistingSite, alice: Phone, prosody: Prosody) -> None:
    """The contact allows it, and is allowed it in turn, since alice watches him."""
    name = f"stefan-{site.kamailio.config.parent.name}"
    prosody.add_user(name, PASSWORD)
    contact = site.xmpp_user(prosody, name)
    watch = alice.subscribe(xmpp_contact(f"{name}@localhost"))
    assert watch.status in (200, 202)
    contact.wait_presence(lambda one: one.type == "subscribe")
    contact.approve(JID)
    assert watch.wait_notify(_is_open).presence is not None
    contact.subscribe(JID)
    assert alice.publish(pidf(alice.aor, note="at home")).status == 200
    contact.wait_presence(lambda one: one.status == "at home", timeout=15)
    assert watch.unsubscribe().status in (200, 202)


def _is_open(notify: Notify) -> bool:
    return notify.presence is not None and notify.presence.basic == "open"


def test_what_is_long_comes_in_parts(alice: Phone, friend: XmppUser) -> None:
    friend.send(JID, "x" * 1500)
    octets = 0
    while octets < 1500:
        part = alice.wait_message().text
        octets += len(part)
        assert set(part) == {"x"}
    assert octets == 1500


def test_what_is_sent_to_an_absent_phone_comes_when_it_registers(
    site: ExistingSite, alice: Phone, friend: XmppUser
) -> None:
    assert alice.unregister().status == 200
    friend.send(JID, "kept")
    wait_until(lambda: site.kept_messages() == 1, 10, "the message is kept")
    assert alice.register().status == 200
    assert alice.wait_message().text == "kept"
    wait_until(lambda: site.kept_messages() == 0, 10, "nothing is kept any more")


def test_return_codes_reach_the_routes(site: ExistingSite, alice: Phone) -> None:
    """Negative codes are answered in words, or leave the request to what the site does itself."""
    bob = site.phone("bob")
    refused = bob.message(xmpp_contact("bob@localhost"), "without an account")
    assert (refused.status, refused.reason) == (403, f"{sip('bob')} has no account on prpl-jabber")
    assert alice.message(sip("bob"), "from phone to phone").status == 200
    assert bob.wait_message().text == "from phone to phone"
    assert alice.message(sip("nobody"), "to nobody").status == 480
    assert alice.message(xmpp_contact("bob@localhost"), "<x/>", "application/xml").status == 415
    broken = {"Event": "presence", "Content-Type": "application/pidf+xml"}
    assert alice.request("PUBLISH", alice.aor, broken, "<presence").status == 400


def test_the_internal_listener_believes_nobody_else(site: ExistingSite) -> None:
    stranger = site.phone("bob", register=False)
    stranger.proxy = ("127.0.0.1", site.kamailio.internal_port)
    assert stranger.message(sip("alice"), "I am the gateway").status == 403
    assert stranger.publish(pidf(stranger.aor)).status == 403


def test_reload_of_the_script_keeps_the_gateway(site: ExistingSite, alice: Phone, friend: XmppUser) -> None:
    before = site.account(JID)
    site.try_reload()
    assert alice.message(xmpp_contact("bob@localhost"), "after the reload").status == 202
    assert friend.wait_message().body == "after the reload"
    friend.send(JID, "and back")
    assert alice.wait_message().text == "and back"
    assert site.account(JID)["since"] == before["since"]


def test_messages_without_a_presence_server(tmp_path: Path, prosody: Prosody) -> None:
    """The lines of presence and pua left out; accounts sign on when the phone registers."""
    prosody.add_user("sonja", PASSWORD)
    lines = (EXAMPLES / "own-kemi" / "kamailio.cfg").read_text().splitlines()
    config = tmp_path / "kamailio.cfg"
    kept = [line for line in lines if not re.search("presence|pua", line)]
    config.write_text("\n".join(["#!KAMAILIO", 'purple.connect_on = "register" desc "…"', *kept]) + "\n")
    with ExistingSite(tmp_path, "own-kemi", config) as site:
        site.add_xmpp_account("alice", prosody, "sonja")
        alice, bob = site.phone("alice"), site.xmpp_user(prosody, "bob")
        site.wait_state(JID, "online")
        assert alice.message(xmpp_contact("bob@localhost"), "messages only").status == 202
        assert bob.wait_message().body == "messages only"
        bob.send(JID, "and back")
        assert alice.wait_message().text == "and back"
        assert "Traceback" not in site.kamailio.log


@pytest.mark.parametrize("example", SCRIPTS)
def test_the_listener_of_the_phones_first(tmp_path: Path, prosody: Prosody, example: str) -> None:
    """Then libpurple runs in the processes that receive from phones: slower, but it works. And a reload before
    anything else: on Kamailio 5 the first call of the script is a special one.
    """
    prosody.add_user("sonja", PASSWORD)
    text = (EXAMPLES / example / "kamailio.cfg").read_text()
    internal = re.search(r"^socket_workers=2\nlisten=.*\n", text, re.MULTILINE)
    assert internal is not None
    config = tmp_path / "kamailio.cfg"
    config.write_text(text.replace(internal[0], "").replace("children=2\n", f"{internal[0]}children=2\n", 1))
    with ExistingSite(tmp_path, example, config) as site:
        processes = {process["rank"]: process["description"] for process in site.kamailio.processes()}
        assert f":{site.kamailio.port}" in processes[1]
        site.try_reload()
        site.add_xmpp_account("alice", prosody, "sonja")
        alice, bob = site.online_phone("alice", JID), site.xmpp_user(prosody, "bob")
        for number in range(10):
            assert alice.message(xmpp_contact("bob@localhost"), f"message {number}").status == 202
            assert bob.wait_message().body == f"message {number}"
        bob.send(JID, "and back")
        assert alice.wait_message().text == "and back"


def test_the_document_shows_what_the_examples_have() -> None:
    text = (DOCS / "existing-sites.md").read_text()
    shown = re.findall(r"<!-- from (\S+) -->\n```\w*\n(.*?)```", text, re.DOTALL)
    assert len(shown) >= 7
    for name, block in shown:
        lines = [line.strip() for line in (EXAMPLES / name).read_text().splitlines()]
        wanted = [line.strip() for line in block.splitlines()]
        assert any(lines[at : at + len(wanted)] == wanted for at in range(len(lines))), f"{name}: {block}"


def test_without_the_launcher(tmp_path: Path, prosody: Prosody) -> None:
    """The file of docs/operation.md, with another database, address and place."""
    prosody.add_user("sonja", PASSWORD)
    block = re.search(r"```\n( *#!KAMAILIO.*?)```", (DOCS / "operation.md").read_text(), re.DOTALL)
    assert block is not None
    site = ExistingSite(tmp_path, "own-kemi", tmp_path / "kamailio.cfg")
    site.kamailio.config.write_text(_with_its_own_places(textwrap.dedent(block[1]), site.kamailio))
    site.kamailio.defines = {}
    with site:
        site.add_xmpp_account("alice", prosody, "sonja")
        alice, bob = site.online_phone("alice", JID), site.xmpp_user(prosody, "bob")
        assert alice.message(xmpp_contact("bob@localhost"), "without the launcher").status == 202
        assert bob.wait_message().body == "without the launcher"
        assert [account["state"] for account in site.status()] == ["online"]


def _with_its_own_places(text: str, kamailio: Site) -> str:
    location = f'"{location_url(kamailio.db_url)}"'
    threads = "\n#!define WITH_THREADS_MODE" if find_kamailio().threads_mode else ""
    changes = {
        "WITH_MYSQL": f"WITH_SQLITE\n#!define LOCATION_DB_URL {location}{threads}",
        r'"mysql://[^"]*"': f'"{kamailio.db_url}"',
        "/var/lib/kamailio-purple": str(kamailio.state_dir),
        "/run/kamailio/purple-rpc.sock": str(kamailio.rpc_socket),
        "/run/kamailio": str(kamailio.directory),
        "/opt/kamailio-purple": str(PROJECT),
        "127.0.0.1:5059": f"127.0.0.1:{kamailio.internal_port}",
        "192.0.2.10:5060": f"127.0.0.1:{kamailio.port}",
    }
    for old, new in changes.items():
        text, count = re.subn(old, new, text)
        assert count, old
    return text
