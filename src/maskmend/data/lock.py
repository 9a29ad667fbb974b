"""One process at a time in a folder: a file says which, by pid and host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import SoftFileLock, Timeout

from ..errors import InputError

LOCK = ".lock"
"""The file, while a process holds the folder: its pid, and its host in the next line."""
PATIENCE_S = 0.3
"""Long enough to take over what a dead process of this host left."""


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Keep every other process out of ``folder``, which is made if need be; one that stays empty is removed again.

    What a dead process of this host left is taken over. Where the file system cannot keep such a file, nobody is kept
    out.

    Raises:
        InputError: another process, which is named, holds the folder.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    lock = SoftFileLock(folder / LOCK, timeout=PATIENCE_S, poll_interval=PATIENCE_S / 10)
    try:
        with ExitStack() as held:
            try:
                held.enter_context(lock)
            except Timeout:
                raise _in_use(folder / LOCK) from None
            except OSError:
                pass
            yield
    finally:
        with suppress(OSError):  # it is in use now
            for empty in made:
                empty.rmdir()


def _in_use(path: Path) -> InputError:
    who = "another process"
    with suppress(OSError, ValueError):
        pid, host, *_ = path.read_text().splitlines()
        who = f"process {int(pid)} on {host}"
    return InputError(
        f"{path.parent} is in use by {who}; wait until it has ended, choose another folder with -o, or delete {path} "
        "if you know that nobody works there."
    )
