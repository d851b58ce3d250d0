"""XMPP logins by SCRAM: with a real server, and with what only a broken or hostile one would say."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

from purple_bridge.libpurple import glib
from purple_bridge.libpurple.scram import MOST_ITERATIONS
from tests.children import run_in_child
from tests.purple_client import PASSWORD, new_users, started, wait_error, wait_online, xmpp_account
from tests.servers.base import HOST
from tests.servers.prosody import STREAM, Prosody

SASL = "xmlns='urn:ietf:params:xml:ns:xmpp-sasl'"
LONGEST = 65536


def online(port: int, name: str, password: str) -> list[bool]:
    recorder = started()
    wait_online(xmpp_account(name, port, password))
    return [bool(recorder.online), bool(recorder.errors)]


def test_a_password_and_a_name_beyond_ascii(prosody: Prosody) -> None:
    name, password = f"jürg={new_users(prosody, 1)[0]}", "Grüße, =7 🐄 \u00aa"
    prosody.add_user(name, password)
    assert run_in_child(online, prosody.port, name, password) == [True, False]


# ---- servers that no real server is


@contextmanager
def server(*answers: str | Callable[[str], str]) -> Iterator[tuple[int, list[str]]]:
    """Offers SCRAM-SHA-1 and PLAIN, and gives these answers, or what they make of what was said to them."""
    heard: list[str] = []

    def talk(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.settimeout(20)
            opening = ""
            while "<stream:stream" not in opening:  # the declaration of XML comes first
                opening += connection.recv(LONGEST).decode()
            mechanisms = "".join(f"<mechanism>{name}</mechanism>" for name in ("PLAIN", "SCRAM-SHA-1"))
            features = f"<stream:features><mechanisms {SASL}>{mechanisms}</mechanisms></stream:features>"
            opened = STREAM.format(domain="localhost").replace(" to=", " id='1' from=")
            connection.sendall((opened + features).encode())
            for answer in answers:
                heard.append(connection.recv(LONGEST).decode())
                connection.sendall((answer if isinstance(answer, str) else answer(heard[-1])).encode())
            heard.append(connection.recv(LONGEST).decode())

    with socket.create_server((HOST, 0)) as listening:
        thread = threading.Thread(target=talk, args=(listening,))
        thread.start()
        yield listening.getsockname()[1], heard
        thread.join()


def failing(port: int) -> dict[str, Any]:
    recorder = started()
    xmpp_account("alice", port, PASSWORD, auth_plain_in_clear=True)
    return wait_error(recorder)


def challenge(said: str, iterations: int = 4096) -> str:
    """RFC 5802 §3: with the client's nonce and more."""
    first = base64.b64decode(re.search(r">([^<]+)<", said)[1]).decode()  # type: ignore[index]
    nonce = first.rpartition("r=")[2]
    content = base64.b64encode(f"r={nonce}more,s=QSXCR+Q6sek8bf92,i={iterations}".encode()).decode()
    return f"<challenge {SASL}>{content}</challenge>"


def test_what_else_a_server_has_is_tried_when_it_refuses() -> None:
    failures = (f"<failure {SASL}><{name}/></failure>" for name in ("temporary-auth-failure", "not-authorized"))
    with server(*failures) as (port, heard):
        error = run_in_child(failing, port)
    assert error["fatal"]
    assert "SCRAM-SHA-1" in heard[0]
    assert "PLAIN" in heard[1]
    assert base64.b64encode(f"\0alice\0{PASSWORD}".encode()).decode() in heard[1]


def test_a_server_that_does_not_know_the_password_is_not_believed() -> None:
    proof = base64.b64encode(b"v=" + base64.b64encode(bytes(20))).decode()
    with server(challenge, f"<success {SASL}>{proof}</success>") as (port, heard):
        error = run_in_child(failing, port)
    assert "does not know the password" in error["text"]
    assert "<presence" not in "".join(heard)


def test_an_answer_to_nothing() -> None:
    """The login had failed, and there is nothing else to try; the server goes on with it all the same."""
    with server(f"<challenge {SASL}>bT0x</challenge><success {SASL}/>") as (port, _):
        error = run_in_child(failing, port)
    assert error["text"].startswith("SCRAM: ")


def test_a_challenge_that_is_none() -> None:
    with server(f"<challenge {SASL}>****</challenge>") as (port, _):
        error = run_in_child(failing, port)
    assert error["text"].startswith("SCRAM: ")


def test_a_server_that_asks_twice() -> None:
    with server(lambda said: 2 * challenge(said)) as (port, _):
        error = run_in_child(failing, port)
    assert "asks twice" in error["text"]


def longest_pause(port: int) -> tuple[float, float]:
    """Of the loop, while the server is answered, and how long the answer takes; both in seconds."""
    started_at = time.monotonic()
    hashlib.pbkdf2_hmac("sha1", PASSWORD.encode(), bytes(12), MOST_ITERATIONS)
    took, recorder, ticks = time.monotonic() - started_at, started(), [time.monotonic()]
    xmpp_account("alice", port, PASSWORD)
    ticks[0] = time.monotonic()

    def tick() -> bool:
        ticks.append(time.monotonic())
        return True

    glib.add_timer(0.01, tick)
    wait_error(recorder)
    return max(later - before for before, later in pairwise(ticks)), took


def test_a_server_that_wants_much_computed_keeps_nobody_waiting() -> None:
    refusal = f"<failure {SASL}><not-authorized/></failure>"
    with server(lambda said: challenge(said, MOST_ITERATIONS), refusal, refusal) as (port, heard):
        pause, took = run_in_child(longest_pause, port)
    assert "<response" in heard[1]
    assert pause < took / 2
