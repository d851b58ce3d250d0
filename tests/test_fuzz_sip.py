"""Broken SIP against a running gateway: a short run of ``python -m tests.fuzz.sip``, and RFC 4475's messages."""

from __future__ import annotations

import base64
import gzip
import io
import re
import socket
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.fuzz.sip import NAMESPACE
from tests.gateway import DOMAIN, Gateway
from tests.waiting import wait_until

REQUESTS = 3000
# Debian's doc-rfc-informational, which is in non-free: where it is not installed there is nothing to send
RFC_4475 = Path("/usr/share/doc/RFC/informational/rfc4475.txt.gz")
ARCHIVE = re.compile(r"-- BEGIN MESSAGE ARCHIVE --(.*?)-- END MESSAGE ARCHIVE --", re.DOTALL)
BASE64 = re.compile(r"^ +([A-Za-z0-9+/=]+)$", re.MULTILINE)  # not the heads and feet of pages
WRONG = re.compile(r"Traceback|failed in the routes| CRITICAL: | BUG:")


def test_some_thousand_broken_requests() -> None:
    """In a network namespace, which needs the right to make one; the gateway in it is the command's own."""
    if subprocess.run(["unshare", "-rn", "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("no network namespaces here")
    command = [sys.executable, "-m", "tests.fuzz.sip", "--requests", str(REQUESTS), "--patience", "15"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=150)
    assert NAMESPACE  # the command goes on under it
    assert ended.returncode == 0, (ended.stdout + ended.stderr)[-3000:]
    assert f"{REQUESTS} requests" in ended.stdout


def torture() -> dict[str, bytes]:
    """The archive of the RFC's appendix A: exact octets by name."""
    *_, archive_text = ARCHIVE.findall(gzip.decompress(RFC_4475.read_bytes()).decode())
    octets = base64.b64decode("".join(BASE64.findall(archive_text)))
    with tarfile.open(fileobj=io.BytesIO(octets), mode="r:gz") as archive:
        files = {
            Path(member.name).stem: archive.extractfile(member) for member in archive.getmembers() if member.isfile()
        }
        return {name: file.read() for name, file in files.items() if file}


@pytest.mark.skipif(not RFC_4475.exists(), reason="doc-rfc-informational is not installed")
def test_the_torture_messages_of_rfc_4475(own_gateway: Gateway) -> None:
    """As they stand, and about this server's domain; each is answered or dropped, and the next one is read."""
    messages = torture()
    assert len(messages) >= 49
    kamailio = own_gateway.kamailio
    phone, before = own_gateway.phone("alice"), [process["pid"] for process in kamailio.processes()]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for octets in messages.values():
            for data in (octets, octets.replace(b"example.com", DOMAIN.encode())):
                sender.sendto(data, ("127.0.0.1", kamailio.port))
            assert phone.options().status == 200
    assert [process["pid"] for process in kamailio.processes()] == before
    wait_until(lambda: phone.register().status == 200, 10, "a registration afterwards")
    assert not [line for line in kamailio.log.splitlines() if WRONG.search(line)]
