"""GLib's loop as the bindings use it: timers, descriptor watches, calls from other threads, errors in callbacks."""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from purple_bridge.libpurple import glib
from tests.loops import run_for, run_until


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_timer_fires_once_unless_it_returns_true() -> None:
    seen: list[str] = []

    def thrice() -> bool:
        seen.append("thrice")
        return seen.count("thrice") < 3

    glib.add_timer(0.01, lambda: seen.append("once"))
    glib.add_timer(0.01, thrice)
    run_for(0.2)
    assert sorted(seen) == ["once", "thrice", "thrice", "thrice"]


def test_a_removed_timer_does_not_fire_and_is_removed_once() -> None:
    seen: list[str] = []
    key = glib.add_timer(0.02, lambda: seen.append("fired"))
    assert glib.remove(key)
    assert not glib.remove(key)
    run_for(0.1)
    assert not seen


def test_a_timer_may_remove_itself() -> None:
    removed: list[bool] = []

    def fired() -> bool:
        removed.append(glib.remove(key))
        return True

    key = glib.add_timer(0.01, fired)
    run_for(0.1)
    assert removed == [True]


def test_call_soon_keeps_the_order() -> None:
    seen: list[int] = []
    for number in range(100):
        glib.call_soon(partial(seen.append, number))
    run_until(lambda: len(seen) == 100, "100 calls")
    assert seen == list(range(100))


def test_call_soon_from_another_thread_runs_in_the_loops_thread() -> None:
    seen: list[threading.Thread] = []
    thread = threading.Thread(target=lambda: glib.call_soon(lambda: seen.append(threading.current_thread())))
    thread.start()
    run_until(lambda: seen, "the call")
    thread.join()
    assert seen == [threading.current_thread()]


def test_a_call_from_another_thread_wakes_a_waiting_loop_and_ends_it() -> None:
    loop = glib.MainLoop()
    thread = threading.Timer(0.05, lambda: glib.call_soon(loop.quit))
    thread.start()
    loop.run()
    thread.join()


def test_many_threads_lose_no_call() -> None:
    seen: list[int] = []

    def call() -> None:
        for number in range(500):
            glib.call_soon(partial(seen.append, number))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    run_until(lambda: len(seen) == 2000, "2,000 calls")
    for thread in threads:
        thread.join()


def test_a_watch_is_called_while_the_descriptor_is_readable(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    received: list[bytes] = []
    key = glib.watch(ours.fileno(), glib.READ, lambda _descriptor, _condition: received.append(ours.recv(1)))
    theirs.sendall(b"abc")
    run_until(lambda: len(received) == 3, "three octets")
    assert glib.remove(key)
    theirs.sendall(b"d")
    run_for(0.05)
    assert received == [b"a", b"b", b"c"]


def _wake_ups() -> int:
    """What GLib has told itself, and not read yet (proc(5), eventfd-count)."""
    texts = [path.read_text() for path in Path("/proc/self/fdinfo").iterdir() if path.exists()]
    return sum(int(count, 16) for text in texts for count in re.findall(r"eventfd-count: *([0-9a-f]+)", text))


def test_the_call_of_a_watch_does_not_wake_the_loop_up_again(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    woken: list[int] = []

    def ready(_descriptor: int, _condition: int) -> None:
        ours.recv(1)
        woken.append(_wake_ups())

    key = glib.watch(ours.fileno(), glib.READ, ready)
    run_for(0.05)
    theirs.send(b"x")
    run_until(lambda: woken, "the call")
    glib.remove(key)
    assert woken == [0]


def test_a_watch_may_remove_itself(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    calls: list[bool] = []
    key = glib.watch(ours.fileno(), glib.WRITE, lambda _descriptor, _condition: calls.append(glib.remove(key)))
    run_for(0.05)
    assert calls == [True]


def test_a_watch_sees_the_other_end_close(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    received: list[bytes] = []

    def readable(_descriptor: int, _condition: int) -> None:
        received.append(ours.recv(1))
        glib.remove(key)

    key = glib.watch(ours.fileno(), glib.READ, readable)
    theirs.close()
    run_until(lambda: received, "the end")
    assert received == [b""]


def test_a_timer_that_raises_is_logged_and_forgotten(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ValueError("the cow is ill")

    seen: list[str] = []
    key = glib.add_timer(0.01, fail)
    glib.call_soon(fail)
    glib.add_timer(0.05, lambda: seen.append("still running"))
    with caplog.at_level(logging.ERROR, "purple_bridge"):
        run_until(lambda: seen, "the timer after it")
    assert caplog.text.count("ValueError: the cow is ill") == 2
    assert not glib.remove(key)
    assert "CRITICAL" not in capfd.readouterr().err  # GLib was not asked to remove what it had forgotten


def test_a_watch_that_raises_stays(caplog: pytest.LogCaptureFixture) -> None:
    ours, theirs = os.pipe()
    received: list[bytes] = []

    def readable(_descriptor: int, _condition: int) -> None:
        received.append(os.read(ours, 1))
        raise ValueError("the cow is ill")

    key = glib.watch(ours, glib.READ, readable)
    os.write(theirs, b"ab")
    with caplog.at_level(logging.ERROR, "purple_bridge"):
        run_until(lambda: len(received) == 2, "two octets")
    glib.remove(key)
    os.close(ours)
    os.close(theirs)
    assert caplog.text.count("ValueError: the cow is ill") == 2


@pytest.mark.parametrize(
    ("raw", "text"), [(None, ""), (b"", ""), ("ü🐄".encode(), "ü🐄"), (b"a\xffb", "a\ufffdb"), (b"\xf0\x9f", "\ufffd")]
)
def test_text_from_c_is_salvaged(raw: bytes | None, text: str) -> None:
    assert glib.decode(raw) == text
