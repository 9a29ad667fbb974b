"""What a person is told while tasks run elsewhere: how far each is, and how long all will still take."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Event, Thread
from typing import Protocol

from ..config import read_tree
from ..errors import InputError
from ..progress import duration

LOOK_S = 2.0
"""Between two looks at the folders of tasks."""
SAY_S = 60.0
"""Between two lines where no terminal is."""
NAMED = 3
"""Tasks that are told of at a time."""
TAIL = 4096
"""Bytes at the end of a run's events, among which the last one is."""


class Named(Protocol):
    """Of a task: its name, and the run folder that it writes."""

    @property
    def key(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def folder(self) -> Path: ...


def epochs_of(folder: Path) -> tuple[int, int] | None:
    """The epoch that a run is in, from 0, and how many it has, by what it wrote; None while that is not known."""
    with suppress(OSError, ValueError, KeyError, TypeError, InputError), (folder / "events.jsonl").open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - TAIL))
        *_, last, _ = file.read().split(b"\n")  # what follows the last end of a line is being written
        return int(json.loads(last)["epoch"]), _epochs(folder / "config.yaml")
    return None


@cache
def _epochs(config: Path) -> int:
    return max(1, int(read_tree(config)["train"]["epochs"]))


class Waiting:
    """A line that moves on a terminal; elsewhere one a minute. Begun with ``with``; ``end`` is told of what ended.

    slots: how many tasks run at a time; 0 is in this very process, which tells of itself. The time left is that of what
    remains, at the pace of a task so far: shared by the slots, and no less than the longest task alone.
    """

    def __init__(self, tasks: Sequence[Named], slots: int) -> None:
        self.tasks, self.slots, self.elsewhere = tasks, max(1, min(slots, len(tasks))), slots > 0
        self.ended: set[str] = set()
        self.since, self.before = time.monotonic(), sum(self._parts())
        self.over = Event()
        self.watch = Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Waiting:
        if self.elsewhere:
            self.watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        if self.elsewhere:
            self.watch.join()

    def end(self, task: Named) -> None:
        self.ended.add(task.key)

    def _parts(self) -> list[float]:
        """Of each task the share that is done."""
        at = [(1, 1) if task.key in self.ended else epochs_of(task.folder) or (0, 1) for task in self.tasks]
        return [epoch / epochs for epoch, epochs in at]

    def left(self) -> str:
        """ "about 3 min left"; "" while nothing tells, and when nothing is left."""
        parts = self._parts()
        done, rest = sum(parts) - self.before, [1 - part for part in parts]
        if done <= 0 or not any(rest):
            return ""
        pace_s = (time.monotonic() - self.since) * self.slots / done
        return f"about {duration(pace_s * max(sum(rest) / self.slots, max(rest)))} left"

    def line(self) -> str:
        """ "1 of 3 done; network 1: epoch 3 of 12; about 4 min left"."""
        told = [f"{len(self.ended)} of {len(self.tasks)} done"]
        running = [task for task in self.tasks if task.key not in self.ended]
        known = [(task.name, at) for task in running if (at := epochs_of(task.folder))]
        told += [f"{name}: epoch {epoch + 1} of {epochs}" for name, (epoch, epochs) in known[:NAMED]]
        return "; ".join(filter(None, [*told, self.left()]))

    def _watch(self) -> None:
        if sys.stderr.isatty():
            from rich.console import Console

            with Console(stderr=True).status(self.line()) as status:
                while not self.over.wait(LOOK_S):
                    status.update(self.line())
        else:
            while not self.over.wait(SAY_S):
                print(self.line(), file=sys.stderr, flush=True)
