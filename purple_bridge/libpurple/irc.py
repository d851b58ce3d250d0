"""IRC (RFC 2812, plugin prpl-irc): owns the exact lines of each message, and whether the server has taken them.

Out: a message is one PRIVMSG for each line of its text, blank lines left out (412 ERR_NOTEXTTOSEND: IRC has none), a
line too long for IRC in several, so that the pieces put together are the line.  ``/me dances`` is an action; every
other ``/command`` is text.  libpurple's own way would lose spaces, cut at another length and read markup.

Confirmed: PING goes out behind the lines, and a server answers in order, so its PONG says that it has them.  Numeric
errors in between say which contact got nothing.  At most ``MOST_LINES`` lines are on their way: that many can arrive
twice when a connection dies, no server's input queue overflows ("Excess Flood"), and the answer to a server's own
PING never waits for long behind them.

Rate: the plugin's options ``ratelimit-interval`` (seconds for each line; 0: no limit) and ``ratelimit-burst`` (lines
at once after a pause, default 5).  Where the interval is not set it is ``INTERVAL`` here, libpurple's own is 2.

Automatic: what no person wrote goes as NOTICE, and nothing that came as NOTICE is ever answered (RFC 2812 §3.3.2).

In: the text of the line as it came, without colours and other formatting; an action is ``* nick dances``.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import errno
import re
import unicodedata
from collections import deque
from collections.abc import Callable, Iterator
from ctypes import CFUNCTYPE, c_char_p, c_void_p
from dataclasses import dataclass, field
from typing import Any

from . import buddies, c, glib, signals
from .accounts import Account, account_at
from .changes import Changes
from .events import Events, ReceivedMessage
from .glib import decode
from .irc_lines import LINE_OCTETS, Line, has_long_name, lower, parse
from .irc_presence import SECONDS, Watch
from .limits import limits
from .protocol import OutgoingMessage, Protocol
from .text import strip

PLUGIN = b"prpl-irc"

INTERVAL = 1  # seconds for each line
MOST_LINES = 5  # RFC 1459 §8.10: a server takes that many before it slows a client down
MOST_OCTETS = 1000  # of lines on their way: the smallest input queues of servers in use hold 1024

USER_OCTETS, HOST_OCTETS = 20, 64  # of the prefix :nick!user@host, as long as servers allow them
LEAST_ROOM = 256  # for the text; less is left only by a name that no server knows

CTCP, ACTION = "\x01", "ACTION "
ME = "/me "

_NOT_SENT = {0: None, 1: None}  # NUL ends a line for libpurple, \x01 would make a CTCP request of the text
_NO_TARGET = re.compile(r"^:|[\x00-\x20,\x7f]|^$")  # RFC 2812 §2.3.1: no such thing is one receiver

# https://modern.ircdocs.horse/formatting
_FORMATTING = re.compile(
    r"\x03(?:[0-9]{1,2}(?:,[0-9]{1,2})?)?"
    r"|\x04(?:[0-9A-Fa-f]{6}(?:,[0-9A-Fa-f]{6})?)?"
    r"|[\x01\x02\x07\x0f\x11\x16\x1d\x1e\x1f]"
)

# RFC 2812 §5.2, and what servers in use have added (https://modern.ircdocs.horse, https://defs.ircdocs.horse)
CONDITIONS = {
    "401": "item-not-found",
    "402": "remote-server-not-found",
    "403": "item-not-found",
    "404": "forbidden",
    "407": "policy-violation",
    "413": "bad-request",
    "414": "bad-request",
    "415": "bad-request",
    "437": "resource-constraint",
    "439": "policy-violation",  # target change too fast
    "440": "service-unavailable",
    "442": "forbidden",
    "477": "registration-required",
    "482": "forbidden",
    "486": "registration-required",
    "489": "forbidden",
    "492": "not-acceptable",
    "505": "forbidden",
    "506": "registration-required",
    "531": "forbidden",
    "707": "policy-violation",  # targets changing too fast
    "716": "forbidden",  # caller id (+g): not on the contact's list
    "717": "forbidden",
}
OTHER_CONDITION = "undefined-condition"

# https://ircv3.net/specs/extensions/sasl-3.1: unasked for, the plugin follows pointers that are not set
SASL = frozenset(("AUTHENTICATE", "CAP", "900", "901", "902", "903", "904", "905", "906", "907", "908"))
SASL_FAILED = frozenset(("904", "905"))
MOST_SASL = 20  # lines of a log-in

# What libpurple would keep without a bound, and nobody here asks for: the server's greeting, channels and who is there
UNBOUNDED = frozenset(("372", "JOIN", "353", "366"))

_SWALLOWED = b""  # a line that libpurple skips
_UNSET = -(2**31)

_LineReceived = CFUNCTYPE(None, c_void_p, ctypes.POINTER(c_char_p), c_void_p)


# ---------------------------------------------------------------- lines
def text_of(text: str, nick: str) -> str | None:
    """What a PRIVMSG or NOTICE of ``nick`` says, for a person to read; None: a CTCP request or reply, or nothing."""
    if text.startswith(CTCP):
        body = text.strip(CTCP)
        if not f"{body} ".startswith(ACTION):
            return None
        text = f"* {nick} {body.removeprefix(ACTION.strip()).removeprefix(' ')}"
    return _FORMATTING.sub("", text) or None


def payloads(text: str, room: int, encode: Callable[[str], bytes]) -> list[bytes]:
    """The texts of the PRIVMSGs that say ``text``, each of at most ``room`` octets.

    Raises what ``encode`` raises, and ValueError for a text that IRC cannot carry because nothing is in it.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").translate(_NOT_SENT).split("\n")
    lines = [line for line in lines if line.strip(" \t")]
    if not lines:
        raise ValueError("no text to send")
    found = []
    if lines[0].startswith(ME) and lines[0] != ME:
        action = f"{CTCP}{ACTION}".encode()
        pieces = cut(lines.pop(0).removeprefix(ME), room - len(action) - 1, encode)
        found = [action + encode(piece) + CTCP.encode() for piece in pieces]
    return found + [encode(piece) for line in lines for piece in cut(line, room, encode)]


def cut(line: str, room: int, encode: Callable[[str], bytes]) -> list[str]:
    """Pieces of at most ``room`` octets; together they are ``line``.

    A piece ends behind a space where that leaves it at least half full, else between two characters.
    """
    if len(encode(line)) <= room:
        return [line]
    pieces, piece, octets = [], "", 0
    for character in _characters(line):
        size = len(encode(character))
        if octets + size > room:
            head = piece[: piece.rfind(" ") + 1]
            if len(encode(head)) < room // 2:
                head = piece
            pieces.append(head)
            piece = piece[len(head) :]
            octets = len(encode(piece))
        piece, octets = piece + character, octets + size
    return [*pieces, piece]


def _characters(text: str) -> Iterator[str]:
    """What a reader sees as one: a letter with its accents, an emoji of several (as UAX #29, roughly)."""
    character = ""
    for part in text:
        if character and (len(character) > 16 or not _joins(character, part)):
            yield character
            character = ""
        character += part
    if character:
        yield character


def _joins(character: str, part: str) -> bool:
    joiner, skin_tone = "\u200d", "\U0001f3fb" <= part <= "\U0001f3ff"
    return skin_tone or part == joiner or character.endswith(joiner) or unicodedata.category(part).startswith("M")


# ---------------------------------------------------------------- confirmation
@dataclass(slots=True)
class _Message:
    ident: str
    who: str
    target: bytes
    lines: deque[bytes]  # not yet handed over
    failed: bool = False


@dataclass(frozen=True, slots=True)
class _Handed:
    """A line that libpurple has, or the server; ``last`` of its message."""

    message: _Message
    octets: int
    last: bool


class Confirmations:
    """One connection's messages on their way to the server, in order; knows no libpurple."""

    def __init__(self) -> None:
        self._waiting: deque[_Message] = deque()
        self._handed: list[_Handed] = []  # behind the PING
        self._asked: list[_Handed] = []  # before the PING that is not answered yet
        self._pings = 0

    @property
    def token(self) -> bytes:
        """Of the last PING."""
        return b"purple-%d" % self._pings

    def add(self, message: OutgoingMessage, target: bytes, texts: list[bytes]) -> None:
        """``target``, ``texts``: as they stand in the PRIVMSGs."""
        command = b"NOTICE" if message.automatic else b"PRIVMSG"
        lines = deque(b"%s %s :%s\r\n" % (command, target, text) for text in texts)
        self._waiting.append(_Message(message.ident, message.who, target, lines))

    def next_lines(self) -> list[bytes]:
        """What the server is to be sent now; PING goes out in one piece with the line before it.

        For the plugin's rate limit the two are one line, and TCP does not hold the second back (40 ms, RFC 896).
        """
        lines = []
        while line := self._next_line():
            lines.append(line)
        if self._handed and not self._asked:
            self._asked, self._handed = self._handed, []
            self._pings += 1
            last = lines.pop() if lines else b""
            lines.append(b"%sPING %s\r\n" % (last, self.token))
        return lines

    def _next_line(self) -> bytes | None:
        while self._waiting and self._waiting[0].failed:
            self._waiting.popleft()
        if not self._waiting or not self._has_room(len(self._waiting[0].lines[0])):
            return None
        message = self._waiting[0]
        line = message.lines.popleft()
        self._handed.append(_Handed(message, len(line), last=not message.lines))
        if not message.lines:
            self._waiting.popleft()
        return line

    def _has_room(self, octets: int) -> bool:
        out = self._asked + self._handed
        return not out or (len(out) < MOST_LINES and sum(line.octets for line in out) + octets <= MOST_OCTETS)

    def answered(self, token: bytes) -> list[str] | None:
        """The server's PONG: idents of the messages that it has, in order; None: the answer to somebody else's PING."""
        if not self._asked or token != self.token:
            return None
        taken = [line.message for line in self._asked if line.last and not line.message.failed]
        self._asked = []
        return [message.ident for message in taken]

    def failed(self, line: Line) -> list[_Message] | None:
        """The messages that a numeric reply says were not delivered, each once; None: the reply is about none of them.

        All those to that target since the last PONG: IRC does not say which, and a message that is wrongly reported
        can be repeated, but one that is wrongly confirmed would be lost.
        """
        if not _is_failure(line.command):
            return None
        targets = {lower(parameter) for parameter in line.parameters[1:]}
        meant = [handed.message for handed in self._asked if lower(handed.message.target) in targets]
        if not meant:
            return None
        news = []
        for message in meant:
            if not message.failed:
                message.failed = True
                news.append(message)
        return news


def _is_failure(command: str) -> bool:
    """RFC 2812 §5.2: error replies are 400 to 599."""
    return command in CONDITIONS or (len(command) == 3 and command.isdecimal() and "400" <= command <= "599")


def is_of_a_person(line: Line) -> bool:
    """A server tells its users things by NOTICE, too; its name has a dot, which no nick has (RFC 2812 §2.3.1)."""
    return bool(line.nick) and b"." not in line.nick


# ---------------------------------------------------------------- libpurple
@dataclass(slots=True)
class _Connection:
    """``queue_timer``: GLib's id of the plugin's timer that sends what ``send_raw`` has put into its queue."""

    queue_timer: int
    confirmations: Confirmations = field(default_factory=Confirmations)
    watch: Watch = field(default_factory=Watch)
    watch_timer: int = 0


class Irc(Protocol):
    """The behaviour of prpl-irc."""

    def __init__(self, events: Events, _changes: Changes) -> None:
        self._events = events
        self._connections: dict[int, _Connection] = {}
        self._authenticating: dict[int, tuple[int, bool]] = {}  # by PurpleAccount*: lines so far, an answer may come
        self._send_raw: Callable[[int, bytes, int], int] = lambda *_: -1
        self._text: str | None = None  # of the line that libpurple is reading
        self._automatic = False  # that line is a reply that no person wrote

    def install(self) -> None:
        plugin = c.purple.purple_find_prpl(PLUGIN)
        details = ctypes.cast(plugin.contents.info.contents.extra_info, ctypes.POINTER(c.ProtocolInfo))
        self._send_raw = details.contents.send_raw
        signals.connect(plugin, b"irc-receiving-text", _LineReceived, self._line_received)
        signals.connect(plugin, b"irc-sending-text", _LineReceived, self._sending)

    def connected(self, account: Account) -> None:
        if c.purple_quick.purple_account_get_int(account.pointer, b"ratelimit-interval", _UNSET) == _UNSET:
            account.set_option("ratelimit-interval", INTERVAL)
        connection = c.purple_quick.purple_account_get_connection(account.pointer)
        self._authenticating.pop(account.pointer, None)
        state = self._connections[account.pointer] = _Connection(_queue_timer(connection))
        state.watch_timer = glib.add_timer(SECONDS, lambda: self._watch(account, state))

    def disconnected(self, account: Account) -> None:
        """libpurple drops its queue; so does this: what was not acknowledged is for the application to send again."""
        self._authenticating.pop(account.pointer, None)
        state = self._connections.pop(account.pointer, None)
        if state:
            glib.remove(state.watch_timer)

    def confirms(self, account: Account) -> bool:
        return True

    def send_im(self, account: Account, connection: int, message: OutgoingMessage) -> int:
        """-EILSEQ: the connection's charset (option ``encoding``) lacks a character; -EINVAL: nothing to send, or
        a receiver that is none."""
        state = self._connections.get(account.pointer)
        if state is None:
            return -errno.ENOTCONN
        try:
            target, texts = _to_send(account, connection, message)
        except UnicodeError:
            return -errno.EILSEQ
        except ValueError:
            return -errno.EINVAL
        state.confirmations.add(message, target, texts)
        self._send_next(connection, state)
        return 0

    def send_typing(self, account: Account, connection: int, who: str, typing: bool) -> None:
        """IRC has nothing to tell it with."""

    def complete(self, account: Account, message: ReceivedMessage) -> ReceivedMessage:
        return dataclasses.replace(message, text=self._text, wants_error=not self._automatic)

    # ------------------------------------------------------------ contacts
    def ask_contact(self, account: Account, connection: int, name: str) -> None:
        """IRC asks nobody; the plugin would count the contact twice. What is no nick is asked after nowhere."""
        if not _NO_TARGET.search(name):
            account.add_buddy(name)

    def save_contact(self, account: Account, connection: int, name: str, alias: str, groups: tuple[str, ...]) -> None:
        """The list is libpurple's own, and its plugin counts a contact for each group."""
        if not _NO_TARGET.search(name):
            super().save_contact(account, connection, name, alias, groups[:1])

    def _watch(self, account: Account, state: _Connection) -> bool:
        """libpurple asks every 45 s, and whether somebody is away not at all; it stops when no answer reaches it."""
        connection = c.purple_quick.purple_account_get_connection(account.pointer)
        state.watch.watch(_nicks(account.pointer))
        self._send_lines(connection, state, state.watch.question())
        return True

    def _watched(self, account: Account, connection: int, state: _Connection, line: Line) -> bool:
        """True: the line was an answer about contacts, and libpurple is not to see it."""
        if line.command == "303":  # perhaps about a contact that was added a moment ago
            state.watch.watch(_nicks(account.pointer))
        changes = state.watch.answered(line)
        for nick, status in state.watch.happened(line) if changes is None else changes:
            name = _decoded(account.pointer, nick)
            c.purple.purple_prpl_got_user_status(account.pointer, name.encode(), status, None)
        if line.command != "302" and changes is not None:
            self._send_lines(connection, state, state.watch.question_about_new())
        return changes is not None

    def _send_lines(self, connection: int, state: _Connection, lines: bytes) -> None:
        """In one piece: for the plugin's rate limit it is one line."""
        if lines and connection:
            self._send_raw(connection, lines, len(lines))
            _send_queue(state.queue_timer)

    def _send_next(self, connection: int, state: _Connection) -> None:
        lines = state.confirmations.next_lines()
        for line in lines:
            self._send_raw(connection, line, len(line))
        if lines:
            _send_queue(state.queue_timer)

    # ------------------------------------------------------------ lines of the server
    def _line_received(self, connection: int, pointer: Any, _data: int) -> None:
        limits.complete += 1
        self._text = None
        if has_long_name(pointer[0]):
            pointer[0] = _SWALLOWED
            return
        account_pointer = c.purple_quick.purple_connection_get_account(connection)
        line = parse(pointer[0])
        if line.command in SASL and not self._may_authenticate(account_pointer, line.command):
            pointer[0] = _SWALLOWED
            return
        if line.command in ("PRIVMSG", "NOTICE", "301") and len(line.parameters) > 1:
            swallow = not self._message_received(account_pointer, line)
        else:
            swallow = self._reply_received(account_pointer, connection, line)
        if swallow or line.command in UNBOUNDED:
            pointer[0] = _SWALLOWED

    def _may_authenticate(self, account: int, command: str) -> bool:
        """Where the account is to, before it is signed on; each refusal answers something that the plugin has said."""
        if account in self._connections or not c.purple_quick.purple_account_get_bool(account, b"sasl", 0):
            return False
        lines, asked = self._authenticating.get(account, (0, False))
        self._authenticating[account] = lines + 1, asked and command not in SASL_FAILED
        return lines < MOST_SASL and (asked or command == "CAP")

    def _sending(self, connection: int, pointer: Any, _data: int) -> None:
        if pointer[0].startswith(b"AUTHENTICATE "):
            account = c.purple_quick.purple_connection_get_account(connection)
            self._authenticating[account] = self._authenticating.get(account, (0, False))[0], True

    def _message_received(self, account: int, line: Line) -> bool:
        """``complete`` is called while libpurple reads this line. 301 RPL_AWAY: the contact's away message."""
        if line.command != "301" and not is_of_a_person(line):
            return False
        self._text = text_of(_decoded(account, line.last), _decoded(account, line.nick))
        self._automatic = line.command != "PRIVMSG"
        return self._text is not None

    def _reply_received(self, account_pointer: int, connection: int, line: Line) -> bool:
        """True: it was about our messages, and libpurple is not to show it."""
        account, state = account_at(account_pointer), self._connections.get(account_pointer)
        if account is None or state is None:
            return False
        if self._watched(account, connection, state, line):
            return True
        if line.command == "PONG":
            return self._answered(account, connection, state, line)
        failed = state.confirmations.failed(line)
        condition = CONDITIONS.get(line.command, OTHER_CONDITION)
        for message in failed or ():
            text = _decoded(account_pointer, line.last)
            self._events.message_failed(account, message.ident, message.who, condition, text)
        return failed is not None

    def _answered(self, account: Account, connection: int, state: _Connection, line: Line) -> bool:
        idents = state.confirmations.answered(line.last)
        if idents is None:
            return False
        self._send_next(connection, state)
        self._events.messages_acknowledged(account, list(filter(None, idents)))
        return True


def _nicks(account: int) -> list[bytes]:
    """The contact list as it stands in lines; what is no nick, or not in the connection's charset, is nobody's."""
    found, charset = [], _charsets(account)[0]
    for buddy in buddies.find_all(account):
        name = buddies.name_of(buddy)
        with contextlib.suppress(UnicodeError):
            found += [] if _NO_TARGET.search(name) else [_convert(name.encode(), charset, "UTF-8")]
    return found


def _to_send(account: Account, connection: int, message: OutgoingMessage) -> tuple[bytes, list[bytes]]:
    """The receiver and the texts of its PRIVMSGs; UnicodeError and other ValueError as ``send_im`` tells."""
    if _NO_TARGET.search(message.who):
        raise ValueError(f"{message.who!r} is not the name of one receiver")

    charset = _charsets(account.pointer)[0]

    def encode(text: str) -> bytes:
        return _convert(text.encode(), charset, "UTF-8")

    target = encode(message.who)
    nick = c.purple_quick.purple_connection_get_display_name(connection) or b""
    prefix = len(b":!@ ") + len(nick) + USER_OCTETS + HOST_OCTETS
    room = LINE_OCTETS - prefix - len(b"PRIVMSG  :\r\n") - len(target)  # NOTICE is shorter
    if room < LEAST_ROOM:
        raise ValueError("the name of the receiver is too long")
    return target, payloads(message.text or strip(message.html), room, encode)


def _charsets(account: int) -> list[str]:
    """Of the option ``encoding``: the first is written, all are tried in turn for what is read."""
    names = decode(c.purple_quick.purple_account_get_string(account, b"encoding", b"UTF-8"))
    return [name.strip() for name in names.split(",") if name.strip()] or ["UTF-8"]


def _decoded(account: int, raw: bytes) -> str:
    """``raw`` in the first charset of the account that it is valid in; as the plugin does it (``autodetect_utf8``)."""
    charsets = _charsets(account)
    if c.purple_quick.purple_account_get_bool(account, b"autodetect_utf8", 0):
        charsets.insert(0, "UTF-8")
    for charset in charsets:
        try:
            return _convert(raw, "UTF-8", charset).decode()
        except UnicodeError:
            continue
    return decode(raw)


def _convert(raw: bytes, to: str, charset: str) -> bytes:
    """g_convert, so that the option means what it means for the plugin; UnicodeError: not possible."""
    if to.upper() == charset.upper() == "UTF-8":
        raw.decode()
        return raw
    written = ctypes.c_size_t()
    converted = c.glib_quick.g_convert(raw, len(raw), to.encode(), charset.encode(), None, written, None)
    if not converted:
        raise UnicodeError(f"not possible from {charset} to {to}")
    try:
        return ctypes.string_at(converted, written.value)
    finally:
        c.glib_quick.g_free(converted)


def _queue_timer(connection: int) -> int:
    """The plugin's timer has the plugin's own data of the connection as its argument."""
    data = c.purple_quick.purple_connection_get_protocol_data(connection)
    source = c.glib_quick.g_main_context_find_source_by_user_data(None, data)
    return c.glib_quick.g_source_get_id(source) if source else 0


def _send_queue(timer: int) -> None:
    """Let the timer fire now, within its rate limit, instead of within a second."""
    source = c.glib_quick.g_main_context_find_source_by_id(None, timer) if timer else None
    if source:
        c.glib_quick.g_source_set_ready_time(source, 0)
