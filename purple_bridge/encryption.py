"""What a row says about encryption towards its IM server, and that in words for `purplectl status`; pure.

On XMPP it is required unless the row says otherwise (``gateway_options``); on IRC, which has no such thing (RFC 2812),
the option ``ssl`` decides. Of other plugins nothing is known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from purple_bridge.ownership import plugin_of

XMPP, IRC = "prpl-jabber", "prpl-irc"
ALWAYS_ENCRYPTED = ("require_tls", "old_ssl")  # values of connection_security, the first is the default
TRUE_WORDS = ("true", "yes", "on", "1")

Options = Mapping[str, bool | int | str]


class Promise(StrEnum):
    """Whether the account's connection is encrypted, by its row."""

    ALWAYS = "always"
    IF_OFFERED = "if the server offers it"
    NEVER = "never"
    UNKNOWN = ""


class Seen(StrEnum):
    """What is seen of the connection that is there, "" for none or not known."""

    UNKNOWN = ""
    NONE = "none"
    TLS = "tls"
    PINNED = "pinned"
    NAMED = "named"


def promise_of(protocol: str, options: Options) -> Promise:
    """``protocol``: as in a row; ``options``: the row's own, in whatever types."""
    plugin = plugin_of(protocol)
    if plugin == IRC:
        return Promise.ALWAYS if is_true(options.get("ssl", False)) else Promise.NEVER
    if plugin != XMPP:
        return Promise.UNKNOWN
    required = str(options.get("connection_security") or ALWAYS_ENCRYPTED[0]) in ALWAYS_ENCRYPTED
    return Promise.ALWAYS if required else Promise.IF_OFFERED


def in_words(protocol: str, options: Options, has_password: bool, seen: str = Seen.UNKNOWN) -> str:
    """For the column SECURITY: how the connection is encrypted, or would be, then what the row allows beyond that."""
    promise = promise_of(protocol, options)
    words = [_how(promise, options, seen)]
    if promise is Promise.IF_OFFERED and seen not in (Seen.UNKNOWN, Seen.NONE):
        words.append("plain text allowed")
    if promise is Promise.NEVER and has_password:
        words.append("password in clear")
    elif promise is Promise.IF_OFFERED and has_password and is_true(options.get("auth_plain_in_clear", False)):
        words.append("password in clear allowed")
    return ", ".join(words)


def sends_password_in_clear(protocol: str, options: Options) -> bool:
    """Whether the row lets the password cross the network without encryption."""
    promise = promise_of(protocol, options)
    allowed = promise is Promise.IF_OFFERED and is_true(options.get("auth_plain_in_clear", False))
    return promise is Promise.NEVER or allowed


def _how(promise: Promise, options: Options, seen: str) -> str:
    if seen == Seen.NONE:
        return "plain text"
    if seen == Seen.PINNED or (not seen and promise is Promise.ALWAYS and options.get("tls_pin")):
        return "tls pinned"
    if seen == Seen.NAMED or (not seen and promise is Promise.ALWAYS and options.get("tls_name")):
        return "tls named"
    if seen == Seen.TLS or promise is Promise.ALWAYS:
        return "tls"
    return {Promise.IF_OFFERED: "plain text allowed", Promise.NEVER: "plain text"}.get(promise, "-")


def is_true(value: object) -> bool:
    """As the gateway reads an option of the kind yes or no."""
    return str(value).lower() in TRUE_WORDS
