"""Parameters at run time: what changes, what is refused, and that every process sees it, with a real fork."""

from __future__ import annotations

import itertools
import logging
import os
import select
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from purple_bridge.live import LONGEST, PLACE, Follower, LiveMemory, LiveSettings
from purple_bridge.settings import AT_RUN_TIME, Settings, read_settings
from purple_bridge.worker.parameters import LOST_SECONDS, ParameterWatch
from tests.test_settings import GOOD

STARTED: dict[str, Any] = {
    **GOOD,
    "queue": "offline",
    "queue_ttl": 259_200,
    "own_messages": "mark",
    "avatars": "off",
    "log_level": "info",
    "log_bodies": 0,
    "user_rate": 0,
    "account_rate": 0,
    "contact_rate": 0,
    "loop_limit": 20,
    "web": "",
    "web_admins": "sip:root@example.org",
    "auth": 1,
}


class Desk:
    """Worker 1's follower, and the settings as another part of the gateway has them."""

    def __init__(self) -> None:
        self.memory = LiveMemory()
        self.changes: list[Settings] = []
        settings = read_settings(STARTED.get)
        self.follower = Follower(settings, self.memory)
        self.live = LiveSettings(settings, self.memory, self.changes.append)

    def set(self, **values: object) -> Settings:
        """Kamailio's list, with these instead of what it was started with."""
        self.follower.follow({**STARTED, **values})
        return self.live.now


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.set()
    return desk


def test_nothing_changes_at_the_start(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    before = desk.live.now
    desk.set()
    assert (desk.live.now, desk.changes, desk.memory.generation, caplog.text) == (before, [], 0, "")


@pytest.mark.parametrize(
    ("name", "value", "expected", "was"),
    [
        ("queue", "always", "always", "'offline'"),
        ("queue_ttl", 60, 60, "'259200'"),
        ("queue_ttl", "60", 60, "'259200'"),
        ("authorize", "deny", "deny", "'ask'"),
        ("own_messages", "drop", "drop", "'mark'"),
        ("avatars", "https://example.org/a", "https://example.org/a", "'off'"),
        ("log_level", "debug", "debug", "'info'"),
        ("log_bodies", 1, True, "'0'"),
        ("web_admins", "sip:Ann@example.org, sip:bob@example.org", {"ann@example.org", "bob@example.org"}, "'root@"),
        ("user_rate", 50, 50, "'0'"),
        ("account_rate", 50, 50, "'0'"),
        ("contact_rate", 20, 20, "'0'"),
        ("loop_limit", 0, 0, "'20'"),
        ("web_admins", "", set(), "'root@example.org'"),
    ],
)
def test_a_change_is_seen_and_told_once(
    desk: Desk, caplog: pytest.LogCaptureFixture, name: str, value: object, expected: object, was: str
) -> None:
    assert getattr(desk.set(**{name: value}), name) == expected
    desk.set(**{name: value})
    assert desk.memory.generation == 1
    assert [getattr(settings, name) for settings in desk.changes] == [expected]
    assert len(caplog.records) == 1
    assert f"purple.{name} is " in caplog.text
    assert f"it was {was}" in caplog.text
    assert getattr(desk.set(), name) == getattr(read_settings(STARTED.get), name), "and back"


def test_every_parameter_that_can_change_is_among_those_tried() -> None:
    tried = {case[0] for case in test_a_change_is_seen_and_told_once.pytestmark[0].args[1]}  # type: ignore[attr-defined]
    assert tried == set(AT_RUN_TIME)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("queue", "never", "one of offline, always"),
        ("queue", 7, "one of offline, always"),
        ("queue_ttl", 0, "a number from 1 to 31536000"),
        ("queue_ttl", -5, "a number from 1 to 31536000"),
        ("authorize", "", "one of ask, accept, deny"),
        ("own_messages", "keep", "one of mark, drop"),
        ("avatars", "ftp://x", "off, inline or an http"),
        ("log_level", "x" * 60_000, f"at most {LONGEST} characters"),
        ("log_level", "DEBUG", "one of debug, info, warning, error"),
        ("log_bodies", 2, "a number from 0 to 1"),
        ("user_rate", -1, "a number from 0 to 1000000"),
        ("loop_limit", 1001, "a number from 0 to 1000"),
        ("web_admins", "no user", "write sip:USER@DOMAIN"),
        ("web_admins", "sip:a@b.c\nforged", "write sip:USER@DOMAIN"),
    ],
)
def test_a_wrong_value_is_told_once_and_changes_nothing(
    desk: Desk, caplog: pytest.LogCaptureFixture, name: str, value: object, allowed: str
) -> None:
    before = desk.live.now
    desk.set(**{name: value})
    assert desk.set(**{name: value}) == before
    assert desk.memory.generation == 0
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert f"purple.{name} is " in record.getMessage()
    assert allowed in record.getMessage()
    assert len(record.getMessage()) < 1000


def test_a_wrong_value_does_not_keep_a_right_one_from_being_taken(desk: Desk) -> None:
    now = desk.set(queue="never", authorize="accept")
    assert (now.queue, now.authorize) == ("offline", "accept")


@pytest.mark.parametrize("name", ["db_url", "workers", "connect_on", "gateway_domain"])
def test_what_cannot_change_is_told_once_without_its_value(
    desk: Desk, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    for _ in range(2):
        desk.set(**{name: "mysql://u:topsecret@h/d"})
    (record,) = caplog.records
    assert f"purple.{name} cannot change at run time" in record.getMessage()
    assert "topsecret" not in caplog.text


def test_what_was_set_while_the_gateway_started_counts(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    assert desk.set(queue="always", workers=7).queue == "always"
    assert "workers" not in caplog.text, "nobody knows what it was before"


def test_a_change_of_the_level_is_told_at_every_level(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    root = logging.getLogger("purple_bridge")
    root.setLevel(logging.ERROR)
    try:
        desk.set(log_level="debug")
    finally:
        root.setLevel(logging.NOTSET)
    assert "purple.log_level is 'debug' now" in caplog.text


def test_another_process_sees_it(desk: Desk) -> None:
    child = os.fork()
    if not child:
        desk.set(queue="always")
        os._exit(0 if desk.live.now.queue == "always" else 1)
    assert os.waitpid(child, 0) == (child, 0)
    assert desk.live.now.queue == "always"
    assert desk.memory.generation == 1


def test_the_longest_values_fit_into_their_place(desk: Desk) -> None:
    users = ",".join(f"sip:{'€' * 20}{number}@example.org" for number in range(200))[:LONGEST].rpartition(",")[0]
    now = desk.set(web_admins=users, avatars="http://" + "a" * (LONGEST - 7))
    assert len(now.web_admins) > 150
    assert PLACE > 4 * 2 * LONGEST - LONGEST


def test_a_reader_never_sees_half_of_a_change(desk: Desk) -> None:
    """Two values that belong together, changed by another process as fast as it can."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(writing)
        _write_until_closed(desk.memory, reading)
    os.close(reading)
    seen: set[int] = set()
    while len(seen) < 500:
        generation, values = desk.memory.read()
        seen.add(generation)
        assert not generation or values["avatars"].startswith(f"http://{values['queue_ttl']}/")
    os.close(writing)
    assert os.waitpid(child, 0) == (child, 0)


def _write_until_closed(memory: LiveMemory, descriptor: int) -> None:
    for number in itertools.count(1):
        memory.write({"queue_ttl": number, "avatars": f"http://{number}/" + "x" * (number % 700)})
        if select.select([descriptor], [], [], 0)[0]:
            os._exit(0)


# ------------------------------------------------------------ worker 1 asks Kamailio
class Kamailio:
    """Takes the questions; a test gives the answers."""

    def __init__(self) -> None:
        self.asked: list[Callable[[Any], None]] = []
        self.seen: list[Mapping[str, object]] = []
        self.now = 100.0
        self.watch = ParameterWatch(self, self.seen.append, lambda: self.now)

    def ask(self, method: str, parameters: Sequence[str | int], done: Callable[[Any], None]) -> None:
        assert (method, parameters) == ("cfg.get", ["purple"])
        self.asked.append(done)


def test_one_question_at_a_time() -> None:
    kamailio = Kamailio()
    kamailio.watch.look()
    kamailio.watch.look()
    assert len(kamailio.asked) == 1
    kamailio.asked[0]({"queue": "always"})
    kamailio.watch.look()
    assert (len(kamailio.asked), kamailio.seen) == (2, [{"queue": "always"}])


def test_a_question_whose_answer_is_lost_is_put_again() -> None:
    kamailio = Kamailio()
    kamailio.watch.look()
    kamailio.now += LOST_SECONDS
    kamailio.watch.look()
    assert len(kamailio.asked) == 2


def test_without_cfg_rpc_it_is_said_once_and_nothing_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "purple_bridge")
    kamailio = Kamailio()
    kamailio.watch.look()
    kamailio.asked[0](None)
    kamailio.watch.look()
    assert len(kamailio.asked) == 1
    assert caplog.text.count("load the module cfg_rpc") == 1
