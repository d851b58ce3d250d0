"""Owns the tables as SQLAlchemy sees them: names, columns, indexes. Runs no statement.

The files below ``sql/`` create the gateway's own tables; a test holds the two together.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    CHAR,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    func,
    inspect,
)
from sqlalchemy.dialects.mysql import INTEGER, MEDIUMBLOB
from sqlalchemy.exc import NoSuchTableError

from purple_bridge.errors import ConfigurationError

PURPLEMAP = "purplemap"
PURPLEMAP_VERSION = 2  # 1: the old module's, without ext_options and with a shorter ext_prot and ext_pass
PRESENCE_VERSION = 1
LONGEST_STORED = 1500  # characters: a password of 255 characters of four octets each, encrypted (passwords.py)

# "version" keeps the name in a VARCHAR(32); no quotes, spaces or dots, since Kamailio writes names as they are
_TABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,31}")
_UNSIGNED = Integer().with_variant(INTEGER(unsigned=True), "mysql", "mariadb")
_BIG_KEY = BigInteger().with_variant(
    Integer(), "sqlite"
)  # there every INTEGER has 64 bits; only such a key is the row id
_MEGABYTES = LargeBinary().with_variant(MEDIUMBLOB(), "mysql", "mariadb")  # a BLOB of MySQL ends at 64 KiB

_metadata = MetaData()

# Kamailio's auth_db: who may register; made by its own file, written by `purplectl user`
subscriber = Table(
    "subscriber",
    _metadata,
    Column("id", _UNSIGNED, primary_key=True),
    Column("username", String(64), nullable=False),
    Column("domain", String(64), nullable=False),
    Column("password", String(64), nullable=False),
    Column("ha1", String(128), nullable=False),
    Column("ha1b", String(128), nullable=False),
)

# Kamailio's permissions: peers whose requests need no password; made by its own file, written by `purplectl peer`
address = Table(
    "address",
    _metadata,
    Column("id", _UNSIGNED, primary_key=True),
    Column("grp", Integer, nullable=False),
    Column("ip_addr", String(50), nullable=False),
    Column("mask", Integer, nullable=False),
    Column("port", SmallInteger, nullable=False),
    Column("tag", String(64)),
)

# Kamailio's list of tables; its modules refuse to start when a row is missing or differs
version = Table(
    "version",
    _metadata,
    Column("id", _UNSIGNED, primary_key=True),
    Column("table_name", String(32), nullable=False),
    Column("table_version", _UNSIGNED, nullable=False),
)

# The presence each SIP user asked for last, so that accounts come back after a restart.
# sip_user: SipAddress.key; expires: Unix time in seconds; status: JSON
purple_presence = Table(
    "purple_presence",
    _metadata,
    Column("sip_user", String(128), primary_key=True),
    Column("expires", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
)

# Messages from SIP that have not reached their IM network yet.
# id: grows with time; account: hex of ownership.account_digest; created, expires: Unix time in seconds;
# held: 1 when set aside after crashes; contact and call_id: for people, may be cut; message: JSON
purple_queue = Table(
    "purple_queue",
    _metadata,
    Column("id", _BIG_KEY, primary_key=True, autoincrement=False),
    Column("account", CHAR(16), nullable=False),
    Column("ext_prot", String(64), nullable=False),
    Column("ext_user", String(128), nullable=False),
    Column("sip_user", String(128), nullable=False),
    Column("contact", String(255), nullable=False),
    Column("call_id", String(255), nullable=False),
    Column("fingerprint", CHAR(16), nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("crashes", SmallInteger, nullable=False, server_default="0"),
    Column("held", SmallInteger, nullable=False, server_default="0"),
    Column("message", _MEGABYTES, nullable=False),
)
Index("purple_queue_account_idx", purple_queue.c.account, purple_queue.c.id)
Index("purple_queue_expires_idx", purple_queue.c.expires)

# Each account's contact list, as the IM network told it last.
# account: hex of ownership.account_digest; contact_groups: JSON array of names
purple_contact = Table(
    "purple_contact",
    _metadata,
    Column("account", CHAR(16), primary_key=True),
    Column("contact", String(255), primary_key=True),
    Column("alias", String(255), nullable=False),
    Column("contact_groups", Text, nullable=False),
    Column("subscription", String(8), nullable=False),
    Column("asked", SmallInteger, nullable=False, server_default="0"),
)

# Kamailio's msilo: messages for SIP users whose phone is not there; made by its own file
silo = Table(
    "silo",
    _metadata,
    Column("id", _UNSIGNED, primary_key=True),
    Column("src_addr", String(255), nullable=False),
    Column("dst_addr", String(255), nullable=False),
    Column("username", String(64), nullable=False),
    Column("domain", String(64), nullable=False),
    Column("inc_time", Integer, nullable=False),
    Column("exp_time", Integer, nullable=False),
    Column("snd_time", Integer, nullable=False),
    Column("ctype", String(32), nullable=False),
    Column("body", LargeBinary),
    Column("extra_hdrs", Text),
    Column("callid", String(128), nullable=False),
    Column("status", Integer, nullable=False),
)

# Kamailio's presence server (modules presence and xcap_server), made by its own files: only the columns in use.
# expires, received_time, inserted_time: Unix time in seconds. The user parts of addresses are longer than in Kamailio's
# files, which have room for 64 characters: IM contacts have longer ones, above all those not written in ASCII
presentity = Table(
    "presentity",
    _metadata,
    Column("id", _UNSIGNED, primary_key=True),
    Column("username", String(64), nullable=False),
    Column("domain", String(64), nullable=False),
    Column("event", String(64), nullable=False),
    Column("etag", String(128), nullable=False),
    Column("expires", Integer, nullable=False),
    Column("received_time", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("sender", String(255), nullable=False),
)
active_watchers = Table(
    "active_watchers",
    _metadata,
    Column("id", _UNSIGNED, primary_key=True),
    Column("presentity_uri", String(255), nullable=False),
    Column("watcher_username", String(255), nullable=False),
    Column("watcher_domain", String(64), nullable=False),
    Column("to_user", String(255), nullable=False),
    Column("to_domain", String(64), nullable=False),
    Column("from_user", String(255), nullable=False),
    Column("event", String(64), nullable=False),
    Column("to_tag", String(128), nullable=False),
    Column("from_tag", String(128), nullable=False),
    Column("callid", String(255), nullable=False),
    Column("local_cseq", Integer, nullable=False),
    Column("expires", Integer, nullable=False),
    Column("status", Integer, nullable=False),
)
# subscriptions of phones to contact lists as a whole (module rls)
rls_watchers = Table(
    "rls_watchers",
    _metadata,
    Column("id", _UNSIGNED, primary_key=True),
    Column("watcher_username", String(64), nullable=False),
    Column("watcher_domain", String(64), nullable=False),
    Column("to_tag", String(128), nullable=False),
    Column("from_tag", String(128), nullable=False),
    Column("callid", String(255), nullable=False),
    Column("expires", Integer, nullable=False),
)
watchers = Table(
    "watchers",
    _metadata,
    Column("id", _UNSIGNED, primary_key=True),
    Column("presentity_uri", String(255), nullable=False),
    Column("watcher_username", String(255), nullable=False),
    Column("watcher_domain", String(64), nullable=False),
    Column("event", String(64), nullable=False),
    Column("status", Integer, nullable=False),
    Column("reason", String(64)),
    Column("inserted_time", Integer, nullable=False),
)
xcap = Table(
    "xcap",
    _metadata,
    Column("id", _UNSIGNED, primary_key=True),
    Column("username", String(64), nullable=False),
    Column("domain", String(64), nullable=False),
    Column("doc", _MEGABYTES, nullable=False),
    Column("doc_type", Integer, nullable=False),
    Column("etag", String(128), nullable=False),
    Column("source", Integer, nullable=False),
    Column("doc_uri", String(255), nullable=False),
    Column("port", Integer, nullable=False),
)


@lru_cache(maxsize=8)
def purplemap_table(name: str, dialect: str) -> Table:
    """The mapping under the name of ``purple.db_table``; raises ConfigurationError for one that is no name.

    ``ext_options`` is missing from tables of the old module until ``purplectl db upgrade``: see
    ``has_options``. ``dialect``: SQLAlchemy's name, for the indexes that differ.
    """
    table = Table(
        table_name(name, dialect),
        MetaData(),
        Column("id", _UNSIGNED, primary_key=True),
        Column("sip_user", String(128), nullable=False),
        Column("ext_user", String(128), nullable=False),
        Column("ext_prot", String(64), nullable=False),
        Column("ext_pass", String(LONGEST_STORED)),
        Column("ext_options", Text),
    )
    Index(f"{table.name}_sip_user_idx", folded(table.c.sip_user, dialect))
    Index(f"{table.name}_ext_user_idx", table.c.ext_prot, folded(table.c.ext_user, dialect))
    return table


def table_name(name: str, dialect: str) -> str:
    """``purple.db_table`` as the database knows it; raises ConfigurationError for what is no name."""
    if not _TABLE_NAME.fullmatch(name):
        raise ConfigurationError(
            f"purple.db_table: {name!r} is no table name; use at most 32 letters, digits and underscores"
        )
    # Kamailio's db_postgres does not quote names, and PostgreSQL folds what is not quoted
    return name.lower() if dialect == "postgresql" else name


def folded(column: Column[Any], dialect: str) -> ColumnElement[Any]:
    """The column as an index without regard to case holds it; compare it with text in lower case."""
    if dialect == "sqlite":
        return column.collate("NOCASE")
    if dialect == "postgresql":
        return func.lower(column)
    return column  # MySQL and MariaDB: the collation of the column does it


def password_width(connection: Connection, table: Table) -> int | None:
    """How many characters the column ``ext_pass`` in the database holds; None: there is no limit."""
    if connection.dialect.name == "sqlite":
        return None
    columns = {column["name"]: column["type"] for column in inspect(connection).get_columns(table.name)}
    return getattr(columns.get("ext_pass"), "length", None)


def has_options(connection: Connection, table: Table) -> bool:
    """Whether the table in the database has ``ext_options``; one without comes from the old module."""
    try:
        columns = inspect(connection).get_columns(table.name)
    except NoSuchTableError:
        return False  # the statement that follows fails in the words of the database
    return any(column["name"] == "ext_options" for column in columns)
