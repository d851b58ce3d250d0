"""What a server's certificate says, and whether it is the wanted one: pins, names, dates; and some made to harm."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from purple_bridge.libpurple import certificate_check as check
from purple_bridge.libpurple.certificate_check import Presented, Unreadable, is_for, judge, parse_pins, reference_name
from tests.servers.made_certificates import Made, authority, server

DIGITS = "0123456789abcdef" * 4
PIN = f"sha256:{DIGITS}"
COLONS = ":".join(DIGITS[place : place + 2] for place in range(0, 64, 2))
BASE64 = "ASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4mrze8="
SRV, ADDRESS = check.ID_ON_DNS_SRV, check.ID_ON_XMPP_ADDR


def other_name(oid: str, text: str, tag: int) -> x509.OtherName:
    return x509.OtherName(x509.ObjectIdentifier(oid), bytes([tag, len(text.encode())]) + text.encode())


def presented(made: Made) -> Presented:
    return check.read(made.certificate.public_bytes(Encoding.DER))


CA = authority()


# --- pins ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", [PIN, PIN.upper().replace("SHA256", "sha256"), f"SHA256:{DIGITS}", f"sha256:{COLONS}", f"sha256:{BASE64}"]
)
def test_a_pin_in_every_form_that_people_have(text: str) -> None:
    assert parse_pins(text) == {PIN}
    assert parse_pins(f" {text} , sha256:{'f' * 64},") == {PIN, f"sha256:{'f' * 64}"}


def test_no_pins() -> None:
    assert parse_pins("") == parse_pins(" , ") == frozenset()


@pytest.mark.parametrize(
    "text",
    [
        DIGITS,
        "sha256:",
        "sha1:" + "0" * 40,
        f"sha256:{DIGITS[1:]}",
        f"sha256:{DIGITS}0",
        f"{PIN} {PIN}",
        "sha256:" + "é" * 64,
        f"sha256:{BASE64[:-1]}",
        f"sha256:{'g' * 64}",
        ",".join([PIN] * 17),
    ],
)
def test_what_is_no_pin(text: str) -> None:
    with pytest.raises(ValueError, match="tls_pin"):
        parse_pins(text)


def test_a_pin_is_of_the_key_and_outlives_the_certificate() -> None:
    first = server(["a.example"], CA)
    renewed = server(["b.example"], None, key=first.key)
    assert presented(first).pin == presented(renewed).pin == first.pin
    assert presented(first).sha256 != presented(renewed).sha256


# --- names --------------------------------------------------------------------------------------------------


def _names(*names: str) -> Presented:
    return replace(presented(server(["x.example"], CA)), names=frozenset(names))


@pytest.mark.parametrize(
    ("names", "wanted", "xmpp", "fits"),
    [
        (("xmpp.example",), "xmpp.example", True, True),
        (("xmpp.example",), "example", True, False),
        (("other.example", "xmpp.example"), "xmpp.example", False, True),
        (("*.example.org",), "xmpp.example.org", True, True),
        (("*.example.org",), "example.org", True, False),
        (("*.example.org",), "a.b.example.org", True, False),
        (("*.org",), "example.org", True, False),  # of everybody
        (("*",), "localhost", True, False),
        (("x*.example.org",), "xmpp.example.org", True, False),
        (("xmpp.*.org",), "xmpp.example.org", True, False),
        (("*.0.0.1",), "127.0.0.1", False, False),
        (("127.0.0.1",), "127.0.0.1", False, True),
        (("_xmpp-client.example.org",), "example.org", True, True),
        (("_xmpp-client.example.org",), "example.org", False, False),
        (("_xmpp-server.example.org",), "example.org", True, False),
        (("xmpp:example.org",), "example.org", True, True),
        (("xmpp:example.org",), "example.org", False, False),
        (("xmpp:alice@example.org",), "example.org", True, False),
        (("good.example\0.evil.example",), "good.example", True, False),
        (("_xmpp-client.", "xmpp:", ""), "", True, False),
        (("*.example.org",), "*.example.org", True, False),
        ((), "example.org", True, False),
    ],
)
def test_whose_certificate_it_is(names: tuple[str, ...], wanted: str, xmpp: bool, fits: bool) -> None:
    assert is_for(_names(*names), wanted, xmpp) is fits


@pytest.mark.parametrize(
    ("domain", "name"),
    [
        ("Example.ORG.", "example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("a" * 70 + ".example", "a" * 70 + ".example"),
        ("", ""),
    ],
)
def test_a_domain_as_certificates_have_it(domain: str, name: str) -> None:
    assert reference_name(domain) == name


def test_the_names_of_a_certificate() -> None:
    """RFC 9525 §2: not the common name."""
    others = other_name(SRV, "_xmpp-client.IM.example", 0x16), other_name(ADDRESS, "im.example", 0x0C)
    made = server(["WWW.example", "127.0.0.1", *others], CA, common_name="cn.example")
    assert presented(made).names == {"www.example", "127.0.0.1", "_xmpp-client.im.example", "xmpp:im.example"}
    assert presented(server([], CA, common_name="cn.example")).names == frozenset()


@pytest.mark.parametrize(
    "value", [b"\x30\x02\x05\x00", b"\x0c\x02\xff\xfe", b"\x04\x02_x", b"\x16\x81\x80" + b"_" * 128]
)
def test_other_names_that_are_no_text_count_for_nothing(value: bytes) -> None:
    broken = x509.OtherName(x509.ObjectIdentifier(SRV), value)
    assert presented(server(["a.example", broken], CA)).names == {"a.example"}


# --- the judgement ------------------------------------------------------------------------------------------

GOOD = presented(server(["a.example"], CA))


def test_a_good_one_is_taken() -> None:
    assert judge(GOOD, 0, "a.example", (), xmpp=True) is None
    # the TLS library's own word on names does not count: it knows no SRV names, and takes common names
    assert judge(GOOD, check.NAME_MISMATCH, "a.example", (), xmpp=True) is None


@pytest.mark.parametrize(
    ("flags", "name", "days", "code", "words"),
    [
        (check.CA_UNKNOWN, "a.example", 0, check.UNTRUSTED, "its issuer CN=Test authority is not known"),
        (check.NO_CA_POOL, "a.example", 0, check.UNTRUSTED, "is not known"),
        (check.SELF_SIGNED, "a.example", 0, check.IS_SELF_SIGNED, "it is self-signed"),
        (0, "b.example", 0, check.WRONG_NAME, "it is for a.example"),
        (0, "a.example", 40, check.IS_EXPIRED, "it expired on "),
        (0, "a.example", -5, check.NOT_YET_VALID, "it is valid from "),
        (check.EXPIRED, "a.example", 0, check.OTHER, "one of its issuers is not valid now"),
        (check.INVALID_CHAIN, "a.example", 0, check.OTHER, "its chain of issuers is not valid"),
        (check.REVOKED, "a.example", 0, check.OTHER, "it is revoked"),
        (check.SELF_SIGNED, "b.example", 40, check.IS_SELF_SIGNED, "it is self-signed, it expired on "),
    ],
)
def test_what_is_wrong_is_said(flags: int, name: str, days: int, code: int, words: str) -> None:
    refusal = judge(GOOD, flags, name, (), xmpp=True, now=datetime.now(UTC) + timedelta(days=days))
    assert refusal is not None
    assert refusal.code == code
    assert refusal.text.startswith(f"The server's certificate is not accepted for {name}: ")
    assert words in refusal.text
    assert refusal.text.endswith(f"; its key is {GOOD.pin}")


def test_pins_decide_alone() -> None:
    """RFC 7671 §5.1, usage DANE-EE: neither issuer, name nor dates count with the right key, nor without it."""
    late = datetime.now(UTC) + timedelta(days=400)
    assert judge(GOOD, check.SELF_SIGNED, "b.example", (PIN, GOOD.pin), xmpp=True, now=late) is None
    refusal = judge(GOOD, 0, "a.example", (PIN,), xmpp=True)
    assert refusal is not None
    assert refusal.code == check.WRONG_FINGERPRINT
    assert GOOD.pin in refusal.text


# --- made to harm -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("der", [b"", b"\0" * 64, b"\x30\x82\xff\xff", b"\x30\x80" * 500, b"A" * 100_000])
def test_what_is_no_certificate(der: bytes) -> None:
    with pytest.raises(Unreadable):
        check.read(der)


def test_every_broken_octet_is_refused_or_read() -> None:
    made = server(["a.example", other_name(SRV, "_xmpp-client.a.example", 0x16)], CA)
    der = made.certificate.public_bytes(Encoding.DER)
    outcomes: set[type] = set()
    for place in range(len(der)):
        broken = der[:place] + bytes([der[place] ^ 0x55]) + der[place + 1 :]
        try:
            outcomes.add(type(check.read(broken)))
        except Unreadable:
            outcomes.add(Unreadable)
    assert outcomes == {Presented, Unreadable}


def test_thousands_of_names() -> None:
    made = server([f"host{number}.example" for number in range(5000)], CA)
    refusal = judge(presented(made), 0, "a.example", (), xmpp=True)
    assert refusal is not None
    assert "host0.example, host1.example, host10.example and 4997 more" in refusal.text
    assert len(refusal.text) < 400


@pytest.mark.parametrize("names", [0, 250, 251, 3000])
def test_too_many_names_are_too_much_work(names: int) -> None:
    """NSS takes a second for 2,500 of them, and four times as much for twice as many."""
    der = authority(names=[f"h{number}" for number in range(names)]).certificate.public_bytes(Encoding.DER)
    if names <= check.MOST_NAMES:
        check.check_work(der)
    else:
        with pytest.raises(Unreadable, match="more than 250 names"):
            check.check_work(der)


def test_names_of_constraints_count_as_well() -> None:
    constraints = x509.NameConstraints([x509.DNSName(f"h{number}") for number in range(200)], [x509.DNSName("x")] * 100)
    der = server(["a.example"], CA, extensions=[constraints]).certificate.public_bytes(Encoding.DER)
    with pytest.raises(Unreadable, match="more than 250 names"):
        check.check_work(der)
    with pytest.raises(Unreadable, match="cannot be read"):
        check.check_work(b"0")


def test_names_cannot_write_into_the_log() -> None:
    evil = authority("Evil\nCA\x1b[31m\u202e\0" + "x" * 40)
    refusal = judge(presented(server(["a.example"], evil)), check.CA_UNKNOWN, "a.example", (), xmpp=True)
    assert refusal is not None
    assert refusal.text.isprintable()


def test_a_key_of_16384_bits() -> None:
    """Made of numbers, since to find primes would take minutes; only its encoding is of interest here."""
    numbers = rsa.RSAPublicNumbers(65537, (1 << 16383) | 1)
    key = numbers.public_key()
    builder = x509.CertificateBuilder().subject_name(CA.certificate.subject).issuer_name(CA.certificate.subject)
    builder = builder.public_key(key).serial_number(1).not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
    made = builder.not_valid_after(datetime(2040, 1, 1, tzinfo=UTC)).sign(CA.key, hashes.SHA256())
    assert check.read(made.public_bytes(Encoding.DER)).pin.startswith("sha256:")
