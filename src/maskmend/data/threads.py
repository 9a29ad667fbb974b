"""The same work on many cases, several at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")
BLOCKS = 128
"""Many cases are handed over in so many parts at least: one by one, that may take longer than the work."""


def in_threads(work: Callable[[S], T], cases: Iterable[S], at_once: int = 16) -> Iterator[T]:
    """The results in order, ``at_once`` at most; the first failure stops what has not begun."""
    every = [*cases]
    size = max(1, len(every) // BLOCKS)
    blocks = (every[start : start + size] for start in range(0, len(every), size))
    pool = ThreadPoolExecutor(min(os.cpu_count() or 1, at_once))
    try:
        yield from chain.from_iterable(pool.map(lambda block: [*map(work, block)], blocks))
    finally:
        pool.shutdown(cancel_futures=True)
