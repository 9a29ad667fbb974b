"""Reading ahead: in order, bounded, and nothing left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from maskmend.data.loader import ahead


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    before = threading.enumerate()
    yield
    assert threading.enumerate() == before


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.mark.parametrize("count", [0, 1, 2, 5, 50])
def test_the_order_is_that_of_the_places(count: int) -> None:
    def read(place: int) -> int:
        time.sleep(0.002 * (place % 3))
        return place**2

    assert [*ahead(read, range(20), count)] == [place**2 for place in range(20)]
    assert [*ahead(read, [], count)] == []


@pytest.mark.parametrize("count", [0, 1, 3])
def test_so_many_are_read_ahead_and_no_more(count: int) -> None:
    begun: list[int] = []
    with closing(ahead(begun.append, range(20), count)) as found:
        assert not begun
        for taken in range(1, 21):
            next(found)
            until(lambda: len(begun) == min(taken + count, 20))  # noqa: B023  called at once
    assert begun == [*range(20)]


@pytest.mark.parametrize("count", [0, 1, 4])
def test_a_failure_comes_in_its_place(count: int) -> None:
    def read(place: int) -> int:
        if place == 3:
            raise ValueError("the fourth")
        return place

    found = ahead(read, range(20), count)
    assert [next(found), next(found), next(found)] == [0, 1, 2]
    with pytest.raises(ValueError, match="the fourth"):
        next(found)


def test_who_leaves_early_waits_for_what_is_being_read_and_for_nothing_else() -> None:
    begun: list[int] = []

    def read(place: int) -> int:
        begun.append(place)
        time.sleep(0.05 if place else 0)
        return place

    found = ahead(read, range(1000), 2)
    next(found)
    found.close()
    assert len(begun) <= 3
