"""Owns the checks of ``purple.ca_dir``: the authorities of IM servers that the site adds to the system's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from purple_bridge.launcher.preflight import Finding

SUBJECT = "ca_dir"
PATTERNS = ("*.pem", "*.crt")  # libpurple, certificate.c


def check_authorities(directory: Path) -> Iterator[Finding]:
    """Each file can be read and holds authorities (RFC 5280 section 4.2.1.9) that are valid now."""
    if not directory.is_dir() or not os.access(directory, os.R_OK | os.X_OK):
        yield Finding("fail", SUBJECT, f"{directory} is no directory that can be read: correct purple.ca_dir")
        return
    files = sorted(path for pattern in PATTERNS for path in directory.glob(pattern))
    findings = [finding for path in files for finding in _check_file(path)]
    if not files:
        findings = [Finding("warn", SUBJECT, f"{directory} has no file *.pem or *.crt: nothing is added")]
    yield from findings or [Finding("ok", SUBJECT, f"{directory}: {len(files)} file{'' if len(files) == 1 else 's'}")]


def _check_file(path: Path) -> Iterator[Finding]:
    try:
        certificates = x509.load_pem_x509_certificates(path.read_bytes())
        for certificate in certificates:
            yield from _check(path, certificate)
    except OSError as error:
        yield Finding("fail", SUBJECT, f"{path}: {error.strerror}; the gateway's user must be able to read it")
    except ValueError:
        yield Finding("fail", SUBJECT, f"{path} holds what is no certificate in PEM form: none of that file is used")


def _check(path: Path, certificate: x509.Certificate) -> Iterator[Finding]:
    name = certificate.subject.rfc4514_string() or "a certificate without a name"
    now = datetime.now(UTC)
    if not _is_authority(certificate):
        yield Finding("warn", SUBJECT, f"{path}: {name} is no authority and counts for nothing: use the option tls_pin")
    elif certificate.not_valid_after_utc < now:
        yield Finding("warn", SUBJECT, f"{path}: {name} expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
    elif certificate.not_valid_before_utc > now:
        yield Finding("warn", SUBJECT, f"{path}: {name} is valid from {certificate.not_valid_before_utc:%Y-%m-%d} on")


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
