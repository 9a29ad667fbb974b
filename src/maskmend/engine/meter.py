"""What a person sees while a model trains: where it is, how fast, how long still, how good."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Meter:
    """A progress bar on a terminal, a line an epoch anywhere else; nothing unless ``show``."""

    def __init__(self, show: bool = True) -> None:
        self.show, self.seen, self.since, self.words = show, 0, time.perf_counter(), ""
        self.console = Console(stderr=True)
        self.bar: Progress | None = None
        self.start = 0.0

    def begin_epoch(self, epoch: int, epochs: int, steps: int, done: int) -> None:
        """``done`` steps of this epoch lie behind (after a resume)."""
        if not self.show:
            return
        if not self.seen:  # in epochs: where this process goes on
            self.start = epoch + max(done, 0) / steps
        if self.bar is None and sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.bar = Progress(*columns, console=self.console, transient=True)
            self.task = self.bar.add_task("training", total=epochs * steps, completed=epoch * steps + max(done, 0))
            self.bar.start()
        self.epochs = epochs

    def advance(self, images: int) -> None:
        self.seen += images
        if self.bar is not None:
            self.bar.update(self.task, advance=1, description=f"training, {self.rate:.0f} images/s{self.words}")

    @property
    def rate(self) -> float:
        """Images a second since the start."""
        return self.seen / max(time.perf_counter() - self.since, 1e-9)

    def say(self, values: dict[str, float]) -> None:
        self.words = f", loss {values['loss']:.3f}" if "loss" in values else ""

    def tell(self, sentence: str) -> None:
        """A sentence of the method's, above the bar."""
        if self.show:
            self.console.print(sentence, highlight=False, soft_wrap=True, markup=False)

    def end_epoch(self, epoch: int, scores: dict[str, float], against: str) -> None:
        """``scores``: none where the epoch was not validated."""
        if not self.show:
            return
        words = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
        words = f", validation against {against}: {words}" if scores else ""
        left = (time.perf_counter() - self.since) / (epoch + 1 - self.start) * (self.epochs - epoch - 1)
        line = f"epoch {epoch + 1}/{self.epochs}{self.words}{words}"
        pace = f"({self.rate:.0f} images/s, about {left / 60:.1f} min left)"
        self.console.print(f"{line} {pace}", highlight=False, soft_wrap=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
