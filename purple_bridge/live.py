"""The parameters that change at run time: owns their values in shared memory; must not know who asks Kamailio for them.

One process writes, every process reads: a generation number says whether there is anything new, so that a look costs
one read of memory. The values lie in two places by turns, so a reader never waits and never sees half of a change.
"""

from __future__ import annotations

import logging
import mmap
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from purple_bridge.errors import ConfigurationError
from purple_bridge.logs import announce
from purple_bridge.settings import AT_RUN_TIME, Settings, shown

logger = logging.getLogger(__name__)

HEADER = 64
PLACE = 65_536  # octets for the values, with their length in front
LONGEST = 8_192  # characters of one value

Values = dict[str, Any]
Changed = Callable[[Settings], None]


class LiveMemory:
    """Made in the parent before the fork; ``write`` only in one process."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, HEADER + 2 * PLACE)
        self.header = memoryview(self._memory)[:8].cast("Q")

    @property
    def generation(self) -> int:
        """Grows with each change; 0: nothing has changed since the start."""
        return self.header[0]

    def write(self, values: Values) -> None:
        """``values``: all that differ from what the gateway was started with."""
        generation = self.generation + 1
        octets = msgspec.json.encode(values)
        start = self._place(generation)
        self._memory[start : start + 4 + len(octets)] = len(octets).to_bytes(4) + octets
        self.header[0] = generation

    def read(self) -> tuple[int, Values]:
        """The generation and its values."""
        while True:
            generation = self.generation
            if generation == 0:
                return 0, {}
            start = self._place(generation)
            length = int.from_bytes(self._memory[start : start + 4])
            octets = self._memory[start + 4 : start + 4 + length]
            if self.generation == generation:  # else its place may have been written to meanwhile
                return generation, msgspec.json.decode(octets)

    def _place(self, generation: int) -> int:
        return HEADER + generation % 2 * PLACE


class LiveSettings:
    """What counts now, in one process. ``changed``: called there with each change, by whoever looks first."""

    def __init__(self, settings: Settings, memory: LiveMemory, changed: Changed = lambda _settings: None) -> None:
        self._start, self._now, self._memory, self._changed = settings, settings, memory, changed
        self._header, self._generation = memory.header, 0  # looked at several times for each message

    @property
    def now(self) -> Settings:
        self.look()
        return self._now

    def look(self) -> None:
        """One read of memory while nothing has changed."""
        if self._header[0] != self._generation:
            self._generation, values = self._memory.read()
            self._now = replace(self._start, **{name: _typed(name, value) for name, value in values.items()})
            self._changed(self._now)


def _typed(name: str, value: Any) -> Any:
    """JSON has no sets."""
    return frozenset(value) if name == "web_admins" else value


class Follower:
    """Takes what Kamailio says of the group ``purple``, and writes down what has changed: in one process alone.

    ``settings``: what the gateway was started with. A value that is wrong is logged once and changes nothing.
    """

    def __init__(self, settings: Settings, memory: LiveMemory) -> None:
        self._memory = memory
        self._values: Values = {name: getattr(settings, name) for name in AT_RUN_TIME}
        self._seen: dict[str, object] | None = None

    def follow(self, values: Mapping[str, object]) -> None:
        """``values``: name -> value of each parameter, as ``cfg.get purple`` lists them."""
        seen, self._seen = self._seen, dict(values)
        # the first look has what kamailio.cfg says, or what was set while the gateway started
        changed = [name for name in values if (name in AT_RUN_TIME if seen is None else values[name] != seen.get(name))]
        taken = [self._take(name, values[name]) for name in changed]
        if any(taken):
            self._memory.write(self._values)

    def _take(self, name: str, value: object) -> bool:
        """Whether it is another value now."""
        if name not in AT_RUN_TIME:
            logger.warning("purple.%s cannot change at run time: change kamailio.cfg and restart the gateway", name)
            return False
        before = self._values[name]
        try:
            after = _checked(name, value)
        except ConfigurationError as error:
            logger.error("%s; it stays %s", error, _in_words(before))
            return False
        if after == before:
            return False
        self._values[name] = after
        announce(logger, "purple.%s is %s now, it was %s", name, _in_words(after), _in_words(before))
        return True


def _checked(name: str, value: object) -> Any:
    """Raises ConfigurationError."""
    if isinstance(value, str) and len(value) > LONGEST:
        raise ConfigurationError(f"purple.{name} is {shown(value)}: it must have at most {LONGEST} characters")
    return AT_RUN_TIME[name](lambda _name: value)


def _in_words(value: object) -> str:
    if isinstance(value, frozenset):
        return shown(", ".join(sorted(value)))
    return shown(str(int(value) if isinstance(value, bool) else value))
