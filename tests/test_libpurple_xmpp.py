"""The bindings against a real XMPP server: messages, presence, authorization, and logins that fail."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from purple_bridge.libpurple import buddies, c
from purple_bridge.libpurple.accounts import Account
from purple_bridge.libpurple.text import escape, strip
from tests.children import run_in_child
from tests.loops import run_for, run_until
from tests.purple_client import PASSWORD, Recorder, new_users, signed_on, started, wait_error, wait_online, xmpp_account
from tests.servers.prosody import Prosody
from tests.waiting import free_port

TEXT = "x < y & \"z\" > 'w'\n<b>second</b> line &lt; 🐄 äöü"
KEPT = 20
NOTE = "lunch & <coffee> 🍵"


def _texts(recorder: Recorder, account: Account) -> list[str]:
    return [strip(message.html) for receiver, message in recorder.messages if receiver is account]


# ---- messages


def exchange(port: int, first: str, second: str, text: str) -> list[Any]:
    recorder, (one, two) = signed_on(port, first, second)
    assert one.send_im(f"{second}@localhost", escape(text)) >= 0
    message = run_until(lambda: recorder.messages, "the message")[0][1]
    assert two.send_im(message.sender, escape(text)) >= 0
    run_until(lambda: _texts(recorder, one), "the answer")
    return [strip(message.html), message.sender, message.flags, _texts(recorder, one)]


def test_two_accounts_write_to_each_other(prosody: Prosody) -> None:
    first, second = new_users(prosody, 2)
    text, sender, flags, answers = run_in_child(exchange, prosody.port, first, second, TEXT)
    assert text == TEXT
    assert sender.partition("/")[0] == f"{first}@localhost"
    assert flags & c.PURPLE_MESSAGE_RECV
    assert answers == [TEXT]


def burst(port: int, first: str, second: str, count: int) -> list[str]:
    recorder, (one, two) = signed_on(port, first, second)
    for number in range(count):
        one.send_im(f"{second}@localhost", str(number))
    run_until(lambda: len(recorder.messages) == count, f"{count} messages")
    return _texts(recorder, two)


def test_a_burst_arrives_in_order(prosody: Prosody) -> None:
    assert run_in_child(burst, prosody.port, *new_users(prosody, 2), 500) == [str(number) for number in range(500)]


def while_away(port: int, first: str, second: str, text: str) -> list[Any]:
    recorder, (one,) = signed_on(port, first)
    for number in range(KEPT):
        one.send_im(f"{second}@localhost", escape(f"{number} {text}"))
    run_for(0.5)
    two = xmpp_account(second, port)
    run_until(lambda: len(recorder.messages) == KEPT, "the kept messages")
    one.send_im(f"{second}@localhost", "now")
    run_until(lambda: len(recorder.messages) == KEPT + 1, "a live message")
    return [_texts(recorder, two), [message.sent_at for _, message in recorder.messages]]


def test_kept_messages_say_when_they_were_written(prosody: Prosody) -> None:
    """XEP-0203: the server's <delay/>."""
    before = int(time.time())
    texts, sent_at = run_in_child(while_away, prosody.port, *new_users(prosody, 2), TEXT)
    assert texts == [*(f"{number} {TEXT}" for number in range(KEPT)), "now"]
    assert all(before <= kept_at <= time.time() for kept_at in sent_at[:-1])
    assert sent_at[-1] == 0


# ---- presence


def befriend(recorder: Recorder, watcher: Account, buddy: Account, name: str) -> None:
    """RFC 6121 §3.1: subscribe, and the other's consent."""
    watcher.add_buddy(name)
    owner, request = run_until(lambda: recorder.requests, "the question")[0]
    assert owner is buddy
    request.authorize()
    run_until(lambda: _is_online(watcher, name), f"{name} online")


def _is_online(account: Account, name: str) -> bool:
    status = account.buddy_status(name)
    return status is not None and status.online


def presence(port: int, first: str, second: str, note: str) -> dict[str, Any]:
    recorder, (one, two) = signed_on(port, first, second)
    name = f"{second}@localhost"
    unknown = one.buddy_status(name)
    befriend(recorder, one, two, name)
    request = recorder.requests[0][1]
    two.set_status(buddies.AWAY, note)
    away = run_until(lambda: _with(one, name, buddies.AWAY), "away")
    told = _wait_told(recorder, one, name)
    two.set_status(buddies.UNAVAILABLE, "")
    busy = run_until(lambda: _with(one, name, buddies.UNAVAILABLE), "busy")
    told = told and _wait_told(recorder, one, name)
    two.disconnect()
    run_until(lambda: not _is_online(one, name), "offline")
    return {
        "unknown": unknown,
        "who": request.who,
        "on_list": request.on_list,
        "away": away,
        "busy": busy,
        "told": told,
    }


def _wait_told(recorder: Recorder, account: Account, name: str) -> bool:
    """Changes are told once in each turn of the loop, so a moment after they can be read."""
    run_until(lambda: (account, name) in recorder.buddies, "the change told")
    recorder.buddies.clear()
    return True


def _with(account: Account, name: str, primitive: int) -> list[Any]:
    status = account.buddy_status(name)
    return [status.message, status.idle_since] if status and status.primitive == primitive else []


def test_presence_with_a_note_is_seen(prosody: Prosody) -> None:
    first, second = new_users(prosody, 2)
    seen = run_in_child(presence, prosody.port, first, second, NOTE)
    assert seen["unknown"] is None
    assert seen["who"] == f"{first}@localhost"
    assert not seen["on_list"]
    assert seen["away"] == [NOTE, 0]
    assert seen["busy"] == ["", 0], "the note goes with the status it was given for"
    assert seen["told"]


def deny(port: int, first: str, second: str) -> bool:
    recorder, (one, _two) = signed_on(port, first, second)
    name = f"{second}@localhost"
    one.add_buddy(name)
    run_until(lambda: recorder.requests, "the question")[0][1].deny()
    run_for(0.5)
    return _is_online(one, name)


def test_who_is_denied_sees_nothing(prosody: Prosody) -> None:
    assert run_in_child(deny, prosody.port, *new_users(prosody, 2)) is False


def too_late(port: int, first: str, second: str) -> list[bool]:
    """The answers come when the connection that asked is gone, and again."""
    recorder, (one, two) = signed_on(port, first, second)
    name = f"{second}@localhost"
    one.add_buddy(name)
    request = run_until(lambda: recorder.requests, "the question")[0][1]
    two.disconnect()
    run_until(lambda: two in recorder.offline, "the disconnection")
    for _ in range(1000):
        request.authorize()
        request.deny()
    two.connect(PASSWORD)
    wait_online(two)
    asked_again = run_until(lambda: recorder.requests[1:], "the question once more")[0][1]
    asked_again.authorize()
    asked_again.authorize()
    asked_again.deny()
    run_until(lambda: _is_online(one, name), "online")
    return [one.connected, two.connected]


def test_an_answer_that_is_late_or_given_twice_does_nothing(prosody: Prosody) -> None:
    assert run_in_child(too_late, prosody.port, *new_users(prosody, 2)) == [True, True]


# ---- logins that fail


def failing(port: int, name: str, password: str | None, options: dict[str, Any]) -> dict[str, Any]:
    recorder = started()
    account = xmpp_account(name, port, password, **options)
    error = wait_error(recorder)
    run_until(lambda: account.disconnected and account in recorder.offline, "the end of the connection")
    return {**error, "online": bool(recorder.online), "notices": recorder.notices}


def test_a_wrong_password_is_fatal(prosody: Prosody) -> None:
    error = run_in_child(failing, prosody.port, *new_users(prosody, 1), "wrong", {})
    assert (error["code"], error["fatal"]) == (2, True)  # PURPLE_CONNECTION_ERROR_AUTHENTICATION_FAILED
    assert error["text"]
    assert not error["online"]


def test_a_port_without_a_server_is_not_fatal() -> None:
    error = run_in_child(failing, free_port(), "alice", PASSWORD, {})
    assert (error["code"], error["fatal"]) == (0, False)  # PURPLE_CONNECTION_ERROR_NETWORK_ERROR


def test_a_server_without_tls_is_refused_where_it_is_required(prosody: Prosody) -> None:
    error = run_in_child(
        failing, prosody.port, *new_users(prosody, 1), PASSWORD, {"connection_security": "require_tls"}
    )
    assert "encryption" in error["text"]
    assert not error["online"]


def test_an_unknown_certificate_is_refused(tmp_path: Path) -> None:
    with Prosody(tmp_path, {"alice": PASSWORD}, tls=True) as server:
        error = run_in_child(failing, server.port, "alice", PASSWORD, {"connection_security": "require_tls"})
    assert "certificate" in " ".join([error["text"], *error["notices"]]).lower()
    assert not error["online"]


def without_password(port: int, name: str) -> list[Any]:
    recorder = started()
    account = xmpp_account(name, port, None)
    run_until(lambda: account.disconnected and recorder.notices, "the refused question")
    return [recorder.notices, bool(recorder.online)]


def test_a_missing_password_does_not_hang(prosody: Prosody) -> None:
    notices, online = run_in_child(without_password, prosody.port, *new_users(prosody, 1))
    assert "password" in notices[0].lower()
    assert not online


def server_gone(directory: str) -> dict[str, Any]:
    recorder = started()
    with Prosody(Path(directory), {"alice": PASSWORD}) as server:
        account = xmpp_account("alice", server.port)
        wait_online(account)
        server.kill()
        error = wait_error(recorder)
        run_until(lambda: account.disconnected, "the end of the connection")
        server.start()
        account.connect(PASSWORD)
        wait_online(account)
    return error


def test_a_server_that_goes_is_not_fatal_and_can_be_used_again(tmp_path: Path) -> None:
    assert run_in_child(server_gone, str(tmp_path))["fatal"] is False
