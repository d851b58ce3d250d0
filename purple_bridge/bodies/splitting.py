"""Owns where a text too long for one message is cut; must not know what carries it (RFC 3428 §8).

A part ends between grapheme clusters (Unicode Standard Annex 29), as far as the standard library's tables tell
them; where it cannot tell, two characters are kept together.
"""

from __future__ import annotations

import re
import unicodedata

_MIN_LIMIT = 4  # octets of the longest character


def split(text: str, limit: int) -> list[str]:
    """Parts of at most ``limit`` octets of UTF-8 each, which together are exactly ``text``; none for ``""``.

    A part ends, if it can within its last third, after a line break, else after a space, else between two
    grapheme clusters; within one only where the cluster alone is longer than the limit. Linear time.
    Raises ValueError for a limit below 4, and UnicodeEncodeError (a ValueError) for lone surrogates.
    """
    if limit < _MIN_LIMIT:
        raise ValueError(f"a part has at least {_MIN_LIMIT} octets, not {limit}")
    parts, start = [], 0
    while start < len(text):
        end = _end_of_part(text, start, limit)
        parts.append(text[start:end])
        start = end
    return parts


def _end_of_part(text: str, start: int, limit: int) -> int:
    longest = start + len(text[start : start + limit].encode()[:limit].decode(errors="ignore"))
    if longest == len(text):
        return longest
    earliest = longest - (longest - start) // 3
    for separator in ("\n", " "):
        at = text.rfind(separator, earliest - 1, longest) + 1
        if at and _is_boundary(text, start, at):
            return at
    return next((at for at in range(longest, start, -1) if _is_boundary(text, start, at)), longest)


# UAX 29 GB4, GB5: controls stand alone.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# GB9, GB9a: what continues a cluster and is no mark by its category: joiners, emoji modifiers, the tags of
# flags, the halfwidth Katakana sound marks, Thai and Lao AM.
_CONTINUES = re.compile("[\u200c\u200d\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f\uff9e\uff9f\u0e33\u0eb3]")
# GB9b: what precedes a cluster.
_PREPENDS = re.compile("[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd]")
_REGIONAL = re.compile("[\U0001f1e6-\U0001f1ff]")
# GB6 to GB8: conjoining jamo and syllables of Hangul.
_LEADING, _VOWEL, _TRAILING = "\u1100-\u115f\ua960-\ua97c", "\u1160-\u11a7\ud7b0-\ud7c6", "\u11a8-\u11ff\ud7cb-\ud7fb"
_HANGUL = re.compile(
    f"[{_LEADING}][{_LEADING}{_VOWEL}\uac00-\ud7a3]|[\uac00-\ud7a3{_VOWEL}][{_VOWEL}{_TRAILING}]|[{_TRAILING}][{_TRAILING}]"
)
_VIRAMA = 9  # Unicode's canonical combining class


def _is_boundary(text: str, start: int, at: int) -> bool:
    """Whether the text can be cut before the character ``at``. ``start``: a boundary before it."""
    before, after = text[at - 1], text[at]
    if before == "\r" and after == "\n":  # GB3
        return False
    if _CONTROL.match(before) or _CONTROL.match(after):
        return True
    if unicodedata.category(after).startswith("M") or _CONTINUES.match(after):
        return False
    if before == "\u200d" or _PREPENDS.match(before) or _HANGUL.match(before + after):  # GB11, GB9b, GB6-8
        return False
    if unicodedata.combining(before) == _VIRAMA and unicodedata.category(after) == "Lo":  # GB9c
        return False
    return not (_REGIONAL.match(after) and _regionals_before(text, start, at) % 2)  # GB12, GB13


def _regionals_before(text: str, start: int, at: int) -> int:
    first = at
    while first > start and _REGIONAL.match(text[first - 1]):
        first -= 1
    return at - first
