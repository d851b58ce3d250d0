"""The lines of an IRC server (RFC 2812 §2.3.1): owns reading them and comparing names; knows no libpurple."""

from __future__ import annotations

from dataclasses import dataclass

from .glib import decode


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the server, RFC 2812 §2.3.1."""

    prefix: bytes
    command: str
    parameters: tuple[bytes, ...]

    @property
    def nick(self) -> bytes:
        return self.prefix.partition(b"!")[0]

    @property
    def last(self) -> bytes:
        return self.parameters[-1] if self.parameters else b""


def parse(line: bytes) -> Line:
    """``line``: without CR LF."""
    prefix = b""
    if line.startswith(b":"):
        prefix, _, line = line[1:].partition(b" ")
    middle, colon, trailing = line.partition(b" :")
    command, *words = middle.split() or [b""]
    return Line(prefix, decode(command).upper(), (*words, *([trailing] if colon else [])))


# RFC 2812 §2.2: {}|^ are the lower case of []\~
_LOWER = bytes.maketrans(b"[]\\~", b"{}|^")


def lower(name: bytes) -> bytes:
    """What makes two names the same."""
    return name.lower().translate(_LOWER)
