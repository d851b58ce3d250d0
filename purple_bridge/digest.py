"""Owns digest authentication of HTTP (RFC 7616, with MD5 as RFC 2617 had it); does no I/O.

Kamailio's KEMI has no function for it: auth_check takes Proxy-Authorization from everything but a REGISTER.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

NONCE_SECONDS = 300
_PAIR = re.compile(r"(\w+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,\"]+))\s*(?:,|$)\s*")
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What an Authorization header says; ``parameters`` with names in lower case."""

    parameters: Mapping[str, str]

    @classmethod
    def parse(cls, header: str) -> Self | None:
        """None for what is no digest, or names a parameter twice."""
        scheme, _, rest = header.strip().partition(" ")
        found = _pairs(rest.strip()) if scheme.lower() == "digest" else None
        if found is None:
            return None
        parameters = {each[1].lower(): _ESCAPED.sub(r"\1", each[2]) if each[3] is None else each[3] for each in found}
        return cls(parameters) if len(parameters) == len(found) else None

    def __getitem__(self, name: str) -> str:
        return self.parameters.get(name, "")

    def proves(self, method: str, ha1: str) -> bool:
        """The response is that of somebody who knows the password; ``ha1``: MD5 of ``user:realm:password``."""
        if self["algorithm"].upper() not in ("", "MD5") or self["qop"] not in ("", "auth"):
            return False
        counted = (self["nc"], self["cnonce"], self["qop"]) if self["qop"] else ()
        wanted = _md5(":".join((ha1, self["nonce"], *counted, _md5(f"{method}:{self['uri']}"))))
        return hmac.compare_digest(wanted.encode(), self["response"].lower().encode())


class Nonces:
    """Nonces that carry their time, signed with ``key``, so that no process has to remember them."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def new(self, now: float) -> str:
        """``now``: Unix time in seconds."""
        return self._signed(f"{int(now):x}")

    def is_fresh(self, nonce: str, now: float) -> bool:
        moment = nonce.partition(".")[0]
        if not re.fullmatch(r"[0-9a-f]{1,12}", moment) or not hmac.compare_digest(
            self._signed(moment).encode(), nonce.encode()
        ):
            return False
        return 0 <= int(now) - int(moment, 16) < NONCE_SECONDS

    def challenge(self, realm: str, now: float, *, stale: bool) -> str:
        """The value of WWW-Authenticate."""
        end = ", stale=true" if stale else ""
        return f'Digest realm="{realm}", nonce="{self.new(now)}", qop="auth", algorithm=MD5{end}'

    def _signed(self, moment: str) -> str:
        return f"{moment}.{hmac.new(self._key, moment.encode(), hashlib.sha256).hexdigest()[:32]}"


def _pairs(text: str) -> list[re.Match[str]] | None:
    """Each begins where the last one ends: a search for the next one would take quadratic time in a long name."""
    found: list[re.Match[str]] = []
    place = 0
    while place < len(text):
        pair = _PAIR.match(text, place)
        if pair is None:
            return None
        found.append(pair)
        place = pair.end()
    return found


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
