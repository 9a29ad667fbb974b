"""Does a step wait for its batch? An epoch against the longer of its loading and its computing, each measured alone.

    python benchmarks/loading.py [--steps 25] [--repeats 3]

First a disk that serves one batch after the other, and a step that only waits, as one on a GPU does. Then real patches,
read from the prepared cases, beside a step that waits for so long: a GPU waits for none whose step takes longer than
loading. Last a real training on this CPU, where both share the cores, so that nothing is won but nothing lost either.
Times are wall clock, each the smallest over repeats, in turns: other work on the machine only adds. ``taskset -c 0``
shows a machine of one core.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from start import made
from torch import Tensor, nn

from maskmend.data.cache import Cache
from maskmend.data.dataset import open_dataset
from maskmend.data.plan import DataConfig, make_plan
from maskmend.data.trainset import CaseSet
from maskmend.engine.fit import Fit, TrainConfig
from maskmend.engine.update import OptimConfig
from maskmend.functional.rng import fold, seed_all
from maskmend.methods import Method, find
from maskmend.networks import NetworkConfig, build
from maskmend.types import Batch, Logs, Progress, Update

AHEAD = (0, 1, 2)
"""Values of ``train.prefetch``."""


class Disk:
    """A training set that takes ``seconds`` longer to give a batch, one at a time."""

    def __init__(self, data: CaseSet, seconds: float) -> None:
        self.data, self.seconds, self.busy = data, seconds, threading.Lock()

    def __getattr__(self, name: str) -> object:
        return getattr(self.data, name)

    def load(self, index: Tensor, seeds: Sequence[int]) -> Batch:
        with self.busy:
            time.sleep(self.seconds)
        return self.data.load(index, seeds)


class Waits(Method):
    """A step that computes elsewhere for ``seconds``."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.net = seconds, nn.Linear(1, 1)

    def step(self, batch: Batch, at: Progress, update: Update) -> Logs:
        time.sleep(self.seconds)
        return {}


@dataclass(frozen=True)
class Setting:
    """What an epoch is made of; the method is made anew for each."""

    name: str
    data: CaseSet | Disk
    rows: int
    make: Callable[[], Method]

    def fit(self, folder: Path, steps: int, prefetch: int) -> Fit:
        train = TrainConfig(epochs=1, batch={"any": self.rows}, steps=steps, prefetch=prefetch, precision="fp32")
        return Fit(self.make(), self.data, folder, train, OptimConfig())  # type: ignore[arg-type]

    def load(self, steps: int) -> tuple[float, float]:
        """Seconds of reading the batches of an epoch, and those of the processor."""
        schedule = self.data.schedule(0, 0, {"any": self.rows}, steps)  # type: ignore[operator]
        begun, worked = time.perf_counter(), time.process_time()
        for step, index in enumerate(schedule):
            self.data.load(index, [fold(0, "cut", step, row) for row in range(self.rows)])
        return time.perf_counter() - begun, time.process_time() - worked

    def epoch(self, folder: Path, steps: int, prefetch: int) -> tuple[float, float]:
        """Seconds from the first batch that is asked for to the end of the last step, and those within steps."""
        folder.mkdir(parents=True)
        fit, marks = self.fit(folder, steps, prefetch), list[float]()

        def marked(call: Callable[..., Logs]) -> Callable[..., Logs]:
            def marking(*args: object) -> Logs:
                marks.append(time.perf_counter())
                logs = call(*args)
                marks.append(time.perf_counter())
                return logs

            return marking

        fit.method.begin_epoch, fit.method.step = marked(fit.method.begin_epoch), marked(fit.method.step)  # type: ignore[method-assign]
        fit.run()
        begun, ended = marks[2::2], marks[3::2]
        return ended[-1] - marks[1], sum(ended) - sum(begun)


def case_set(root: Path, shape: tuple[int, ...], cases: int, patch: tuple[int, ...]) -> CaseSet:
    data = open_dataset(made(root, shape, cases))
    config = DataConfig(size=patch) if len(shape) == 2 else DataConfig(patch=patch)
    return CaseSet(data.train, data, make_plan(data, data.train, config), Cache(root.parent / "cache"))


def a_training() -> Method:
    """The plain method with a small U-Net."""
    seed_all(0)
    cls, config = find("supervised")
    return cls(partial(build, NetworkConfig(width=8), 1, 2, 2), config())


def row(setting: Setting, folder: Path, steps: int, repeats: int) -> str:
    loads, computes, epochs = [], [], {count: list[float]() for count in AHEAD}
    for turn in range(repeats):
        loads.append(setting.load(steps))
        for count in (*AHEAD[turn % len(AHEAD) :], *AHEAD[: turn % len(AHEAD)]):
            whole, inside = setting.epoch(folder / f"{turn} {count}", steps, count)
            epochs[count].append(whole)
            if not count:
                computes.append(inside)
    (load, work), compute = map(min, zip(*loads, strict=True)), min(computes)
    ratios = " | ".join(f"{min(epochs[count]) / max(load, compute):.2f}" for count in AHEAD)
    each = " | ".join(f"{1e3 * seconds / steps:.1f}" for seconds in (load, work, compute))
    return f"| {setting.name} | {each} | {ratios} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    said = " | ".join(f"prefetch={count}" for count in AHEAD)
    print(
        f"{torch.get_num_threads()} threads; {asked.steps} steps an epoch; ms of a step, and epoch / the longer of both"
    )
    print(f"| what | loading | on the CPU | computing | {said} |\n|---|---|---|---|{'---|' * len(AHEAD)}")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        small = case_set(root / "64", (64, 64), 64, (64, 64))
        wide = case_set(root / "256", (256, 256), 64, (256, 256))
        deep = case_set(root / "96", (100, 128, 128), 8, (96, 96, 96))
        settings = [
            Setting(f"a disk of {disk} ms, a step of {step} ms", Disk(small, disk / 1e3), 8, partial(Waits, step / 1e3))
            for disk, step in ((20, 20), (10, 20), (20, 10))
        ]
        settings += [
            Setting("16 × 1 × 256², a step of 20 ms", wide, 16, partial(Waits, 0.02)),
            Setting("2 × 1 × 96³, a step of 50 ms", deep, 2, partial(Waits, 0.05)),
            Setting("8 × 1 × 64², a U-Net on this CPU", small, 8, a_training),
        ]
        for number, setting in enumerate(settings):
            print(row(setting, root / f"run {number}", asked.steps, asked.repeats), flush=True)


if __name__ == "__main__":
    main()
