"""The bindings against a real IRC server, and against one that talks without end."""

from __future__ import annotations

import os
from typing import Any

import pytest

from purple_bridge.libpurple.text import escape, strip
from tests.children import run_in_child
from tests.faults.processes import anonymous_kilobytes
from tests.loops import run_until
from tests.purple_client import irc_account, started, wait_error, wait_online
from tests.servers.hostile_irc import HostileIrc
from tests.servers.ngircd import Ngircd
from tests.waiting import free_port

TEXT = "x < y & z 🐄"


def exchange(port: int, first: str, second: str, text: str) -> list[Any]:
    recorder = started()
    one, two = irc_account(first, port), irc_account(second, port)
    wait_online(one, two)
    assert one.send_im(second, escape(text)) >= 0
    message = run_until(lambda: recorder.messages, "the message")[0][1]
    assert two.send_im(message.sender, escape(text)) >= 0
    account, answer = run_until(lambda: recorder.messages[1:], "the answer")[0]
    return [message.sender, strip(message.html), account is one, strip(answer.html)]


def test_two_accounts_write_to_each_other(ngircd: Ngircd) -> None:
    assert run_in_child(exchange, ngircd.port, "alicepurple", "bobpurple", TEXT) == ["alicepurple", TEXT, True, TEXT]


def watched(port: int, first: str, second: str) -> list[bool]:
    started()
    one = irc_account(first, port)
    wait_online(one)
    one.add_buddy(second)
    two = irc_account(second, port)
    wait_online(two)
    # irc.c asks the server for its contacts (ISON) every 45 s, and when one is added
    one.disconnect()
    run_until(lambda: one.disconnected, "signed off")
    one.connect(None)
    wait_online(one)
    run_until(lambda: (status := one.buddy_status(second)) is not None and status.online, "the contact online")
    return [one.connected, two.connected]


def test_a_contact_that_is_there_is_seen(ngircd: Ngircd) -> None:
    assert run_in_child(watched, ngircd.port, "carolpurple", "davepurple") == [True, True]


def unreachable(port: int) -> dict[str, Any]:
    recorder = started()
    irc_account("erinpurple", port)
    return wait_error(recorder)


def test_a_port_without_a_server_is_not_fatal() -> None:
    assert run_in_child(unreachable, free_port())["fatal"] is False


def grown(port: int, attack: str) -> int:
    """KB of anonymous memory, from before the account was there until it has heard everything."""
    recorder = started()
    before = anonymous_kilobytes(os.getpid())
    irc_account(attack, port)
    run_until(lambda: [message.text for _, message in recorder.messages] == ["that was all"], "the end", 50)
    return anonymous_kilobytes(os.getpid()) - before


@pytest.mark.parametrize("attack", ["motd", "names", "joins"])
def test_what_a_server_says_without_end_is_not_kept(attack: str) -> None:
    with HostileIrc() as server:
        assert run_in_child(grown, server.port, attack) < 2_000
