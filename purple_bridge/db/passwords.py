"""Owns what stands in the column ``ext_pass``: plain text, or text encrypted with a key that the database has not.

    secret                      plain, as the old module has it
    enc:0:enc:secret            plain, where the text itself begins like one of these
    enc:1:KEY:BASE64URL         encrypted: 12 octets of nonce, then AES-256-GCM's ciphertext and tag

AES-GCM rather than Fernet, which cannot bind a text to its row: here the protocol and the name of the account are
authenticated with it, so that a text copied to another account's row is refused. The text is padded to full
32 octets, so that the column does not tell how long a password is.
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from purple_bridge.db import key_file
from purple_bridge.db.key_file import BadKeyFile, Key, Keys, Signature
from purple_bridge.errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE, BLOCK = 12, 256  # octets; bits
ESCAPED = "enc:0:"

OTHER_KEY = "its password was encrypted with another key: purplectl key status"
NO_KEY = "its password is encrypted and there is no key for it: purplectl key status"
OTHER_ROW = "its password is damaged, or was encrypted for another account: set it anew"

_MARKED = re.compile(r"enc:[0-9]+:", re.ASCII)
_ENCRYPTED = re.compile(r"enc:1:([0-9a-f]{8}):([A-Za-z0-9_-]+)", re.ASCII)

Seal = Callable[[str | None, str, str], str | None]  # plain text, protocol, name of the account -> what is stored

logger = logging.getLogger(__name__)


class Unreadable(Exception):
    """The stored text cannot be decrypted; the text says why, and holds nothing of it."""


@dataclass(frozen=True, slots=True)
class Stored:
    """``key``: the id of the key of an encrypted text; None for a plain one."""

    key: str | None
    text: str = field(repr=False)


class Passwords:
    """The passwords of one process, which knows the keys of ``file``; None, or a file that is not there: no key.

    Keys are read when a row needs one that is not known, and before each writing: so a file that is made, or changed,
    while the process runs counts at once. What cannot be read of the file is logged, and the keys known before stay.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self._keys: Keys = ()
        self._seen: Signature | None = None

    @property
    def keys(self) -> Keys:
        """As they are now, the one that encrypts first."""
        self._refresh()
        return self._keys

    @property
    def signature(self) -> Signature | None:
        """Of the file as it is now: another one says that keys may be there which were not."""
        return key_file.signature(self.file) if self.file is not None else None

    def read(self, stored: str | None, protocol: str, ext_user: str) -> str | None:
        """The password itself; None for none. Raises Unreadable."""
        if stored is None or not _MARKED.match(stored):
            return stored
        found = parse(stored)
        if found.key is None:
            return found.text
        return decrypted(self._key(found.key), found.text, protocol, ext_user)

    def _key(self, ident: str) -> Key:
        key = next((key for key in self._keys if key.id == ident), None)
        if key is None:
            self._refresh()
            key = next((key for key in self._keys if key.id == ident), None)
        if key is None:
            raise Unreadable(OTHER_KEY if self._keys else NO_KEY)
        return key

    @contextmanager
    def writing(self) -> Iterator[Seal]:
        """How passwords are stored; the keys stay as they are until the block ends, when the rows must be committed.

        Raises ConfigurationError if the file cannot be used, or is gone: a password is not stored plain by mistake.
        """
        if self.file is None:
            yield in_plain
            return
        with key_file.unchanged(self.file) as keys:
            if self._keys and not keys:
                raise ConfigurationError(f"the key file {self.file} is gone: take the copy of it")
            self._keys, self._seen = keys, key_file.signature(self.file)
            yield partial(encrypted, keys[0]) if keys else in_plain

    def _refresh(self) -> None:
        now = self.signature
        if self.file is None or now == self._seen:
            return
        self._seen = now
        try:
            self._keys = key_file.read_keys(self.file) or self._keys
        except BadKeyFile as error:
            logger.error("%s", error)


NO_KEYS = Passwords()


def parse(stored: str) -> Stored:
    """What a text of the column is. Raises Unreadable for one that looks encrypted and cannot be."""
    if not _MARKED.match(stored):
        return Stored(None, stored)
    if stored.startswith(ESCAPED):
        return Stored(None, stored.removeprefix(ESCAPED))
    found = _ENCRYPTED.fullmatch(stored)
    if found is None:
        raise Unreadable(OTHER_ROW)
    return Stored(found[1], found[2])


def plain(text: str | None) -> str | None:
    """As a table without a key holds it."""
    return ESCAPED + text if text is not None and _MARKED.match(text) else text


def in_plain(text: str | None, _protocol: str, _ext_user: str) -> str | None:
    return plain(text)


def encrypted(key: Key, text: str | None, protocol: str, ext_user: str) -> str | None:
    """With a nonce of its own each time. No password stays none, which says nothing."""
    if text is None:
        return None
    from cryptography.hazmat.primitives.padding import PKCS7  # noqa: PLC0415 - see _cipher

    padder, nonce = PKCS7(BLOCK).padder(), os.urandom(NONCE)
    padded = padder.update(text.encode()) + padder.finalize()
    sealed = nonce + _cipher(key.secret).encrypt(nonce, padded, _row(protocol, ext_user))
    return f"enc:1:{key.id}:{base64.urlsafe_b64encode(sealed).decode().rstrip('=')}"


def decrypted(key: Key, text: str, protocol: str, ext_user: str) -> str:
    """``text``: without mark and key. Raises Unreadable."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - see _cipher
    from cryptography.hazmat.primitives.padding import PKCS7  # noqa: PLC0415

    try:
        sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        padded = _cipher(key.secret).decrypt(sealed[:NONCE], sealed[NONCE:], _row(protocol, ext_user))
        unpadder = PKCS7(BLOCK).unpadder()
        return (unpadder.update(padded) + unpadder.finalize()).decode()
    except (InvalidTag, ValueError, binascii.Error):
        raise Unreadable(OTHER_ROW) from None


def _row(protocol: str, ext_user: str) -> bytes:
    """What the text belongs to. Only what never changes with a version: an older text must stay readable."""
    return f"{protocol.strip().lower()}\0{ext_user.strip().lower()}".encode()


def load_library() -> None:
    """Before a fork, so that the children share its memory; 7 MB otherwise, in each process that meets a password."""
    key = key_file.new_key()
    decrypted(key, parse(encrypted(key, "", "", "") or "").text, "", "")


@lru_cache(maxsize=16)
def _cipher(secret: bytes) -> AESGCM:
    """The library is loaded by who needs it: a process without a key does not hold it in memory."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    return AESGCM(secret)
