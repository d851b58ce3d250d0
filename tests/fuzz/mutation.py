"""Owns how octets are changed by chance, the same way for the same seed; must not know what they mean."""

from __future__ import annotations

import random
from collections.abc import Sequence

LARGEST = 60_000
"""Octets of what ``mutated`` makes."""

# What parsers stumble over: ends of lines and strings, escapes of many kinds, numbers at limits, octets outside UTF-8.
TOKENS: tuple[bytes, ...] = (
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\r\n ", b"\0", b"\x01", b"\t", b"\x7f", b"\x1b[2J"),
    *(
        b'"',
        b"'",
        b"\\",
        b"\\\\",
        b'\\"',
        b"<",
        b">",
        b"<>",
        b"</",
        b"/>",
        b"&",
        b";",
        b",",
        b":",
        b"=",
        b"@",
        b"%",
        b"*",
    ),
    *(b"%00", b"%0d%0a", b"%2A", b"%ff", b"%", b"%zz", b"\\u0000", b"\\ud800", b"&#0;", b"&#x110000;", b"&lt;", b"&x;"),
    *(b"0", b"-1", b"255", b"256", b"65536", b"2147483647", b"2147483648", b"4294967296", b"18446744073709551616"),
    *(b"9" * 40, b"1e999", b"NaN", b"-0", b"0x10", b"\xd9\xa3", b"\xc2\xb2"),
    *(b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"\xff\xfe", b"\xe2\x80\xae"),
    *(b"\xe2\x80\xa8", b"\xc2\x85", b"\xe2\x80\x8b", b"\xcc\x81", b"\xf0\x9f\x91\xa9\xe2\x80\x8d", b"\xef\xbf\xbf"),
    *(
        b"<!--",
        b"-->",
        b"<![CDATA[",
        b"]]>",
        b"<?x",
        b"?>",
        b"<!DOCTYPE x [<!ENTITY a 'b'>]>",
        b"xmlns=''",
        b"<a>" * 50,
    ),
    *(b"[", b"]", b"(", b")", b"{", b"}", b"..", b"/../", b"//", b"~~", b"?", b"#", b"--", b"|", b"`", b" ", b"$"),
)


class Mutator:
    """One seed, one course of changes."""

    def __init__(self, seed: int | str, tokens: Sequence[bytes] = TOKENS) -> None:
        self.random = random.Random(seed)
        self._tokens = tokens
        self._changes = (
            self._flipped,
            self._other_octet,
            self._with_token,
            self._with_token,
            self._cut_out,
            self._twice,
            self._many_times,
            self._cut_off,
            self._spliced,
            self._spliced,
        )

    def mutated(self, data: bytes, others: Sequence[bytes] = (), most: int = 4) -> bytes:
        """``data`` after 1 to ``most`` changes; ``others``: of which parts may get in."""
        for _ in range(self.random.randint(1, most)):
            data = self.random.choice(self._changes)(data, others)[:LARGEST]
        return data

    def token(self) -> bytes:
        return self.random.choice(self._tokens)

    def _place(self, data: bytes) -> int:
        return self.random.randint(0, len(data))

    def _span(self, data: bytes, longest: int = 64) -> tuple[int, int]:
        start = self._place(data)
        return start, min(len(data), start + self.random.randint(1, longest))

    def _flipped(self, data: bytes, _others: Sequence[bytes]) -> bytes:
        if not data:
            return b"\x80"
        at = self.random.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << self.random.randrange(8)]) + data[at + 1 :]

    def _other_octet(self, data: bytes, _others: Sequence[bytes]) -> bytes:
        at = self._place(data)
        return data[:at] + bytes([self.random.randrange(256)]) + data[at + 1 :]

    def _with_token(self, data: bytes, _others: Sequence[bytes]) -> bytes:
        start, end = self._span(data, 8)
        end = start if self.random.random() < 0.5 else end
        return data[:start] + self.token() + data[end:]

    def _cut_out(self, data: bytes, _others: Sequence[bytes]) -> bytes:
        start, end = self._span(data)
        return data[:start] + data[end:]

    def _twice(self, data: bytes, _others: Sequence[bytes]) -> bytes:
        start, end = self._span(data, 200)
        return data[:end] + data[start:end] + data[end:]

    def _many_times(self, data: bytes, _others: Sequence[bytes]) -> bytes:
        """What takes more than linear time shows here."""
        start, end = self._span(data, 12)
        part = data[start:end] if self.random.random() < 0.5 else self.token()
        times = self.random.choice((10, 100, 1000, 10_000))
        return data[:end] + (part * times)[: LARGEST - len(data)] + data[end:]

    def _cut_off(self, data: bytes, _others: Sequence[bytes]) -> bytes:
        at = self._place(data)
        return data[:at] if self.random.random() < 0.7 else data[at:]

    def _spliced(self, data: bytes, others: Sequence[bytes]) -> bytes:
        other = self.random.choice(others) if others else data
        (start, end), at = self._span(other, 400), self._place(data)
        return data[:at] + other[start:end] + data[at:]
