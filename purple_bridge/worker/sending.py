"""The message that libpurple is being given right now, in a file that a crash of this process leaves behind.

A message that crashes libpurple takes the whole server down; the next start must know which one it was. Memory mapped
from a file belongs to the kernel: it stays when the process dies, and costs no system call.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Collection
from pathlib import Path

import msgspec

from purple_bridge.commands import SendMessage, decode, encode

SIZE = 1 << 20  # larger than any command
LENGTH = 4
NOTHING = bytes(LENGTH)


class Sending:
    """``path``: this worker's own file."""

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, SIZE)  # writing into a hole of a full disk is a SIGBUS
            self._memory = mmap.mmap(file.fileno(), SIZE)
        self._ident = ""  # of the message that the file has

    def start(self, message: SendMessage) -> None:
        """The length last: a half-written message does not count."""
        frame = encode(message)[: SIZE - LENGTH]
        self._memory[LENGTH : LENGTH + len(frame)] = frame
        self._memory[:LENGTH] = len(frame).to_bytes(LENGTH)
        self._ident = message.ident

    def end(self) -> None:
        self._memory[:LENGTH] = NOTHING
        self._ident = ""

    def settled(self, idents: Collection[str]) -> None:
        """The network has these or has refused them: no later crash is theirs, and none of them is sent again."""
        if self._ident in idents:
            self.end()

    def left_behind(self) -> SendMessage | None:
        """What the process before this one was sending when it died; asked for once, at the start."""
        length = int.from_bytes(self._memory[:LENGTH])
        frame = self._memory[LENGTH : LENGTH + length]
        self.end()
        if not length:
            return None
        try:
            message = decode(frame)
        except msgspec.MsgspecError:  # another version's, or torn
            return None
        return message if isinstance(message, SendMessage) else None
