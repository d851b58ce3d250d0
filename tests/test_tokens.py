"""Names that nobody can guess, and that no two processes give."""

from __future__ import annotations

import multiprocessing
import re

from purple_bridge.tokens import new_token


def _some(_number: int) -> list[str]:
    return [new_token() for _ in range(1000)]


def test_no_name_comes_twice_in_any_process() -> None:
    mine = _some(0)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        theirs = pool.map(_some, range(4), chunksize=1)
    names = [*mine, *_some(0), *(name for some in theirs for name in some)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[0-9a-f]{24}", name) for name in names)
