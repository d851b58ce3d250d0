"""Name look-ups for libpurple in threads: its own resolvers fork, inherit descriptors and leave zombies.

dnsquery.h PurpleDnsQueryUiOps, dnssrv.h PurpleSrvTxtQueryUiOps.  The answer is handed to libpurple in the loop's
thread, and only while the query still lives.
"""

from __future__ import annotations

import ctypes
import ipaddress
import logging
import socket
import struct
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from ctypes import CFUNCTYPE, c_char_p, c_int, c_void_p
from typing import Any

import dns.exception
import dns.resolver

from . import c, glib
from .callbacks import callback, operations
from .glib import decode
from .public_servers import allowed, literal, restricted_account

logger = logging.getLogger(__name__)

THREADS = 32  # started as they are needed
THREADS_FOR_SLOW = 16  # more of them, for names that were not answered in time
SLOW_SECONDS = 3.0
SHARED_SECONDS = (
    30.0  # a look-up that lasts longer is none to wait for: dnspython goes by the clock, which may be set back
)
LOOKUP_SECONDS = 10.0
SRV_RECORD = 33  # dnssrv.c T_SRV: the type of a query is its DNS record type

_Resolve = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p)
_Destroy = CFUNCTYPE(None, c_void_p)
_Resolved = CFUNCTYPE(None, c_void_p, c_void_p)
_Failed = CFUNCTYPE(None, c_void_p, c_char_p)

LookUp = Callable[[], list[Any]]
MakeList = Callable[[list[Any]], Any]


class LookUps:
    """Owns the threads: one look-up for all who ask the same at a time, and none behind a domain that is silent.

    A domain whose last look-up took longer than SLOW_SECONDS has its next ones in threads of their own, so that many
    accounts whose name servers are dead keep nobody else waiting. For the loop's thread alone.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="purple-dns")
        self._for_slow = ThreadPoolExecutor(THREADS_FOR_SLOW, thread_name_prefix="purple-dns-slow")
        self._running: dict[tuple[object, ...], tuple[Future[list[Any]], float]] = {}
        self._slow: set[str] = set()

    def start(self, what: str, name: str, look_up: LookUp, *more: object) -> Future[list[Any]]:
        """``what``, ``name`` and ``more`` say what is looked up: the same is not asked twice at a time."""
        key = (what, name, *more)
        now = time.monotonic()
        running, begun = self._running.get(key, (None, 0.0))
        if running is not None and not running.done() and now - begun < SHARED_SECONDS:
            return running
        domain = _domain(name)
        threads = self._for_slow if domain in self._slow else self._threads
        future = threads.submit(self._timed, domain, look_up)
        self._running[key] = future, now
        future.add_done_callback(lambda done: glib.call_soon(lambda: self._forget(key, done)))
        return future

    def close(self) -> None:
        for threads in (self._threads, self._for_slow):
            threads.shutdown(wait=False, cancel_futures=True)

    def _timed(self, domain: str, look_up: LookUp) -> list[Any]:
        """In one of the threads; a set's own methods are atomic."""
        begin = time.monotonic()
        try:
            return look_up()
        except Exception as error:
            words = str(error)
            traceback.clear_frames(error.__traceback__)
        finally:
            if time.monotonic() - begin > SLOW_SECONDS:
                self._slow.add(domain)
            else:
                self._slow.discard(domain)
        raise OSError(words)  # without dnspython's exception, whose cycles keep descriptors open

    def _forget(self, key: tuple[object, ...], future: Future[list[Any]]) -> None:
        if self._running.get(key, (None, 0.0))[0] is future:
            del self._running[key]


def _domain(name: str) -> str:
    """Without the labels of a service in front (RFC 2782)."""
    return ".".join(label for label in name.lower().rstrip(".").split(".") if not label.startswith("_"))


class Resolver:
    """Knows which queries libpurple still waits for."""

    def __init__(self) -> None:
        self._look_ups = LookUps()
        self.own: set[str] = set()  # hosts that the operator has named: every account may connect to them
        self._pending: dict[int, Future[list[Any]]] = {}

    def install(self) -> None:
        """purple_dnsquery_set_ui_ops and purple_srv_txt_query_set_ui_ops"""
        destroy = callback(_Destroy, self._given_up)
        hosts = operations(c.DnsQueryUiOps, resolve_host=callback(_Resolve, self._host, 0), destroy=destroy)
        c.purple.purple_dnsquery_set_ui_ops(hosts)
        services = operations(c.SrvTxtQueryUiOps, resolve=callback(_Resolve, self._service, 0), destroy=destroy)
        c.purple.purple_srv_txt_query_set_ui_ops(services)

    def close(self) -> None:
        self._look_ups.close()

    def _given_up(self, query: int) -> None:
        self._pending.pop(query, None)

    def _host(self, query: int, resolved: int, failed: int) -> int:
        host = decode(c.purple_quick.purple_dnsquery_get_host(query))
        port = c.purple_quick.purple_dnsquery_get_port(query)
        public = host not in self.own and restricted_account(query) is not None
        future = self._look_ups.start("host", host, lambda: _addresses(host, port, public), port, public)
        self._follow(query, future, resolved, failed, _address_list)
        return 1

    def _service(self, query: int, resolved: int, failed: int) -> int:
        name = decode(c.purple_quick.purple_srv_txt_query_get_query(query))
        if c.purple_quick.purple_srv_txt_query_get_type(query) == SRV_RECORD:
            future = self._look_ups.start("SRV", name, lambda: _services(name))
            self._follow(query, future, resolved, failed, _service_list)
        else:
            future = self._look_ups.start("TXT", name, lambda: _texts(name))
            self._follow(query, future, resolved, failed, _text_list)
        return 1

    def _follow(self, query: int, future: Future[list[Any]], resolved: int, failed: int, make_list: MakeList) -> None:
        def deliver(future: Future[list[Any]]) -> None:
            if not future.cancelled():
                glib.call_soon(lambda: self._answer(query, future, resolved, failed, make_list))

        self._pending[query] = future
        future.add_done_callback(deliver)

    def _answer(self, query: int, future: Future[list[Any]], resolved: int, failed: int, make_list: MakeList) -> None:
        if self._pending.get(query) is not future:  # libpurple gave it up, and may use its memory for another query
            return
        del self._pending[query]
        error = future.exception()
        if error is not None or not future.result():
            _Failed(failed)(query, (str(error) if error else "no such record").encode())
        else:
            _Resolved(resolved)(query, make_list(future.result()))


def _addresses(host: str, port: int, public: bool = False) -> list[bytes]:
    """Socket addresses (struct sockaddr) of ``host``, IPv6 and IPv4 in the system's order of preference.

    ``public``: none that is not reached over the Internet.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if public:
        found = allowed(found)
    return [_sockaddr(family, address) for family, _, _, _, address in found]


def _sockaddr(family: int, address: tuple[Any, ...]) -> bytes:
    if family == socket.AF_INET6:
        host, port, flow, scope = address
        raw = ipaddress.IPv6Address(host.partition("%")[0]).packed
        return struct.pack("=HHI16sI", family, socket.htons(port), flow, raw, scope)
    host, port = address
    return struct.pack("=HH4s8x", family, socket.htons(port), ipaddress.IPv4Address(host).packed)


def _resolve(name: str, record: str) -> list[Any]:
    try:
        return list(dns.resolver.resolve(name, record, lifetime=LOOKUP_SECONDS))
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return []


def _services(name: str) -> list[tuple[str, int]]:
    """(host, port) of an SRV name, RFC 2782's lowest priority first."""
    records = sorted(_resolve(name, "SRV"), key=lambda record: (record.priority, -record.weight))
    found = [(record.target.to_text(omit_final_dot=True), record.port) for record in records]
    # RFC 2782: a target is a name; what looks like an address would be connected to without a look-up
    return [(target, port) for target, port in found if literal(target) is None]


def _texts(name: str) -> list[bytes]:
    return [b"".join(record.strings) for record in _resolve(name, "TXT")]


def _allocate(content: bytes) -> int:
    """A copy that libpurple frees with g_free."""
    pointer: int = c.glib_quick.g_malloc0(len(content))
    ctypes.memmove(pointer, content, len(content))
    return pointer


def _address_list(addresses: list[bytes]) -> Any:
    """GSList of pairs: the length, then the sockaddr (dnsquery.h)."""
    head = None
    for content in addresses:
        head = c.glib_quick.g_slist_append(head, len(content))
        head = c.glib_quick.g_slist_append(head, _allocate(content))
    return head


def _service_list(services: list[tuple[str, int]]) -> Any:
    head: Any = None
    for order, (host, port) in enumerate(services):
        response = c.SrvResponse(host.encode()[:255], port, 0, order)
        head = c.glib_quick.g_list_append(head, _allocate(bytes(response)))
    return ctypes.cast(head, c_void_p)


def _text_list(texts: list[bytes]) -> Any:
    head: Any = None
    for text in texts:
        response = c.TxtResponse(c.glib_quick.g_strdup(text))
        head = c.glib_quick.g_list_append(head, _allocate(bytes(response)))
    return ctypes.cast(head, c_void_p)
