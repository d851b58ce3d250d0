"""Which addresses an account may connect to whose owner is a stranger to this network: owns what counts as public.

Whoever may name a server could else have the gateway knock at whatever only this machine reaches: services on loopback,
the neighbours, a cloud's metadata. Looked at is the address that is connected to, so a name that has others the next
time gains nothing.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from ctypes import c_void_p
from typing import Any

from .accounts import Account, account_at

REFUSED = "its server's address is not public, and the account may use no others (public_servers)"
# dnsquery.c, struct _PurpleDnsQueryData of libpurple 2.14: hostname, port, callback, data, timeout, account
_QUERY_ACCOUNT = 5 * 8


def is_public(host: str) -> bool:
    """``host``: an IP address in the form that getaddrinfo returns."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        nat64 = address in ipaddress.ip_network("64:ff9b::/96")
        embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if nat64 else embedded
        if embedded is not None:
            return is_public(str(embedded))
    return address.is_global and not address.is_multicast


def literal(text: str) -> str | None:
    """The IP address that libpurple takes the text for without a look-up (inet_aton, getaddrinfo), None for a name."""
    if not text:
        return None
    try:
        return socket.inet_ntoa(socket.inet_aton(text))
    except (OSError, UnicodeError):
        pass
    try:
        found = socket.getaddrinfo(text.strip("[]"), None, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return None
    return str(found[0][4][0])


def check_text(text: str) -> None:
    """An account's name or option. ValueError if it is, or has where a server's name would be, no public address."""
    for host in _hosts(text):
        address = literal(host)
        if address is not None and not is_public(address):
            raise ValueError(REFUSED)


def _hosts(text: str) -> Iterable[str]:
    """All that could be taken for a host: of a URL, of host:port, of name@host, of a list."""
    for part in text.replace(",", " ").split() or [""]:
        place = part.partition("://")[2] or part
        authority = place.partition("/")[0].rpartition("@")[2]
        yield from (text.strip(), part, place, authority, authority.rpartition(":")[0], authority.partition("/")[0])


def restricted_account(query: int) -> Account | None:
    """Of a PurpleDnsQueryData, if it may connect to public addresses alone."""
    account = account_at(c_void_p.from_address(query + _QUERY_ACCOUNT).value)
    return account if account is not None and account.public_only else None


def allowed(found: list[Any]) -> list[Any]:
    """Of what getaddrinfo has found. OSError if nothing is left."""
    public = [one for one in found if is_public(str(one[4][0]))]
    if found and not public:
        raise OSError(REFUSED)
    return public
