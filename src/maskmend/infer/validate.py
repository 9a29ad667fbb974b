"""How good a model is on cases it did not learn from, while it trains."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import groupby, islice
from operator import add
from pathlib import Path

import numpy as np

from ..data.backed import Room
from ..data.formats import replacing
from ..data.plan import Plan
from ..data.scratch import scratch
from ..data.stack import Volume
from ..data.trainset import CaseSet
from ..engine.world import World
from ..methods import Method
from ..metrics.overlap import Counts, dice, overlap
from ..types import Region
from .large import is_large, labels
from .predict import PredictConfig, predict_batch


@dataclass(frozen=True)
class Validation:
    """Dice of every validation case against its given mask, on the training grid; ``cases.csv`` holds the last ones.

    The given masks may be wrong too: this ranks checkpoints, it does not say how good a model is. Cases that are slices
    of ``volumes`` are scored together, a volume at a time. The regions that a data set asks for are scored as well.
    """

    cases: CaseSet
    plan: Plan
    config: PredictConfig
    world: World
    table: Path
    volumes: tuple[Volume, ...] = ()

    @property
    def labels(self) -> dict[str, Region]:
        """What is scored, by name: foreground classes, and regions."""
        return {name: value for name, value in self.plan.labels.items() if value} | self.cases.dataset.regions

    def __call__(self, method: Method) -> dict[str, float]:
        """Mean Dice over cases, as "dice" over all classes, or over the regions, and as "dice_<class>"; nothing is said
        of what no case can tell, as where none has a label."""
        mine = range(self.world.rank, len(self.cases), self.world.size)
        counts = {i: row for part in self.world.gather_object(self._counts(method, mine)) for i, row in part.items()}
        names = list(self.labels)
        rows = self._scores(counts)
        scores = np.array([*rows.values()])
        if self.world.leads:
            self._write(names, rows)
        means = {f"dice_{name}": _mean(column) for name, column in zip(names, scores.T, strict=True)}
        declared = [means[f"dice_{name}"] for name in self.cases.dataset.regions or names]
        scored = {"dice": _mean(np.array(declared))} | means
        return {name: value for name, value in scored.items() if math.isfinite(value)}

    def _counts(self, method: Method, cases: Iterable[int]) -> dict[int, list[Counts]]:
        """Pixels of each foreground class and region, by case."""
        labels = list(self.labels.values())
        return {
            i: [*overlap(predicted, self.cases.whole(i)[1].numpy(), labels).values()]
            for i, predicted in self.predicted(method, cases)
        }

    def _scores(self, counts: Mapping[int, list[Counts]]) -> dict[str, list[float]]:
        """Dice of each foreground class and region, by case, or by volume."""
        of = {case: volume.name for volume in self.volumes for case in volume.places}
        groups: dict[str, list[list[Counts]]] = {}
        for i, name in enumerate(self.cases.names):
            groups.setdefault(of.get(name, name), []).append(counts[i])
        return {
            name: [dice(reduce(add, of_class)) for of_class in zip(*rows, strict=True)] for name, rows in groups.items()
        }

    def predicted(self, method: Method, cases: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Each case and its predicted label (*S); cases of one shape go through the model together."""
        for _, same in groupby(cases, key=lambda i: self.cases.whole(i)[0].shape):
            for some in batched(same, self.config.window_batch):
                yield from zip(some, self._labels(method, [self.cases.whole(i)[0].numpy() for i in some]), strict=True)

    def _labels(self, method: Method, images: Sequence[np.ndarray]) -> Iterable[np.ndarray]:
        """The predicted labels (*S) of images of one shape; a large one is predicted in files, alone."""
        ask = partial(predict_batch, method.predict, plan=self.plan, config=self.config, device=self.world.device)
        if not is_large(self.plan.classes, images[0].shape[1:]):
            return np.asarray(ask(images).argmax(1))
        with scratch(self.table.with_name(f"rank{self.world.rank}"), ".predicted") as folder:
            room = Room(folder)
            return [labels(ask([image], room=room)[0], room) for image in images]

    def _write(self, names: list[str], rows: Mapping[str, list[float]]) -> None:
        with replacing(self.table) as part, part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["case", *(f"dice_{name}" for name in names)])
            for case, row in rows.items():
                writer.writerow([case, *(f"{value:.6f}" for value in row)])


def batched(items: Iterable[int], count: int) -> Iterator[tuple[int, ...]]:
    """``count`` items at a time, the last ones fewer."""
    rest = iter(items)
    return iter(lambda: tuple(islice(rest, count)), ())


def _mean(values: np.ndarray) -> float:
    """Mean without the undefined; NaN where all are."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else math.nan
