"""TLS listeners: phones, XCAP and the start over TLS on the real Kamailio; what is said of a certificate."""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from purple_bridge.launcher import rpc
from purple_bridge.launcher.certificates import check_certificate
from purple_bridge.launcher.listeners import Listener, parse_listener
from tests.agents.phone import Phone, pidf
from tests.gateway import DOMAIN, PASSWORD, Gateway, sip, xmpp_contact
from tests.purplectl import run_purplectl
from tests.servers.prosody import Prosody
from tests.waiting import free_port, wait_until

TODAY = datetime.now(UTC)
CLIENTS, CONNECTIONS = 20, 100
OPTIONS = (
    "OPTIONS sip:example.org SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:9;rport;branch=z9hG4bK{token}\r\n"
    "Max-Forwards: 70\r\nFrom: <sip:alice@example.org>;tag={token}\r\nTo: <sip:example.org>\r\n"
    "Call-ID: {token}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)


@dataclass(frozen=True)
class Pair:
    """PEM files of a certificate and its key."""

    certificate: Path
    key: Path


def make_pair(
    directory: Path,
    names: tuple[str, ...] = (DOMAIN,),
    days: tuple[int, int] = (-1, 90),
    password: bytes | None = None,
) -> Pair:
    """Self-signed, for `names`, valid from and until so many days from today."""
    directory.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(TODAY + timedelta(days=days[0]))
        .not_valid_after(TODAY + timedelta(days=days[1]))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(map(x509.DNSName, names))), critical=False)
    pair = Pair(directory / "server.crt", directory / "server.key")
    pair.certificate.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    pair.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    pair.key.chmod(0o600)
    return pair


# ---- with Kamailio


@dataclass(frozen=True)
class Secure:
    """A gateway with a TLS listener for phones and another one for the web."""

    gateway: Gateway
    pair: Pair
    port: int
    web: int

    def phone(self, user: str) -> Phone:
        """Registered over TLS."""
        phone = self.gateway.phone(user, register=False, transport="tls")
        phone.proxy = ("127.0.0.1", self.port)
        assert phone.register().status == 200
        return phone


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, prosody: Prosody) -> Iterator[Secure]:
    directory = tmp_path_factory.mktemp("tls")
    pair, port, web = make_pair(directory / "tls"), free_port("tcp"), free_port("tcp")
    options = [
        *("--listen", f"tls:127.0.0.1:{port}", "--web", f"tls:127.0.0.1:{web}"),
        *("--certificate", str(pair.certificate), "--private-key", str(pair.key)),
    ]
    prosody.add_user("tessa", PASSWORD)
    with Gateway(directory, options=options) as gateway:
        gateway.add_xmpp_account("alice", prosody, "tessa")
        yield Secure(gateway, pair, port, web)


@pytest.fixture(scope="module")
def alice(secure: Secure) -> Phone:
    phone = secure.phone("alice")
    secure.gateway.publish_until_seen(phone, "alice", "tessa@localhost")
    secure.gateway.wait_state("tessa@localhost", "online")
    return phone


def test_a_phone_over_tls(secure: Secure, alice: Phone, prosody: Prosody) -> None:
    """A long message comes whole: the contact is one that TLS carries, and there is no datagram on the way."""
    bob = secure.gateway.xmpp_user(prosody, "bob")
    assert alice.message(xmpp_contact("bob@localhost"), "over TLS").status == 202
    assert bob.wait_message().body == "over TLS"
    bob.send("tessa@localhost", "x" * 5000)
    received = alice.wait_message()
    assert received.text == "x" * 5000
    assert received.headers["Via"].startswith("SIP/2.0/TLS ")
    assert alice.publish(pidf(alice.aor, note="over TLS")).status == 200


def test_from_tls_to_udp_and_back(secure: Secure, alice: Phone) -> None:
    bob = secure.gateway.phone("bob")
    assert alice.message(sip("bob"), "to UDP").status == 200
    assert bob.wait_message().text == "to UDP"
    assert bob.message(sip("alice"), "to TLS").status == 200
    assert alice.wait_message().text == "to TLS"


def test_a_phone_whose_connection_is_gone(secure: Secure, alice: Phone, prosody: Prosody) -> None:
    """It counts as away: what comes for it waits until it is back."""
    assert alice.unregister().status == 200
    lost = Phone(sip("alice"), PASSWORD, ("127.0.0.1", secure.port), "tls")
    assert lost.register().status == 200
    lost.close()
    secure.gateway.xmpp_user(prosody, "bob").send("tessa@localhost", "kept")
    wait_until(lambda: secure.gateway.kept_messages() == 1, 20, "the message is kept")
    assert alice.register().status == 200
    assert alice.wait_message().text == "kept"


def test_a_watcher_over_tls(secure: Secure, alice: Phone) -> None:
    bob = secure.phone("bob")
    watch = bob.subscribe(sip("alice"))
    assert watch.wait_notify().presence is not None
    assert watch.refresh().status in (200, 202)
    assert watch.unsubscribe().status in (200, 202)


def test_documents_over_https(secure: Secure) -> None:
    """XCAP is on every TCP or TLS listener."""
    context = _trusting(secure.pair)
    connection = http.client.HTTPSConnection("127.0.0.1", secure.port, context=context, timeout=10)
    connection.request("GET", f"/xcap-root/resource-lists/users/{sip('alice')}/index")
    assert connection.getresponse().status == 401
    connection.close()


@pytest.mark.parametrize(
    ("path", "status", "header"), [("/login", 200, "Set-Cookie"), ("/metrics", 401, "WWW-Authenticate")]
)
def test_the_web_page_over_https(secure: Secure, path: str, status: int, header: str) -> None:
    """Cookies never leave TLS, and the figures need a password there."""
    connection = http.client.HTTPSConnection("127.0.0.1", secure.web, context=_trusting(secure.pair), timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.status == status
    assert answer.headers[header].endswith("; Secure") or answer.headers[header].startswith("Basic ")
    connection.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions_that_are_spoken(secure: Secure, version: ssl.TLSVersion) -> None:
    context = _trusting(secure.pair)
    context.minimum_version = context.maximum_version = version
    with _connected(secure.web, context) as connection:
        assert connection.version() == version.name.replace("_", ".")


def test_older_versions_are_refused(secure: Secure) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _connected(secure.web, context)


def test_idle_phones_stay_connected_as_long_as_they_are_registered(secure: Secure, alice: Phone) -> None:
    """A process that reads keeps a connection for 5 s; then it counts as idle."""
    assert alice.options().status == 200

    def longest() -> bool:
        found = rpc.call(secure.gateway.kamailio.rpc_socket, "tls.list")
        return any(one["timeout"] > 3000 for one in (found if isinstance(found, list) else [found]))

    wait_until(longest, 15, "a connection that may be idle for an hour")


def test_many_connections(secure: Secure, alice: Phone) -> None:
    """Clients that connect, ask and go, at the same time, while libpurple and its threads run."""
    with ThreadPoolExecutor(CLIENTS) as clients:
        answered = list(clients.map(lambda _number: _ask_again_and_again(secure.port), range(CLIENTS)))
    assert answered == [CONNECTIONS] * CLIENTS
    assert secure.gateway.account("tessa@localhost")["state"] == "online"
    assert alice.options().status == 200


def _ask_again_and_again(port: int) -> int:
    """How many connections got an answer to OPTIONS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    answers = 0
    for _ in range(CONNECTIONS):
        with _connected(port, context) as connection:
            connection.sendall(OPTIONS.format(token=secrets.token_hex(8)).encode())
            answers += connection.recv(4096).startswith(b"SIP/2.0 200 ")
    return answers


def test_a_renewed_certificate_is_read_without_a_restart(secure: Secure, alice: Phone, prosody: Prosody) -> None:
    before = _serial(secure.web)
    make_pair(secure.pair.certificate.parent)
    assert _serial(secure.web) == before
    rpc.call(secure.gateway.kamailio.rpc_socket, "tls.reload")
    wait_until(lambda: _serial(secure.web) != before, 5, "the new certificate is shown")
    bob = secure.gateway.xmpp_user(prosody, "bob")
    assert alice.message(xmpp_contact("bob@localhost"), "on the old connection").status == 202
    assert bob.wait_message().body == "on the old connection"


def test_check_of_a_gateway_with_tls(secure: Secure) -> None:
    checked = run_purplectl("check", "--json", "--state-dir", str(secure.gateway.kamailio.state_dir))
    findings = [finding for finding in json.loads(checked.stdout) if finding["subject"] == "certificate"]
    assert {finding["level"] for finding in findings} == {"ok"}


def _trusting(pair: Pair) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(pair.certificate))
    context.check_hostname = False
    return context


def _connected(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=10))


def _serial(port: int) -> int:
    return x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", port)).encode()).serial_number


# ---- refusals, in words


@pytest.mark.parametrize("listener", [("--listen", "tls:127.0.0.1:5061"), ("--web", "tls:127.0.0.1:8443")])
def test_tls_without_a_certificate_is_wrong_usage(tmp_path: Path, listener: tuple[str, str]) -> None:
    refused = run_purplectl("run", "--state-dir", str(tmp_path), "--listen", "udp:127.0.0.1:5060", *listener)
    assert refused.returncode == 2
    assert f"{listener[1]} needs --certificate FILE and --private-key FILE" in refused.stderr


def test_the_web_in_clear_is_on_loopback_only(tmp_path: Path) -> None:
    refused = run_purplectl("run", "--state-dir", str(tmp_path), "--web", "192.0.2.1:8080")
    assert refused.returncode == 2
    assert "use 127.0.0.1:PORT or tls:HOST:PORT" in refused.stderr


def test_a_bad_certificate_stops_the_start(tmp_path: Path) -> None:
    pair, other = make_pair(tmp_path / "one"), make_pair(tmp_path / "other")
    options = ("--certificate", str(pair.certificate), "--private-key", str(other.key))
    listen = ("--listen", f"udp:127.0.0.1:{free_port()}", "--listen", f"tls:127.0.0.1:{free_port()}")
    refused = run_purplectl("run", "--state-dir", str(tmp_path / "state"), *listen, *options)
    assert refused.returncode == 1
    assert f"certificate: {other.key} is not the key of {pair.certificate}" in refused.stderr


def _said(pair: Pair, *domains: str) -> tuple[str, str]:
    findings = list(check_certificate(pair.certificate, pair.key, domains))
    assert len(findings) == 1
    return findings[0].level, findings[0].text


@pytest.mark.parametrize(
    ("days", "level", "says"),
    [
        ((-1, 90), "ok", "valid until"),
        ((-90, 13), "warn", "expires on"),
        ((-90, -1), "fail", "expired on"),
        ((1, 90), "fail", "is valid from"),
    ],
)
def test_dates(tmp_path: Path, days: tuple[int, int], level: str, says: str) -> None:
    found = _said(make_pair(tmp_path, days=days))
    assert found[0] == level
    assert says in found[1]


@pytest.mark.parametrize(
    ("names", "domains", "level"),
    [
        (("example.org",), ("example.org",), "ok"),
        (("Example.ORG",), ("EXAMPLE.org",), "ok"),
        (("*.example.org",), ("sip.example.org",), "ok"),
        (("a.example", "b.example"), ("b.example", "a.example"), "ok"),
        (("example.org",), ("example.com",), "warn"),
        (("*.example.org",), ("example.org",), "warn"),
        (("*.example.org",), ("a.b.example.org",), "warn"),
        ((), ("example.org",), "warn"),
    ],
)
def test_names(tmp_path: Path, names: tuple[str, ...], domains: tuple[str, ...], level: str) -> None:
    assert _said(make_pair(tmp_path, names), *domains)[0] == level


def test_names_that_are_missing_are_named(tmp_path: Path) -> None:
    said = _said(make_pair(tmp_path, ("a.example",)), "a.example", "b.example")
    assert "is for a.example, not for b.example" in said[1]


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    text, missing = tmp_path / "text", tmp_path / "missing"
    text.write_text("nothing of the kind")
    locked = make_pair(tmp_path / "locked", password=b"secret")
    assert "No such file" in _said(Pair(missing, pair.key))[1]
    assert "holds no certificate" in _said(Pair(text, pair.key))[1]
    assert "holds no private key" in _said(Pair(pair.certificate, text))[1]
    assert "is encrypted" in _said(locked)[1]


def test_a_key_that_everybody_can_read(tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    pair.key.chmod(0o644)
    assert _said(pair)[0] == "warn"


def test_a_tls_listener() -> None:
    assert parse_listener("tls:127.0.0.1:5061") == Listener("tls", "127.0.0.1", 5061)
