"""How long work takes, and its progress bar: on a terminal only, on standard error, never in the way of output."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def duration(seconds: float) -> str:
    """ "40 s", "3 min", "1 h 20 min"."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{max(seconds, 1):.0f} s"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def track(items: Iterable[T], doing: str, total: int | None = None) -> Iterator[T]:
    """The same items, with a bar that says what is being done, how far it is and how long it will take."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track as rich_track

    yield from rich_track(items, doing, total=total, console=Console(stderr=True), transient=True)
