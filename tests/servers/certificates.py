"""Owns the test certificate authority, made with openssl(1); knows nothing of the servers that use it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

DAYS = "30"


@dataclass(frozen=True)
class Certificate:
    """PEM files: the certificate and its private key."""

    certificate: Path
    key: Path


def make_authority(directory: Path, name: str = "Test CA") -> Certificate:
    """A self-signed certificate that may sign others (RFC 5280 §4.2.1.9)."""
    files = _files(directory, "ca")
    extensions = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"]
    _request(files, name, files.certificate, "-x509", "-days", DAYS, *extensions)
    return files


def issue(authority: Certificate, directory: Path, domain: str) -> Certificate:
    """A server certificate for `domain` (subjectAltName, RFC 6125 §6.4), signed by `authority`."""
    files = _files(directory, domain)
    request = directory / f"{domain}.csr"
    extensions = directory / f"{domain}.ext"
    extensions.write_text(f"subjectAltName=DNS:{domain}\nextendedKeyUsage=serverAuth\n")
    _request(files, domain, request)
    _openssl(
        *("x509", "-req", "-days", DAYS, "-CAcreateserial", "-extfile", str(extensions)),
        *("-CA", str(authority.certificate), "-CAkey", str(authority.key)),
        *("-in", str(request), "-out", str(files.certificate)),
    )
    return files


def _files(directory: Path, stem: str) -> Certificate:
    directory.mkdir(parents=True, exist_ok=True)
    return Certificate(directory / f"{stem}.crt", directory / f"{stem}.key")


def _request(files: Certificate, name: str, out: Path, *options: str) -> None:
    subject = ("-subj", f"/CN={name}")
    key = ("-newkey", "rsa:2048", "-nodes", "-keyout", str(files.key))
    _openssl("req", *options, *key, *subject, "-out", str(out))


def _openssl(*arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]} failed: {done.stderr}")
