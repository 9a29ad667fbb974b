"""Arrays on disk, named by the content they were made from and read as memory maps.

A key says everything an array depends on: the bytes of its source files and every parameter. Another byte is another
key, so nothing stale can be found, and nothing needs to be invalidated.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, full_disk, no_room
from ..texts import check_readable
from .scratch import temporary

VERSION = 1
"""Raised when what is stored under a key would be computed differently."""

Key = str | Mapping[str, Any] | Sequence[Any]


HEADERS = threading.Lock()
"""One header of an array at a time: numpy reads it by ``ast``, which Python 3.11 may fail in two threads at once
(python/cpython#106905)."""


def digest(key: Key) -> str:
    """32 hexadecimal digits for a text or a JSON-like mapping; the order of its keys is of no matter."""
    text = json.dumps([VERSION, key], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def content_hash(paths: Iterable[Path]) -> str:
    """One digest for the bytes of ``paths``, in their order; the names are of no matter.

    Raises:
        InputError: a file cannot be read.
    """
    whole = hashlib.blake2b(digest_size=16)
    for path in paths:
        check_readable(path)
        try:
            with path.open("rb") as file:
                whole.update(hashlib.file_digest(file, "blake2b").digest())
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}); restore it or take the case out.") from error
    return whole.hexdigest()


@dataclass(frozen=True)
class Stored:
    """Where one array lies. Small and picklable; ``open`` maps it into memory."""

    key: str
    path: Path
    offset: int
    dtype: str
    shape: tuple[int, ...]

    def open(self) -> np.ndarray:
        """The array, read-only, memory-mapped. The last 256 stay open: each holds one file descriptor."""
        return _open(self)


@lru_cache(maxsize=256)
def _open(stored: Stored) -> np.ndarray:
    if 0 in stored.shape:
        return np.zeros(stored.shape, stored.dtype)
    return np.memmap(stored.path, stored.dtype, "r", stored.offset, stored.shape).view(np.ndarray)


def save_array(path: Path, array: np.ndarray, seal: bytes = b"") -> None:
    """Write ``array`` as .npy, then ``seal``, under a temporary name; flush it to the disk and rename it to ``path``.

    Raises:
        InputError: the disk is full, or the folder cannot be written.
    """
    array = np.ascontiguousarray(array)
    try:
        with temporary(path) as part:
            with part.open("wb") as file:
                np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
                file.write(array.reshape(-1).view(np.uint8).data)  # not array.tofile: its error hides the disk's
                file.write(seal)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
    except OSError as error:
        full = full_disk(error)
        why = no_room(full) if full else f"it cannot be written ({error.strerror}); choose another folder"
        raise InputError(f"{path.parent}: {why} (-o, or MASKMEND_CACHE).") from error


def default_cache() -> Path:
    """The folder ``$MASKMEND_CACHE`` names, else ``maskmend`` in the user's cache folder.

    Raises:
        InputError: neither is known.
    """
    if own := os.environ.get("MASKMEND_CACHE"):
        return Path(own)
    try:
        users = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        raise InputError("this user has no home folder for a cache; name a folder in MASKMEND_CACHE.") from error
    return Path(users) / "maskmend"


class Cache:
    """A folder of arrays by key; ``get`` and ``store`` make what is missing, truncated or not theirs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: Key, make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of ``key``, read-only and memory-mapped; ``make`` is called if it is not there yet."""
        return self.store(key, make).open()

    def store(self, key: Key, make: Callable[[], np.ndarray]) -> Stored:
        """Where the array of ``key`` lies, made first if need be.

        Raises:
            InputError: the disk is full.
        """
        name = digest(key)
        path = self.folder / name[:2] / f"{name}.npy"
        found = self._find(name, path)
        if found is None:
            save_array(path, make(), bytes.fromhex(name))
            found = self._find(name, path)
            assert found is not None, f"{path} changed while it was written"
        return found

    def _find(self, name: str, path: Path) -> Stored | None:
        """The whole file, or None: it must end with its own key, just behind its last number."""
        seal = bytes.fromhex(name)
        try:
            with path.open("rb") as file:
                if np.lib.format.read_magic(file) != (1, 0):
                    return None
                with HEADERS:
                    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
                offset = file.tell()
                end = offset + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
                file.seek(end)
                whole = file.read(len(seal) + 1) == seal
        except (OSError, ValueError):
            return None
        return None if fortran or dtype.hasobject or not whole else Stored(name, path, offset, dtype.str, shape)
