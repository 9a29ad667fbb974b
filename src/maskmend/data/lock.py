"""One process at a time in a folder: a file says which, by pid and host."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import SoftFileLease, Timeout

from ..errors import InputError

LOCK = ".lock"
"""The file, while a process holds the folder: lines such as pid=3 and host=node7."""
PATIENCE_S = 0.3
"""Long enough to take over what a dead process of this host left."""
LEASE_S = 120.0
"""So long without a sign of life, and a process of another host, which nobody here can ask, is taken for dead."""


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Keep every other process out of ``folder``, which is made if need be; one that stays empty is removed again.

    What a dead process left is taken over: at once if it was of this host, else after ``LEASE_S`` of silence. Where the
    file system cannot keep such a file, nobody is kept out.

    Raises:
        InputError: another process, which is named, holds the folder.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with ExitStack() as held:
            with suppress(OSError):
                _take(folder / LOCK, held)
            yield
    finally:
        with suppress(OSError):  # it is in use now
            for empty in made:
                empty.rmdir()


def _take(path: Path, held: ExitStack) -> None:
    for patience_s in (PATIENCE_S, LEASE_S + PATIENCE_S):
        try:
            lease = SoftFileLease(
                path, lease_duration=LEASE_S, heartbeat_interval=LEASE_S / 6, timeout=patience_s, poll_interval=0.03
            )
            held.enter_context(lease)
            return
        except Timeout:
            who, here = _holder(path)
            if here:
                break
            warnings.warn(f"{path.parent} is in use by {who}; waiting for a sign of life.", stacklevel=5)
    raise InputError(
        f"{path.parent} is in use by {who}; wait until it has ended, choose another folder with -o, or delete {path} "
        "if you know that nobody works there."
    )


def _holder(path: Path) -> tuple[str, bool]:
    """Who holds the lock, and whether it is of this host, or of none that is known."""
    with suppress(OSError, ValueError):
        said = dict(line.split("=", 1) for line in path.read_text(encoding="utf-8").splitlines()[1:])
        if "pid" in said and "host" in said:
            return f"process {said['pid']} on {said['host']}", said["host"] == socket.gethostname()
    return "another process", True
