"""What a SIP worker asks of the worker that owns an account: frozen values, and how they cross the socket pair."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from purple_bridge.db.account import Account

OptionValue = bool | int | str

RANKS = 1024  # processes of one Kamailio; an id is microseconds since 1970, then the rank

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_PAIRS = [first + second for first in _DIGITS for second in _DIGITS]


@lru_cache(maxsize=4096)  # asked for several times while the message is on its way
def ident_of(number: int) -> str:
    """A message's id as the IM network sees it: an XMPP stanza id, the token of an IRC PING."""
    digits = ""
    while number:
        number, pair = divmod(number, 36 * 36)
        digits = _PAIRS[pair] + digits
    return f"p{digits.lstrip('0')}"


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
    """Write ``text`` to ``contact`` from the account.

    ``id``: grows with time, unique in the gateway. ``recipient``: the SIP URI the phone wrote to, from which it is told
    of a failure. ``html``: the phone's own markup, empty for plain text. ``message_id``, ``wants``, ``date_time``: the
    IMDN it asked for (RFC 5438). ``cpim``: the phone wrote message/cpim, so it reads it. ``expires_at``: Unix seconds.
    ``fingerprint``: of the SIP request (accepted.py). ``stored``: it has a row in ``purple_queue``.
    """

    id: int
    protocol: str
    ext_user: str
    contact: str
    text: str
    sip_user: str
    call_id: str
    recipient: str = ""
    html: str = ""
    subject: str = ""
    language: str = ""
    message_id: str = ""
    wants: frozenset[str] = frozenset()
    date_time: str = ""
    cpim: bool = False
    expires_at: float = 0.0
    fingerprint: bytes = b""
    stored: bool = False

    @property
    def ident(self) -> str:
        return ident_of(self.id)

    @property
    def accepted_at(self) -> float:
        """Unix seconds; the id begins with them."""
        return self.id // RANKS / 1e6


class Typing(msgspec.Struct, frozen=True, tag="typing"):
    """The SIP user writes to ``contact``, or no longer (RFC 3994); ``refresh``: seconds for which ``active`` counts."""

    protocol: str
    ext_user: str
    contact: str
    active: bool
    refresh: int = 120


class Delivered(msgspec.Struct, frozen=True, tag="delivered"):
    """The SIP user's phone has shown or taken the contact's message ``ident`` (RFC 5438, XEP-0184)."""

    protocol: str
    ext_user: str
    contact: str
    ident: str


class Published(msgspec.Struct, frozen=True, tag="published"):
    """A phone of the SIP user has published, refreshed or removed its presence (RFC 3903 §4.1).

    ``user``: whose presence, as the presence server spells it. ``show``, ``note``, ``idle_since`` (Unix seconds, 0:
    active), ``mood``, ``priority`` and ``language``: what it says itself, ``show`` "" for a refresh, which says
    nothing. ``etag``: of the publication it changes, "" for a new one. ``expires_at``: Unix seconds. ``removes``:
    ids of the tuples of a document with Expires 0. ``keep``: this owner stores it for the next start.
    """

    account: AccountSpec
    user: str
    show: str
    expires_at: float
    note: str = ""
    idle_since: float = 0.0
    mood: str = ""
    priority: int | None = None
    language: str = ""
    etag: str = ""
    removes: frozenset[str] = frozenset()
    keep: bool = False
    call_id: str = ""


class Registered(msgspec.Struct, frozen=True, tag="registered"):
    """A phone of the SIP user is registered until ``expires_at`` (Unix seconds), or none is: 0.

    Where purple.connect_on is ``register``; ``keep`` as in ``Published``.
    """

    account: AccountSpec
    expires_at: float
    keep: bool = False
    call_id: str = ""


class Watch(msgspec.Struct, frozen=True, tag="watch"):
    """A SIP user (SipAddress.key) watches ``contact`` in the dialog; ``expires_at`` of now or before ends it.

    ``contact_uri``: the contact's SIP address; ``presentity``: under which the presence server has the dialog.
    ``initial``: the request began the dialog. ``listed``: it came from the list server, for who watches a whole list.
    """

    account: AccountSpec
    contact: str
    contact_uri: str
    presentity: str
    watcher: str
    dialog: str
    expires_at: float
    initial: bool = False
    listed: bool = False


class RulesChanged(msgspec.Struct, frozen=True, tag="rules"):
    """The SIP user (a SIP URI) has changed who may see his presence (RFC 5025)."""

    account: AccountSpec
    user: str


class ListChanged(msgspec.Struct, frozen=True, tag="list"):
    """A phone has read, or changed, the contact list of the SIP user (a SIP URI) on the XCAP server.

    ``known``: the change came from somebody who knows what was there before (RFC 4825 §8.4: a conditional request).
    """

    user: str
    changed: bool
    known: bool = False


class ContactsChanged(msgspec.Struct, frozen=True, tag="contacts"):
    """The contact list of one of the SIP user's (SipAddress.key) accounts is another now; for his keeper."""

    user: str


class EditContact(msgspec.Struct, frozen=True, tag="edit"):
    """A phone wants ``contact`` on the account's list, under this name and in these groups, or ``removed`` from it."""

    account: AccountSpec
    contact: str
    alias: str = ""
    groups: tuple[str, ...] = ()
    removed: bool = False


class DeliverKept(msgspec.Struct, frozen=True, tag="kept"):
    """A phone of the SIP user (SipAddress.key) has registered: it gets what was kept for it.

    ``registered`` False: more was kept, behind what is being handed out.
    """

    sip_user: str
    registered: bool = True


class RowsChanged(msgspec.Struct, frozen=True, tag="rows"):
    """Rows of the mapping were added, changed or removed; ``blocks``: those of their ids (db/row_changes.py)."""

    blocks: tuple[int, ...]


Command = (
    SendMessage
    | Typing
    | Delivered
    | Published
    | Registered
    | Watch
    | RulesChanged
    | ListChanged
    | ContactsChanged
    | EditContact
    | DeliverKept
    | RowsChanged
)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Command)
_message_decoder = msgspec.msgpack.Decoder(SendMessage)


def encode(command: Command) -> bytes:
    return _encoder.encode(command)


def decode(frame: bytes) -> Command:
    """Raises msgspec.DecodeError or ValidationError for what ``encode`` did not make."""
    command: Command = _decoder.decode(frame)
    return command


def decode_message(frame: bytes) -> SendMessage:
    """Of one that is known to be a message; raises as ``decode`` does."""
    return _message_decoder.decode(frame)
