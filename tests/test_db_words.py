"""What is logged of a database's refusal, with the real ones: the reason, and nothing of what was to be written."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from purple_bridge.db.words import in_words
from tests.databases import run

SECRET = "what only bob may read"


@pytest.fixture
def engine(any_database: Engine) -> Engine:
    run(
        any_database,
        "CREATE TABLE words (id INTEGER PRIMARY KEY, body VARCHAR(40) NOT NULL UNIQUE, other VARCHAR(40) NOT NULL)",
        f"INSERT INTO words VALUES (1, '{SECRET}', '{SECRET}')",
    )
    return any_database


def _refusal(engine: Engine, statement: str) -> str:
    """What a parameter brings is the secret, too."""
    with pytest.raises(SQLAlchemyError) as refused, engine.begin() as connection:
        connection.execute(text(statement), {"secret": SECRET} if ":secret" in statement else {})
    return in_words(refused.value)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO words VALUES (2, :secret, 'x')",
        "INSERT INTO words VALUES (1, 'x', :secret)",
        "INSERT INTO words VALUES (3, NULL, :secret)",
        f"INSERT INTO words VALUES (4, '{SECRET}' AND AND '{SECRET}', 'x')",
        "INSERT INTO nowhere VALUES (:secret)",
    ],
    ids=["duplicate body", "duplicate id", "missing body", "syntax", "no table"],
)
def test_a_refusal_says_why_and_not_what(engine: Engine, statement: str) -> None:
    words = _refusal(engine, statement)
    assert SECRET not in words
    assert SECRET.split()[1] not in words.split()
    assert "INSERT" not in words
    assert "\n" not in words
    assert "Error" in words or "Violation" in words or "UndefinedTable" in words


def test_a_value_that_a_column_cannot_hold_is_not_quoted(engine: Engine) -> None:
    words = _refusal(engine, "INSERT INTO words VALUES (CAST(:secret AS DECIMAL) / 0, :secret, NULL)")
    assert SECRET not in words
    assert len(words) > 20
