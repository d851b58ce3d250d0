"""Digest authentication of HTTP (RFC 7616, RFC 2617): credentials, nonces, challenges."""

from __future__ import annotations

import pytest

from purple_bridge.digest import NONCE_SECONDS, Credentials, Nonces
from tests.agents.sip import challenge

HA1 = "939e7578ed9e3c518a452acee763bce9"  # RFC 2617 §3.5: Mufasa, testrealm@host.com, Circle Of Life
RFC_2617 = (
    'Digest username="Mufasa", realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
    'uri="/dir/index.html", qop=auth, nc=00000001, cnonce="0a4f113b", '
    'response="6629fae49393a05397450978507c4ef1", opaque="5ccc069c403ebaf9f0171e9517f40e41"'
)


def parsed(header: str) -> Credentials:
    credentials = Credentials.parse(header)
    assert credentials is not None
    return credentials


def test_the_example_of_the_rfc() -> None:
    credentials = parsed(RFC_2617)
    assert (credentials["username"], credentials["uri"], credentials["none"]) == ("Mufasa", "/dir/index.html", "")
    assert credentials.proves("GET", HA1)
    assert not credentials.proves("PUT", HA1)
    assert not credentials.proves("GET", "0" * 32)


@pytest.mark.parametrize(
    "change", [("qop=auth", "qop=auth-int"), ("qop=auth", "algorithm=SHA-256, qop=auth"), ("4ef1", "4ef2")]
)
def test_what_proves_nothing(change: tuple[str, str]) -> None:
    assert not parsed(RFC_2617.replace(*change)).proves("GET", HA1)


def test_quoted_texts_may_have_commas_and_quotes() -> None:
    credentials = parsed(r'Digest username="a \"b\", c", realm="x"')
    assert (credentials["username"], credentials["realm"]) == ('a "b", c', "x")


@pytest.mark.parametrize(
    "header", ["", "Basic YTpi", 'Digest username="a', 'Digest uri="/a", uri="/b"', "Digest garbage"]
)
def test_what_is_no_digest(header: str) -> None:
    assert Credentials.parse(header) is None


def test_a_nonce_lives_for_a_while_and_is_this_servers() -> None:
    nonces, others = Nonces(b"key"), Nonces(b"other")
    nonce = nonces.new(1000.5)
    assert nonces.is_fresh(nonce, 1000.5)
    assert nonces.is_fresh(nonce, 1000 + NONCE_SECONDS - 1)
    assert not nonces.is_fresh(nonce, 1000 + NONCE_SECONDS)
    assert not nonces.is_fresh(nonce, 999)
    assert not others.is_fresh(nonce, 1001)
    for wrong in ("", ".", "zz.00", nonce[:-1], nonce + "0", "ü." + nonce):
        assert not nonces.is_fresh(wrong, 1001)


def test_a_challenge_can_be_answered() -> None:
    found = challenge([Nonces(b"key").challenge("example.org", 1000, stale=True)])
    assert found is not None
    assert (found.realm, found.qop, found.algorithm, found.stale) == ("example.org", "auth", "MD5", True)
    assert parsed(found.answer("Mufasa", "x", "GET", "/"))["nonce"] == found.nonce
    fresh = challenge([Nonces(b"key").challenge("example.org", 1000, stale=False)])
    assert fresh is not None
    assert not fresh.stale


LONG = {
    "a name": "a" * 300_000,
    "escapes": 'a="' + "\\" * 300_000,
    "white space": "a" + " " * 300_000 + "b",
    "many": "a=b," * 80_000,
    "commas": "," * 300_000,
}


@pytest.mark.parametrize("rest", LONG.values(), ids=LONG)
def test_a_long_header_is_read_in_one_pass(rest: str) -> None:
    """More than linear time would be minutes, and an end by the time limit of tests: anybody can send such a header."""
    assert Credentials.parse(f"Digest {rest}") is None
