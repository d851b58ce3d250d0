"""Passwords in the column ext_pass: plain, escaped, encrypted; the file of the keys."""

from __future__ import annotations

import os
import stat
import string
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from purple_bridge.db import key_file
from purple_bridge.db.key_file import BadKeyFile
from purple_bridge.db.passwords import (
    NO_KEY,
    NO_KEYS,
    OTHER_KEY,
    OTHER_ROW,
    Passwords,
    Unreadable,
    encrypted,
    parse,
    plain,
)
from purple_bridge.db.tables import LONGEST_STORED
from purple_bridge.errors import ConfigurationError

JABBER, ALICE = "prpl-jabber", "alice@example.org"

texts = st.text(st.characters(codec="utf-8"), max_size=255)
marked = st.sampled_from(["enc:", "enc:0:", "enc:1:", "enc:1:0123abcd:", "enc:27:", "ENC:1:"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "key"


@pytest.fixture
def passwords(path: Path) -> Passwords:
    key_file.create(path, (key_file.new_key(),))
    return Passwords(path)


def stored(passwords: Passwords, text: str | None, protocol: str = JABBER, ext_user: str = ALICE) -> str | None:
    with passwords.writing() as seal:
        return seal(text, protocol, ext_user)


@given(mark=st.just("") | marked, text=texts)
def test_what_is_written_without_a_key_is_read_as_it_was(mark: str, text: str) -> None:
    value = plain(mark + text)
    assert value is not None
    assert NO_KEYS.read(value, JABBER, ALICE) == mark + text
    assert value == mark + text or value == f"enc:0:{mark}{text}"


@given(mark=st.just("") | marked, text=texts, name=texts)
def test_what_is_encrypted_is_read_as_it_was_and_only_in_its_row(mark: str, text: str, name: str) -> None:
    key = key_file.new_key()
    passwords = Passwords()
    passwords._keys = (key,)
    value = encrypted(key, (mark + text)[:255], JABBER, name)
    assert value is not None
    assert len(value) <= LONGEST_STORED
    assert passwords.read(value, JABBER, name) == (mark + text)[:255]
    for protocol, other in ((JABBER, name + "x"), ("prpl-irc", name)):
        with pytest.raises(Unreadable, match=OTHER_ROW):
            passwords.read(value, protocol, other)


def test_a_text_is_another_one_each_time_and_does_not_tell_its_length(passwords: Passwords) -> None:
    one, two, longer = (stored(passwords, text) for text in ("secret", "secret", "a secret of 31 characters......"))
    assert one != two
    assert len(str(one)) == len(str(longer))
    assert "secret" not in str(one)


def test_no_password_is_none(passwords: Passwords) -> None:
    assert stored(passwords, None) is None
    assert passwords.read(None, JABBER, ALICE) is None


def test_plain_rows_are_read_beside_encrypted_ones(passwords: Passwords) -> None:
    assert passwords.read("plain", JABBER, ALICE) == "plain"
    assert passwords.read("enc:hello", JABBER, ALICE) == "enc:hello"  # no mark: there is no number in it


def test_the_name_is_compared_as_the_table_does(passwords: Passwords) -> None:
    assert passwords.read(stored(passwords, "pw"), JABBER, " Alice@Example.org ") == "pw"


@pytest.mark.parametrize("change", [lambda text: text[:-1], lambda text: text[:40], lambda text: text + "AAAA"])
def test_a_text_that_was_cut_or_changed_is_refused(passwords: Passwords, change: object) -> None:
    value = stored(passwords, "secret")
    assert callable(change)
    with pytest.raises(Unreadable, match=OTHER_ROW):
        passwords.read(change(value), JABBER, ALICE)


@pytest.mark.parametrize(
    "text", ["enc:1:", "enc:1:nonsense", "enc:1:0123abcd:", "enc:1:0123abcd:?", "enc:2:0123abcd:AA"]
)
def test_what_looks_encrypted_and_is_not_is_never_a_password(passwords: Passwords, text: str) -> None:
    with pytest.raises(Unreadable):
        passwords.read(text, JABBER, ALICE)


@given(st.text(string.ascii_letters + string.digits + "-_", max_size=200))
def test_whatever_stands_behind_the_mark_is_refused(text: str) -> None:
    passwords = Passwords()
    passwords._keys = (key_file.new_key(),)
    with pytest.raises(Unreadable):
        passwords.read(f"enc:1:{passwords._keys[0].id}:{text}", JABBER, ALICE)


def test_a_key_that_is_not_there(passwords: Passwords, tmp_path: Path) -> None:
    value = stored(passwords, "secret")
    with pytest.raises(Unreadable, match=NO_KEY):
        Passwords(tmp_path / "none").read(value, JABBER, ALICE)
    key_file.create(tmp_path / "other", (key_file.new_key(),))
    with pytest.raises(Unreadable, match=OTHER_KEY):
        Passwords(tmp_path / "other").read(value, JABBER, ALICE)


# --- the file ---------------------------------------------------------------------------------------------


def test_the_file_is_private_and_says_what_it_is(passwords: Passwords, path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    assert text.startswith("#")
    assert passwords.keys[0].id not in text
    assert os.listdir(path.parent) == ["key"]  # noqa: PTH208


def test_it_is_never_overwritten(passwords: Passwords, path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="is there already"):
        key_file.create(path, (key_file.new_key(),))
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["key"]  # noqa: PTH208


def test_a_key_that_is_made_while_the_process_runs_counts_at_once(path: Path) -> None:
    passwords = Passwords(path)
    assert stored(passwords, "secret") == "secret"
    key_file.create(path, (key_file.new_key(),))
    value = stored(passwords, "secret")
    assert value is not None
    assert parse(value).key == passwords.keys[0].id


def test_a_process_that_runs_reads_rows_of_a_newer_key(passwords: Passwords, path: Path) -> None:
    running = Passwords(path)
    assert running.read(stored(passwords, "one"), JABBER, ALICE) == "one"
    keys = key_file.put_in_front(path, key_file.new_key())
    value = stored(passwords, "two")
    assert value is not None
    assert parse(value).key == keys[0].id != keys[1].id
    assert running.read(value, JABBER, ALICE) == "two"
    assert key_file.remove(path, frozenset({keys[1].id})) == keys[:1]
    assert Passwords(path).keys == keys[:1]


def test_the_first_key_is_never_removed(passwords: Passwords, path: Path) -> None:
    assert key_file.remove(path, frozenset({passwords.keys[0].id})) == passwords.keys


def test_a_password_is_not_written_plain_because_the_file_is_gone(passwords: Passwords, path: Path) -> None:
    value = stored(passwords, "secret")
    path.unlink()
    assert passwords.read(value, JABBER, ALICE) == "secret"  # what was known stays known
    with pytest.raises(ConfigurationError, match="is gone"), passwords.writing():
        pass


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"AAAA\n", b"not base64 at all !!!\n", b"\xff\xfe\n"])
def test_a_damaged_file_is_an_error_in_words(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(BadKeyFile, match="take the copy of it"):
        key_file.read_keys(path)
    with pytest.raises(BadKeyFile), Passwords(path).writing():
        pass
    with pytest.raises(Unreadable, match=NO_KEY):
        Passwords(path).read("enc:1:0123abcd:" + "A" * 80, JABBER, ALICE)


def test_whoever_writes_keeps_the_keys_as_they_are(passwords: Passwords, path: Path) -> None:
    """A key that no row needs once it is no longer the first can then be removed: nobody encrypts with it any more."""
    changer = Thread(target=key_file.put_in_front, args=(path, key_file.new_key()))
    with passwords.writing() as seal:
        changer.start()
        before = seal("one", JABBER, ALICE)
        changer.join(0.1)
        assert changer.is_alive()
        assert len(key_file.read_keys(path)) == 1
    changer.join()
    after = stored(passwords, "two")
    assert before is not None
    assert after is not None
    assert parse(after).key == key_file.read_keys(path)[0].id != parse(before).key
