"""Arrays in files, for what may be larger than memory. They live in a scratch folder and go with it."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import InputError, no_room

ROOM = 2**28
"""Bytes of files that are in memory at once, about."""


@dataclass
class Room:
    """Makes arrays in files of ``folder``. What ``visit`` was told of need not stay in memory."""

    folder: Path

    def __post_init__(self) -> None:
        self._names, self._open, self._touched = count(), list[Any](), 0

    def zeros(self, shape: Sequence[int], dtype: DTypeLike = np.float32) -> NDArray[Any]:
        """Raises InputError where the disk has no room for it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{next(self._names)}.raw"
        size = math.prod(shape) * np.dtype(dtype).itemsize
        with path.open("wb") as file:
            reserve = getattr(os, "posix_fallocate", lambda number, start, length: os.truncate(number, length))
            try:
                reserve(file.fileno(), 0, size)  # writing into a hole would kill the process where the disk is full
            except OSError as error:
                what = f"{self.folder.parent}: {size / 2**30:,.1f} GiB are needed there for a while"
                raise InputError(f"{what}, and {no_room(error)}.") from error
        array = np.memmap(path, dtype, "r+", shape=tuple(shape))
        self._open.append(array)
        return array

    def visit(self, size: int) -> None:
        """``size``: bytes of them that were just read or written. They stay in the files, and in the system's own cache
        while there is room."""
        self._touched += size
        if self._touched > ROOM and hasattr(mmap, "MADV_DONTNEED"):
            for array in self._open:
                array._mmap.madvise(mmap.MADV_DONTNEED)
            self._touched = 0


def planes(shape: Sequence[int], size: int = ROOM // 8) -> Iterator[slice]:
    """Parts of the first axis of a shape, one after the other: ``size`` bytes of float32 each at most, or one plane."""
    step = max(1, size // max(4 * math.prod(shape[1:]), 1))
    return (slice(first, min(first + step, shape[0])) for first in range(0, shape[0], step))
