"""XMPP beyond libpurple: owns the hooks on prpl-jabber's signals and what each stream has sent; knows nothing of SIP.

libpurple 2.14 resends what a lost stream's server did not acknowledge, but tells nobody what was acknowledged
(XEP-0198); it knows neither receipts (XEP-0184) nor carbons (XEP-0280), and turns errors into windows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from ctypes import CDLL, CFUNCTYPE, POINTER, PYFUNCTYPE, byref, c_char_p, c_int, c_void_p, cast
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec

from . import avatar_urls, c, glib, messages, signals, xmlnode, xmpp_login, xmpp_names, xmpp_presence
from .accounts import Account, account_at
from .changes import Changes
from .events import ContactStatus, Events, ReceivedMessage, RosterEntry
from .glib import decode
from .limits import limits
from .messages import CARBONS, NOT_XML, RECEIPTS, Message, Peer
from .protocol import OutgoingMessage, Protocol
from .stream_management import Stream
from .text import escape
from .xmpp_contacts import Contacts
from .xmpp_refused import Refused

PLUGIN = b"prpl-jabber"
LIBXML = "libxml2.so.2"
PARSER_BYTES = 1024
STREAM_MANAGEMENT = b"urn:xmpp:sm:3"
STANZAS = frozenset((b"message", b"iq", b"presence"))

# the application's ids, of which the next session still knows what to do; libpurple's own are purple<hexadecimal>
OUR_IDENT = re.compile("p(?!urple)[0-9a-z]+")

NO_PEER = Peer()
MOST_PEERS = 1000  # of one account

EINVAL = -22  # errno.h, negative as libpurple's functions return it

REQUEST = b"<r xmlns='" + STREAM_MANAGEMENT + b"'/>"
ANSWER = re.compile(rb"<a xmlns='%s' h='([0-9]+)'/>" % STREAM_MANAGEMENT)
NOT_LIBPURPLES = b" "  # in front of an <a/>: white space between stanzas means nothing (RFC 6120 §4.6.1)
# seconds; XEP-0198 §4: what was received may be collected for a while before it is acknowledged
COLLECTING = 0.002

_P, _S = c_void_p, c_char_p
_Text = CFUNCTYPE(None, _P, POINTER(_S), _P)
_Xmlnode = CFUNCTYPE(None, _P, POINTER(_P), _P)
_Message = CFUNCTYPE(c_int, _P, _S, _S, _S, _S, _P, _P)


class Xmpp(Protocol):
    """The behaviour of prpl-jabber."""

    keeps_list = True

    def __init__(self, events: Events, changes: Changes) -> None:
        self._events = events
        self._contacts = Contacts(events, changes, self._send)
        self._plugin = c.purple.purple_find_prpl(PLUGIN)
        self._send_raw: Callable[[int, bytes, int], int] = lambda *_: -1
        self._send_plainly: Callable[[int, bytes, bytes, int], int] = lambda *_: -1
        self._streams: dict[int, Stream] = {}  # by PurpleAccount*; those on which <enable/> was sent
        self._outgoing: OutgoingMessage | None = None  # of the send_im that runs
        self._putting_aside = False  # what that send_im writes
        self._aside: dict[int, list[bytes]] = {}  # by PurpleConnection*
        self._incoming: Message | None = None  # which libpurple is processing
        self._peers: dict[int, dict[str, Peer]] = {}  # by PurpleAccount* and bare JID
        self._answers: dict[int, int] = {}  # by PurpleConnection*: the h of the <a/> that has not been written

    def install(self) -> None:
        """The handler that writes to the network has the highest priority, which is the last (signals.h)."""
        _begin_with_small_buffers()
        xmpp_login.Logins().install()
        signals.connect(self._plugin, b"jabber-sending-xmlnode", _Xmlnode, self._sending)
        signals.connect(self._plugin, b"jabber-sending-text", _Text, self._sending_text)
        signals.connect(self._plugin, b"jabber-receiving-xmlnode", _Xmlnode, self._receiving)
        signals.connect(self._plugin, b"jabber-receiving-message", _Message, self._receiving_message)
        self._contacts.install(self._plugin)
        Refused(self._send).install(self._plugin)
        details = cast(self._plugin.contents.info.contents.extra_info, POINTER(c.ProtocolInfo))
        # nothing there waits: with Python's lock kept, the handlers below need not fight a SIP worker for it
        self._send_raw = PYFUNCTYPE(c_int, _P, _S, c_int)(cast(details.contents.send_raw, _P).value or 0)
        # what server.c does around it is for windows and for answers by itself; here are neither
        self._send_plainly = PYFUNCTYPE(c_int, _P, _S, _S, c_int)(details.contents.send_im)
        c.purple.purple_plugin_ipc_call(self._plugin, b"add_feature", None, RECEIPTS)

    # ------------------------------------------------------------ what an account does
    def connected(self, account: Account) -> None:
        """XEP-0280 §4: a server without carbons answers with an error, which does no harm."""
        if account.unseen:
            return
        node = xmlnode.new(b"iq", type="set", id="carbons")
        xmlnode.add(node, b"enable", CARBONS)
        self._send(c.purple_quick.purple_account_get_connection(account.pointer), node)

    def disconnected(self, account: Account) -> None:
        self._contacts.disconnected(account)
        self._streams.pop(account.pointer, None)
        self._peers.pop(account.pointer, None)
        connection = c.purple_quick.purple_account_get_connection(account.pointer) or 0
        self._aside.pop(connection, None)
        self._answers.pop(connection, None)

    def confirms(self, account: Account) -> bool:
        stream = self._streams.get(account.pointer)
        return stream is not None and stream.enabled

    def send_im(self, account: Account, connection: int, message: OutgoingMessage) -> int:
        """EINVAL for characters that XML cannot carry; a line ends in LF (XML 1.0 §2.11).

        Plain text goes past libpurple, which takes it for markup, copies each stanza for its own way to send it again,
        and asks for an acknowledgement behind each.
        """
        if any(NOT_XML.search(part) for part in (message.who, message.text, message.subject, message.language) if part):
            return EINVAL
        if "\r" in message.text:
            message = msgspec.structs.replace(message, text=message.text.replace("\r\n", "\n").replace("\r", "\n"))
        stream = self._streams.get(account.pointer)
        if stream is not None and stream.enabled and not message.html:
            peers = self._peers.get(account.pointer)
            peer = peers.get(bare(message.who), NO_PEER) if peers else NO_PEER
            self._aside.setdefault(connection, []).append(messages.stanza(message, peer))
            stream.sent_past_libpurple(message.ident)
            return 0
        self._outgoing, self._putting_aside = message, self.confirms(account)
        try:
            return self._send_plainly(connection, message.who.encode(), message.markup, c.PURPLE_MESSAGE_SEND)
        finally:
            self._outgoing, self._putting_aside = None, False

    def flush(self, account: Account, connection: int) -> None:
        """All messages in one write, and one request to acknowledge them: libpurple would write one for each."""
        aside = self._aside.pop(connection, None)
        if aside:
            self._write(connection, *aside, REQUEST, self._take_answer(connection))

    def send_receipt(self, account: Account, connection: int, who: str, ident: str) -> None:
        self._send(connection, messages.receipt(who, ident))

    def send_error(
        self, account: Account, connection: int, who: str, ident: str, condition: str, text: str, address: str = ""
    ) -> bool:
        self._send(connection, messages.bounce(who, ident, condition, text, address))
        return True

    def contact_status(self, account: Account, name: str) -> ContactStatus | None:
        return self._contacts.status(account, name)

    def roster(self, account: Account) -> list[RosterEntry]:
        return self._contacts.roster(account)

    def ask_contact(self, account: Account, connection: int, name: str) -> None:
        """RFC 6121 §3.1.1: to the bare JID; the server puts the contact on the list."""
        self._contacts.ask(connection, bare(name), "subscribe")

    def save_contact(self, account: Account, connection: int, name: str, alias: str, groups: tuple[str, ...]) -> None:
        self._contacts.save(connection, bare(name), alias, groups)

    def remove_contact(self, account: Account, connection: int, name: str) -> None:
        self._contacts.remove(connection, bare(name))

    def cancel_authorization(self, account: Account, connection: int, name: str) -> None:
        """RFC 6121 §3.2.1"""
        self._contacts.ask(connection, bare(name), "unsubscribed")

    def set_mood(self, account: Account, connection: int, mood: str) -> None:
        self._contacts.set_mood(connection, mood)

    def _send(self, connection: int, node: int) -> None:
        """As libpurple sends every stanza, so that both counts stay right; frees ``node``."""
        packet = c_void_p(node)
        c.purple.purple_signal_emit(self._plugin, b"jabber-sending-xmlnode", connection, byref(packet))
        xmlnode.free(node)

    def _write(self, connection: int, *texts: bytes) -> None:
        data = b"".join(texts)
        self._send_raw(connection, data, len(data))

    # ------------------------------------------------------------ every stanza
    def _sending_text(self, connection: int, text: Any, _data: int) -> None:
        """What is about to be written: of a message that is put aside the stanza, and the request behind it."""
        if self._putting_aside:
            stanza = text[0]
            if not stanza.startswith(b"<r "):
                self._aside.setdefault(connection, []).append(stanza)
            text[0] = None
        elif found := ANSWER.fullmatch(text[0]):
            text[0] = None
            self._answer_later(connection, int(found[1]) + self._dropped(connection))
        elif connection in self._answers:
            self._answer(connection)

    def _dropped(self, connection: int) -> int:
        """Stanzas that the server has sent, but libpurple has not seen."""
        stream = self._streams.get(c.purple_quick.purple_connection_get_account(connection))
        return stream.dropped if stream else 0

    def _answer_later(self, connection: int, received: int) -> None:
        """The server asks again as soon as it has an answer: one for each message would cost both a lot of time."""
        if connection not in self._answers:
            glib.add_timer(COLLECTING, partial(self._answer, connection))
        self._answers[connection] = received

    def _answer(self, connection: int) -> None:
        """Also in front of anything else that is written, the end of the stream included."""
        if connection in self._answers:
            self._write(connection, NOT_LIBPURPLES, self._take_answer(connection))

    def _take_answer(self, connection: int) -> bytes:
        """With what has come since the server asked: it need not ask again, and at the end of the stream cannot."""
        received = self._answers.pop(connection, None)
        return b"" if received is None else b"<a xmlns='%s' h='%d'/>" % (STREAM_MANAGEMENT, received % (1 << 32))

    def _sending(self, connection: int, packet: Any, _data: int) -> None:
        node = packet[0]
        name = xmlnode.name_of(node) if node else None
        if name in STANZAS:
            self._sending_stanza(name, connection, packet)
        elif name == b"enable" and xmlnode.namespace_of(node) == STREAM_MANAGEMENT:
            self._streams[c.purple_quick.purple_connection_get_account(connection)] = Stream()

    def _sending_stanza(self, name: bytes, connection: int, packet: Any) -> None:
        pointer = c.purple_quick.purple_connection_get_account(connection)
        stream = self._streams.get(pointer)
        if stream and stream.resending and messages.is_out_of_date(name, packet[0], OUR_IDENT):
            packet[0] = None  # neither written, nor counted, nor kept (jabber.c, stream_management.c)
            return
        account = account_at(pointer)
        if name == b"presence" and account is not None and account.unseen:
            packet[0] = None  # RFC 6121 §4.2: a client without initial presence gets no messages, and nobody sees it
            return
        ident, outgoing = "", self._outgoing
        if outgoing and name == b"message":
            self._outgoing, ident = None, outgoing.ident
            messages.amend(packet[0], outgoing)
        elif name == b"presence":
            self._showing(account, packet[0])
        if stream:
            stream.sent(ident)

    def _showing(self, account: Account | None, node: int) -> None:
        """libpurple knows no language, and of idleness XEP-0256 alone, which most clients of today do not know."""
        if account is None or any(xmlnode.attribute(node, name) for name in (b"to", b"type")):
            return
        if account.idle_since:
            xmpp_presence.add_idle(node, account.idle_since)
        elif old := xmlnode.child(node, xmpp_presence.LAST_ACTIVITY, b"query"):
            xmlnode.free(old)  # libpurple tells a new status with the idleness of the one before
        if account.language:
            xmlnode.set_attribute(node, b"xml:lang", account.language)

    def _receiving(self, connection: int, packet: Any, _data: int) -> None:
        limits.complete += 1
        pointer = c.purple_quick.purple_connection_get_account(connection)
        stream, node = self._streams.get(pointer), packet[0]
        if not node:
            return
        if stream is not None:
            stream.resending = False
        name = xmlnode.name_of(node)
        if name in STANZAS:
            if connection in self._answers:
                self._answers[connection] += 1
            if not xmpp_names.is_jid(xmlnode.attribute(node, b"from")):
                self._drop(stream, packet)
        elif stream is not None and xmlnode.namespace_of(node) == STREAM_MANAGEMENT:
            self._managing(pointer, stream, name, node)

    def _drop(self, stream: Stream | None, packet: Any) -> None:
        """Nobody has such a JID, and not even an answer could be sent to it (RFC 7622 §3.1)."""
        xmlnode.free(packet[0])
        packet[0] = None
        if stream is not None and stream.enabled:
            stream.dropped += 1

    def _managing(self, pointer: int, stream: Stream, name: bytes | None, node: int) -> None:
        if name == b"enabled":
            stream.enabled = True
        elif name == b"failed":
            del self._streams[pointer]
        elif name == b"a":
            self._acknowledged(account_at(pointer), stream, node)

    def _acknowledged(self, account: Account | None, stream: Stream, node: int) -> None:
        h = xmlnode.attribute(node, b"h")
        if account and h.isdecimal():
            idents = stream.acknowledge(int(h))
            xmlnode.set_attribute(node, b"h", str(stream.for_libpurple))
            if idents:
                self._events.messages_acknowledged(account, idents)

    # ------------------------------------------------------------ messages from the network
    def _receiving_message(
        self, connection: int, kind: bytes | None, ident: bytes, sender: bytes, _to: bytes, node: int, _data: int
    ) -> int:
        """1: libpurple leaves this <message/> alone."""
        self._incoming = None
        account = account_at(c.purple_quick.purple_connection_get_account(connection))
        if account is None or kind == b"groupchat":
            return 0
        if kind == b"error":
            self._failed(account, decode(ident), bare(decode(sender)), node)
            return 1
        is_bare = sender and b"/" not in sender  # what people write comes from one of their clients
        if is_bare and self._is_copy(connection, account, sender, node):
            return 1
        event = xmlnode.child(node, avatar_urls.EVENT, b"event")
        if event:
            _forget_in_events(node)
        self._incoming = messages.read(node)
        if kind == b"headline" and self._incoming.text and not event:
            self._announced(account, self._incoming)
            return 1
        if self._incoming.text is not None:
            self._remember_peer(account, self._incoming)
        self._noticed(account, self._incoming)
        return 0

    def _announced(self, account: Account, stanza: Message) -> None:
        """RFC 6121 §5.2.2: an alert to which no reply is expected; libpurple would open a window."""
        flags = c.PURPLE_MESSAGE_RECV | (c.PURPLE_MESSAGE_DELAYED if stanza.sent_at else 0)
        message = received(stanza, escape(stanza.text or ""), flags)
        self._events.message_received(account, replace(message, wants_receipt=False, wants_error=False))

    def _remember_peer(self, account: Account, message: Message) -> None:
        peers = self._peers.setdefault(account.pointer, {})
        if len(peers) >= MOST_PEERS:
            peers.clear()
        peers[bare(message.sender)] = Peer(message.thread, bool(message.chat_state))

    def _is_copy(self, connection: int, account: Account, sender: bytes, node: int) -> bool:
        """XEP-0280 §11: copies are believed only from the account's own server, which names the account itself."""
        me = jid_of(connection)
        copy = messages.carbon(node) if sender == bare(me).encode() else None
        if copy:
            self._copied(account, me, *copy)
        return copy is not None

    def _failed(self, account: Account, ident: str, who: str, node: int) -> None:
        """RFC 6120 §8.3; what fails that the application did not send (chat states, receipts) is not told."""
        if OUR_IDENT.fullmatch(ident):
            condition, text = messages.error(node)
            self._events.message_failed(account, ident, who, condition, text)

    def _noticed(self, account: Account, message: Message) -> None:
        """XEP-0085; states of the past say nothing, nor those beside a text, whose writer does not type any more."""
        who = bare(message.sender)
        if message.receipt:
            self._events.receipt_received(account, who, message.receipt)
        if message.chat_state and message.text is None and not message.sent_at:
            self._events.typing_changed(account, who, message.chat_state == "composing")

    def complete(self, account: Account, message: ReceivedMessage) -> ReceivedMessage:
        """With what the <message/> says that libpurple is processing."""
        stanza = self._incoming
        if stanza is None or stanza.sender != message.sender:
            return message
        flags = message.flags | (c.PURPLE_MESSAGE_DELAYED if stanza.sent_at else 0)
        return received(stanza, message.html, flags)

    def _copied(self, account: Account, me: str, direction: bytes, node: int) -> None:
        """XEP-0280: a copy of what another client of the account sent or received; never confirmed, nor refused.

        What this client itself wrote to another of the account comes as a copy of what that one received.
        """
        message = messages.read(node)
        if not message.text or message.sender == me or xmlnode.attribute(node, b"type") not in ("", "normal", "chat"):
            return
        flags, recipient = c.PURPLE_MESSAGE_RECV, ""
        if direction == b"sent":
            flags, recipient = c.PURPLE_MESSAGE_SEND | c.PURPLE_MESSAGE_REMOTE_SEND, bare(message.recipient)
        copy = received(message, escape(message.text), flags)
        copy = replace(copy, recipient=recipient, wants_receipt=False, wants_error=False)
        self._events.message_received(account, copy)


def _forget_in_events(node: int) -> None:
    """What contacts tell of themselves (XEP-0163): libpurple reads each of several events in a <message/>."""
    for namespace, _name, event in xmlnode.children(node):
        if namespace == avatar_urls.EVENT:
            avatar_urls.forget_urls(event)
            xmpp_names.forget_long_in_event(event)


def received(stanza: Message, html: str, flags: int) -> ReceivedMessage:
    """The application's form of a <message/>."""
    return ReceivedMessage(
        sender=stanza.sender,
        html=html,
        flags=flags,
        sent_at=stanza.sent_at,
        text=stanza.text,
        ident=stanza.ident,
        wants_receipt=stanza.wants_receipt,
        subject=stanza.subject,
        language=stanza.language,
    )


def bare(jid: str) -> str:
    """RFC 7622 §3.1: without the resource."""
    return jid.partition("/")[0]


def jid_of(connection: int) -> str:
    """The account's full JID as the server gave it when the resource was bound (jabber.c)."""
    return decode(c.purple_quick.purple_connection_get_display_name(connection))


def _begin_with_small_buffers() -> None:
    """Each connection has a parser of libxml2, whose buffer has 8 KB from the start and grows when it must.

    A library that has no such variable keeps its size.
    """
    with suppress(OSError, AttributeError):
        size = getattr(CDLL(LIBXML), "__xmlDefaultBufferSize")
        size.restype = POINTER(c_int)
        size().contents.value = PARSER_BYTES // 2  # parserInternals.c takes twice as much
