"""When memory goes back to the system."""

from __future__ import annotations

from purple_bridge.worker.memory import MANY, QUIET_SECONDS, Memory, trim


class Trimmed:
    def __init__(self) -> None:
        self.now, self.times = 100.0, 0
        self.memory = Memory(self._trim, lambda: self.now)

    def _trim(self) -> None:
        self.times += 1


def test_once_after_many_sign_ons_and_not_while_they_go_on() -> None:
    seen = Trimmed()
    for _ in range(MANY):
        seen.memory.signed_on()
    seen.memory.look()
    seen.now += QUIET_SECONDS
    seen.memory.signed_on()
    seen.now += QUIET_SECONDS
    seen.memory.look()
    assert seen.times == 0
    seen.now += 1
    seen.memory.look()
    seen.memory.look()
    assert seen.times == 1


def test_not_for_few() -> None:
    seen = Trimmed()
    for _ in range(MANY - 1):
        seen.memory.signed_on()
    seen.now += 2 * QUIET_SECONDS
    seen.memory.look()
    assert seen.times == 0


def test_trimming_does_no_harm() -> None:
    trim()
