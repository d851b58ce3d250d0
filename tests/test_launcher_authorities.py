"""``purplectl check``: authorities of purple.ca_dir, and accounts whose password may cross the network in clear."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import insert

from purple_bridge.db.engine import make_engine
from purple_bridge.db.schema import create_all
from purple_bridge.db.tables import PURPLEMAP, purplemap_table
from purple_bridge.errors import ConfigurationError
from purple_bridge.launcher.authorities import check_authorities
from purple_bridge.launcher.connections import check_connections
from purple_bridge.runtime import check_readable_authorities
from tests.servers.made_certificates import authority, server


def said(directory: Path) -> list[tuple[str, str]]:
    findings = list(check_authorities(directory))
    assert {finding.subject for finding in findings} == {"ca_dir"}
    return [(finding.level, finding.text.replace(f"{directory}", "DIR")) for finding in findings]


def test_a_directory_of_authorities(tmp_path: Path) -> None:
    assert said(tmp_path / "nothing") == [("fail", "DIR is no directory that can be read: correct purple.ca_dir")]
    assert said(tmp_path) == [("warn", "DIR has no file *.pem or *.crt: nothing is added")]
    authority().write_certificate(tmp_path / "good.pem")
    authority("Other").write_certificate(tmp_path / "other.crt")
    (tmp_path / "README").write_text("what is not read is no mistake")
    assert said(tmp_path) == [("ok", "DIR: 2 files")]


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    authority("Old", days=(-9, -2)).write_certificate(tmp_path / "1.pem")
    authority("New", days=(2, 9)).write_certificate(tmp_path / "2.pem")
    server(["a.example"], None, common_name="a.example").write_certificate(tmp_path / "3.pem")
    (tmp_path / "4.pem").write_bytes(authority().certificate.public_bytes(Encoding.DER))
    (tmp_path / "5.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    (tmp_path / "6.pem").mkdir()
    levels, texts = zip(*said(tmp_path), strict=True)
    assert levels == ("warn", "warn", "warn", "fail", "fail", "fail")
    assert texts[0].startswith("DIR/1.pem: CN=Old expired on ")
    assert texts[1].startswith("DIR/2.pem: CN=New is valid from ")
    assert texts[2] == "DIR/3.pem: CN=a.example is no authority and counts for nothing: use the option tls_pin"
    assert texts[3] == "DIR/4.pem holds what is no certificate in PEM form: none of that file is used"
    assert texts[4].startswith("DIR/5.pem holds")
    assert texts[5] == "DIR/6.pem: Is a directory; the gateway's user must be able to read it"


def test_a_missing_directory_stops_the_start(tmp_path: Path) -> None:
    check_readable_authorities("")
    check_readable_authorities(str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"purple\.ca_dir: .* is no directory that can be read"):
        check_readable_authorities(str(tmp_path / "nothing"))


def add(url: str, name: str, protocol: str, password: str | None, **options: object) -> None:
    engine = make_engine(url)
    row = {"sip_user": "sip:alice@example.org", "ext_user": name, "ext_prot": protocol, "ext_pass": password}
    with engine.begin() as connection:
        table = purplemap_table(PURPLEMAP, engine.dialect.name)
        connection.execute(insert(table).values(**row, ext_options=json.dumps(options)))
    engine.dispose()


def test_passwords_in_clear_are_named(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/purple.db"
    create_all(url, PURPLEMAP)
    assert list(check_connections(url, PURPLEMAP)) == []
    add(url, "safe@a.example", "prpl-jabber", "secret")
    add(url, "none@b.example", "prpl-irc", None)
    (finding,) = check_connections(url, PURPLEMAP)
    assert (finding.level, finding.text) == ("ok", "no password crosses the network in clear")
    for number in range(5):
        add(url, f"nick{number}@b.example", "prpl-irc", "secret")
    (finding,) = check_connections(url, PURPLEMAP)
    assert finding.level == "warn"
    names = ", ".join(f"prpl-irc nick{number}@b.example" for number in range(3))
    assert finding.text.startswith(f"the password of {names} and 2 more may cross the network in clear")


def test_no_database_is_for_another_check(tmp_path: Path) -> None:
    assert list(check_connections(f"sqlite:///{tmp_path}/nothing/purple.db", PURPLEMAP)) == []
