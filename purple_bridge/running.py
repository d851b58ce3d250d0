"""What purplectl and the web page tell the workers of a running gateway about accounts; knows no table and no click."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from purple_bridge.control_client import ask

USERS_AT_ONCE = 300  # a worker takes 64 KB in one line

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """``answers``: of the workers that run and did it, by name; ``failures``: of those that run and did not, in words.

    Both are empty where no gateway runs.
    """

    answers: dict[str, Answer]
    failures: tuple[str, ...] = ()

    @property
    def runs(self) -> bool:
        return bool(self.answers or self.failures)


def tell_rows(state_dir: Path, users: Iterable[str]) -> Told:
    """Rows of the mapping of these SIP users (SipAddress.key), old or new, were changed: every worker reads them now.

    Workers that are not told see it by themselves, within 5 s.
    """
    remaining, told = iter(dict.fromkeys(users)), Told({})
    while some := list(islice(remaining, USERS_AT_ONCE)):
        told = _tell(state_dir, "rows", users=some)
    return told


def reconnect(state_dir: Path, accounts: Sequence[tuple[str, str]] | None) -> Told:
    """Accounts (pairs of ext_prot and ext_user; None: all that are wanted online) sign off and on again.

    The answers name those that are known, with ``wanted``: whether they are to be online.
    """
    return _tell(state_dir, "reconnect") if accounts is None else _tell(state_dir, "reconnect", accounts=accounts)


def states(state_dir: Path) -> list[Answer]:
    """Every account that a worker knows, as `purplectl status` has it."""
    told = _tell(state_dir, "status")
    return [account for answer in told.answers.values() for account in answer["accounts"]]


def _tell(state_dir: Path, command: str, **arguments: Any) -> Told:
    answers: dict[str, Answer] = {}
    failures: list[str] = []
    for path in sorted((state_dir / "run").glob("worker-*.sock")):
        try:
            answer = ask(path, command, **arguments)
        except (FileNotFoundError, ConnectionRefusedError):
            continue  # no such worker runs, or no longer
        except (OSError, ValueError) as error:
            failures.append(f"{path.stem}: {error}")
            continue
        if answer.get("ok"):
            answers[path.stem] = answer
        else:
            failures.append(f"{path.stem}: {answer.get('error', 'refused')}")
    return Told(answers, tuple(failures))
