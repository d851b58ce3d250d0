"""SCRAM, the client's side of one login (RFC 5802, RFC 7677): pure, knows neither XMPP nor libpurple.

``hashlib`` derives the key in 3 ms where the library that libpurple would use takes 11, and nothing is left of it.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable

MECHANISMS = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}  # the first one that a server has is taken
MOST_ITERATIONS = 500_000  # a server must not keep a processor busy for seconds
GS2_HEADER = "n,,"  # RFC 5802 §7: no channel binding, no other identity


class ScramError(Exception):
    """What the server says is no answer to what was sent; the text says what is wrong."""


class Scram:
    """``user`` and ``password`` are prepared by SASLprep (RFC 4013); ``nonce``: for tests."""

    def __init__(self, mechanism: str, user: str, password: str, nonce: str = "") -> None:
        self._hash, self._password = MECHANISMS[mechanism], password.encode()
        self._nonce = nonce or secrets.token_urlsafe(18)
        name = user.replace("=", "=3D").replace(",", "=2C")
        self._first = f"n={name},r={self._nonce}"
        self._signature = b""  # what the server has to prove
        self.verified = False

    def first(self) -> bytes:
        """The client's first message."""
        return (GS2_HEADER + self._first).encode()

    def answer(self, challenge: bytes) -> Callable[[], bytes]:
        """What computes the client's final message: in any thread, since a server decides how long that takes.

        Once for each login, before ``verify``. Raises ScramError.
        """
        said = _attributes(challenge)
        nonce, iterations = said.get("r", ""), said.get("i", "")
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise ScramError("the server's nonce is not ours")
        if not iterations.isdecimal() or not 0 < int(iterations[:10]) <= MOST_ITERATIONS:
            raise ScramError(f"the server wants {iterations[:10] or 'no'} iterations")
        final = f"c={_base64(GS2_HEADER.encode())},r={nonce}"
        signed = ",".join((self._first, challenge.decode(), final)).encode()
        salt = _decoded(said.get("s", ""))
        return lambda: self._final(final, signed, salt, int(iterations))

    def _final(self, final: str, signed: bytes, salt: bytes, iterations: int) -> bytes:
        salted = hashlib.pbkdf2_hmac(self._hash, self._password, salt, iterations)
        self._signature = self._hmac(self._hmac(salted, b"Server Key"), signed)
        key = self._hmac(salted, b"Client Key")
        proof = self._hmac(hashlib.new(self._hash, key).digest(), signed)
        return f"{final},p={_base64(bytes(a ^ b for a, b in zip(key, proof, strict=True)))}".encode()

    def verify(self, final: bytes) -> None:
        """The server knows the password, too. Raises ScramError."""
        said = _attributes(final)
        if not self._signature or not hmac.compare_digest(_decoded(said.get("v", "")), self._signature):
            raise ScramError("the server does not know the password")
        self.verified = True

    def _hmac(self, key: bytes, text: bytes) -> bytes:
        return hmac.digest(key, text, self._hash)


def _attributes(message: bytes) -> dict[str, str]:
    """RFC 5802 §5.1: name=value, parted by commas; an extension that must be understood is not."""
    try:
        parts = message.decode().split(",")
    except UnicodeDecodeError:
        raise ScramError("the server's message is no text") from None
    said = {part[:1]: part[2:] for part in reversed(parts) if part[1:2] == "="}
    if "m" in said:
        raise ScramError("the server wants an extension")
    return said


def _base64(content: bytes) -> str:
    return binascii.b2a_base64(content, newline=False).decode()


def _decoded(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise ScramError("the server's message is not base64") from None
