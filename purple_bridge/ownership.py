"""Which worker owns an account: rendezvous hashing, so that every process finds the same one without asking."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

from purple_bridge.addresses import normalize_im_name


def plugin_of(protocol: str) -> str:
    """The plugin id behind ``ext_prot``: the old module's ``gtalk`` is XMPP with a server of its own."""
    return "prpl-jabber" if protocol == "gtalk" else protocol


def protocols_of(plugin: str) -> tuple[str, ...]:
    """Each ``ext_prot`` behind which is this plugin."""
    return (plugin, "gtalk") if plugin == "prpl-jabber" else (plugin,)


@lru_cache(maxsize=65536)
def account_digest(protocol: str, ext_user: str) -> bytes:
    """Eight bytes, never all zero, the same for every spelling of one external account."""
    name = f"{plugin_of(protocol)}\0{normalize_im_name(plugin_of(protocol), ext_user)}"
    return blake2b(name.encode(), digest_size=8).digest().replace(b"\0" * 8, b"\1" * 8)


@lru_cache(maxsize=65536)
def owner_of(protocol: str, ext_user: str, workers: int) -> int:
    """The worker, 1 to ``workers``, with the highest weight for this account (rendezvous hashing)."""
    digest = account_digest(protocol, ext_user)
    return max(range(1, workers + 1), key=lambda worker: blake2b(digest, salt=worker.to_bytes(8)).digest())
