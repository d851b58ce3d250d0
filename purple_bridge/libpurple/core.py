"""Start and stop of one libpurple per process: owns the order of initialisation and the operations installed."""

from __future__ import annotations

import ctypes
import itertools
import logging
import os
from collections.abc import Callable, Collection
from ctypes import CFUNCTYPE, c_char_p, c_int, c_long, c_size_t, c_void_p
from typing import Any

from . import allowed, buddies, c, certificate_check, eventloop, glib, protocol, signals
from .accounts import UI, Account, account_at
from .callbacks import callback, operations
from .certificates import Certificates, trust_authorities
from .changes import Changes
from .dns import Resolver
from .events import AuthorizationRequest, ConnectionError, Events, ReceivedMessage
from .glib import decode
from .irc import Irc
from .limits import limits
from .protocol import Protocol
from .requests import Requests
from .xmpp import Xmpp

logger = logging.getLogger(__name__)

_P, _S, _I = c_void_p, c_char_p, c_int
_Call = CFUNCTYPE(None)
_Connected = CFUNCTYPE(None, _P)
_Progress = CFUNCTYPE(None, _P, _S, c_size_t, c_size_t)
_Failed = CFUNCTYPE(None, _P, _I, _S)
_Authorize = CFUNCTYPE(_P, _P, _S, _S, _S, _S, _I, _P, _P, _P)
_Close = CFUNCTYPE(None, _P)
_WriteIm = CFUNCTYPE(None, _P, _S, _S, _I, c_long)
_WriteConv = CFUNCTYPE(None, _P, _S, _S, _S, _I, c_long)
_Receiving = CFUNCTYPE(_I, _P, ctypes.POINTER(_S), ctypes.POINTER(_S), _P, ctypes.POINTER(_I), _P)
_BuddyStatus = CFUNCTYPE(None, _P, _P, _P, _P)
_Buddy = CFUNCTYPE(None, _P, _P)
_BuddyIdle = CFUNCTYPE(None, _P, _I, _I, _P)
_NodeAliased = CFUNCTYPE(None, _P, _S, _P)
_Node = CFUNCTYPE(None, _P)
_Print = CFUNCTYPE(None, _I, _S, _S)
_IsEnabled = CFUNCTYPE(_I, _I, _S)
_GLibLog = CFUNCTYPE(None, _S, _I, _S, _P)

# set so that libpurple and the libraries below it start no helper process and look for no desktop
_NO_DESKTOP = ("DISPLAY", "GNOME_DESKTOP_SESSION_ID", "KDE_FULL_SESSION", "DESKTOP_SESSION")

# what these plugins do in a way of their own
PROTOCOLS: dict[str, Callable[[Events, Changes], Protocol]] = {"prpl-jabber": Xmpp, "prpl-irc": Irc}

PURPLE_DEBUG_WARNING, PURPLE_DEBUG_FATAL = 3, 5  # debug.h; its "errors" are part of every normal start


# a directory nobody can make: libpurple cannot write its files, which would hold account data
NOWHERE = "/dev/null/libpurple"


def version() -> str:
    """Of the library, such as 2.14.12."""
    return decode(c.purple_quick.purple_core_get_version())


class _Silent:
    """``Events`` for a libpurple that is only asked for its plugins."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class Core:
    """One libpurple; start it once per process, after the fork, in the thread that runs the loop."""

    _process: int | None = None

    def __init__(
        self,
        events: Events | None = None,
        progress: Callable[[Account, str], None] = lambda _account, _step: None,
        protocols: Collection[str] = (),
    ) -> None:
        """``progress``: called with each step of a sign-on, in words for people.

        ``protocols``: ids of the plugins that may be loaded into the process; none: all that are installed.
        """
        self._protocols = frozenset(protocols)
        self._events: Any = events or _Silent()
        self._progress = progress
        self._changes = Changes(self._events)
        self._resolver = Resolver()
        self._questions = itertools.count(1)
        self._unanswered: set[int] = set()
        self._ending: set[int] = set()  # conversations about to be destroyed

    def start(self) -> None:
        """RuntimeError when libpurple does not start, or was started in this process before."""
        if Core._process == os.getpid():
            raise RuntimeError("libpurple runs in this process already")
        self._before_init()
        if not c.purple.purple_core_init(UI):
            raise RuntimeError("purple_core_init failed")
        Core._process = os.getpid()
        self._check_plugins()
        self._after_init()

    def _check_plugins(self) -> None:
        """Better no gateway than one with code in it that its operator has ruled out."""
        wrong = sorted(allowed.loaded() - self._protocols)
        if self._protocols and wrong:
            raise RuntimeError(f"libpurple has loaded {', '.join(wrong)}")

    def quit(self) -> None:
        """Sign every account off and end; a process cannot start it again."""
        self._resolver.close()
        c.purple.purple_core_quit()

    def use_http_proxy(self, host: str, port: int) -> None:
        """All accounts connect through this HTTP proxy (proxy.h)."""
        self._resolver.own.add(host)
        info = c.purple.purple_proxy_info_new()
        c.purple.purple_proxy_info_set_type(info, c.PURPLE_PROXY_HTTP)
        c.purple.purple_proxy_info_set_host(info, host.encode())
        c.purple.purple_proxy_info_set_port(info, port)
        c.purple.purple_global_proxy_set_info(info)

    def trust_authorities(self, directory: str) -> None:
        """Beside the system's, those whose certificates lie in this directory; before the first account signs on."""
        trust_authorities(directory)

    def _before_init(self) -> None:
        for variable in _NO_DESKTOP:
            os.environ.pop(variable, None)
        # or else one server can have another's certificate refused: NSS tries only one issuer of several of the same
        # name, and knows those that any server has sent (nss, certhigh/certvfy.c); the other validator tries them all
        os.environ["NSS_ENABLE_PKIX_VERIFY"] = "1"
        # without an address, the D-Bus library would start a bus of its own
        os.environ["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path={NOWHERE}"
        # or else GStreamer, below libpurple's media, forks a scanner and writes its registry to HOME
        os.environ["GST_REGISTRY_DISABLE"] = "yes"
        c.purple.purple_util_set_user_dir(NOWHERE.encode())
        debug = operations(
            c.DebugUiOps,
            print=callback(_Print, _log),
            is_enabled=callback(_IsEnabled, _is_logged, 0),
        )
        c.purple.purple_debug_set_ui_ops(debug)
        c.glib.g_log_set_default_handler(callback(_GLibLog, _glib_log), None)
        eventloop.install()
        leave_alone = callback(_Call, lambda: allowed.leave_alone(self._protocols))
        c.purple.purple_core_set_ui_ops(operations(c.CoreUiOps, ui_prefs_init=leave_alone))

    def _after_init(self) -> None:
        c.purple.purple_set_blist(c.purple.purple_blist_new())
        c.purple.purple_network_force_online()
        self._set_preferences()
        self._resolver.install()
        Requests(self._events).install()
        Certificates().install()
        self._install_account_ops()
        self._install_conversation_ops()
        self._connect_signals()
        self._install_protocols()
        limits.install()

    def _set_preferences(self) -> None:
        c.purple.purple_prefs_set_string(b"/purple/away/auto_reply", b"never")
        c.purple.purple_prefs_set_string(b"/purple/away/idle_reporting", b"none")
        c.purple.purple_buddy_icons_set_caching(0)  # in memory alone
        # or else every account is "away" as soon as none of them has sent a message for five minutes
        c.purple.purple_prefs_set_bool(b"/purple/away/away_when_idle", 0)
        for name in (b"/purple/logging/log_ims", b"/purple/logging/log_chats", b"/purple/logging/log_system"):
            c.purple.purple_prefs_set_bool(name, 0)

    def _install_account_ops(self) -> None:
        accounts = operations(
            c.AccountUiOps,
            request_authorize=callback(_Authorize, self._authorization_requested, 0),
            close_account_request=callback(_Close, self._unanswered.discard),
        )
        c.purple.purple_accounts_set_ui_ops(accounts)
        connections = operations(
            c.ConnectionUiOps,
            connect_progress=callback(_Progress, self._stepped),
            connected=callback(_Connected, self._connected),
            disconnected=callback(_Connected, self._disconnected),
            report_disconnect_reason=callback(_Failed, self._failed),
        )
        c.purple.purple_connections_set_ui_ops(connections)
        nothing = callback(_Node, lambda _node: None)
        # with these set, libpurple does not write blist.xml (blist.h)
        lists = operations(c.BlistUiOps, save_node=nothing, remove_node=nothing, save_account=nothing)
        c.purple.purple_blist_set_ui_ops(lists)

    def _install_conversation_ops(self) -> None:
        conversations = operations(
            c.ConversationUiOps,
            destroy_conversation=callback(_Node, self._ending.discard),
            write_im=callback(_WriteIm, self._write_im),
            write_conv=callback(_WriteConv, self._write_conv),
        )
        c.purple.purple_conversations_set_ui_ops(conversations)

    def _connect_signals(self) -> None:
        conversations = c.purple.purple_conversations_get_handle()
        signals.connect(conversations, b"receiving-im-msg", _Receiving, self._receiving, 1)
        contacts = c.purple.purple_blist_get_handle()
        signals.connect(contacts, b"buddy-status-changed", _BuddyStatus, self._buddy_status_changed)
        signals.connect(contacts, b"buddy-idle-changed", _BuddyIdle, self._buddy_idle_changed)
        signals.connect(contacts, b"blist-node-aliased", _NodeAliased, self._node_aliased)
        for name in (b"buddy-signed-on", b"buddy-signed-off", b"buddy-icon-changed"):
            signals.connect(contacts, name, _Buddy, self._buddy_changed)
        for name in (b"buddy-added", b"buddy-removed"):
            signals.connect(contacts, name, _Buddy, self._list_changed)

    def _install_protocols(self) -> None:
        for plugin, make in PROTOCOLS.items():
            if c.purple.purple_find_prpl(plugin.encode()):
                behaviour = make(self._events, self._changes)
                behaviour.install()
                protocol.register(plugin, behaviour)

    # ------------------------------------------------------------ connections
    def _account_of(self, connection: int) -> Account | None:
        return account_at(c.purple_quick.purple_connection_get_account(connection))

    def _stepped(self, connection: int, text: bytes, _step: int, _count: int) -> None:
        account = self._account_of(connection)
        if account:
            limits.connecting(connection, account.protocol.encode())
            self._progress(account, decode(text))

    def _connected(self, connection: int) -> None:
        account = self._account_of(connection)
        if account:
            account.behaviour.connected(account)
            account.signed_on()
            self._events.connected(account)
            self._changes.roster(account)

    def _disconnected(self, connection: int) -> None:
        limits.disconnected(connection)
        account = self._account_of(connection)
        if account:
            account.behaviour.disconnected(account)
            account.signed_off()
            self._events.disconnected(account)

    def _failed(self, connection: int, reason: int, text: bytes) -> None:
        account = self._account_of(connection)
        if account:
            refusal = account.encryption and account.encryption.refusal
            if (
                refusal and reason == certificate_check.OTHER
            ):  # libpurple's own words are the same for every certificate
                reason, text = refusal.code, refusal.text.encode()
            fatal = bool(c.purple_quick.purple_connection_error_is_fatal(reason))
            self._events.connection_failed(account, ConnectionError(reason, decode(text), fatal))

    def _authorization_requested(
        self, pointer: int, who: bytes, _id: bytes, _alias: bytes, message: bytes, on_list: int, *answers: int
    ) -> int:
        account = account_at(pointer)
        yes, no, data = answers
        handle = next(self._questions)
        if account:
            self._unanswered.add(handle)
            request = AuthorizationRequest(
                who=decode(who),
                message=decode(message),
                on_list=bool(on_list),
                authorize=self._answer(handle, yes, data),
                deny=self._answer(handle, no, data),
            )
            self._events.authorization_requested(account, request)
        return handle

    def _answer(self, handle: int, function: int, data: int) -> Callable[[], None]:
        """libpurple frees ``data`` with the first answer, and when the connection ends."""

        def give() -> None:
            if handle in self._unanswered:
                self._unanswered.discard(handle)
                c.AuthorizationFunction(function)(data)

        return give

    # ------------------------------------------------------------ messages
    def _receiving(self, pointer: int, sender: Any, text: Any, _conv: int, flags: Any, _data: int) -> int:
        """Taken here, libpurple makes no conversation, whose history would grow without end.

        A delayed message goes on to ``_write_im``, unless the protocol knows when it was written: libpurple tells
        it only there.
        """
        account = account_at(pointer)
        if account is None:
            return 0
        wants_error = not flags[0] & c.PURPLE_MESSAGE_AUTO_RESP
        message = ReceivedMessage(decode(sender[0]), decode(text[0]), flags[0], 0, wants_error=wants_error)
        message = account.behaviour.complete(account, message)
        if message.flags & c.PURPLE_MESSAGE_DELAYED and not message.sent_at:
            return 0
        self._events.message_received(account, message)
        return 1

    def _write_im(self, conversation: int, who: bytes | None, text: bytes, flags: int, sent_at: int) -> None:
        self._end_soon(conversation)
        account = account_at(c.purple_quick.purple_conversation_get_account(conversation))
        if account and flags & c.PURPLE_MESSAGE_RECV:
            name = who or c.purple_quick.purple_conversation_get_name(conversation)
            self._events.message_received(account, ReceivedMessage(decode(name), decode(text), flags, sent_at))

    def _end_soon(self, conversation: int) -> None:
        """Once, however many messages come until then; libpurple still needs the conversation after this call."""
        if conversation not in self._ending:
            self._ending.add(conversation)
            glib.call_soon(lambda: self._end(conversation))

    def _end(self, conversation: int) -> None:
        if conversation in self._ending:
            c.purple.purple_conversation_destroy(conversation)

    def _write_conv(
        self, conversation: int, _name: bytes, _alias: bytes, text: bytes, flags: int, _sent_at: int
    ) -> None:
        account = account_at(c.purple_quick.purple_conversation_get_account(conversation))
        if flags & (c.PURPLE_MESSAGE_SYSTEM | c.PURPLE_MESSAGE_ERROR):
            self._events.notified(account, decode(text))

    # ------------------------------------------------------------ contacts
    def _buddy_status_changed(self, buddy: int, _old: int, _new: int, _data: int) -> None:
        self._buddy_changed(buddy, 0)

    def _buddy_idle_changed(self, buddy: int, _old: int, _new: int, _data: int) -> None:
        self._buddy_changed(buddy, 0)

    def _node_aliased(self, node: int, _old: bytes, _data: int) -> None:
        """Contacts and chats, too, are nodes of the list; what an account has is a buddy (blist.h)."""
        if c.purple_quick.purple_blist_node_get_type(node) == c.PURPLE_BLIST_BUDDY_NODE:
            self._list_changed(node, 0)
            self._buddy_changed(node, 0)

    def _buddy_changed(self, buddy: int, _data: int) -> None:
        account = account_at(c.purple_quick.purple_buddy_get_account(buddy))
        if account:
            self._changes.contact(account, buddies.name_of(buddy))

    def _list_changed(self, buddy: int, _data: int) -> None:
        account = account_at(c.purple_quick.purple_buddy_get_account(buddy))
        if account and not account.behaviour.keeps_list:
            self._changes.roster(account)


# what libpurple says of connections; the protocols and others show whole stanzas, with what people write to each other
_TELLING = frozenset(
    {b"account", b"certificate", b"connection", b"dns", b"dnsquery", b"dnssrv", b"gnutls", b"nss", b"proxy"}
)
_TALKATIVE = {b"nss"}  # lists every cipher at the start


def tell_of_encryption() -> None:
    """The log, at debug, also says with which version of TLS each connection is encrypted."""
    _TALKATIVE.clear()


def _is_logged(level: int, category: bytes | None) -> int:
    """libpurple writes the text only if this says so."""
    if category is None or category.partition(b"/")[0] not in _TELLING:
        return 0
    if category in _TALKATIVE and level < PURPLE_DEBUG_WARNING:
        return 0
    return int(level >= PURPLE_DEBUG_FATAL or logger.isEnabledFor(logging.DEBUG))


def _log(level: int, category: bytes, text: bytes) -> None:
    severity = logging.WARNING if level >= PURPLE_DEBUG_FATAL else logging.DEBUG
    logger.log(severity, "libpurple %s: %s", decode(category), decode(text).strip())


def _glib_log(domain: bytes | None, _level: int, text: bytes, _data: int) -> None:
    """libpurple checks its arguments with GLib's assertions; a failed one is a wrong call that did nothing.

    Other texts may quote what was to be parsed.
    """
    if b"assertion" in text:
        logger.debug("%s: %s", decode(domain) or "GLib", decode(text))
