"""Owns the checks of the TLS certificate and its private key, each a finding in words. Knows no Kamailio."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from purple_bridge.errors import ConfigurationError
from purple_bridge.launcher.preflight import Finding

SUBJECT = "certificate"
SOON = timedelta(days=14)


def check_certificate(certificate: Path, private_key: Path, domains: Iterable[str]) -> Iterator[Finding]:
    """Both files can be read and belong together, the certificate is valid now and is for these SIP domains."""
    try:
        chain = _certificates(certificate)
        key = _public_key(private_key)
    except ConfigurationError as error:
        yield Finding("fail", SUBJECT, str(error))
        return
    own = chain[0]
    if _encoded(key) != _encoded(own.public_key()):
        yield Finding("fail", SUBJECT, f"{private_key} is not the key of {certificate}: name the files of one pair")
        return
    findings = [*_dates(certificate, own), *_names(certificate, own, domains), *_secrecy(private_key)]
    yield from findings or [Finding("ok", SUBJECT, f"{certificate}: valid until {own.not_valid_after_utc:%Y-%m-%d}")]


def check_readable(paths: Iterable[Path], user: int) -> Iterator[Finding]:
    """That the user (a numeric id) can read the files; asked by root alone, others know by trying."""
    if os.geteuid() != 0 or user == 0:
        return
    for path in paths:
        command = ["setpriv", f"--reuid={user}", "--init-groups", "test", "-r", str(path)]
        if path.exists() and subprocess.run(command, capture_output=True, check=False).returncode:
            yield Finding("fail", SUBJECT, f"{path}: the gateway's user {user} cannot read it: chown or chgrp a copy")


def _certificates(path: Path) -> list[x509.Certificate]:
    """The server's own first, then those that lead to an authority."""
    try:
        return x509.load_pem_x509_certificates(_read(path))
    except ValueError:
        raise ConfigurationError(f"{path} holds no certificate in PEM form") from None


def _public_key(path: Path) -> PublicKeyTypes:
    """What belongs to the private key in the file."""
    try:
        return load_pem_private_key(_read(path), None).public_key()
    except TypeError:
        raise ConfigurationError(f"{path} is encrypted: Kamailio cannot ask for its password, decrypt it") from None
    except ValueError:
        raise ConfigurationError(f"{path} holds no private key in PEM form") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; the gateway's user must be able to read it") from None


def _encoded(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _dates(path: Path, certificate: x509.Certificate) -> Iterator[Finding]:
    now, end = datetime.now(UTC), certificate.not_valid_after_utc
    if end < now:
        yield Finding("fail", SUBJECT, f"{path} expired on {end:%Y-%m-%d}: renew it")
    elif certificate.not_valid_before_utc > now:
        start = certificate.not_valid_before_utc
        yield Finding("fail", SUBJECT, f"{path} is valid from {start:%Y-%m-%d} on: check this machine's clock")
    elif end < now + SOON:
        yield Finding("warn", SUBJECT, f"{path} expires on {end:%Y-%m-%d}: renew it, then RPC tls.reload")


def _names(path: Path, certificate: x509.Certificate, domains: Iterable[str]) -> Iterator[Finding]:
    """RFC 5922 section 7.1: the names of subjectAltName, URI first, then DNS; the common name does not count."""
    names = _names_of(certificate)
    missing = [domain for domain in domains if not any(_matches(name, domain.lower()) for name in names)]
    if missing:
        shown = ", ".join(sorted(names)) or "no name"
        wanted = ", ".join(missing)
        yield Finding("warn", SUBJECT, f"{path} is for {shown}, not for {wanted}: phones that check it refuse it")


def _names_of(certificate: x509.Certificate) -> set[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    uris = {uri.removeprefix("sip:") for uri in found.get_values_for_type(x509.UniformResourceIdentifier)}
    addresses = {str(address) for address in found.get_values_for_type(x509.IPAddress)}
    return {name.lower() for name in (*uris, *found.get_values_for_type(x509.DNSName), *addresses)}


def _matches(name: str, domain: str) -> bool:
    """A ``*`` stands for one label in a host's name; RFC 5922 section 7.2 wants none for a SIP domain, phones do."""
    return name == domain.strip("[]") or (name.startswith("*.") and name[2:] == domain.partition(".")[2])


def _secrecy(private_key: Path) -> Iterator[Finding]:
    if private_key.stat().st_mode & stat.S_IRWXO:
        yield Finding("warn", SUBJECT, f"{private_key} can be read by every user of this machine: chmod o= it")
