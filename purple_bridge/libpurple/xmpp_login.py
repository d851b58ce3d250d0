"""XMPP's logins by SCRAM: owns those that run, in the place of libpurple's; knows nothing of accounts beyond that.

Debian's libpurple leaves logins to Cyrus SASL: each takes 11 ms of CPU time, and what Cyrus keeps of it, 7 KB, stays as
long as the connection. libjabber lets others add mechanisms (auth.h JabberSaslMech). Whatever SCRAM cannot do is still
left to Cyrus: a server without it, or one that refuses it and has something else.

The key is derived in a thread of its own (hashlib gives Python's lock back meanwhile): some milliseconds, or as long as
a server wants it to take, in which the other accounts' messages go on.
"""

from __future__ import annotations

import binascii
import ctypes
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_int, c_int8, c_void_p
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from . import c, glib, xmlnode
from .callbacks import address, callback
from .glib import decode
from .scram import MECHANISMS, Scram, ScramError

logger = logging.getLogger(__name__)

LIBJABBER = "libjabber.so.0"
SASL = b"urn:ietf:params:xml:ns:xmpp-sasl"
HIGHEST_PRIORITY = 127  # Cyrus has 100
FAIL, OK, CONTINUE = -1, 0, 1  # auth.h JabberSaslState
THREADS = 2  # a server that takes long keeps not all other logins waiting

_P = c_void_p
_Reply = POINTER(_P)  # of xmlnode*, or of char*
_Start = CFUNCTYPE(c_int, _P, _P, _Reply, _Reply)
_Success = CFUNCTYPE(c_int, _P, _P, _Reply)
_Dispose = CFUNCTYPE(None, _P)


class _Mechanism(Structure):
    """auth.h JabberSaslMech"""

    _fields_: ClassVar = [
        ("priority", c_int8),
        ("name", c_char_p),
        ("start", _P),
        ("handle_challenge", _P),
        ("handle_success", _P),
        ("handle_failure", _P),
        ("dispose", _P),
    ]


@dataclass(slots=True)
class _Login:
    """``others``: what the server has besides SCRAM. ``answer``: the one that is being computed, or was."""

    scram: Scram
    others: list[str]
    answer: Future[bytes] | None = None


class Logins:
    """By JabberStream*."""

    def __init__(self) -> None:
        self._running: dict[int, _Login] = {}
        self._mechanisms: list[_Mechanism] = []  # libjabber keeps their addresses
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="purple-login")

    def install(self) -> None:
        """Once, when prpl-jabber is loaded; nothing happens where it has no such functions."""
        try:
            self._jabber = ctypes.CDLL(LIBJABBER)
            for name, result, arguments in (
                ("jabber_auth_add_mech", None, [_P]),
                ("jabber_auth_remove_mech", None, [_P]),
                ("jabber_auth_start", None, [_P, _P]),
                ("jabber_send", None, [_P, _P]),
                ("jabber_saslprep", _P, [c_char_p]),
            ):
                function = getattr(self._jabber, name)
                function.restype, function.argtypes = result, arguments
        except (OSError, AttributeError) as error:
            logger.debug("libpurple's own logins are used: %s", error)
            return
        self._make_mechanisms()
        self._offer()

    def _make_mechanisms(self) -> None:
        functions = {
            "handle_challenge": callback(_Start, self._challenged, FAIL),
            "handle_success": callback(_Success, self._succeeded, FAIL),
            "handle_failure": callback(_Start, self._failed, FAIL),
            "dispose": callback(_Dispose, self._ended),
        }
        for place, name in enumerate(MECHANISMS):
            mechanism = _Mechanism(HIGHEST_PRIORITY - place, name.encode())
            begin = callback(_Start, self._beginner(name), FAIL)
            for field, function in {"start": begin, **functions}.items():
                setattr(mechanism, field, address(function))
            self._mechanisms.append(mechanism)

    def _offer(self) -> None:
        for mechanism in self._mechanisms:
            self._jabber.jabber_auth_add_mech(ctypes.addressof(mechanism))

    def _withdraw(self) -> None:
        for mechanism in self._mechanisms:
            self._jabber.jabber_auth_remove_mech(ctypes.addressof(mechanism))

    # ------------------------------------------------------------ what libjabber calls
    def _beginner(self, name: str) -> Any:
        def begin(stream: int, mechanisms: int, reply: Any, _message: Any) -> int:
            offered = [xmlnode.text_of(one) for _, tag, one in xmlnode.children(mechanisms) if tag == b"mechanism"]
            credentials = self._credentials(stream)
            if credentials is None:
                return self._leave_to_libpurple(stream, offered)
            scram = Scram(name, *credentials)
            self._running[stream] = _Login(scram, [other for other in offered if not other.startswith("SCRAM-")])
            reply[0] = _element(b"auth", scram.first(), mechanism=name)
            return CONTINUE

        return begin

    def _challenged(self, stream: int, packet: int, reply: Any, message: Any) -> int:
        """RFC 6120 §6.4.3; a server may send its proof as a challenge, too."""
        try:
            login, challenge = self._login(stream), _decoded(xmlnode.text_of(packet))
            if challenge.startswith(b"v="):
                login.scram.verify(challenge)
                reply[0] = _element(b"response", b"")
            else:
                self._answer(stream, login, challenge)
        except ScramError as error:
            return _refused(error, message)
        return CONTINUE

    def _answer(self, stream: int, login: _Login, challenge: bytes) -> None:
        """It goes out when it is computed; libjabber minds no reply that comes later. Raises ScramError."""
        if login.answer is not None:
            raise ScramError("the server asks twice")
        login.answer = self._threads.submit(login.scram.answer(challenge))
        login.answer.add_done_callback(lambda _: glib.call_soon(partial(self._send_answer, stream, login)))

    def _send_answer(self, stream: int, login: _Login) -> None:
        if self._running.get(stream) is not login or login.answer is None:
            return  # the connection has ended meanwhile
        response = _element(b"response", login.answer.result())
        self._jabber.jabber_send(stream, response)
        xmlnode.free(response)

    def _succeeded(self, stream: int, packet: int, message: Any) -> int:
        try:
            scram = self._login(stream).scram
            if not scram.verified:
                scram.verify(_decoded(xmlnode.text_of(packet)))
        except ScramError as error:
            return _refused(error, message)
        finally:
            self._end(stream)
        return OK

    def _login(self, stream: int) -> _Login:
        """Raises ScramError."""
        login = self._running.get(stream)
        if login is None:
            raise ScramError("the server answers what it was not asked")
        return login

    def _end(self, stream: int) -> _Login | None:
        """What nobody needs any more is not computed."""
        login = self._running.pop(stream, None)
        if login is not None and login.answer is not None:
            login.answer.cancel()
        return login

    def _failed(self, stream: int, _packet: int, _reply: Any, _message: Any) -> int:
        """As Cyrus does, what else the server has is tried."""
        login = self._end(stream)
        return self._leave_to_libpurple(stream, login.others) if login and login.others else FAIL

    def _ended(self, stream: int) -> None:
        self._end(stream)

    # ------------------------------------------------------------ what libjabber knows
    def _leave_to_libpurple(self, stream: int, offered: list[str]) -> int:
        """It begins anew, as if the server had nothing else; it sends by itself."""
        features = xmlnode.new(b"stream:features")
        mechanisms = xmlnode.add(features, b"mechanisms", SASL)
        for name in offered:
            xmlnode.add(mechanisms, b"mechanism", text=name)
        self._withdraw()
        try:
            self._jabber.jabber_auth_start(stream, features)
        finally:
            self._offer()
            xmlnode.free(features)
        return CONTINUE

    def _credentials(self, stream: int) -> tuple[str, str] | None:
        """User and password, prepared; None: SCRAM cannot be done with them."""
        for connection in glib.iterate_list(c.purple_quick.purple_connections_get_connecting()):
            if c.purple_quick.purple_connection_get_protocol_data(connection) == stream:
                account = c.purple_quick.purple_connection_get_account(connection)
                name = c.purple_quick.purple_normalize(account, c.purple_quick.purple_account_get_username(account))
                user, _, _ = decode(name).rpartition("@")
                password = decode(c.purple_quick.purple_connection_get_password(connection))
                prepared = self._prepared(user), self._prepared(password)
                return prepared if all(prepared) else None
        return None

    def _prepared(self, text: str) -> str:
        """RFC 4013; "" where it forbids the text."""
        return glib.take_string(self._jabber.jabber_saslprep(text.encode())) if text else ""


def _element(name: bytes, content: bytes, **attributes: str) -> int:
    """libjabber frees it."""
    node = xmlnode.new(name, **attributes)
    c.purple_quick.xmlnode_set_namespace(node, SASL)
    text = binascii.b2a_base64(content, newline=False)
    if text:
        c.purple_quick.xmlnode_insert_data(node, text, -1)
    return node


def _decoded(text: str) -> bytes:
    try:
        return binascii.a2b_base64(text.strip())
    except ValueError:
        raise ScramError("the server's message is not base64") from None


def _refused(error: ScramError, message: Any) -> int:
    message[0] = c.glib_quick.g_strdup(f"SCRAM: {error}".encode())
    return FAIL
