"""What all processes of the gateway share: made once, before Kamailio forks them."""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field

from purple_bridge.accepted import Accepted
from purple_bridge.board import AccountBoard
from purple_bridge.channels import Channels
from purple_bridge.database_state import DatabaseBoard
from purple_bridge.guesses import Guesses
from purple_bridge.heard import Heard
from purple_bridge.kept_users import KeptUsers
from purple_bridge.live import LiveMemory
from purple_bridge.rates import Buckets, size
from purple_bridge.turns import Turns


@dataclass(frozen=True, slots=True)
class Shared:
    """Socket pairs and tables in shared memory."""

    channels: Channels
    board: AccountBoard
    accepted: Accepted
    kept_users: KeptUsers
    database: DatabaseBoard
    live: LiveMemory = field(default_factory=LiveMemory)
    rates: Buckets = field(default_factory=lambda: Buckets(mmap.mmap(-1, size())))
    guesses: Guesses = field(default_factory=lambda: Guesses(Buckets(mmap.mmap(-1, size()))))
    heard: Heard = field(default_factory=Heard)
    relay_turns: Turns = field(default_factory=Turns)

    @classmethod
    def make(cls, workers: int) -> Shared:
        return cls(Channels(workers), AccountBoard(workers), Accepted(), KeptUsers(), DatabaseBoard(workers))
