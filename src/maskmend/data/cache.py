"""Arrays and notes on disk, named by the content they were made from; arrays are read as memory maps.

A key says everything an array depends on: the bytes of its source files and every parameter. Another byte is another
key, so nothing stale can be found, and nothing needs to be invalidated.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..errors import InputError, full_disk, no_room
from ..texts import check_readable
from .scratch import temporary

VERSION = 1
"""Raised when what is stored under a key would be computed differently."""

Key = str | Mapping[str, Any] | Sequence[Any]
T = TypeVar("T")


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
    folder: Path
    offset: int
    dtype: str
    shape: tuple[int, ...]

    @property
    def path(self) -> Path:
        return self.folder / f"{self.key}.npy"

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
    array, head = np.ascontiguousarray(array), io.BytesIO()
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(array))
    content = array.reshape(-1).view(np.uint8).data  # not array.tofile: its error hides the disk's
    _save(path, head.getbuffer(), content, seal, flush=True)


def _save(path: Path, *parts: bytes | memoryview, flush: bool) -> None:
    try:
        with temporary(path) as part:
            with part.open("wb") as file:
                file.writelines(parts)
                if flush:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(part, path)
    except OSError as error:
        full = full_disk(error)
        why = no_room(full) if full else f"it cannot be written ({error.strerror}); choose another folder"
        raise InputError(f"{path.parent}: {why} (-o, or MASKMEND_CACHE).") from error


def save_note(path: Path, key: str, value: Any) -> None:
    """Write a JSON value behind a digest of it and its key; so nothing has to be flushed, for a crash shows itself.

    Raises:
        InputError: as ``save_array``.
    """
    text = json.dumps([VERSION, key, value]).encode()
    _save(path, hashlib.blake2b(text, digest_size=16).digest(), text, flush=False)


def read_note(path: Path, key: str) -> Any:
    """What was saved of ``key``; None where it is not there, not whole, or another's."""
    try:
        content = path.read_bytes()
        if hashlib.blake2b(content[16:], digest_size=16).digest() == content[:16]:
            version, found, value = json.loads(content[16:])
            return value if (version, found) == (VERSION, key) else None
    except (OSError, ValueError):
        pass
    return None


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
    """A folder of arrays and notes by key; what is missing, truncated or not theirs is made."""

    anew = False
    """Whether notes are made again though they are there."""

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
        found = self._find(name)
        if found is None:
            path = self._home(name) / f"{name}.npy"
            save_array(path, make(), bytes.fromhex(name))
            found = self._find(name)
            assert found is not None, f"{path} changed while it was written"
        return found

    def note(self, key: str, make: Callable[[], Any]) -> Any:
        """The JSON value of ``key``, a small one; ``make`` gives it if it is not there yet.

        Raises:
            InputError: the disk is full.
        """
        name = digest(key)
        path = self._home(name) / f"{name}.json"
        found = None if self.anew else read_note(path, key)
        if found is None:
            found = make()
            save_note(path, key, found)
        return found

    def content(self, paths: Sequence[Path]) -> str:
        """``content_hash`` of files."""
        return content_hash(paths)

    def keep(self, key: Hashable, value: Any, size: int) -> None:
        """Have a value of so many bytes ready for ``again``, where it is worth it."""

    def again(self, key: Hashable, read: Callable[[], T]) -> T:
        """What was kept, given away; else what ``read`` gives."""
        return read()

    def _home(self, name: str) -> Path:
        return self.folder / name[:2]

    def _find(self, name: str) -> Stored | None:
        """The whole file, or None: it must end with its own key, just behind its last number."""
        seal, folder = bytes.fromhex(name), self._home(name)
        try:
            with (folder / f"{name}.npy").open("rb") as file:
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
        return None if fortran or dtype.hasobject or not whole else Stored(name, folder, offset, dtype.str, shape)
