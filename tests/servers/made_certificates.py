"""Owns certificates as tests need them, good ones and odd ones, made with ``cryptography``; knows no server."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
DAY = timedelta(days=1)
SHA256_WITH_RSA = bytes.fromhex("300d06092a864886f70d01010b0500")  # RFC 4055 §5


@dataclass(frozen=True)
class Made:
    """A certificate with its key; ``chain``: what its server sends behind it."""

    certificate: x509.Certificate
    key: Key
    chain: tuple[x509.Certificate, ...] = ()

    @property
    def pin(self) -> str:
        """As the option tls_pin has it."""
        public = self.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return f"sha256:{hashlib.sha256(public).hexdigest()}"

    def write(self, path: Path) -> Path:
        """One PEM file with key, certificate and chain, which every user may read: a server drops its rights."""
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        pem = [certificate.public_bytes(Encoding.PEM) for certificate in (self.certificate, *self.chain)]
        path.write_bytes(b"".join([key, *pem]))
        return path

    def write_certificate(self, path: Path) -> Path:
        path.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        return path


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def authority(
    name: str = "Test authority",
    signer: Made | None = None,
    *,
    key: Key | None = None,
    days: tuple[int, int] = (-1, 30),
    names: Iterable[str] = (),
) -> Made:
    """One that may sign others (RFC 5280 §4.2.1.9): a root, or below ``signer``."""
    key = key or new_key()
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    builder = _builder(name, key, signer, days).add_extension(x509.BasicConstraints(True, None), True)
    builder = builder.add_extension(usage, True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    if found := [x509.DNSName(one) for one in names]:
        builder = builder.add_extension(x509.SubjectAlternativeName(found), False)
    return _signed(builder, key, signer)


def server(
    names: Iterable[str | x509.GeneralName],
    signer: Made | None,
    *,
    common_name: str = "",
    days: tuple[int, int] = (-1, 30),
    key: Key | None = None,
    extensions: Sequence[x509.ExtensionType] = (),
) -> Made:
    """Of a server with these subjectAltNames, none for no names; ``signer``: None makes it self-signed.

    ``days``: from when until when it is valid, from now on.
    """
    key = key or new_key()
    found = [_general_name(name) for name in names]
    builder = _builder(common_name or "server", key, signer, days)
    if found:
        builder = builder.add_extension(x509.SubjectAlternativeName(found), False)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
    for extension in extensions:
        builder = builder.add_extension(extension, False)
    return _signed(builder, key, signer)


def below_a_huge_key(domain: str) -> Made:
    """Of a server whose issuer has an RSA key of 16384 bits: who verifies that has much to do, for nothing.

    Nobody has the private key: number and signature are random, of the right length.
    """
    small = rsa.generate_private_key(65537, 2048)
    number = (1 << 16383) | random.getrandbits(16000) | 1
    huge = rsa.RSAPublicNumbers(65537, number).public_key()
    now, name = datetime.now(UTC), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Huge authority")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(huge).serial_number(1)
    builder = builder.not_valid_before(now - DAY).not_valid_after(now + 9 * DAY)
    issuer = builder.add_extension(x509.BasicConstraints(True, None), True).sign(small, hashes.SHA256())
    made = server([domain], Made(issuer, small))
    body, signature = made.certificate.tbs_certificate_bytes, b"\0" + random.randbytes(16384 // 8)
    der = _der(0x30, body + SHA256_WITH_RSA + _der(0x03, b"\0" + signature[1:]))
    return Made(x509.load_der_x509_certificate(der), made.key, (issuer,))


def _der(tag: int, content: bytes) -> bytes:
    """X.690 §8.1.3.5, with a length of two octets."""
    return bytes([tag, 0x82]) + len(content).to_bytes(2) + content


def _general_name(name: str | x509.GeneralName) -> x509.GeneralName:
    if isinstance(name, x509.GeneralName):
        return name
    return x509.IPAddress(IPv4Address(name)) if name.replace(".", "").isdigit() else x509.DNSName(name)


def _builder(name: str, key: Key, signer: Made | None, days: tuple[int, int] = (-1, 30)) -> x509.CertificateBuilder:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.certificate.subject if signer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * DAY)
        .not_valid_after(now + days[1] * DAY)
    )


def _signed(builder: x509.CertificateBuilder, key: Key, signer: Made | None) -> Made:
    """The chain is that of the signer, without the root, which who verifies has to have."""
    certificate = builder.sign(signer.key if signer else key, hashes.SHA256())
    is_root = signer is None or signer.certificate.subject == signer.certificate.issuer
    chain = () if is_root or signer is None else (signer.certificate, *signer.chain)
    return Made(certificate, key, chain)
