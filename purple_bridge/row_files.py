"""Owns rows of the mapping as text, CSV (RFC 4180) and SQL: reading and writing; opens no file, knows no database.

Reading takes nothing on trust: SQL is never executed, only INSERTs are read, and of them the values.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

Format = Literal["csv", "sql"]

COLUMNS = ("sip_user", "ext_user", "ext_prot", "ext_pass", "ext_options")
PASSWORD = "ext_pass"  # noqa: S105 - a column
NEEDED = COLUMNS[:3]
IGNORED = "id"  # the database gives new ones
TABLE_ORDER = (IGNORED, *COLUMNS)  # of an INSERT without names; the old module's tables end before ext_options
ROWS_PER_INSERT = 100
DIALECTS = ("sqlite", "mysql", "postgresql")

Values = dict[str, str | None]  # by column; a column that is not there is left as it is in the database


@dataclass(frozen=True, slots=True)
class FileRow:
    """``line``: where it begins, from 1. ``values``: of the columns that the file has; None is NULL."""

    line: int
    values: Values


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a file that cannot be taken."""

    line: int
    text: str


@dataclass(slots=True)
class FileRows:
    """What was found in a file."""

    rows: list[FileRow] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


class BadFile(Exception):
    """The file as a whole cannot be read; the text says why."""


def decoded(content: bytes) -> str:
    """UTF-8, or UTF-16 with its mark, as spreadsheets write it. Raises BadFile with the line."""
    utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        return content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadFile(f"line {line}: this is no UTF-8; save the file in UTF-8") from None


def format_of(name: str, text: str) -> Format:
    """By the name of the file, else by how it begins."""
    if name.lower().endswith((".sql", ".csv")):
        return "sql" if name.lower().endswith(".sql") else "csv"
    return "sql" if re.match(r"\s*(--|/\*|insert\s)", text, re.IGNORECASE) else "csv"


# --- CSV --------------------------------------------------------------------------------------------------


def write_csv(rows: Iterable[Sequence[str | None]], columns: Sequence[str]) -> Iterator[str]:
    """Lines, the header first. NULL is an empty field, which no column needs for anything else."""
    yield ",".join(columns) + "\r\n"
    for row in rows:
        yield ",".join(map(_field, row)) + "\r\n"


def _field(value: str | None) -> str:
    """RFC 4180 §2, 6 and 7; spaces at the ends are kept by all readers only within quotes."""
    text = value or ""
    if text != text.strip() or any(char in text for char in ',;\t"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def read_csv(text: str) -> FileRows:
    """Rows under a header that names columns; the delimiter is ``,``, ``;`` or a tab. Raises BadFile."""
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    found, names, begin = FileRows(), list[str](), 1
    try:
        for cells in reader:
            if not names:
                names = _header(cells)
            elif any(cell.strip() for cell in cells):
                _add_csv(found, begin, names, cells)
            begin = reader.line_num + 1
    except csv.Error as error:
        raise BadFile(f"line {begin}: {error}; a quote in a quoted field is written twice") from None
    if not names:
        raise BadFile("the file is empty")
    return found


def _header(cells: Sequence[str]) -> list[str]:
    names = [cell.strip().lower() for cell in cells]
    if unknown := [name for name in names if name not in TABLE_ORDER]:
        raise BadFile(f"line 1: unknown column {unknown[0]!r}; the columns are {', '.join(COLUMNS)}")
    if twice := [name for name in names if names.count(name) > 1]:
        raise BadFile(f"line 1: the column {twice[0]} stands there twice")
    if missing := [name for name in NEEDED if name not in names]:
        raise BadFile(f"line 1: the column {missing[0]} is missing; the columns are {', '.join(COLUMNS)}")
    return names


def _add_csv(found: FileRows, line: int, names: list[str], cells: list[str]) -> None:
    if len(cells) != len(names):
        found.problems.append(Problem(line, f"{len(cells)} fields, where the header has {len(names)}"))
        return
    found.rows.append(FileRow(line, _values(names, [cell or None for cell in cells])))


def _values(names: Sequence[str], cells: Sequence[str | None]) -> Values:
    return {name: cell for name, cell in zip(names, cells, strict=True) if name != IGNORED}


# --- SQL --------------------------------------------------------------------------------------------------


def write_sql(rows: Iterable[Sequence[str | None]], columns: Sequence[str], table: str, dialect: str) -> Iterator[str]:
    """INSERT statements of many rows each; ``dialect``: SQLAlchemy's name. MySQL takes a backslash for an escape."""
    yield f"-- {table}, exported by purplectl for {dialect}\n"
    head = f"INSERT INTO {table} ({', '.join(columns)}) VALUES\n"
    number = 0
    for row in rows:
        yield head if number % ROWS_PER_INSERT == 0 else ",\n"
        yield f"  ({', '.join(_literal(value, dialect) for value in row)})"
        number += 1
        if number % ROWS_PER_INSERT == 0:
            yield ";\n"
    if number % ROWS_PER_INSERT:
        yield ";\n"


def _literal(value: str | None, dialect: str) -> str:
    if value is None:
        return "NULL"
    text = value.replace("\\", "\\\\") if dialect == "mysql" else value
    return "'" + text.replace("'", "''") + "'"


_MADE_FOR = re.compile(r"-- \w+, exported by purplectl for (\w+)|-- (MySQL|MariaDB) dump")
_PATTERN = r"""
    (?P<space>\s+|--[^\n]*|\#[^\n]*|/\*.*?\*/)
  | (?P<text>'(?:TEXT)*'(?!'))
  | (?P<name>"[^"]+"|`[^`]+`|\[[^\]]+\])
  | (?P<number>-?[0-9]+)
  | (?P<word>[A-Za-z_][A-Za-z0-9_$]*)
  | (?P<mark>[(),;.])
"""
_STANDARD = re.compile(_PATTERN.replace("TEXT", r"[^']|''"), re.VERBOSE | re.DOTALL)
_BACKSLASHES = re.compile(_PATTERN.replace("TEXT", r"[^'\\]|''|\\."), re.VERBOSE | re.DOTALL)
_ESCAPE = re.compile(r"\\(.)|''", re.DOTALL)
# https://dev.mysql.com/doc/refman/8.0/en/string-literals.html, table 9.1
_ESCAPED = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a", "%": r"\%", "_": r"\_"}


def read_sql(text: str, table: str, dialect: str) -> FileRows:
    """The rows of INSERTs into ``table``; anything else raises BadFile with its line.

    ``dialect``: whose strings these are, unless a comment at the beginning tells another. Strings are as in standard
    SQL, and in MySQL's with backslashes as escapes.
    """
    made_for = _MADE_FOR.match(text)
    if made_for:
        dialect = made_for[1] if made_for[1] in DIALECTS else "mysql"
    return _Statements(_tokens(text, dialect == "mysql"), table).read()


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    line: int

    def __str__(self) -> str:
        return repr(self.text if len(self.text) <= 40 else f"{self.text[:37]}...")

    @property
    def word(self) -> str:
        return self.text.upper() if self.kind == "word" else ""


def _tokens(text: str, backslashes: bool) -> Iterator[_Token]:
    pattern = _BACKSLASHES if backslashes else _STANDARD
    position, line = 0, 1
    while position < len(text):
        found = pattern.match(text, position)
        if found is None:
            raise BadFile(f"line {line}: {text[position : position + 20].splitlines()[0]!r} cannot be read")
        kind = found.lastgroup or ""
        if kind != "space":
            yield _Token(kind, _meaning(kind, found[0], backslashes), line)
        line += found[0].count("\n")
        position = found.end()
    yield _Token("end", "the end of the file", line)


def _meaning(kind: str, text: str, backslashes: bool) -> str:
    if kind == "name":
        return text[1:-1]
    if kind != "text":
        return text
    if backslashes and "\\" in text:
        return _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]) if found[1] else "'", text[1:-1])
    return text[1:-1].replace("''", "'")


class _Statements:
    """Reads ``INSERT INTO table [(columns)] VALUES (…), …;`` and nothing else."""

    def __init__(self, tokens: Iterator[_Token], table: str) -> None:
        self._tokens, self._table = tokens, table
        self._next = next(tokens)
        self._found = FileRows()

    def read(self) -> FileRows:
        while self._next.kind != "end":
            if self._next.text == ";" and self._next.kind == "mark":
                self._take()
            else:
                self._insert()
        return self._found

    def _take(self) -> _Token:
        token, self._next = self._next, next(self._tokens, self._next)
        return token

    def _insert(self) -> None:
        first = self._next
        if self._take().word != "INSERT" or self._take().word != "INTO":
            raise BadFile(f"line {first.line}: only INSERT INTO {self._table} is read, this begins with {first}")
        self._check_table()
        names = self._names() if self._next.text == "(" else list(TABLE_ORDER)
        if self._next.word != "VALUES":
            raise BadFile(f"line {self._next.line}: VALUES is expected, not {self._next}")
        self._take()
        while True:
            self._row(names)
            if self._next.kind != "mark" or self._next.text != ",":
                break
            self._take()
        if self._next.kind != "end":
            self._expect(";")

    def _check_table(self) -> None:
        token = self._take()
        while self._next.kind == "mark" and self._next.text == ".":  # a schema in front of it
            self._take()
            token = self._take()
        if token.kind not in ("word", "name") or token.text.lower() != self._table.lower():
            raise BadFile(f"line {token.line}: only INSERT INTO {self._table} is read, this is about {token}")

    def _names(self) -> list[str]:
        line = self._next.line
        names = [token.text for token in self._list()]
        try:
            return _header(names)
        except BadFile as error:
            raise BadFile(str(error).replace("line 1", f"line {line}", 1)) from None

    def _row(self, names: list[str]) -> None:
        line = self._next.line
        values = [_value(token) for token in self._list()]
        if names == list(TABLE_ORDER) and len(values) == len(names) - 1:
            names = names[:-1]
        if len(values) != len(names):
            raise BadFile(f"line {line}: {len(values)} values for {len(names)} columns")
        self._found.rows.append(FileRow(line, _values(names, values)))

    def _list(self) -> Iterator[_Token]:
        """What stands between parentheses, parted by commas."""
        self._expect("(")
        while True:
            token = self._take()
            if token.kind in ("mark", "end"):
                raise BadFile(f"line {token.line}: a value is expected, not {token}")
            yield token
            if self._next.text != "," or self._next.kind != "mark":
                break
            self._take()
        self._expect(")")

    def _expect(self, mark: str) -> None:
        token = self._take()
        if token.kind != "mark" or token.text != mark:
            raise BadFile(f"line {token.line}: {mark!r} is expected, not {token}")


def _value(token: _Token) -> str | None:
    if token.word == "NULL":
        return None
    if token.kind not in ("text", "number"):
        raise BadFile(f"line {token.line}: a value is a text in single quotes, a number or NULL, not {token}")
    return token.text
