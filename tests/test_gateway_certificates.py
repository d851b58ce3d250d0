"""Certificates of IM servers, good and bad, in a running gateway: who is taken, who not, and that nothing is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography import x509

from purple_bridge.cli.main import cli
from purple_bridge.libpurple.certificate_check import ID_ON_DNS_SRV
from tests.gateway import PASSWORD, Gateway, xmpp_contact
from tests.servers.made_certificates import Made, authority, below_a_huge_key, server
from tests.servers.many_hosts import ManyHosts
from tests.servers.ngircd import Ngircd
from tests.servers.prosody import Prosody
from tests.servers.tls_listener import TlsListener
from tests.waiting import wait_until

JABBER, IRC = "prpl-jabber", "prpl-irc"
SITE = authority("Site authority")
BELOW = authority("Intermediate authority", SITE)
STRANGER = authority("Nobody's authority")
CLEAR = {"connection_security": "opportunistic_tls"}
NO_PIN = f"sha256:{'0' * 64}"


SRV = x509.ObjectIdentifier(ID_ON_DNS_SRV)
NO_ASCII = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), b"\x30\x0e\x82\x0ccaf\xe9.example")


def _srv(domain: str) -> x509.OtherName:
    name = f"_xmpp-client.{domain}".encode()
    return x509.OtherName(SRV, bytes([0x16, len(name)]) + name)


HOSTS = {
    "good.example": server(["good.example"], SITE),
    "srv.example": server([_srv("srv.example")], SITE),
    "im.wild.example": server(["*.wild.example"], SITE),
    "below.example": server(["below.example"], BELOW),
    "unknown.example": server(["unknown.example"], STRANGER),
    "self.example": server(["self.example"], None),
    "expired.example": server(["expired.example"], SITE, days=(-9, -2)),
    "future.example": server(["future.example"], SITE, days=(2, 9)),
    "wrong.example": server(["other.example"], SITE),
    "common.example": server([], SITE, common_name="common.example"),
    "connected.example": server(["127.0.0.1", "localhost"], SITE),  # named as what is connected to, not as the domain
}
REFUSED = {
    "unknown.example": "its issuer CN=Nobody's authority is not known",
    "self.example": "it is self-signed",
    "expired.example": "it expired on ",
    "future.example": "it is valid from ",
    "wrong.example": "it is for other.example",
    "common.example": "it is for no name",
    "connected.example": "it is for 127.0.0.1, localhost",
}
ACCEPTED = ("good.example", "srv.example", "im.wild.example", "below.example")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    authorities = tmp_path_factory.mktemp("authorities")
    SITE.write_certificate(authorities / "site.pem")
    settings = {"connect_on": "start", "ca_dir": str(authorities)}
    with Gateway(tmp_path_factory.mktemp("gw"), settings=settings) as running:
        yield running


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManyHosts]:
    with ManyHosts(tmp_path_factory.mktemp("prosody"), HOSTS, ("plain", "pinned"), PASSWORD) as running:
        yield running


def add(gateway: Gateway, hosts: Prosody, ext_user: str, **options: Any) -> None:
    given = {"connect_server": "127.0.0.1", "port": hosts.port, **options}
    gateway.add_account("alice", JABBER, ext_user, **given)


def refused(gateway: Gateway, ext_user: str, made: Made) -> str:
    """The last error, which has the server's key in it."""
    start = "The server's certificate is not accepted for "
    wait_until(lambda: gateway.account(ext_user)["error"].startswith(start), 60, f"{ext_user} is refused")
    error = str(gateway.account(ext_user)["error"])
    assert error.endswith(f"; its key is {made.pin}")
    return error


def security(gateway: Gateway) -> dict[str, str]:
    """`purplectl status`: name of the account -> SECURITY."""
    kamailio = gateway.kamailio
    place = ["--db-url", kamailio.db_url, "--state-dir", str(kamailio.state_dir)]
    done = CliRunner().invoke(cli, ["status", "--json", *place])
    return {row["ext_user"]: row["security"] for row in json.loads(done.stdout)}


def test_a_certificate_is_taken_or_refused_before_a_password_is_sent(gateway: Gateway, hosts: ManyHosts) -> None:
    """RFC 6120 §13.7.2: the JID's domain counts, whatever host was connected to."""
    for domain in HOSTS:
        add(gateway, hosts, f"plain@{domain}")
    add(gateway, hosts, "pinned@good.example", tls_pin=NO_PIN)
    add(gateway, hosts, "pinned@unknown.example", tls_pin=f"{NO_PIN},{HOSTS['unknown.example'].pin}")
    for domain in ("self.example", "expired.example", "wrong.example"):
        add(gateway, hosts, f"pinned@{domain}", tls_pin=HOSTS[domain].pin)
    add(gateway, hosts, "pinned@connected.example", tls_name="localhost")

    for domain in ACCEPTED:
        gateway.wait_state(f"plain@{domain}", "online")
    for domain in ("unknown", "self", "expired", "wrong", "connected"):
        gateway.wait_state(f"pinned@{domain}.example", "online")
    for domain, words in REFUSED.items():
        assert words in refused(gateway, f"plain@{domain}", HOSTS[domain])
    assert "tls_pin does not name its key" in refused(gateway, "pinned@good.example", HOSTS["good.example"])

    log = hosts.log_path.read_text()
    assert "Authenticated as plain@good.example" in log  # so that the next line could fail
    assert [name for name in REFUSED if f"Authenticated as plain@{name}" in log] == []
    shown = security(gateway)
    assert {shown[f"plain@{domain}"] for domain in HOSTS} == {"tls"}
    assert (shown["pinned@unknown.example"], shown["pinned@connected.example"]) == ("tls pinned", "tls named")


@pytest.mark.parametrize(("protocol", "domain"), [(JABBER, "deaf.example"), (IRC, "127.0.0.1")])
def test_nothing_is_sent_to_a_server_that_is_refused(
    protocol: str, domain: str, gateway: Gateway, tmp_path: Path
) -> None:
    """What came over TLS is nothing at all, and in clear only what asks for TLS (RFC 6120 §5)."""
    made = server([domain], STRANGER)
    name = f"victim@{domain}"
    with TlsListener(made.write(tmp_path / "made.pem"), domain if protocol == JABBER else "") as listener:
        options: dict[str, Any] = {"connect_server": "127.0.0.1"} if protocol == JABBER else {"ssl": True}
        gateway.add_account("alice", protocol, name, "a-secret-password", port=listener.port, **options)
        assert "its issuer CN=Nobody's authority is not known" in refused(gateway, name, made)
        wait_until(lambda: listener.ended == 1, 10, "the end of the connection")
        assert (listener.handshakes, listener.received) == (1, b"")
        assert b"victim" not in listener.before
        assert b"password" not in listener.before
        assert set(listener.names) == {domain if protocol == JABBER else None}  # RFC 6066 §3: addresses are no names


MANY = authority("Many names", SITE, names=[f"host{number}.example" for number in range(2500)])
HOSTILE = {
    "many.example": (server([f"host{number}.example" for number in range(2500)], SITE), "has more than 250 names"),
    "issuers.example": (server(["issuers.example"], MANY), "has more than 250 names"),
    "nul.example": (server(["nul.example\0.evil.example"], SITE), "it is for nul.example .evil.example"),
    "broken.example": (server([], SITE, extensions=[NO_ASCII]), "cannot be read"),
    "authority.example": (BELOW, "it is for no name"),
    "huge.example": (below_a_huge_key("huge.example"), "its issuer CN=Huge authority is not known"),
}


def test_certificates_made_to_harm(gateway: Gateway, tmp_path: Path) -> None:
    """Each is refused, and nothing is sent; the gateway goes on."""
    with ExitStack() as running:
        listeners = {}
        for domain, (made, _words) in HOSTILE.items():
            pem = made.write(tmp_path / f"{domain}.pem")
            listeners[domain] = running.enter_context(TlsListener(pem, domain))
            options: dict[str, Any] = {"connect_server": "127.0.0.1", "port": listeners[domain].port}
            gateway.add_account("alice", JABBER, f"victim@{domain}", "secret", **options)
        for domain, (_made, words) in HOSTILE.items():
            gateway.wait_state(f"victim@{domain}", "error")
            error = gateway.account(f"victim@{domain}")["error"]
            assert error.startswith(f"The server's certificate is not accepted for {domain}: ")
            assert words in error
            assert error.isprintable()
        wait_until(lambda: all(listener.ended for listener in listeners.values()), 10, "the end of the connections")
        assert {(listener.handshakes, listener.received) for listener in listeners.values()} == {(1, b"")}


def test_one_server_cannot_have_another_refused(gateway: Gateway, hosts: ManyHosts, tmp_path: Path) -> None:
    """A good server sends an authority with the name of another's: the libraries know what any server has sent."""
    false = authority("Intermediate authority", days=(0, 300))
    good = server(["friend.example"], SITE)
    chained = Made(good.certificate, good.key, (false.certificate,))
    name = "pinned@below.example"
    with TlsListener(chained.write(tmp_path / "chained.pem"), "friend.example") as listener:
        options: dict[str, Any] = {"connect_server": "127.0.0.1", "port": listener.port}
        gateway.add_account("alice", JABBER, "bob@friend.example", "secret", **options)
        wait_until(lambda: b"<stream:stream" in listener.received, 30, "a stream within TLS, which stays")
        hosts.hosts["below.example"] = server(["below.example"], BELOW)
        hosts.stop()
        hosts.start()
        add(gateway, hosts, name)
        gateway.wait_state(name, "online")


def test_a_certificate_that_is_renewed_is_taken_and_another_is_not(gateway: Gateway, hosts: ManyHosts) -> None:
    """Nothing is remembered: neither does a new key need a word, nor does an old one help."""
    name, domain = "plain@below.example", "below.example"
    if gateway.account(name)["state"] == "unknown":
        add(gateway, hosts, name)
    gateway.wait_state(name, "online")
    for made in (server([domain], BELOW), server([domain], STRANGER)):
        hosts.stop()
        wait_until(lambda: gateway.account(name)["state"] != "online", 30, "the connection is lost")
        hosts.hosts[domain] = made
        hosts.start()
        if made.chain:
            gateway.wait_state(name, "online", 60)
    assert "CN=Nobody's authority" in refused(gateway, name, made)


def test_irc_and_what_is_not_encrypted(gateway: Gateway, prosody: Prosody, tmp_path: Path) -> None:
    made = server(["127.0.0.1"], SITE)
    tmp_path.chmod(0o755)
    with Ngircd(tmp_path / "ngircd", tls=made.write(tmp_path / "irc.pem")) as ngircd:
        port = ngircd.tls_port
        gateway.add_account("alice", IRC, "good@127.0.0.1", None, port=port, ssl=True)
        gateway.add_account("alice", IRC, "wrong@localhost", None, port=port, ssl=True)
        gateway.add_account("alice", IRC, "pinned@localhost", None, port=port, ssl=True, tls_pin=made.pin)
        gateway.add_account("alice", IRC, "clear@127.0.0.1", None, port=ngircd.port)
        gateway.add_account("alice", IRC, "known@127.0.0.1", "secret", port=ngircd.port)
        gateway.add_account("alice", IRC, "mistaken@127.0.0.1", None, port=ngircd.port, tls_pin=made.pin)
        add(gateway, prosody, "alice@localhost")
        add(gateway, prosody, "bob@localhost", **CLEAR)
        for name in ("good@127.0.0.1", "pinned@localhost", "clear@127.0.0.1", "bob@localhost"):
            gateway.wait_state(name, "online")
        assert "accepted for localhost: it is for 127.0.0.1" in refused(gateway, "wrong@localhost", made)
        mistaken = gateway.wait_state("mistaken@127.0.0.1", "error")["error"]
        assert mistaken == "tls_pin is of no use without encryption: set ssl=true"
        # the server does not offer STARTTLS, or somebody has taken the offer away
        assert "require encryption" in gateway.wait_state("alice@localhost", "error")["error"]
        shown = security(gateway)
    assert {name: shown[f"{name}@127.0.0.1"] for name in ("good", "clear", "known")} == {
        "good": "tls",
        "clear": "plain text",
        "known": "plain text, password in clear",
    }
    assert (shown["pinned@localhost"], shown["alice@localhost"], shown["bob@localhost"]) == (
        "tls pinned",
        "tls",
        "plain text",
    )


def test_a_sips_address_is_for_accounts_with_encryption(gateway: Gateway, hosts: ManyHosts, prosody: Prosody) -> None:
    """RFC 7247 §8."""
    options: dict[str, Any] = {"connect_server": "127.0.0.1", "port": prosody.port, **CLEAR}
    gateway.add_account("bob", JABBER, "carol@localhost", **options)
    gateway.wait_state("carol@localhost", "online")
    phone = gateway.phone("bob")
    contact = xmpp_contact("dave@localhost")
    secure = contact.replace("sip:", "sips:")
    assert phone.message(contact, "in clear").status == 202
    answer = phone.message(secure, "never in clear")
    assert (answer.status, answer.reason) == (403, f"{secure} needs an account that is encrypted in any case")
    watch = phone.subscribe(secure).response
    assert watch is not None
    assert watch.status == 403
    add(gateway, hosts, "pinned@srv.example", tls_pin=HOSTS["srv.example"].pin)
    gateway.wait_state("pinned@srv.example", "online")
    alice = gateway.phone("alice")
    assert alice.message(xmpp_contact("plain@srv.example").replace("sip:", "sips:"), "for his eyes").status == 202
