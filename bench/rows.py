"""What it costs to see changed rows: a table of any size on each database, and one worker's accounts among them.

.venv/bin/python -m bench.rows --rows 100000 --accounts 5000
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from sqlalchemy import Engine, insert, update

from purple_bridge.db.engine import make_engine
from purple_bridge.db.mapping import Mapping
from purple_bridge.db.row_changes import BLOCK, RowChanges
from purple_bridge.db.tables import purplemap_table
from tests.databases import create_ours
from tests.servers.mariadb import MariaDB
from tests.servers.postgres import Postgres

OPTIONS = json.dumps({"connect_server": "xmpp.example.net", "port": 5222, "connection_security": "require_tls"})
TRIES = 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--accounts", type=int, default=5_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        for name, url in _databases(Path(directory), stack):
            engine = make_engine(url, timeout=60)
            _fill(engine, given.rows)
            for what, seconds, ours in _measured(engine, given.accounts):
                print(f"{name:12}{what:48}{seconds * 1000:9.1f} ms, of which ours {ours * 1000:7.1f} ms", flush=True)
            engine.dispose()


def _databases(directory: Path, stack: ExitStack) -> Iterator[tuple[str, str]]:
    path = directory / "purple.db"
    path.touch()
    yield "SQLite", f"sqlite:///{path}"
    yield "MariaDB", stack.enter_context(MariaDB(directory / "mariadb")).create_database("bench")
    yield "PostgreSQL", stack.enter_context(Postgres(directory / "postgres")).create_database("bench")


def _fill(engine: Engine, count: int) -> None:
    create_ours(engine)
    table = purplemap_table("purplemap", engine.dialect.name)
    for start in range(0, count, 5000):
        rows = [_row(number) for number in range(start, min(start + 5000, count))]
        with engine.begin() as connection:
            connection.execute(insert(table), rows)
    with engine.connect() as connection:
        connection.exec_driver_sql({"mysql": "ANALYZE TABLE purplemap"}.get(engine.dialect.name, "ANALYZE")).close()


def _row(number: int) -> dict[str, str]:
    name = f"user{number}@xmpp.example.net"
    user = f"sip:user{number}@example.org"
    return {"sip_user": user, "ext_user": name, "ext_prot": "prpl-jabber", "ext_pass": "s3cret", "ext_options": OPTIONS}


def _measured(engine: Engine, accounts: int) -> Iterator[tuple[str, float, float]]:
    """What, seconds, and seconds of this process's CPU."""
    table = purplemap_table("purplemap", engine.dialect.name)
    changes, mapping = RowChanges(engine, table), Mapping(engine)
    changes.look()
    yield "a look that finds nothing", *_timed(changes.look)
    with engine.begin() as connection:
        connection.execute(update(table).where(table.c.id == 500).values(ext_pass="another"))
    assert changes.look() == [0]
    yield f"{BLOCK} rows around a change", *_timed(lambda: mapping.accounts_between(0, BLOCK - 1))
    names = [f"user{number * 7}@xmpp.example.net" for number in range(accounts)]
    pairs = [(protocol, name) for name in names for protocol in ("prpl-jabber", "gtalk")]
    yield f"the rows of {accounts} accounts", *_timed(lambda: mapping.accounts_for_pairs(pairs))
    yield "for comparison: every row", *_timed(lambda: list(mapping.all_accounts()))


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    times = []
    for _ in range(TRIES):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    return statistics.median(wall for wall, _ in times), statistics.median(cpu for _, cpu in times)


if __name__ == "__main__":
    main()
