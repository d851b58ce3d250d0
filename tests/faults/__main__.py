"""The command that breaks neighbours on purpose: which faults, how long, and where the figures go."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tests.faults import cases, document
from tests.faults.scenario import SCENARIOS, Context, Report, perform

__all__ = ["cases", "main"]


def main() -> int:
    """0: everything held, or cannot be made here; 1 otherwise."""
    options = _parse()
    if options.list:
        print("\n".join(f"{one.name:18} {one.fault}" for one in SCENARIOS.values()))
        return 0
    reports = {name: _run(name, options.quick) for name in options.only or SCENARIOS}
    if options.json:
        options.json.write_text(json.dumps({name: asdict(report) for name, report in reports.items()}, indent=2))
    if options.write_docs:
        document.write(reports)
    return int(any(report.broken for report in reports.values()))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults", description="Break what is around the gateway, and measure."
    )
    parser.add_argument("--only", action="append", choices=list(SCENARIOS), help="this fault alone; may be repeated")
    parser.add_argument("--quick", action="store_true", help="as short as in the test suite")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures, as JSON")
    parser.add_argument("--write-docs", action="store_true", help="put the figures into docs/reliability.md")
    parser.add_argument("--list", action="store_true", help="the names of the faults")
    return parser.parse_args()


def _run(name: str, quick: bool) -> Report:
    print(f"== {name}: {SCENARIOS[name].fault}", flush=True)
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as directory:
        report = perform(SCENARIOS[name], Context(Path(directory), quick))
    for what, figure in report.figures.items():
        print(f"   {what}: {figure}")
    print(f"   {_verdict(report)} ({report.seconds} s)", flush=True)
    return report


def _verdict(report: Report) -> str:
    if report.unavailable:
        return f"not possible here: {report.unavailable}"
    return "FAILED: " + "; ".join(report.broken) if report.broken else "held"


if __name__ == "__main__":
    sys.exit(main())
