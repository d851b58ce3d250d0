"""Owns the statements on Kamailio's table ``address`` (module permissions): peers whose requests need no password."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from sqlalchemy import ColumnElement, Engine, and_, delete, insert, select

from purple_bridge.db.tables import address

GROUP = 1  # kemi/gateway.py asks for it
LONGEST_TAG = 64


@dataclass(frozen=True, slots=True)
class Peer:
    """``port``: 0 for any; ``tag``: the operator's own word for it."""

    network: IPv4Network | IPv6Network
    port: int = 0
    tag: str = ""


def add(engine: Engine, peer: Peer) -> bool:
    """False, and nothing done, if it is there. Raises SQLAlchemyError."""
    with engine.begin() as connection:
        if connection.execute(select(address.c.id).where(_is(peer))).first():
            return False
        network = peer.network
        row = {"ip_addr": str(network.network_address), "mask": network.prefixlen, "port": peer.port}
        connection.execute(insert(address).values(grp=GROUP, tag=peer.tag or None, **row))
    return True


def remove(engine: Engine, peer: Peer) -> bool:
    """False if it is not there. Raises SQLAlchemyError."""
    with engine.begin() as connection:
        return connection.execute(delete(address).where(_is(peer))).rowcount > 0


def peers(engine: Engine) -> list[Peer]:
    """In the order of their addresses. Raises SQLAlchemyError."""
    statement = select(address).where(address.c.grp == GROUP).order_by(address.c.ip_addr, address.c.mask)
    with engine.connect() as connection:
        rows = connection.execute(statement).all()
    return [Peer(ip_network(f"{row.ip_addr}/{row.mask}", strict=False), row.port, row.tag or "") for row in rows]


def _is(peer: Peer) -> ColumnElement[bool]:
    columns = address.c
    return and_(
        columns.grp == GROUP,
        columns.ip_addr == str(peer.network.network_address),
        columns.mask == peer.network.prefixlen,
        columns.port == peer.port,
    )
