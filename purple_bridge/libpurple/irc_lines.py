"""The lines of an IRC server (RFC 2812 §2.3.1): owns reading them and comparing names; knows no libpurple."""

from __future__ import annotations

from dataclasses import dataclass

from .glib import decode

LINE_OCTETS = 512  # RFC 2812 §2.3, CR LF and the sender's prefix that the server adds included
WITH_TEXT = (b"PRIVMSG", b"NOTICE")


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


def has_long_name(line: bytes) -> bool:
    """Whether a word of it is longer than a whole line may be; of a message the text does not count.

    libpurple compares names in GLib's normal form, which takes the square of the time for a row of combining marks.
    """
    if len(line) <= LINE_OCTETS:
        return False
    words = line.split(b" ")
    if any(word.upper() in WITH_TEXT for word in words[:2]):
        words = words[:3]
    return any(len(word) > LINE_OCTETS for word in words)


# RFC 2812 §2.2: {}|^ are the lower case of []\~
_LOWER = bytes.maketrans(b"[]\\~", b"{}|^")


def lower(name: bytes) -> bytes:
    """What makes two names the same."""
    return name.lower().translate(_LOWER)
