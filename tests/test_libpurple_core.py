"""libpurple as a guest in a process: it forks nothing, writes nothing, keeps nothing, and survives its callbacks."""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import stat
from pathlib import Path
from typing import Any

from purple_bridge.libpurple import buddies
from purple_bridge.libpurple.accounts import Account
from purple_bridge.libpurple.core import Core
from purple_bridge.libpurple.events import ReceivedMessage
from purple_bridge.libpurple.text import strip
from tests.children import run_in_child
from tests.loops import run_until
from tests.purple_client import PASSWORD, Recorder, new_users, signed_on, started, wait_online, xmpp_account
from tests.servers.prosody import Prosody

MESSAGES = 20_000
BATCH = 200
GROWTH_KIB = 1024  # some 50 octets for each message: less than its own text, were it kept


def _children() -> list[str]:
    """Processes whose parent is this one (proc(5), field 4 of `stat`)."""
    own = str(os.getpid())
    stats = [_stat(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [text for text in stats if text.rpartition(")")[2].split()[1:2] == [own]]


def _stat(process: Path) -> str:
    try:
        return (process / "stat").read_text(errors="replace")
    except OSError:
        return ""


def _files() -> list[str]:
    """Regular files this process has open for writing."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            status = entry.stat()
            writable = stat.S_IMODE(entry.lstat().st_mode) & 0o200
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode) and writable:
            found.append(str(entry.readlink()))
    return found


def a_day(port: int, first: str, second: str) -> dict[str, Any]:
    """A little of everything: look-up by name, contacts, presence, messages, wrong password, sign-off."""
    recorder = Recorder()
    core = Core(recorder)
    core.start()
    one = xmpp_account(first, port, connect_server="localhost")
    two = xmpp_account(second, port)
    wrong = xmpp_account(f"{first}x", port, "wrong")
    wait_online(one, two)
    one.add_buddy(f"{second}@localhost")
    one.set_status(buddies.AWAY, "lunch")
    one.send_im(f"{second}@localhost", "Hello")
    run_until(lambda: recorder.messages and recorder.errors, "a message and an error")
    files = _files()
    wrong.delete()
    one.disconnect()
    run_until(lambda: one in recorder.offline, "signed off")
    core.quit()
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"children": _children(), "ended": ended.ru_maxrss, "files": files}


def test_nothing_is_forked_and_nothing_is_written(prosody: Prosody, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    seen = run_in_child(a_day, prosody.port, *new_users(prosody, 2), home=home)
    assert seen == {"children": [], "ended": 0, "files": []}
    assert list(home.iterdir()) == []


class Clumsy(Recorder):
    """Fails at every message that says so."""

    def message_received(self, account: Account, message: ReceivedMessage) -> None:
        super().message_received(account, message)
        if "fail" in message.html:
            raise ValueError("the cow is ill")


def clumsy(port: int, first: str, second: str) -> list[Any]:
    recorder, failures = Clumsy(), list[str]()
    handler = logging.Handler()
    handler.emit = lambda record: failures.append(str(record.exc_info[1] if record.exc_info else ""))  # type: ignore[method-assign]
    logging.getLogger("purple_bridge").addHandler(handler)
    Core(recorder).start()
    one, two = xmpp_account(first, port), xmpp_account(second, port)
    wait_online(one, two)
    for text in ("fail 1", "fail 2", "good"):
        one.send_im(f"{second}@localhost", text)
    run_until(lambda: len(recorder.messages) == 3, "three messages")
    return [[strip(message.html) for _, message in recorder.messages], [text for text in failures if text]]


def test_a_callback_that_raises_is_logged_and_does_not_stop_the_loop(prosody: Prosody) -> None:
    texts, failures = run_in_child(clumsy, prosody.port, *new_users(prosody, 2))
    assert texts == ["fail 1", "fail 2", "good"]
    assert failures == ["the cow is ill"] * 2


def _rss_kib() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def growth(port: int, first: str, second: str, count: int) -> int:
    recorder, (one, _two) = signed_on(port, first, second)

    def send(messages: int) -> None:
        for _ in range(0, messages, BATCH):
            for number in range(BATCH):
                one.send_im(f"{second}@localhost", f"message {number} " + "x" * 100)
            run_until(lambda: len(recorder.messages) == BATCH, "the batch")
            recorder.messages.clear()
            recorder.typing.clear()

    send(count // 10)
    before = _rss_kib()
    send(count)
    return _rss_kib() - before


def test_messages_leave_no_memory_behind(prosody: Prosody) -> None:
    assert run_in_child(growth, prosody.port, *new_users(prosody, 2), MESSAGES) < GROWTH_KIB


def signed_on_again(port: int, name: str) -> list[Any]:
    """The password is forgotten by libpurple at every disconnection, and given again."""
    recorder = started()
    account = xmpp_account(name, port)
    for _ in range(5):
        wait_online(account)
        account.disconnect()
        run_until(lambda: account.disconnected, "signed off")
        account.connect(PASSWORD)
    wait_online(account)
    return [len(recorder.online), [error.text for _, error in recorder.errors]]


def test_an_account_signs_on_again_and_again(prosody: Prosody) -> None:
    assert run_in_child(signed_on_again, prosody.port, *new_users(prosody, 1)) == [6, []]


def is_away_when_idle() -> bool:
    """Whether accounts become away when nobody has sent a message since 1970."""
    started()
    libpurple = ctypes.CDLL("libpurple.so.0")
    libpurple.purple_idle_set(ctypes.c_long(0))
    # libpurple looks at the clock, as its timer does
    libpurple.purple_prefs_trigger_callback(b"/purple/away/idle_reporting")
    return bool(libpurple.purple_savedstatus_is_idleaway())


def test_an_account_does_not_become_away_by_itself() -> None:
    assert run_in_child(is_away_when_idle) is False
