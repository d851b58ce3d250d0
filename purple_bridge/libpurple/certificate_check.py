"""What a server's certificate says: its key, names and dates, and whether they are the wanted ones; knows no C library.

RFC 6120 §13.7.2 for XMPP, RFC 9525 for the rest. Whoever sends a certificate may have made it to harm: nothing here
raises anything but ``Unreadable``, and what is shown of it is short and without control characters.
"""

from __future__ import annotations

import binascii
import hashlib
import ipaddress
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509

XMPP_SERVICE = "_xmpp-client."  # RFC 6120 §13.7.1.2.1
ID_ON_XMPP_ADDR = "1.3.6.1.5.5.7.8.5"  # RFC 6120 §13.7.1.4
ID_ON_DNS_SRV = "1.3.6.1.5.5.7.8.7"  # RFC 4985 §2
UTF8_STRING, IA5_STRING = 0x0C, 0x16  # X.690 §8.1.2

PREFIX = "sha256:"
MOST_PINS = 16
MOST_NAMES = 250  # of one certificate; public authorities give at most 100
LONGEST = 32_768  # octets of one certificate
LONGEST_SHOWN = 80  # characters of a name
MOST_SHOWN = 3  # names

# certificate.h PurpleCertificateInvalidityFlags
SELF_SIGNED, CA_UNKNOWN, NOT_ACTIVATED, EXPIRED, NAME_MISMATCH, NO_CA_POOL = (1 << bit for bit in range(6))
INVALID_CHAIN, REVOKED = 0x10000, 0x20000

# connection.h PurpleConnectionError
UNTRUSTED, IS_EXPIRED, NOT_YET_VALID, WRONG_NAME, WRONG_FINGERPRINT, IS_SELF_SIGNED, OTHER = range(9, 16)
CERTIFICATE_ERRORS = range(UNTRUSTED, OTHER + 1)


class Unreadable(Exception):
    """What came is no certificate that can be read."""


@dataclass(frozen=True, slots=True)
class Presented:
    """One certificate. ``pin``: ``sha256:`` and 64 hexadecimal digits, of its public key (SubjectPublicKeyInfo).

    ``names``: the DNS names, IP addresses, SRV names and XMPP addresses of its subjectAltName, in lower case;
    ``subject``, ``issuer``: as people read them; ``sha256``: of the whole certificate, as many programs show it.
    """

    pin: str
    sha256: str
    names: frozenset[str]
    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Refusal:
    """``code``: PurpleConnectionError (connection.h); ``text``: for people, with the key that was presented."""

    code: int
    text: str


# --- pins ---------------------------------------------------------------------------------------------------


def parse_pins(text: str) -> frozenset[str]:
    """``sha256:…`` parted by commas, as ``Presented.pin`` has them; ValueError says what is expected.

    64 hexadecimal digits, with colons or without, or the base64 of RFC 7469 §2.4. Empty: no pins.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if len(words) > MOST_PINS:
        raise ValueError(f"tls_pin takes at most {MOST_PINS} pins")
    return frozenset(map(_pin, words))


def _pin(word: str) -> str:
    prefix, value = word[: len(PREFIX)], word[len(PREFIX) :]
    digest = _digest(value) if prefix.lower() == PREFIX else None
    if digest is None:
        raise ValueError("tls_pin is sha256: and the SHA-256 of the server's public key, 64 hexadecimal digits")
    return PREFIX + digest.hex()


def _digest(value: str) -> bytes | None:
    digits = value.replace(":", "")
    if re.fullmatch("[0-9A-Fa-f]{64}", digits):
        return bytes.fromhex(digits)
    if re.fullmatch("[A-Za-z0-9+/]{43}=", value):
        return binascii.a2b_base64(value)
    return None


# --- reading ------------------------------------------------------------------------------------------------


def read(der: bytes) -> Presented:
    """Raises Unreadable."""
    # loaded with the first certificate: a worker without TLS does without its 9 MB
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415

    try:
        certificate = x509.load_der_x509_certificate(der)
        key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return Presented(
            pin=PREFIX + hashlib.sha256(key).hexdigest(),
            sha256=hashlib.sha256(der).hexdigest(),
            names=frozenset(_names_of(certificate)),
            subject=shown(certificate.subject.rfc4514_string()),
            issuer=shown(certificate.issuer.rfc4514_string()),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
        )
    except BaseException as error:  # its parser's own failures are no Exception (pyo3's PanicException)
        raise Unreadable(f"the certificate cannot be read: {shown(str(error))}") from None


def check_work(der: bytes) -> None:
    """Raises Unreadable for a certificate that would keep the TLS library busy for seconds, be it an issuer's."""
    from cryptography import x509  # noqa: PLC0415

    names = 0
    try:
        for extension in x509.load_der_x509_certificate(der).extensions:
            if isinstance(extension.value, x509.SubjectAlternativeName | x509.IssuerAlternativeName):
                names += len(list(extension.value))
            elif isinstance(extension.value, x509.NameConstraints):
                names += len(extension.value.permitted_subtrees or ()) + len(extension.value.excluded_subtrees or ())
    except BaseException as error:  # as in ``read``
        raise Unreadable(f"the certificate cannot be read: {shown(str(error))}") from None
    if names > MOST_NAMES or len(der) > LONGEST:
        raise Unreadable(f"it, or one of its issuers', has more than {MOST_NAMES} names, or {LONGEST} octets")


def _names_of(certificate: x509.Certificate) -> Iterator[str]:
    """RFC 9525 §2: the common name of the subject does not count."""
    from cryptography import x509  # noqa: PLC0415

    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    yield from (name.lower() for name in found.get_values_for_type(x509.DNSName))
    yield from (str(address) for address in found.get_values_for_type(x509.IPAddress))
    for other in found.get_values_for_type(x509.OtherName):
        name = _string(other.value)
        if other.type_id.dotted_string == ID_ON_DNS_SRV and name.startswith("_"):
            yield name.lower()
        elif other.type_id.dotted_string == ID_ON_XMPP_ADDR and name:
            yield f"xmpp:{name.lower()}"


def _string(der: bytes) -> str:
    """The text of one DER string of up to 127 octets, "" for anything else (X.690 §8.1.3.4)."""
    if len(der) < 2 or der[0] not in (UTF8_STRING, IA5_STRING) or der[1] != len(der) - 2 or der[1] > 127:
        return ""
    try:
        return der[2:].decode("utf-8" if der[0] == UTF8_STRING else "ascii")
    except UnicodeDecodeError:
        return ""


# --- whether it is the wanted one -----------------------------------------------------------------------------


def reference_name(domain: str) -> str:
    """A domain or an address as certificates have it: in lower case, a name outside ASCII as its A-label."""
    name = domain.strip().rstrip(".").lower()
    try:
        return str(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        pass
    try:
        return name.encode("idna").decode()
    except UnicodeError:
        return name  # which no certificate has


def is_for(presented: Presented, name: str, xmpp: bool) -> bool:
    """Whether the certificate is that of ``name``, a ``reference_name``; ``xmpp``: RFC 6120 §13.7.1.2.1 counts, too."""
    if not name or "*" in name or name.startswith(("_", "xmpp:")):
        return False
    if name in presented.names:
        return True
    if xmpp and {f"{XMPP_SERVICE}{name}", f"xmpp:{name}"} & presented.names:
        return True
    parent = name.partition(".")[2]
    # RFC 9525 §6.3: the wildcard is the whole of the left-most label, and stands for one label; RFC 6120 the same
    return "." in parent and not _is_address(name) and f"*.{parent}" in presented.names


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def judge(
    presented: Presented, flags: int, name: str, pins: Collection[str], xmpp: bool, now: datetime | None = None
) -> Refusal | None:
    """None: the server is the one that is wanted.

    ``flags``: what libpurple's TLS library found wrong with the chain; its own word on the name does not count.
    Pins decide alone, as a TLSA record with usage DANE-EE does (RFC 7671 §5.1): whoever has that key is the server,
    whatever else the certificate says, and nobody else is.
    """
    if pins:
        return None if presented.pin in pins else _refusal(presented, name, [(WRONG_FINGERPRINT, _WRONG_PIN)])
    now = now or datetime.now(UTC)
    problems = [*_chain_problems(presented, flags), *_date_problems(presented, flags, now)]
    if not is_for(presented, name, xmpp):
        problems.append((WRONG_NAME, f"it is for {_in_words(presented.names)}"))
    return _refusal(presented, name, problems) if problems else None


_WRONG_PIN = "tls_pin does not name its key"


def _chain_problems(presented: Presented, flags: int) -> Iterator[tuple[int, str]]:
    if flags & SELF_SIGNED:
        yield IS_SELF_SIGNED, "it is self-signed"
    elif flags & (CA_UNKNOWN | NO_CA_POOL):
        yield UNTRUSTED, f"its issuer {presented.issuer} is not known"
    if flags & REVOKED:
        yield OTHER, "it is revoked"
    elif flags & INVALID_CHAIN:
        yield OTHER, "its chain of issuers is not valid"


def _date_problems(presented: Presented, flags: int, now: datetime) -> Iterator[tuple[int, str]]:
    if now > presented.not_after:
        yield IS_EXPIRED, f"it expired on {presented.not_after:%Y-%m-%d}"
    elif now < presented.not_before:
        yield NOT_YET_VALID, f"it is valid from {presented.not_before:%Y-%m-%d} on"
    elif flags & (EXPIRED | NOT_ACTIVATED):
        yield OTHER, "one of its issuers is not valid now"


def _refusal(presented: Presented, name: str, problems: list[tuple[int, str]]) -> Refusal:
    """The first problem gives the code."""
    words = ", ".join(text for _code, text in problems)
    text = f"The server's certificate is not accepted for {shown(name)}: {words}; its key is {presented.pin}"
    return Refusal(problems[0][0], text)


def _in_words(names: Collection[str]) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - MOST_SHOWN} more" if len(ordered) > MOST_SHOWN else ""
    return ", ".join(map(shown, ordered[:MOST_SHOWN])) + more if ordered else "no name"


def shown(text: str) -> str:
    """What a stranger wrote, for a line of the log; what does not print, or turns the direction, becomes a space."""
    line = " ".join("".join(one if one.isprintable() else " " for one in text[: 4 * LONGEST_SHOWN]).split())
    return line if len(line) <= LONGEST_SHOWN else f"{line[:LONGEST_SHOWN]}…"
