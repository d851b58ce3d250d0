"""Owns the list of the compared ways: their names, and what each is in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.gateways import ThisGateway, Variant
from bench.kamailios import KamailioKemi, KamailioNative, KamailioXmpp
from bench.peer import Peer
from bench.purples import Bitlbee, LibpurpleAlone

ALWAYS = (("queue", "always"),)


@dataclass(frozen=True, slots=True)
class Contestant:
    """``name`` is for the command line, ``title`` for people. ``limit``: it does half of the work only."""

    name: str
    title: str
    make: Callable[[Path], Peer]
    limit: bool = False


def _gateway(name: str, title: str, variant: Variant) -> Contestant:
    return Contestant(name, title, partial(ThisGateway, variant=variant))


GATEWAY, KEMI, LIBPURPLE = "gateway", "kamailio-kemi", "libpurple"

CONTESTANTS = (
    _gateway(GATEWAY, "this gateway, SQLite", Variant()),
    _gateway("gateway-mysql", "this gateway, MariaDB", Variant(mysql=True)),
    _gateway("gateway-tls", "this gateway, TLS to the XMPP server", Variant(tls=True)),
    _gateway("gateway-no-nagle", "this gateway, XMPP server without Nagle", Variant(nagle=False)),
    _gateway("gateway-digest", "this gateway, digest authentication", Variant(digest=True)),
    _gateway("gateway-queue", "this gateway, queue=always, SQLite", Variant(settings=ALWAYS)),
    _gateway("gateway-queue-mysql", "this gateway, queue=always, MariaDB", Variant(settings=ALWAYS, mysql=True)),
    Contestant("kamailio-xmpp", "Kamailio's module xmpp", KamailioXmpp),
    Contestant("bitlbee", "bitlbee-libpurple (IRC for SIP)", Bitlbee),
    Contestant(LIBPURPLE, "limit: libpurple alone", LibpurpleAlone, limit=True),
    Contestant(KEMI, "limit: Kamailio with the routes alone", KamailioKemi, limit=True),
    Contestant("kamailio-native", "limit: Kamailio, native route", KamailioNative, limit=True),
)
NAMES = tuple(contestant.name for contestant in CONTESTANTS)


def by_name(name: str) -> Contestant:
    return next(contestant for contestant in CONTESTANTS if contestant.name == name)
