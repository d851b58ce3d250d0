"""Which addresses count as public, in all their spellings; and that a restricted account connects to no other one."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

import pytest

from purple_bridge.account_forms import of_a_user
from purple_bridge.gateway_options import is_public_only
from purple_bridge.libpurple import buddies, dns
from purple_bridge.libpurple.accounts import Account
from purple_bridge.libpurple.public_servers import allowed, is_public, literal
from tests.children import run_in_child
from tests.purple_client import XMPP, started, wait_error

PUBLIC = ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "2002:808:808::1", "64:ff9b::808:808"]
PRIVATE = [
    *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
    *("224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1"),
    *("::1", "::", "fe80::1%lo", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "2002:7f00:1::1", "64:ff9b::7f00:1"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("[::1]", "::1"),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.1"),
        ("localhost", None),
        ("127.0.0.1.example.org", None),
        ("", None),
        ("bücher.example", None),
    ],
)
def test_what_is_connected_to_without_a_look_up(text: str, address: str | None) -> None:
    assert literal(text) == address


def test_of_what_a_name_means_only_the_public_addresses_are_left() -> None:
    found = [(socket.AF_INET, 1, 6, "", (host, 5222)) for host in ("10.0.0.1", "8.8.8.8", "127.0.0.1")]
    assert [one[4][0] for one in allowed(found)] == ["8.8.8.8"]
    with pytest.raises(OSError, match="not public"):
        allowed(found[:1])


@pytest.mark.parametrize(
    ("protocol", "ext_user", "options"),
    [
        ("prpl-jabber", "alice@127.0.0.1", {}),
        ("prpl-jabber", "alice@127.1/phone", {}),
        ("prpl-jabber", "alice@[::1]", {}),
        ("prpl-jabber", "alice@example.org", {"connect_server": "10.0.0.1"}),
        ("prpl-jabber", "alice@example.org", {"connect_server": " 0x7f000001"}),
        ("prpl-jabber", "alice@example.org", {"bosh_url": "https://169.254.169.254/latest/meta-data"}),
        ("prpl-jabber", "alice@example.org", {"bosh_url": "https://user@10.0.0.1:8443/x"}),
        ("prpl-jabber", "alice@example.org", {"ft_proxies": "proxy.example.org, 192.168.0.1"}),
        ("prpl-irc", "nick@192.168.0.1", {}),
        ("prpl-bonjour", "anybody", {}),
    ],
)
def test_addresses_in_the_row_are_refused(protocol: str, ext_user: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="public_servers"):
        is_public_only(protocol, ext_user, {**options, "public_servers": True})
    assert not is_public_only(protocol, ext_user, options)


@pytest.mark.parametrize(
    ("protocol", "ext_user", "options"),
    [
        ("prpl-jabber", "7@example.org", {}),
        ("prpl-jabber", "alice@8.8.8.8", {"connect_server": "jabber.example.org"}),
        ("prpl-irc", "nick@irc.example.org", {"username": "1", "realname": "10.0.0.1"}),
    ],
)
def test_names_and_public_addresses_are_not(protocol: str, ext_user: str, options: dict[str, Any]) -> None:
    assert is_public_only(protocol, ext_user, {**options, "public_servers": True})


def test_what_a_user_makes_or_points_elsewhere_is_restricted() -> None:
    assert of_a_user({}, None) == {"public_servers": True}
    assert of_a_user({"connect_server": "a"}, {"connect_server": "b"}) == {
        "connect_server": "a",
        "public_servers": True,
    }
    operators = {"connect_server": "10.0.0.1"}
    assert of_a_user({**operators, "typing": False}, operators) == {**operators, "typing": False}
    assert of_a_user({"public_servers": False, "port": 1}, {"public_servers": True})["public_servers"] is True


def connecting(port: int, server: str, public_only: bool) -> dict[str, Any]:
    recorder = started()
    account = Account(XMPP, "alice@localhost/test")
    account.set_option("connect_server", server)
    account.set_option("port", port)
    account.public_only = public_only
    account.connect("secret")
    account.set_status(buddies.AVAILABLE, "")
    return wait_error(recorder)


@pytest.mark.parametrize("public_only", [True, False])
def test_a_name_of_a_private_address_is_not_connected_to(public_only: bool) -> None:
    """libpurple's own structure says which account asks: the offset is that of the version that is installed."""
    touched = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def listen() -> None:
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                touched.set()
                connection.close()

        thread = threading.Thread(target=listen)
        thread.start()
        assert run_in_child(connecting, server.getsockname()[1], "localhost", public_only)["text"]
        if public_only:
            assert not touched.is_set()
            socket.create_connection(server.getsockname()).close()
        thread.join()
        assert touched.is_set()


def test_an_srv_record_with_an_address_in_the_place_of_a_name_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Record:
        priority = weight = 0
        port = 5222

        def __init__(self, target: str) -> None:
            self.target = self
            self._target = target

        def to_text(self, omit_final_dot: bool) -> str:
            assert omit_final_dot
            return self._target

    monkeypatch.setattr(dns, "_resolve", lambda *_: [Record("127.0.0.1"), Record("xmpp.example.org")])
    assert dns._services("_xmpp-client._tcp.example.org") == [("xmpp.example.org", 5222)]
