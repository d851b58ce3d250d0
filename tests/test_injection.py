"""What strangers choose (names, notes, options) is text everywhere, and never a line or a control of its own."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from purple_bridge.errors import BadRequest, GatewayError
from purple_bridge.gateway_options import check_line, for_libpurple
from purple_bridge.libpurple import buddies
from purple_bridge.libpurple.accounts import Account
from purple_bridge.libpurple.events import ContactStatus, ResourcePresence
from purple_bridge.libpurple.protocol import OutgoingMessage
from purple_bridge.worker.watches import contact_presence
from tests.children import run_in_child
from tests.loops import run_for, run_until
from tests.purple_client import IRC, started

NASTY = [
    "a\r\nQUIT :b",
    "a\rQUIT :b",
    "a\nQUIT :b",
    "a\x00b",
    "a\x1b[2Jb",
    "a\x7fb",
    "a\u202eb",
    "a\u2066b\u2069",
    "a\u200bb",
    "a\ufeffb",
    "a\u2028QUIT :b",
    "a\x85QUIT :b",
]


@pytest.mark.parametrize("text", NASTY)
def test_reason_phrases_are_one_line_of_visible_text(text: str) -> None:
    for error in (GatewayError(text), BadRequest(text)):
        assert error.reason.isprintable()
        assert error.reason[0] == "a"


WITH_CONTROLS = [text for text in NASTY if any(ord(one) < 32 or ord(one) == 127 for one in text)]


@pytest.mark.parametrize("text", WITH_CONTROLS)
def test_control_characters_in_a_name_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        check_line("the name", text)


def refused_options() -> list[str]:
    started()
    options = [("prpl-irc", name) for name in ("realname", "username", "encoding")] + [
        ("prpl-jabber", "connect_server")
    ]
    errors = []
    for protocol, name in options:
        for text in WITH_CONTROLS:
            with pytest.raises(ValueError) as error:
                for_libpurple(protocol, {name: text})
            errors.append(str(error.value))
    return errors


def test_control_characters_in_options_are_refused() -> None:
    """The web page and purplectl take none; a row by plain SQL may have some, which libpurple's IRC would write."""
    assert all(error.endswith("has a control character") for error in run_in_child(refused_options))


@pytest.mark.parametrize("text", NASTY)
def test_names_of_contacts_are_visible_where_phones_show_them(text: str) -> None:
    shown = contact_presence(ContactStatus((ResourcePresence("x", ""),), alias=text))
    assert shown.display_name.isprintable()
    assert shown.display_name[0] == "a"


class LineServer:
    """An IRC server that says welcome and keeps every line."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.octets = b""
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        connection, _ = self._socket.accept()
        connection.sendall(b":s 001 nick :hi\r\n:s 376 nick :end\r\n")
        while octets := connection.recv(4096):
            self.octets += octets

    @property
    def lines(self) -> list[bytes]:
        """As a server parts them: at CR as well as at LF."""
        return [line for line in self.octets.replace(b"\r", b"\n").split(b"\n") if line]


def irc(texts: list[str]) -> list[str]:
    """The commands that a server reads when all that a phone or an operator can choose is nasty."""
    server = LineServer()
    started()
    account = Account(IRC, "nick@127.0.0.1")
    account.set_option("port", server.port)
    account.set_option("ratelimit-interval", 0)
    account.connect(None)
    run_until(lambda: account.connected, "online")
    for text in texts:
        account.set_status(buddies.AWAY, text)
        account.ask_contact(text)
        account.save_contact(text, text, (text,))
        for who in (text, "friend"):
            account.put(OutgoingMessage(who=who, html="", text=text, ident=f"{len(text)}{who}", subject=text))
        account.send_typing(text, True)
        run_for(0.05)
    account.flush()
    run_for(1.5)
    return [line.decode("utf-8", "replace") for line in server.lines]


def test_every_line_to_an_irc_server_is_one_that_was_meant() -> None:
    lines: list[Any] = run_in_child(irc, NASTY)
    commands = [line.split(" ")[0] for line in lines]
    assert "AWAY" in commands and "PRIVMSG" in commands
    assert set(commands) <= {"USER", "NICK", "AWAY", "PRIVMSG", "PING", "ISON", "USERHOST", "WHO", "MODE"}, lines
    targets = {line.split(" ")[1] for line in lines if line.startswith("PRIVMSG")}
    assert all("QUIT" not in target for target in targets)
    assert not [line for line in lines if "\x00" in line]
