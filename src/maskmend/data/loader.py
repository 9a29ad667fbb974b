"""What is needed next is read while something else runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def ahead(read: Callable[[S], T], places: Iterable[S], count: int) -> Generator[T, None, None]:
    """``read`` of each place, in order; up to ``count`` of the next are read by a thread before they are asked for. So
    ``count + 1`` are in memory at most. With 0 each is read when it is asked for, and there is no thread.

    One thread: where cores are busy, two were measured to hold up who asks, for they take turns at Python's lock.

    A failure comes out where its place would have come, and nothing behind it. Close the iterator to leave it early:
    then, as at its end, no thread is left.
    """
    if not count:
        yield from map(read, places)
        return
    rest, pool = iter(places), ThreadPoolExecutor(1, "loader")
    try:
        begun = deque(pool.submit(read, place) for place in islice(rest, count))
        while begun:
            found = begun.popleft().result()
            begun.extend(pool.submit(read, place) for place in islice(rest, 1))
            yield found
    finally:
        pool.shutdown(cancel_futures=True)
