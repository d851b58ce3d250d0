"""purple.db_url: Kamailio's form, taken apart by Kamailio's rules."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from purple_bridge.db.urls import location_url, redacted, sqlalchemy_url
from purple_bridge.errors import ConfigurationError

# URL -> driver, user, password, host, port, database
READ = {
    "sqlite:////var/lib/k/k.db": ("sqlite", None, None, None, None, "/var/lib/k/k.db"),
    "sqlite:////home/a@b:c/k.db": ("sqlite", None, None, None, None, "/home/a@b:c/k.db"),
    "sqlite:////k.db?x=1": ("sqlite", None, None, None, None, "/k.db"),
    "mysql://u:p@h/d": ("mysql+mysqldb", "u", "p", "h", None, "d"),
    "mysql://u:p@h:3307/d": ("mysql+mysqldb", "u", "p", "h", 3307, "d"),
    "mysql://h/d": ("mysql+mysqldb", None, None, "h", None, "d"),
    "mysql://h:3307/d": ("mysql+mysqldb", None, None, "h", 3307, "d"),
    "mysql://u@h/d": ("mysql+mysqldb", "u", None, "h", None, "d"),
    "mysql://u@dom:p@h/d": ("mysql+mysqldb", "u@dom", "p", "h", None, "d"),
    "mysql://u@dom@h:3307/d": ("mysql+mysqldb", "u@dom", None, "h", 3307, "d"),
    "mysql://u:p@[::1]:3307/d?timeout=1": ("mysql+mysqldb", "u", "p", "::1", 3307, "d"),
    "postgres://u:p@h/d": ("postgresql+psycopg", "u", "p", "h", None, "d"),
    "postgres://u:p@/d": ("postgresql+psycopg", "u", "p", None, None, "d"),
    "postgres://u:%40p:q?#[x]@y@h/d": ("postgresql+psycopg", "u", "%40p:q?#[x]@y", "h", None, "d"),
    "postgres://u:p@a/b@h/d": ("postgresql+psycopg", "u", "p@a/b", "h", None, "d"),
    "postgres://u:@h/d": ("postgresql+psycopg", "u", "", "h", None, "d"),
}

UNREADABLE = [
    "",
    "mysql",
    "mysql:/h/d",
    "oracle://u:verysecret@h/d",
    "postgresql://u:verysecret@h/d",
    "mysql://u:verysecret@h",
    "mysql://u:verysecret@h/",
    "mysql://u:verysecret@h/?x=1",
    "mysql://u:verysecret@h:port/d",
    "mysql://u:verysecret@h:0/d",
    "mysql://u:verysecret@h:65536/d",
    "mysql://u:very/secret@h/d",
    "mysql://u/x:verysecret@h/d",
    "mysql://u:verysecret@h/d@e",
    "mysql://u:verysecret@[group]h/d",
    "sqlite:///relative/path.db",
    "sqlite://host//path.db",
]


@pytest.mark.parametrize("url", READ)
def test_reads_what_kamailio_reads(url: str) -> None:
    read = sqlalchemy_url(url)
    assert (read.drivername, read.username, read.password, read.host, read.port, read.database) == READ[url]


@pytest.mark.parametrize("url", UNREADABLE)
def test_an_unreadable_url_names_the_parameter_and_no_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"purple\.db_url") as caught:
        sqlalchemy_url(url)
    assert "secret" not in str(caught.value)
    assert "secret" not in redacted(url)


@given(st.text(st.characters(blacklist_characters="/", blacklist_categories=["Cs"])))
def test_a_password_is_taken_as_it_is(password: str) -> None:
    url = sqlalchemy_url(f"mysql://kamailio:{password}@127.0.0.1:3306/kamailio")
    assert (url.username, url.password, url.host) == ("kamailio", password, "127.0.0.1")


def test_mysql_talks_utf8() -> None:
    assert sqlalchemy_url("mysql://u:p@h/d").query == {"charset": "utf8mb4"}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mysql://u:secret@h:3307/d", "mysql://u:***@h:3307/d"),
        ("postgres://u:se@cret@[::1]/d", "postgres://u:***@[::1]/d"),
        ("mysql://u@h/d", "mysql://u@h/d"),
        ("sqlite:////a/k.db", "sqlite:////a/k.db"),
        ("mysql://u:secret@h", "mysql://***"),
        ("secret", "***://***"),
    ],
)
def test_redacted(url: str, shown: str) -> None:
    assert redacted(url) == shown


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("sqlite:////a/b/kamailio.db", "sqlite:////a/b/kamailio-location.db"),
        ("sqlite:////a/b/data", "sqlite:////a/b/data-location.db"),
        ("mysql://u:p@h/d", "mysql://u:p@h/d"),
    ],
)
def test_location_url(url: str, location: str) -> None:
    assert location_url(url) == location
