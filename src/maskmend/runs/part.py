"""A part of the cases, such as 2/8: what one of several machines does; all parts together are the whole."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from ..errors import InputError
from ..texts import shown

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """The ``number``-th, from 1, of ``of`` parts."""

    number: int = 1
    of: int = 1

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def deal(self, cases: Sequence[T]) -> list[T]:
        """Its share: every ``of``-th case, from the ``number``-th on."""
        return list(cases[self.number - 1 :: self.of])


def read_part(word: str | None) -> Part:
    """ "2/8" -> Part(2, 8); the whole for None.

    Raises InputError for anything else, and for a part that there is not.
    """
    if word is None:
        return Part()
    found = re.fullmatch(r"\s*([0-9]{1,6})\s*/\s*([0-9]{1,6})\s*", word)
    part = Part(*map(int, found.groups())) if found else None
    if part is None or not 1 <= part.number <= part.of:
        cure = f"take 1/{part.of} to {part.of}/{part.of}" if part and part.of else "write it like 2/8, the second of 8"
        raise InputError(f"--part {shown(word)}: there is no such part; {cure}.")
    return part
