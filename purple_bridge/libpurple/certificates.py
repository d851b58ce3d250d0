"""Owns the decision about every server's certificate, in the place of libpurple's own; must not know rows or SIP.

certificate.h, sslconn.h. libpurple asks its user about a certificate that it does not know, remembers the answer, and
trusts for this process whatever was accepted once. Here a certificate is looked at anew at each connection: the TLS
library (NSS) says whether an authority stands behind it, ``certificate_check`` the rest. Nothing is remembered.

libpurple verifies XMPP against ``connect_server`` where that is set (jabber.c, certificate_CN); RFC 6120 §13.7.2.1
wants the JID's domain, whatever host was connected to. So the name is replaced, before the handshake, which also tells
the server (SNI) which certificate is wanted.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
from ctypes import CFUNCTYPE, POINTER, c_int, c_void_p
from dataclasses import dataclass
from functools import cache

from . import c, certificate_check
from .accounts import Account, account_at
from .callbacks import address, callback
from .certificate_check import Presented, Refusal, Unreadable, judge, reference_name
from .glib import decode

logger = logging.getLogger(__name__)

XMPP = "prpl-jabber"
KNOWN = (XMPP, "prpl-irc")  # whose connections tell to which account they belong
VALID, INVALID = 1, 0  # certificate.h PurpleCertificateVerificationStatus
SCHEME, VERIFIER = b"x509", b"tls_cached"  # the names that sslconn.c looks for
LONGEST = 1 << 16  # octets of a certificate
MOST_CERTIFICATES = 10  # that a server may send
SSL_NO_CACHE = 9  # NSS, ssl.h

_Start = CFUNCTYPE(None, c_void_p)
_Connect = CFUNCTYPE(None, c_void_p)
_VerifyChain = CFUNCTYPE(None, c_void_p, POINTER(c_int))


@dataclass(frozen=True, slots=True)
class Encryption:
    """Of one connection: what the server presented, and why it was taken, or not.

    ``name``: who it had to be; ``pinned``: by ``Account.pins``, whatever its name.
    """

    name: str
    presented: Presented | None
    pinned: bool = False
    refusal: Refusal | None = None


class Certificates:
    """Installed once in a process, after libpurple's start and before the first connection."""

    def install(self) -> None:
        """RuntimeError when libpurple has no TLS: accounts could not sign on without their passwords in clear."""
        before = c.purple.purple_ssl_get_ops()
        builtin = c.purple.purple_certificate_find_verifier(SCHEME, VERIFIER)
        if not before or not builtin:
            raise RuntimeError("libpurple finds no plugin for TLS (ssl-nss)")
        self._connect = _Connect(before.contents.connectfunc)
        self._ops = c.SslOps.from_buffer_copy(before.contents)  # libpurple keeps only pointers to these two
        self._ops.connectfunc = address(callback(_Connect, self._connecting))
        c.purple.purple_ssl_set_ops(ctypes.byref(self._ops))
        # a session that is taken up again shows the certificate of its start, which may have been renewed since
        _nss().SSL_OptionSetDefault(SSL_NO_CACHE, 1)
        self._verifier = c.CertificateVerifier(SCHEME, VERIFIER)
        self._verifier.start_verification = address(callback(_Start, self._verify))
        self._verifier.destroy_request = address(callback(_Start, lambda _request: None))
        c.purple.purple_certificate_unregister_verifier(builtin)
        c.purple.purple_certificate_register_verifier(ctypes.byref(self._verifier))

    # ------------------------------------------------------------ before the handshake
    def _connecting(self, pointer: int) -> None:
        try:
            self._name_server(ctypes.cast(pointer, POINTER(c.SslConnection)).contents)
        finally:  # whatever name it has: the certificate is compared with the account's
            self._connect(pointer)

    def _name_server(self, connection: c.SslConnection) -> None:
        account = _account_of(connection)
        if account is not None:
            name = _wanted_name(account, decode(ctypes.string_at(connection.host) if connection.host else b""))
            c.glib_quick.g_free(connection.host)
            connection.host = c.glib_quick.g_strdup(name.encode())

    # ------------------------------------------------------------ after it
    def _verify(self, pointer: int) -> None:
        """Before anything else is sent over the connection; the answer is given at once, and in any case."""
        request = ctypes.cast(pointer, POINTER(c.VerificationRequest)).contents
        status = INVALID
        try:
            status = VALID if self._is_accepted(pointer, request) else INVALID
        except BaseException:
            logger.exception("a certificate could not be looked at; the connection is refused")
        c.purple.purple_certificate_verify_complete(pointer, status)

    def _is_accepted(self, pointer: int, request: c.VerificationRequest) -> bool:
        account = _account_of(ctypes.cast(request.cb_data, POINTER(c.SslConnection)).contents)
        asked = decode(request.subject_name)
        name = _wanted_name(account, asked) if account is not None else reference_name(asked)
        encryption = _judged(pointer, request, name, account)
        if account is not None:
            account.encryption = encryption
        elif encryption.refusal is not None:
            logger.warning("%s", encryption.refusal.text)
        return encryption.refusal is None


def trust_authorities(directory: str) -> None:
    """Authorities in addition to the system's: the ``*.pem`` and ``*.crt`` files of a directory, read once.

    Before the first connection. A certificate that is not of an authority (RFC 5280 §4.2.1.9) counts for nothing there.
    """
    c.purple.purple_certificate_add_ca_search_path(directory.encode())


def _judged(pointer: int, request: c.VerificationRequest, name: str, account: Account | None) -> Encryption:
    pins = account.pins if account is not None else frozenset()
    try:
        own = _der(request)
        presented = certificate_check.read(own)
        if not pins:
            _check_sent(ctypes.cast(request.cb_data, POINTER(c.SslConnection)).contents, own)
        flags = 0 if pins else _chain_flags(pointer, request)
    except Unreadable as error:
        text = f"The server's certificate is not accepted for {certificate_check.shown(name)}: {error}"
        return Encryption(name, None, refusal=Refusal(certificate_check.OTHER, text))
    refusal = judge(presented, flags, name, pins, xmpp=account is not None and account.protocol == XMPP)
    return Encryption(name, presented, bool(pins), refusal)


def _account_of(connection: c.SslConnection) -> Account | None:
    """Whose it is, where the protocol's plugin gives its PurpleConnection; what others give is not read."""
    pointer = connection.connect_cb_data
    if not pointer or not c.glib_quick.g_list_find(c.purple_quick.purple_connections_get_all(), pointer):
        return None
    account = account_at(c.purple_quick.purple_connection_get_account(pointer))
    return account if account is not None and account.protocol in KNOWN else None


def _wanted_name(account: Account, connected_to: str) -> str:
    """Who the server has to be: what the row says, else on XMPP the JID's domain, else the host of the connection."""
    if account.server_name:
        return reference_name(account.server_name)
    if account.protocol == XMPP:
        bare = account.name.partition("/")[0]
        return reference_name(bare.rpartition("@")[2])
    return reference_name(connected_to)


def _der(request: c.VerificationRequest) -> bytes:
    """The server's own certificate. Raises Unreadable."""
    if not request.cert_chain or not request.cert_chain.contents.data:
        raise Unreadable("there is none")
    pointer = request.cert_chain.contents.data
    item = ctypes.cast(pointer, POINTER(c.Certificate)).contents.data.contents.derCert
    if not item.data or not 0 < item.len <= LONGEST:
        raise Unreadable("it is empty or too large")
    der = ctypes.string_at(item.data, item.len)
    # the structure is NSS's own: that it was read right is certain only when NSS comes to the same
    if hashlib.sha256(der).digest() != _fingerprint(pointer):
        raise Unreadable("libpurple's TLS plugin is another than ssl-nss")
    return der


def _check_sent(connection: c.SslConnection, own: bytes) -> None:
    """All that the server has sent, of which NSS looks at any: its work grows with the square of the names in one.

    Raises Unreadable. ``own``: the server's own certificate, which is the first.
    """
    for number, der in enumerate(_sent(connection)):
        if number >= MOST_CERTIFICATES:
            raise Unreadable(f"more than {MOST_CERTIFICATES} certificates came")
        if not number and der != own:
            raise Unreadable("libpurple's TLS plugin is another than ssl-nss")
        certificate_check.check_work(der)


def _sent(connection: c.SslConnection) -> list[bytes]:
    data = ctypes.cast(connection.private_data, POINTER(c.SslNssData))
    head = _nss().SSL_PeerCertificateChain(data.contents.in_) if data else None
    if not head:
        return []
    found, node = [], head.contents.next
    while node and ctypes.addressof(node.contents) != ctypes.addressof(head.contents):
        item = node.contents.cert.contents.derCert
        found.append(ctypes.string_at(item.data, min(item.len, LONGEST)))
        node = node.contents.next
    _nss().CERT_DestroyCertList(head)
    return found


@cache
def _nss() -> ctypes.CDLL:
    """The library that ssl-nss has loaded."""
    library = ctypes.CDLL("libssl3.so")
    library.SSL_PeerCertificateChain.restype = POINTER(c.NssCertificateList)
    library.SSL_PeerCertificateChain.argtypes = [c_void_p]
    library.SSL_OptionSetDefault.argtypes = [c_int, c_int]
    library.CERT_DestroyCertList.restype = None
    library.CERT_DestroyCertList.argtypes = [POINTER(c.NssCertificateList)]
    return library


def _fingerprint(certificate: int) -> bytes:
    array = c.purple.purple_certificate_get_fingerprint_sha256(certificate, 0)
    if not array:
        return b""
    try:
        return ctypes.string_at(array.contents.data, array.contents.len)
    finally:
        c.glib_quick.g_byte_array_free(array, 1)


def _chain_flags(pointer: int, request: c.VerificationRequest) -> int:
    """PurpleCertificateInvalidityFlags of the chain, by the TLS library. Raises Unreadable."""
    function = request.scheme.contents.verify_cert
    if not function:
        raise Unreadable("libpurple's TLS plugin cannot verify it: ssl-nss is needed")
    _read_authorities()
    flags = c_int(0)
    _VerifyChain(function)(pointer, ctypes.byref(flags))
    return flags.value


def _read_authorities() -> None:
    """certificate.c reads them with the first question to that pool, and NSS trusts them from then on."""
    pool = c.purple.purple_certificate_find_pool(SCHEME, b"ca")
    c.purple.purple_certificate_pool_contains(pool, b"")
