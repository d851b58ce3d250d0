"""What a failure of the database may say in a log: never the statement, nor what it was to write; touches no table."""

from __future__ import annotations

import re

from sqlalchemy.exc import SQLAlchemyError

LONGEST = 300  # characters
LONGEST_READ = 2000

# values are quoted as names of columns and tables are: MySQL's "Duplicate entry '…'", PostgreSQL's 'invalid …: "…"'
_QUOTED = re.compile(r"""(['"])(?![\w.$-]{1,64}\1).*?(?:\1|$)""", re.DOTALL)
_VALUES = re.compile(
    r"""(Duplicate entry |Incorrect \w+ value: |near |: )(['"]).*?\2(?= for | at |\W{0,20}$)""", re.DOTALL
)


def in_words(error: SQLAlchemyError) -> str:
    """The driver's own words, on one line; of PostgreSQL's without DETAIL, which shows the failing row."""
    cause = getattr(error, "orig", None)
    if cause is None:  # SQLAlchemy's own; its parameters are hidden by the engine, its statement here
        return f"{type(error).__name__}: {str(error).partition('[SQL:')[0].strip()}"[:LONGEST]
    diagnosis = getattr(cause, "diag", None)
    text = getattr(diagnosis, "message_primary", None) or str(cause).partition("\nDETAIL:")[0]
    if len(text) > LONGEST_READ:  # a value may end anywhere, so all of it goes
        text = re.split("""['"]""", text[:LONGEST_READ], maxsplit=1)[0] + "…"
    text = _QUOTED.sub("'…'", _VALUES.sub(r"\1'…'", text))
    return f"{type(cause).__name__}: {' '.join(text.split())}"[:LONGEST]
