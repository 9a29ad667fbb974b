"""One process at a time in a folder: a file says which, by pid and host."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import InputError

LOCK = ".lock"
"""The file, while a process holds the folder: {"pid": ..., "host": ..., "start": ...}."""
BEAT_S, STALE_S = 20.0, 180.0
"""Seconds between two signs of life, and after how many without one a holder on another host is taken for dead."""


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Keep every other process out of ``folder``, which is made if need be; one that stays empty is removed again.

    What a dead process left is taken over: a pid that is no more on this host, three minutes of silence from another.
    Where the file system cannot keep such a file, nobody is kept out.

    Raises:
        InputError: another process, which is named, holds the folder.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    path, over = folder / LOCK, threading.Event()
    try:
        held = _take(path)
        if held:
            threading.Thread(target=_beat, args=(path, over), daemon=True).start()
        try:
            yield
        finally:
            over.set()
            if held:
                path.unlink(missing_ok=True)
    finally:
        with suppress(OSError):  # it is in use now
            for empty in made:
                empty.rmdir()


def _take(path: Path) -> bool:
    """Whether ``path`` is ours now; not where the file system refuses such a file."""
    with _in_turn(path.parent):  # of several that find a dead one's, one goes first
        if path.exists():
            _refuse_living(path)
            path.unlink(missing_ok=True)
        try:
            with path.open("x") as file:
                json.dump(_self(), file)
            return True
        except FileExistsError:  # from another host, just now
            _refuse_living(path)
        except OSError:
            pass
        return False


@contextmanager
def _in_turn(folder: Path) -> Iterator[None]:
    """The processes of this host one after the other, where the system has a way."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError, ImportError):
            from fcntl import LOCK_EX, flock

            flock(descriptor, LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _self() -> dict[str, Any]:
    return {"pid": os.getpid(), "host": socket.gethostname(), "start": _start(os.getpid())}


def _start(pid: int) -> str | None:
    """When a process began, in ticks since its machine did; None without it, or where nothing says so.

    A number that came up again, after a restart or in a container, is thereby not taken for the old process.
    """
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return None


def _refuse_living(path: Path) -> None:
    """Raise InputError unless the holder is dead."""
    try:
        silent_s = time.time() - path.stat().st_mtime
        holder = json.loads(path.read_text())
        pid, host, start = int(holder["pid"]), str(holder["host"]), holder["start"]
    except FileNotFoundError:  # it has just ended
        return
    except (ValueError, KeyError, TypeError, OverflowError, OSError):  # torn, or just being written
        pid, host, start = 0, "", None
    lives = _lives(pid, start) if host == socket.gethostname() else silent_s < STALE_S
    if lives:
        who = f"process {pid} on {host}" if host else "another process"
        raise InputError(
            f"{path.parent} is in use by {who}; wait until it has ended, choose another folder with -o, or delete "
            f"{path} if you know that nobody works there."
        )


def _lives(pid: int, start: str | None) -> bool:
    """Whether the process ``pid`` of this host is there, and the one that began at ``start``."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        pass
    return start is None or start == _start(pid)


def _beat(path: Path, over: threading.Event) -> None:
    while not over.wait(BEAT_S):
        with suppress(OSError):
            os.utime(path)
