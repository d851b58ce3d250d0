"""Owns the file of the keys that passwords in the mapping are encrypted with; knows no table and no password.

One line for each key, the newest first: base64 of 32 octets, then the day it was made. Whoever writes a password holds
a shared lock on the file until the row is committed, whoever changes the file an exclusive one: so a key that no row
needed after the change is needed by none later.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from purple_bridge.errors import ConfigurationError

DEFAULT_NAME = "key"  # in the state directory
OCTETS = 32  # AES-256

_HEAD = """\
# The keys of the passwords in the mapping: the first one encrypts, each of them decrypts.
# Without this file the passwords are lost: keep a copy, but not beside the copies of the database.
"""

Signature = tuple[int, int, int]  # another one: the file is another one


class BadKeyFile(ConfigurationError):
    """The file is there and cannot be used; the text says why."""


@dataclass(frozen=True)
class Key:
    """``made``: the day, for people."""

    secret: bytes = field(repr=False)
    made: str = ""

    @cached_property
    def id(self) -> str:
        """What rows name it by; says nothing of the key itself."""
        return hashlib.blake2b(self.secret, digest_size=4, person=b"purple key id").hexdigest()


Keys = tuple[Key, ...]


def new_key() -> Key:
    return Key(secrets.token_bytes(OCTETS), time.strftime("%Y-%m-%d", time.gmtime()))


def signature(path: Path) -> Signature | None:
    """None: there is no file. Two microseconds."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def read_keys(path: Path) -> Keys:
    """All keys of the file; none if there is no file. Raises BadKeyFile."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise BadKeyFile(
            f"the key file {path} cannot be read ({error.strerror}); it must belong to the gateway's user"
        ) from None
    except UnicodeDecodeError:
        raise BadKeyFile(f"the key file {path} is damaged: take the copy of it") from None
    keys = tuple(_key(path, line.split()) for line in lines if line.strip() and not line.startswith("#"))
    if not keys:
        raise BadKeyFile(f"the key file {path} is empty: take the copy of it")
    return keys


def _key(path: Path, words: Sequence[str]) -> Key:
    try:
        secret = base64.b64decode(words[0], validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) != OCTETS:
        raise BadKeyFile(f"the key file {path} is damaged: take the copy of it")
    return Key(secret, words[1] if len(words) > 1 else "")


def create(path: Path, keys: Keys, owner: tuple[int, int] | None = None) -> None:
    """A new file, mode 0600, complete at once; raises ConfigurationError if there is one. ``owner``: user, group."""
    temporary = _written(path, keys, owner)
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise ConfigurationError(f"{path} is there already and stays as it is: see `purplectl key rotate`") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be made: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)
    _sync_directory(path)


@contextmanager
def unchanged(path: Path) -> Iterator[Keys]:
    """The keys, which nobody changes meanwhile; none if there is no file. Raises BadKeyFile."""
    descriptor = _locked(path, fcntl.LOCK_SH)
    try:
        yield read_keys(path)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def put_in_front(path: Path, key: Key) -> Keys:
    """Encrypt with this key from now on; what the file has now. Raises ConfigurationError."""
    return _change(path, lambda keys: (key, *keys))


def remove(path: Path, idents: frozenset[str]) -> Keys:
    """Without these keys, of which the first is none; what the file has now. Raises ConfigurationError."""
    return _change(path, lambda keys: (keys[0], *(key for key in keys[1:] if key.id not in idents)))


def _change(path: Path, change: Callable[[Keys], Keys]) -> Keys:
    descriptor = _locked(path, fcntl.LOCK_EX)
    if descriptor is None:
        raise ConfigurationError(f"there is no key file {path}: see `purplectl key create`")
    try:
        keys = change(read_keys(path))
        found = os.fstat(descriptor)
        _written(path, keys, (found.st_uid, found.st_gid)).replace(path)
        _sync_directory(path)
        return keys
    finally:
        os.close(descriptor)


def _locked(path: Path, how: int) -> int | None:
    """A descriptor that holds the lock until it is closed; None if there is no file. Raises BadKeyFile."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError:
            read_keys(path)  # raises, in words
            raise
        fcntl.flock(descriptor, how)
        found = signature(path)
        if found is not None and found[0] == os.fstat(descriptor).st_ino:
            return descriptor
        os.close(descriptor)  # it was replaced while this waited


def _written(path: Path, keys: Keys, owner: tuple[int, int] | None) -> Path:
    """A file beside ``path`` with the keys, on the disk before any row needs them."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be made: {error.strerror}") from None
    with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123 - of a descriptor
        if owner is not None and os.geteuid() == 0:
            os.fchown(descriptor, *owner)
        file.write(_HEAD + "".join(f"{_text(key)}\n" for key in keys))
        file.flush()
        os.fsync(descriptor)
    return temporary


def _text(key: Key) -> str:
    return f"{base64.b64encode(key.secret).decode()} {key.made}".rstrip()


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
