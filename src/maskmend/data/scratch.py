"""A new file or folder is made under a name of its own beside its place, and takes that place when it is whole.

A folder's is .NAME.PID, a file's .HOST-PID-THREAD-NAME. What a killed process left under such a name is removed by the
next call for the same place, or that writes a file into the same folder.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from zlib import crc32

from ..errors import InputError
from .clutter import is_clutter
from .lock import LOCK, hold

HOST = f"{crc32(socket.gethostname().encode()):08x}"
"""This host, in few letters: whether a process lives can be asked of its own host alone."""


def check_new(output: Path) -> None:
    """Raises InputError where ``output`` holds something already."""
    if os.path.lexists(output) and (not output.is_dir() or not all(map(is_clutter, output.iterdir()))):
        raise InputError(f"{output} is not empty; choose another output folder, or remove it first.")


def check_outside(output: Path, folder: Path) -> None:
    """Raises InputError where ``output`` lies in a folder that is only read."""
    if output.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{output} lies in {folder}, which is never changed; choose a folder outside with -o.")


@contextmanager
def new_folder(output: Path) -> Iterator[Path]:
    """A new folder that gets the name ``output`` when all went well, and is gone if not.

    Raises InputError where ``output`` cannot be written.
    """
    with scratch(output) as root:
        yield root
        (root / LOCK).unlink(missing_ok=True)
        if output.exists():
            check_new(output)  # of what came meanwhile
            shutil.rmtree(output)
        root.rename(output)


@contextmanager
def scratch(output: Path, kind: str = "") -> Iterator[Path]:
    """A folder beside ``output`` that is gone afterwards, as are folders above it that hold nothing else.

    Raises InputError where it cannot be written.
    """
    folder = output.with_name(f".{output.name}.{os.getpid()}{kind}")
    made = [path for path in output.parents if not path.exists()]
    try:
        _sweep(output)
        with hold(folder):
            yield folder
    except OSError as error:
        places = [str(name) for name in (error.filename, error.filename2) if name]
        if places and not any(place.startswith(str(folder)) for place in places):
            raise
        reason = error.strerror or error
        raise InputError(f"{output} cannot be written ({reason}); choose another folder with -o.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            for empty in made:
                empty.rmdir()


@contextmanager
def temporary(path: Path) -> Iterator[Path]:
    """A name beside ``path``, with its ending, for a file that is to take its place; gone afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep_files(path.parent)
    part = path.with_name(f".{HOST}-{os.getpid()}-{threading.get_native_id()}-{path.name}")
    try:
        yield part
    finally:
        with suppress(OSError):
            part.unlink()


@lru_cache(maxsize=1024)
def _sweep_files(folder: Path) -> None:
    """Remove what processes of this host that are dead left in ``folder``: once, or large folders would take long."""
    for path in folder.glob(f".{HOST}-*"):
        pid = path.name.split("-", 2)[1]
        if pid.isdecimal() and not _lives(int(pid)):
            with suppress(OSError):
                path.unlink()


def _sweep(output: Path) -> None:
    """Remove what processes that are dead left beside ``output``."""
    name = re.compile(rf"\.{re.escape(output.name)}\.([0-9]+)(\.[a-z]+)?")
    beside = sorted(output.parent.iterdir()) if output.parent.is_dir() else []
    for path in beside:
        if (left := name.fullmatch(path.name)) and not _lives(int(left[1])):
            with suppress(InputError):  # of a process on another host, that lives
                with hold(path):
                    shutil.rmtree(path, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        pass
    return True
