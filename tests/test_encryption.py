"""What a row says about encryption, in words, and what of its options the gateway keeps for itself."""

from __future__ import annotations

from typing import Any

import pytest

from purple_bridge.encryption import Promise, Seen, in_words, promise_of, sends_password_in_clear
from purple_bridge.gateway_options import server_of
from tests.children import run_in_child

JABBER, IRC, OTHER = "prpl-jabber", "prpl-irc", "prpl-simple"
PIN = f"sha256:{'0' * 64}"
MAYBE = {"connection_security": "opportunistic_tls"}
CLEAR = {**MAYBE, "auth_plain_in_clear": True}


@pytest.mark.parametrize(
    ("protocol", "options", "promise"),
    [
        (JABBER, {}, Promise.ALWAYS),
        ("gtalk", {}, Promise.ALWAYS),
        (JABBER, {"connection_security": "require_tls"}, Promise.ALWAYS),
        (JABBER, {"connection_security": "old_ssl"}, Promise.ALWAYS),
        (JABBER, {"connection_security": "require_starttls"}, Promise.IF_OFFERED),
        (JABBER, MAYBE, Promise.IF_OFFERED),
        (IRC, {}, Promise.NEVER),
        (IRC, {"ssl": "yes"}, Promise.ALWAYS),
        (IRC, {"ssl": False}, Promise.NEVER),
        (OTHER, {}, Promise.UNKNOWN),
    ],
)
def test_what_a_row_promises(protocol: str, options: dict[str, Any], promise: Promise) -> None:
    assert promise_of(protocol, options) is promise


@pytest.mark.parametrize(
    ("protocol", "options", "password", "seen", "words"),
    [
        (JABBER, {}, True, Seen.UNKNOWN, "tls"),
        (JABBER, {"tls_pin": PIN}, True, Seen.UNKNOWN, "tls pinned"),
        (JABBER, {"tls_name": "x.example"}, True, Seen.UNKNOWN, "tls named"),
        (JABBER, {}, True, Seen.TLS, "tls"),
        (JABBER, {}, True, Seen.PINNED, "tls pinned"),
        (JABBER, {}, True, Seen.NAMED, "tls named"),
        (JABBER, MAYBE, True, Seen.UNKNOWN, "plain text allowed"),
        (JABBER, MAYBE, True, Seen.TLS, "tls, plain text allowed"),
        (JABBER, MAYBE, True, Seen.NONE, "plain text"),
        (JABBER, CLEAR, True, Seen.NONE, "plain text, password in clear allowed"),
        (JABBER, CLEAR, True, Seen.TLS, "tls, plain text allowed, password in clear allowed"),
        (JABBER, CLEAR, False, Seen.UNKNOWN, "plain text allowed"),
        (JABBER, {"auth_plain_in_clear": True}, True, Seen.UNKNOWN, "tls"),
        (IRC, {}, False, Seen.UNKNOWN, "plain text"),
        (IRC, {}, True, Seen.NONE, "plain text, password in clear"),
        (IRC, {"ssl": True}, True, Seen.TLS, "tls"),
        (OTHER, {}, True, Seen.UNKNOWN, "-"),
    ],
)
def test_words(protocol: str, options: dict[str, Any], password: bool, seen: Seen, words: str) -> None:
    assert in_words(protocol, options, password, seen) == words


def test_whose_password_may_cross_the_network_in_clear() -> None:
    clear: list[tuple[str, dict[str, Any]]] = [(IRC, {}), (JABBER, CLEAR)]
    safe: list[tuple[str, dict[str, Any]]] = [(IRC, {"ssl": True}), (JABBER, {}), (JABBER, MAYBE), (OTHER, {})]
    assert all(sends_password_in_clear(protocol, options) for protocol, options in clear)
    assert not any(sends_password_in_clear(protocol, options) for protocol, options in safe)


# --- the options of the row ---------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [JABBER, IRC])
def test_pins_and_name_of_a_server(protocol: str) -> None:
    encrypted = {"ssl": True} if protocol == IRC else {}
    assert server_of(protocol, {}) == (frozenset(), "")
    given: dict[str, Any] = {**encrypted, "tls_pin": PIN, "tls_name": " x.example "}
    assert server_of(protocol, given) == (frozenset({PIN}), "x.example")


@pytest.mark.parametrize("option", [{"tls_pin": PIN}, {"tls_name": "x.example"}])
@pytest.mark.parametrize(
    ("protocol", "options", "words"),
    [
        (OTHER, {}, "is for prpl-jabber"),
        (JABBER, {"bosh_url": "https://x.example/"}, "is for prpl-jabber"),
        (JABBER, MAYBE, "set connection_security=require_tls"),
        (IRC, {}, "set ssl=true"),
    ],
)
def test_what_could_not_be_kept_is_refused(
    option: dict[str, str], protocol: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        server_of(protocol, {**option, **options})


def options_of(protocol: str, given: dict[str, Any]) -> dict[str, Any]:
    """In a process with libpurple."""
    from purple_bridge.gateway_options import for_libpurple  # noqa: PLC0415
    from purple_bridge.libpurple.plugins import list_protocols  # noqa: PLC0415

    list_protocols()
    return dict(for_libpurple(protocol, given))


def test_libpurple_is_told_to_require_encryption() -> None:
    """Its own default, require_starttls, is a word that it compares with nothing (jabber.h)."""
    assert run_in_child(options_of, JABBER, {}) == {"connection_security": "require_tls"}
    assert run_in_child(options_of, JABBER, {**MAYBE, "tls_name": "x"}) == MAYBE
    assert run_in_child(options_of, IRC, {}) == {}
