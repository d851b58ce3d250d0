"""SCRAM: the examples of the standards, and what no server may say."""

from __future__ import annotations

import pytest

from purple_bridge.libpurple.scram import MOST_ITERATIONS, Scram, ScramError

# mechanism, client's nonce, first, challenge, final, server's final
RFC_5802 = (
    "SCRAM-SHA-1",
    "fyko+d2lbbFgONRv9qkxdawL",
    b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
    b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
    b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
    b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
)
RFC_7677 = (
    "SCRAM-SHA-256",
    "rOprNGfwEbeRWgbNEkqO",
    b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
    b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
)


@pytest.mark.parametrize("example", [RFC_5802, RFC_7677], ids=["RFC 5802 §5", "RFC 7677 §3"])
def test_the_examples_of_the_standards(example: tuple[str, str, bytes, bytes, bytes, bytes]) -> None:
    mechanism, nonce, first, challenge, final, servers = example
    scram = Scram(mechanism, "user", "pencil", nonce)
    assert scram.first() == first
    assert scram.answer(challenge)() == final
    assert not scram.verified
    scram.verify(servers)
    assert scram.verified


def test_each_login_has_a_nonce_of_its_own() -> None:
    first, second = (Scram("SCRAM-SHA-1", "user", "pencil").first() for _ in range(2))
    assert first != second


def test_a_name_with_characters_of_the_form() -> None:
    assert Scram("SCRAM-SHA-1", "a=b,c", "x", "n").first() == b"n,,n=a=3Db=2Cc,r=n"


@pytest.mark.parametrize(
    "challenge",
    [
        b"",
        b"r=other,s=QSXCR+Q6sek8bf92,i=4096",
        b"r=mine,s=QSXCR+Q6sek8bf92,i=4096",  # the server has to add its own
        b"r=mineyours,s=QSXCR+Q6sek8bf92",
        b"r=mineyours,s=QSXCR+Q6sek8bf92,i=0",
        b"r=mineyours,s=QSXCR+Q6sek8bf92,i=-1",
        b"r=mineyours,s=QSXCR+Q6sek8bf92,i=%d" % (MOST_ITERATIONS + 1),
        b"r=mineyours,s=QSXCR+Q6sek8bf92,i=99999999999999999999",
        b"r=mineyours,s=*,i=4096",
        b"m=new,r=mineyours,s=QSXCR+Q6sek8bf92,i=4096",
        b"\xff\xfe",
    ],
)
def test_what_is_no_challenge(challenge: bytes) -> None:
    with pytest.raises(ScramError):
        Scram("SCRAM-SHA-1", "user", "pencil", "mine").answer(challenge)


@pytest.mark.parametrize("final", [b"", b"v=", b"v=AAAA", b"v=*", b"e=other-error"])
def test_a_server_that_does_not_know_the_password(final: bytes) -> None:
    scram = Scram("SCRAM-SHA-1", "user", "pencil", RFC_5802[1])
    scram.answer(RFC_5802[3])()
    with pytest.raises(ScramError):
        scram.verify(final)
    assert not scram.verified


def test_a_server_that_answers_before_it_has_asked() -> None:
    with pytest.raises(ScramError):
        Scram("SCRAM-SHA-1", "user", "pencil").verify(b"v=")
