"""The processes that share a training set, as it sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


class World(Protocol):
    """This process among its peers."""

    @property
    def rank(self) -> int: ...
    @property
    def size(self) -> int: ...
    def gather_object(self, value: Any) -> list[Any]:
        """``value`` of every rank, in the order of ranks, on every rank."""
        ...


@dataclass(frozen=True)
class Alone:
    """A single process."""

    rank: int = 0
    size: int = 1

    def gather_object(self, value: Any) -> list[Any]:
        return [value]


ALONE = Alone()
