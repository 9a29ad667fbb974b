"""The training loop. Everything a run does, in reading order."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import Field
from torch import Tensor

from ..data.loader import ahead
from ..errors import InputError
from ..functional.rng import fold, seed_all
from ..methods.base import Method
from ..types import Batch, Config, Logs, Progress, TrainSet
from . import checkpoint
from .compiled import compile_networks
from .events import GIVEN, Events, EventsConfig
from .meter import Meter
from .precision import AUTO, Precision, check_repeats, finite, resolve_precision
from .update import OptimConfig, Updater
from .world import World


class TrainConfig(Config):
    """How long, how much at once, how exactly."""

    epochs: int = Field(100, gt=0)
    batch: dict[str, int] = Field({"any": 8}, description="rows of each pool: any, clean, imperfect, unlabeled")
    steps: int | None = Field(
        None, gt=0, le=1_000_000, description="optimiser steps in an epoch; by default one pass over the data"
    )
    precision: Precision = Field("auto", description=AUTO)
    channels_last: bool = Field(True, description="memory format of 2D networks; faster on most hardware")
    compile: bool = Field(False, description="compile the networks (torch.compile): minutes at first, then faster")
    threads: int | None = Field(None, gt=0, description="CPU threads, at most one a core; by default all cores")
    prefetch: int = Field(2, ge=0, le=64, description="batches that a thread reads ahead while a step runs; 0: none")
    save_every: int = Field(200, gt=0, description="steps between checkpoints; one more at the end of each epoch")
    validate_every: int = Field(1, gt=0, description="epochs between validations")
    log_every: int = Field(10, gt=0, description="steps between events")


class Data(TrainSet, Protocol):
    """What the loop needs of a training set, besides what methods see."""

    def schedule(self, seed: int, epoch: int, batch: Mapping[str, int], steps: int | None) -> list[Tensor]:
        """This rank's cases (B,) of every step of the epoch, int64."""
        ...

    def share(self, batch: Mapping[str, int]) -> Tensor:
        """Positions (B,) of this rank's rows among those of all ranks in a step, int64."""
        ...

    def load(self, index: Tensor, seeds: Sequence[int]) -> Batch:
        """Cases or patches of them, each row cut by its own seed; on the CPU. Another thread may ask."""
        ...

    def commit(self) -> int:
        """Make what ``write`` stored visible everywhere; how many pixels changed."""
        ...

    def prune(self, keep: set[int]) -> None:
        """Delete refined labels of every generation but ``keep`` and the present one."""
        ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass
class Fit:
    """One training run.

    ``augment(batch, seeds)`` draws each row from its own seed; ``validate(method)`` returns scores, of which "dice"
    decides what is best: the last, where there never is one; ``against`` says what they compare with. With
    ``resume``, the run continues from the newest checkpoint of ``folder``, on the CPU bit for bit as if it had never
    stopped.
    """

    method: Method
    data: Data
    folder: Path
    train: TrainConfig
    optim: OptimConfig
    seed: int = 0
    name: str = "method"
    world: World = field(default_factory=World)
    augment: Callable[[Batch, Sequence[int]], Batch] = lambda batch, seeds: batch
    validate: Callable[[Method], dict[str, float]] | None = None
    against: str = GIVEN
    events: EventsConfig = field(default_factory=EventsConfig)
    settings: dict[str, Any] = field(default_factory=dict)
    resume: bool = False
    stop_after: int | None = None
    ready: bool = field(default=False, init=False)

    def run(self) -> dict[str, float]:
        """Train to the end; the scores of the last validation."""
        self.prepare()
        self.meter = Meter(show=self.world.leads)
        self.log = Events(self.folder, self.events, self.done, self.settings) if self.world.leads else None
        try:
            for epoch in range(self.train.epochs):
                if self.method.finished() or self.stop_after == self.done > 0:
                    break
                self._epoch(epoch)
        finally:
            self.meter.close()
            if self.log is not None:
                self.log.close()
        return self.scores

    def _epoch(self, epoch: int) -> None:
        """What is left of one epoch: refinement before its first step, the steps, validation after its last."""
        schedule = self._schedule(epoch)
        first = epoch * len(schedule)
        if self.done >= first + len(schedule):
            return
        self.meter.begin_epoch(epoch, self.train.epochs, len(schedule), self.done - first)
        if self.done <= first:
            self._begin_epoch(Progress(epoch, self.train.epochs, first, len(schedule)))
            if self.method.finished():
                return self._end_epoch(epoch)
        self.method.train()
        with closing(self._batches(epoch, self.done, schedule[self.done - first :])) as batches:
            for step, batch in enumerate(batches, start=self.done):
                self._step(Progress(epoch, self.train.epochs, step, len(schedule)), batch)
                if self.stop_after == self.done:
                    return
        self._end_epoch(epoch)

    def prepare(self) -> Fit:
        """Bring the method to its device and back to its checkpoint; nothing is written. ``run`` does it if need be.

        Raises:
            InputError: the checkpoint cannot be gone on from, or the hardware does not repeat a step.
        """
        if self.ready:
            return self
        self._limit_threads()
        self.done, self.best, self.kept = 0, -math.inf, 0
        self.scores: dict[str, float] = {}
        self.method.to(self.world.device)
        self.precision = resolve_precision(self.train.precision, self.world.device)
        if self.train.channels_last and all(p.ndim < 5 for p in self.method.parameters()):
            self.method.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.update = self._updater(self.method, self.world)
        self.last, self.best_path = self.folder / "last.ckpt", self.folder / "best.ckpt"
        state = checkpoint.load_latest(self.last, self.name) if self.resume else None
        if state is not None:
            self._restore(state)
        if self.train.compile:
            compile_networks(self.method, self.world.device)
        if self.world.device.type == "cpu" and self.precision != torch.float32:
            check_repeats(self._first_step, f"train.precision={self.train.precision}")
        self.ready = True
        return self

    @property
    def complete(self) -> bool:
        """Whether a prepared run has no step left."""
        return self.done >= self.train.epochs * len(self._schedule(0))

    def _schedule(self, epoch: int) -> list[Tensor]:
        batch, rows, steps = self.train.batch, self._rows(epoch), self.train.steps
        if rows != batch and steps is None:
            steps = len(self.data.schedule(self.seed, epoch, batch, None))
        return self.data.schedule(self.seed, epoch, rows, steps)

    def _rows(self, epoch: int) -> Mapping[str, int]:
        return self.method.rows(self.train.batch, self.data.trust, Progress(epoch, self.train.epochs, 0, 1))

    def _limit_threads(self) -> None:
        asked, cores = self.train.threads, os.cpu_count() or 1
        if asked and asked > cores and self.world.leads:
            warnings.warn(f"train.threads={asked}: this machine has {cores} cores, and so many are used.", stacklevel=2)
        if asked:
            torch.set_num_threads(min(asked, cores))

    def _updater(self, method: Method, world: World) -> Updater:
        return Updater(method, self.optim, world, scaled=self.precision == torch.float16)

    def _first_step(self) -> dict[str, Tensor]:
        """What the first step makes of a copy of the method."""
        method, first = deepcopy(self.method).train(), self._schedule(0)
        at = Progress(0, self.train.epochs, 0, len(first))
        [batch], update = self._batches(0, 0, first[:1]), self._updater(method, World(device=self.world.device))
        seed_all(fold(self.seed, "step", 0, self.world.rank))
        update.begin(at)
        with self._autocast():
            method.step(batch, at, update)
        return dict(method.named_parameters())

    def _begin_epoch(self, at: Progress) -> None:
        """Let the method look at the whole training set. One set of statistics, so that every rank decides alike."""
        seed_all(fold(self.seed, "epoch", at.epoch))
        self.method.eval()
        with torch.no_grad(), self._autocast():
            logs = self.method.begin_epoch(at, self.data)
        changed = self.data.commit()
        said = list(self.method.sentences) if logs else []
        for sentence in said:
            self.meter.tell(sentence)
        if logs or changed:
            more = {"epoch": at.epoch} | ({"said": said} if said else {})
            self._log("refine", at.step, numbers(logs) | {"relabelled_pixels": changed}, **more)

    def _step(self, at: Progress, batch: Batch) -> None:
        seed_all(fold(self.seed, "step", at.step, self.world.rank))
        self.update.begin(at)
        with self._autocast():
            logs = self.method.step(batch, at, self.update)
        self.world.average_(b for b in self.method.buffers() if b.is_floating_point())
        self.done = at.step + 1
        self.meter.advance(len(batch) * self.world.size)
        ends, saves = self.done % at.steps == 0, self.done % self.train.save_every == 0
        if ends or saves or self.done % self.train.log_every == 0:
            self._tell(at, numbers(logs))
        if saves and not ends:  # the end of an epoch is saved with its scores
            self._save()

    def _tell(self, at: Progress, values: dict[str, float]) -> None:
        if not (all(map(math.isfinite, values.values())) and finite(self.method)):
            what = f"gave {values} and left weights that are {'' if finite(self.method) else 'no '}numbers"
            raise InputError(f"{self.folder}: step {self.done} {what}; lower optim.lr, or set optim.clip.")
        self.meter.say(values)
        if self.done % self.train.log_every == 0:
            self._log("train", self.done, values, epoch=at.epoch, lr=self.update.rate)

    def _batches(self, epoch: int, start: int, schedule: Sequence[Tensor]) -> Generator[Batch, None, None]:
        """This rank's rows of each step from ``start`` on, each cut and augmented by the seed of its place in the whole
        batch. They are read ahead, but never beyond ``schedule``: the next epoch may have other labels."""
        rows: list[int] = self.data.share(self._rows(epoch)).tolist()
        on_gpu = self.world.device.type == "cuda"

        def seeds(what: str, step: int) -> list[int]:
            return [fold(self.seed, what, step, row) for row in rows]

        def read(step: int) -> Batch:
            batch = self.data.load(schedule[step - start], seeds("cut", step))
            return batch.each(lambda tensor: tensor.pin_memory()) if on_gpu else batch

        steps = range(start, start + len(schedule))
        with closing(ahead(read, steps, self.train.prefetch)) as loaded:
            for step, batch in zip(steps, loaded, strict=True):
                yield self._ready(batch, seeds("augment", step))

    def _ready(self, batch: Batch, seeds: Sequence[int]) -> Batch:
        """What a step takes, on its device: augmented there, each row by its own seed."""
        batch = self.augment(batch.to(self.world.device), seeds)
        if self.train.channels_last and batch.image.ndim == 4:
            batch = replace(batch, image=batch.image.contiguous(memory_format=torch.channels_last))
        return batch

    def _end_epoch(self, epoch: int) -> None:
        last, scores = epoch + 1 == self.train.epochs or self.method.finished(), dict[str, float]()
        if self.validate is not None and (last or (epoch + 1) % self.train.validate_every == 0):
            self.method.eval()
            try:
                with torch.no_grad(), self._autocast():
                    self.scores = scores = self.validate(self.method)
            except InputError as error:
                raise InputError(f"{self.folder}, validation after step {self.done}: {error}") from error
            self._log("validation", self.done, scores, epoch=epoch, against=self.against)
        self.meter.end_epoch(epoch, scores, self.against)
        dice = self.scores.get("dice", -math.inf)
        if dice > self.best or self.best == -math.inf or not self.best_path.exists():
            self.best = max(self.best, dice)
            self._save(self.best_path)
        else:
            self._save()

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision == torch.float32:
            return nullcontext()
        return torch.autocast(self.world.device.type, dtype=self.precision)

    def _log(self, kind: str, step: int, values: dict[str, float], **more: Any) -> None:
        if self.log is not None:
            self.log.log(kind, step, values, **more)

    def _save(self, *also: Path) -> None:
        """A step count and tensors; no random state, because there is none. also: other names of the same file."""
        if self.world.leads:
            state = {
                "method_name": self.name,
                "method": self.method.state_dict(),
                "update": self.update.state_dict(),
                "data": self.data.state_dict(),
                "done": self.done,
                "best": self.best,
                "scores": self.scores,
            }
            checkpoint.save(self.last, state, *also)
            now = self.data.state_dict()["generation"]
            self.data.prune({self.kept, now})
            self.kept = now

    def _restore(self, state: checkpoint.State) -> None:
        checkpoint.restore(self.method, state, self.last)
        checkpoint.restore_update(self.update, state, self.last)
        self.data.load_state_dict(state["data"])
        self.done, self.best, self.scores = state["done"], state["best"], state["scores"]
        self.kept = state["data"]["generation"]


def numbers(logs: Logs) -> dict[str, float]:
    return {name: float(value.detach() if isinstance(value, Tensor) else value) for name, value in logs.items()}
