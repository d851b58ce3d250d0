"""``purplectl status`` where no gateway runs; with one it is tests/test_gateway_rows.py and test_gateway_queue.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from purple_bridge.db import queue
from purple_bridge.db.engine import make_engine
from purple_bridge.queued import account_key
from tests.command_line import JABBER, Purplectl
from tests.databases import KINDS, create_old_table, create_ours, empty_database, empty_file
from tests.test_cli_queue import row

ALICE, BOB = "sip:alice@example.org", "sip:bob@example.org"


def _shown(purplectl: Purplectl) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = json.loads(purplectl.done("status", "--json"))
    return shown


@pytest.mark.parametrize("kind", KINDS)
def test_messages_that_wait_are_counted_without_a_worker(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Those of one account, however its rows and those of the queue write it; not those that are set aside."""
    url = empty_file(tmp_path) if kind == "sqlite" else empty_database(kind, request, tmp_path)
    purplectl, engine = Purplectl(url, tmp_path), make_engine(url)
    create_ours(engine)
    for user, protocol, name in ((ALICE, JABBER, "alice@x"), (BOB, "gtalk", "Alice@X"), (BOB, "prpl-irc", "bob@x")):
        purplectl.done("account", "add", user, protocol, name, "--no-password")
    account = account_key(JABBER, "alice@x")
    waiting = [row(number, account=account, ext_user=name) for number, name in ((1, "alice@x"), (2, "Alice@X/home"))]
    queue.insert(engine, [*waiting, row(3, account=account, ext_user="alice@x", held=1), row(4)])
    engine.dispose()
    assert [(one["ext_user"], one["queued"]) for one in _shown(purplectl)] == [
        ("alice@x", 2),
        ("Alice@X", 2),
        ("bob@x", 0),
    ]


def test_a_database_of_the_old_module_has_no_queue(tmp_path: Path) -> None:
    purplectl = Purplectl(empty_file(tmp_path), tmp_path)
    engine = make_engine(purplectl.url)
    with engine.begin() as connection:
        create_old_table(connection)
    engine.dispose()
    purplectl.done("account", "add", ALICE, JABBER, "alice@x", "--no-password")
    (shown,) = _shown(purplectl)
    assert (shown["state"], shown["queued"]) == ("offline", 0)
