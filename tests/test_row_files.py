"""Rows of the mapping as CSV and SQL: what is written is read again, what others write is read, the rest is refused."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from purple_bridge.row_files import (
    COLUMNS,
    DIALECTS,
    BadFile,
    Problem,
    decoded,
    format_of,
    read_csv,
    read_sql,
    write_csv,
    write_sql,
)

HEADER = "sip_user,ext_user,ext_prot,ext_pass\r\n"
ALICE = {"sip_user": "sip:alice@example.org", "ext_user": "alice@x", "ext_prot": "prpl-jabber", "ext_pass": "pw"}
NASTY = [
    "",
    " ",
    "'",
    "''",
    '"',
    ",",
    ";",
    "\t",
    "\\",
    "\\'",
    "a\\",
    "=1+1",
    "ä\N{ROCKET}",
    "line\nbreak",
    "-- x",
    "/*",
    "NULL",
]

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
rows_of_text = st.lists(st.tuples(*[st.none() | texts.filter(bool)] * 5), max_size=5)


def csv_rows(text: str) -> list[dict[str, str | None]]:
    return [row.values for row in read_csv(text).rows]


def sql_rows(text: str, dialect: str = "sqlite") -> list[dict[str, str | None]]:
    return [row.values for row in read_sql(text, "purplemap", dialect).rows]


# --- what is written is read again ------------------------------------------------------------------------


@given(rows_of_text)
def test_csv_gives_back_what_was_written(rows: Sequence[Sequence[str | None]]) -> None:
    kept = [row for row in rows if any((cell or "").strip() for cell in row)]  # a row of nothing is no row
    assert csv_rows("".join(write_csv(kept, COLUMNS))) == [dict(zip(COLUMNS, row, strict=True)) for row in kept]


@pytest.mark.parametrize("dialect", DIALECTS)
@given(rows=rows_of_text)
def test_sql_gives_back_what_was_written(dialect: str, rows: Sequence[Sequence[str | None]]) -> None:
    text = "".join(write_sql(rows, COLUMNS, "purplemap", dialect))
    for other in DIALECTS:  # the file itself says for which it was written
        assert sql_rows(text, other) == [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def test_sqlite_reads_the_same() -> None:
    rows = [(text or "-", text, "p", None, None) for text in NASTY] * 20  # several statements
    with sqlite3.connect(":memory:") as database:
        database.execute("CREATE TABLE purplemap (sip_user, ext_user, ext_prot, ext_pass, ext_options)")
        database.executescript("".join(write_sql(rows, COLUMNS, "purplemap", "sqlite")))
        assert database.execute("SELECT * FROM purplemap ORDER BY rowid").fetchall() == rows
    database.close()


def test_an_export_of_nothing() -> None:
    assert csv_rows("".join(write_csv([], COLUMNS))) == []
    assert sql_rows("".join(write_sql([], COLUMNS, "purplemap", "mysql"))) == []


# --- what others write ------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\r\n", "\n"])
@pytest.mark.parametrize("last", [True, False])
def test_csv_of_a_spreadsheet(delimiter: str, end: str, last: bool) -> None:
    lines = [HEADER.strip().replace(",", delimiter), delimiter.join(ALICE.values())]
    assert csv_rows(end.join(lines) + (end if last else "")) == [ALICE]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings(encoding: str) -> None:
    assert decoded("sip_user,ä\N{ROCKET}".encode(encoding)) == "sip_user,ä\N{ROCKET}"


def test_no_utf_8_is_named_by_its_line() -> None:
    with pytest.raises(BadFile, match="line 2: this is no UTF-8"):
        decoded("sip_user\nJürgen".encode("latin-1"))


def test_columns_in_any_order_and_case_and_an_id_that_does_not_count() -> None:
    assert csv_rows("EXT_PROT, id ,ext_user,sip_user\r\nprpl-irc,7,a@b,sip:x@y\r\n") == [
        {"ext_prot": "prpl-irc", "ext_user": "a@b", "sip_user": "sip:x@y"}
    ]


def test_a_dump_of_the_old_module() -> None:
    """Without names of columns, as mysqldump writes it."""
    text = "-- MySQL dump 10.19\n/*!40000 ALTER TABLE x */;\nINSERT INTO `purplemap` VALUES (1,'sip:alice@example.org',"
    text += "'alice@x','prpl-jabber','p\\'w\\\\'),(2,'sip:b@c','b','prpl-irc',NULL);\n"
    assert sql_rows(text) == [
        ALICE | {"ext_pass": "p'w\\"},
        {"sip_user": "sip:b@c", "ext_user": "b", "ext_prot": "prpl-irc", "ext_pass": None},
    ]


@pytest.mark.parametrize(
    "table", ["purplemap", "PURPLEMAP", '"purplemap"', "`purplemap`", "public.purplemap", '"main"."purplemap"']
)
def test_spellings_of_the_table(table: str) -> None:
    assert sql_rows(f"insert into {table} (sip_user, ext_user, ext_prot) values ('a', 'b', 'c')") == [
        {"sip_user": "a", "ext_user": "b", "ext_prot": "c"}
    ]


def test_a_backslash_is_one_but_for_mysql() -> None:
    text = r"INSERT INTO purplemap (sip_user, ext_user, ext_prot) VALUES ('a\\b', 'c\n', 'p')"
    assert sql_rows(text, "postgresql")[0]["sip_user"] == r"a\\b"
    assert sql_rows(text, "mysql")[0] == {"sip_user": r"a\b", "ext_user": "c\n", "ext_prot": "p"}


@pytest.mark.parametrize(
    ("name", "text", "form"),
    [
        ("rows.SQL", "", "sql"),
        ("rows.csv", "-- x", "csv"),
        ("-", "-- x", "sql"),
        ("-", "\nInsert into", "sql"),
        ("-", "/* x", "sql"),
        ("rows", "sip_user", "csv"),
        ("<stdin>", "inserted", "csv"),
    ],
)
def test_the_format_by_name_or_content(name: str, text: str, form: str) -> None:
    assert format_of(name, text) == form


# --- what is refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "the file is empty"),
        ("sip_user,ext_user,ext_prot,color\r\n", "line 1: unknown column 'color'"),
        ("sip_user,ext_user,ext_prot,ext_prot\r\n", "line 1: the column ext_prot stands there twice"),
        ("sip_user,ext_user\r\n", "line 1: the column ext_prot is missing"),
        ("sip:a@b,c,d\r\n", "line 1: unknown column 'sip:a@b'"),
        (HEADER + 'a,"b"c,d,e\r\n', "line 2: "),
        (HEADER + "a,b,c,d\r\n" + 'a,"b,c,d\r\n', "line 3: "),
    ],
)
def test_csv_that_cannot_be_read(text: str, error: str) -> None:
    with pytest.raises(BadFile) as refused:
        read_csv(text)
    assert str(refused.value).startswith(error)


def test_a_row_of_another_length_is_a_problem_of_its_line() -> None:
    found = read_csv(HEADER + '"a\r\nb",b,c,d\r\n\r\na,b\r\na,b,c,d\r\n')
    assert [row.line for row in found.rows] == [2, 6]
    assert found.problems == [Problem(5, "2 fields, where the header has 4")]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("DROP TABLE purplemap", "line 1: only INSERT INTO purplemap is read, this begins with 'DROP'"),
        ("INSERT INTO purplemap VALUES (1,'a','b','c','d');\n\nDELETE FROM purplemap;", "line 3: only INSERT"),
        ("-- x\nINSERT INTO subscriber VALUES (1)", "line 2: only INSERT INTO purplemap is read, this is about"),
        ("INSERT INTO purplemap SELECT 1", "line 1: VALUES is expected, not 'SELECT'"),
        ("INSERT INTO purplemap (sip_user, ext_user, ext_prot) VALUES (hex('a'), 'b', 'c')", "line 1: a value is"),
        ("INSERT INTO purplemap (sip_user, ext_user, ext_prot) VALUES ((SELECT 1), 'b', 'c')", "line 1: a value is"),
        ("INSERT INTO purplemap (sip_user, ext_user, ext_prot) VALUES ('a' || 'b', 'b', 'c')", "line 1: \"|| 'b'"),
        ("INSERT INTO purplemap (sip_user, ext_user, ext_prot) VALUES ('a', 'b')", "line 1: 2 values for 3 columns"),
        ("INSERT INTO purplemap (sip_user, ext_user, color) VALUES\n('a', 'b', 'c')", "line 1: unknown column 'color'"),
        ("INSERT INTO purplemap VALUES ('a", 'line 1: "\'a" cannot be read'),
        (
            "INSERT INTO purplemap VALUES (1,'a','b','c','d') ON CONFLICT DO NOTHING",
            "line 1: ';' is expected, not 'ON'",
        ),
        ("INSERT INTO purplemap VALUES (1,'a','b','c','d'), DROP", "line 1: '(' is expected, not 'DROP'"),
        ("INSERT INTO purplemap VALUES (1,'a','b','c','d'),;", "line 1: '(' is expected"),
        ("INSERT", "line 1: only INSERT INTO"),
        ("INSERT INTO purplemap", "line 1: VALUES is expected"),
        ("INSERT INTO purplemap VALUES (1,", "line 1: a value is expected"),
        ("REPLACE INTO purplemap VALUES (1,'a','b','c','d')", "line 1: only INSERT INTO"),
        ("INSERT OR REPLACE INTO purplemap VALUES (1,'a','b','c','d')", "line 1: only INSERT INTO"),
    ],
)
def test_sql_that_is_refused(text: str, error: str) -> None:
    with pytest.raises(BadFile) as refused:
        read_sql(text, "purplemap", "sqlite")
    assert str(refused.value).startswith(error)


@given(st.text(alphabet="INSERTOpurplemap VALUES'\\\"`()-,;./*#\n01x", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for dialect in ("sqlite", "mysql"):
        try:
            read_sql(text, "purplemap", dialect)
        except BadFile:
            continue
