"""What a SIP worker asks of the worker that owns an account: frozen values, and how they cross the socket pair."""

from __future__ import annotations

import msgspec

from purple_bridge.db.account import Account

OptionValue = bool | int | str


class AccountSpec(msgspec.Struct, frozen=True):
    """All that is needed to sign an account on; ``protocol``: as in the mapping; ``sip_user``: SipAddress.key."""

    protocol: str
    ext_user: str
    sip_user: str
    password: str | None = None
    options: tuple[tuple[str, OptionValue], ...] = ()
    error: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        return self.protocol, self.ext_user


def spec_of(row: Account) -> AccountSpec:
    """A row of the mapping as it goes to the worker that owns the account."""
    return AccountSpec(row.protocol, row.ext_user, row.sip_user, row.password, row.options, row.error)


class SendMessage(msgspec.Struct, frozen=True, tag="message"):
    """Write ``text`` to ``contact`` from the account."""

    protocol: str
    ext_user: str
    contact: str
    text: str
    sip_user: str
    call_id: str


class SetPresence(msgspec.Struct, frozen=True, tag="presence"):
    """The SIP user's presence, which signs his account on or off.

    ``show``: presence.Show; ``expires_at``: Unix seconds, 0: never; ``keep``: this owner stores it for the next start.
    """

    account: AccountSpec
    show: str
    note: str
    expires_at: float
    keep: bool = False
    call_id: str = ""


class ExtendPresence(msgspec.Struct, frozen=True, tag="extend"):
    """A refresh without a body (RFC 3903 §4.1): the presence stays as it is, for longer."""

    account: AccountSpec
    expires_at: float
    keep: bool = False
    call_id: str = ""


class Watch(msgspec.Struct, frozen=True, tag="watch"):
    """A SIP user watches ``contact`` in the dialog; ``expires_at`` of now or before ends it."""

    account: AccountSpec
    contact: str
    contact_uri: str
    dialog: str
    expires_at: float


Command = SendMessage | SetPresence | ExtendPresence | Watch

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Command)


def encode(command: Command) -> bytes:
    return _encoder.encode(command)


def decode(frame: bytes) -> Command:
    """Raises msgspec.DecodeError or ValidationError for what ``encode`` did not make."""
    command: Command = _decoder.decode(frame)
    return command
