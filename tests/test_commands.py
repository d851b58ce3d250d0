"""Commands cross the socket pair unchanged, and nothing else gets through."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from purple_bridge.commands import (
    AccountSpec,
    Command,
    ContactsChanged,
    Delivered,
    DeliverKept,
    EditContact,
    ListChanged,
    Published,
    Registered,
    RulesChanged,
    SendMessage,
    Typing,
    Watch,
    decode,
    encode,
    ident_of,
)

_text = st.text(st.characters(codec="utf-8"), max_size=50)
_time = st.floats(allow_nan=False, allow_infinity=False)
_value = st.booleans() | st.integers(-(2**63), 2**64 - 1) | _text
_specs = st.builds(
    AccountSpec,
    protocol=_text,
    ext_user=_text,
    sip_user=_text,
    password=st.none() | _text,
    options=st.lists(st.tuples(_text, _value), max_size=4).map(tuple),
    error=st.none() | _text,
)
_commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(
        SendMessage,
        **dict.fromkeys(("protocol", "ext_user", "contact", "text", "sip_user", "call_id", "html", "subject"), _text),
        id=st.integers(0, 2**63 - 1),
        wants=st.frozensets(_text, max_size=3),
        expires_at=_time,
        fingerprint=st.binary(max_size=8),
        stored=st.booleans(),
    ),
    st.builds(Typing, _text, _text, _text, st.booleans()),
    st.builds(Delivered, _text, _text, _text, _text),
    st.builds(
        Published,
        account=_specs,
        **dict.fromkeys(("user", "show", "note", "mood", "language", "etag", "call_id"), _text),
        **dict.fromkeys(("expires_at", "idle_since"), _time),
        priority=st.none() | st.integers(0, 127),
        keep=st.booleans(),
    ),
    st.builds(Registered, _specs, _time, st.booleans(), _text),
    st.builds(Watch, _specs, _text, _text, _text, _text, _text, _time, st.booleans()),
    st.builds(RulesChanged, _specs, _text),
    st.builds(ListChanged, _text, st.booleans(), st.booleans()),
    st.builds(ContactsChanged, _text),
    st.builds(EditContact, _specs, _text, _text, st.lists(_text, max_size=3).map(tuple), st.booleans()),
    st.builds(DeliverKept, _text, st.booleans()),
)


@given(_commands)
def test_what_is_encoded_is_decoded(command: Command) -> None:
    decoded = decode(encode(command))
    assert decoded == command
    assert type(decoded) is type(command)


def test_option_values_keep_their_type() -> None:
    options = (("on", True), ("port", 1), ("name", "1"))
    command = Registered(AccountSpec("prpl-irc", "a", "b", options=options), 0.0)
    decoded = decode(encode(command))
    assert isinstance(decoded, Registered)
    assert [type(value) for _, value in decoded.account.options] == [bool, int, str]


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"garbage",
        b"\xff" * 100,
        encode(SendMessage(1, "p", "e", "c", "t", "s", "i"))[:-1],
        msgspec.msgpack.encode({"type": "reboot"}),
        msgspec.msgpack.encode({"type": "message", "protocol": "p"}),
        msgspec.msgpack.encode({"type": "presence", "account": {}, "show": "", "note": "", "expires_at": 0}),
        msgspec.msgpack.encode(
            {"type": "watch", "account": 7, "contact": "", "contact_uri": "", "dialog": "", "expires_at": 0}
        ),
        msgspec.msgpack.encode([1, 2, 3]),
        msgspec.msgpack.encode(None),
    ],
)
def test_what_is_no_command_is_refused(frame: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode(frame)


@given(st.binary(max_size=200))
def test_any_octets_are_a_command_or_refused(frame: bytes) -> None:
    with contextlib.suppress(msgspec.MsgspecError):
        assert encode(decode(frame))


def test_a_command_cannot_be_changed() -> None:
    command = SendMessage(1, "p", "e", "c", "t", "s", "i")
    with pytest.raises(AttributeError):
        command.text = "other"  # type: ignore[misc]


def test_an_account_is_known_by_protocol_and_name() -> None:
    assert AccountSpec("prpl-irc", "nick@server", "alice@example.org").key == ("prpl-irc", "nick@server")


@given(st.integers(1, 2**63 - 1))
def test_an_ident_is_the_number_in_base_36(number: int) -> None:
    ident = ident_of(number)
    assert ident[0] == "p"
    assert int(ident[1:], 36) == number
