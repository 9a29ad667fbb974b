"""How good a model is on cases it did not learn from, while it trains."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path

import numpy as np

from ..data.formats import replacing
from ..data.plan import Plan
from ..data.trainset import CaseSet
from ..engine.world import World
from ..methods import Method
from ..metrics.overlap import dice, overlap
from .predict import PredictConfig, predict_batch


@dataclass(frozen=True)
class Validation:
    """Dice of every validation case against its given mask, on the training grid; ``cases.csv`` holds the last ones.

    The given masks may be wrong too: this ranks checkpoints, it does not say how good a model is.
    """

    cases: CaseSet
    plan: Plan
    config: PredictConfig
    world: World
    table: Path

    def __call__(self, method: Method) -> dict[str, float]:
        """Mean Dice over cases, as "dice" over all classes and as "dice_<class>"."""
        mine = range(self.world.rank, len(self.cases), self.world.size)
        rows = {i: row for part in self.world.gather_object(self._scores(method, mine)) for i, row in part.items()}
        names = [name for name, value in self.plan.labels.items() if value != 0]
        scores = np.array([rows[i] for i in sorted(rows)])
        if self.world.leads:
            self._write(names, scores)
        means = {f"dice_{name}": _mean(column) for name, column in zip(names, scores.T, strict=True)}
        return {"dice": _mean(np.array([*means.values()]))} | means

    def _scores(self, method: Method, cases: Iterable[int]) -> dict[int, list[float]]:
        """Dice of each foreground class, by case."""
        rows: dict[int, list[float]] = {}
        for i, predicted in self.predicted(method, cases):
            counts = overlap(predicted, self.cases.whole(i)[1].numpy(), range(1, self.plan.classes))
            rows[i] = [dice(count) for count in counts.values()]
        return rows

    def predicted(self, method: Method, cases: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Each case and its predicted label (*S); cases of one shape go through the model together."""
        for _, same in groupby(cases, key=lambda i: self.cases.whole(i)[0].shape):
            for some in batched(same, self.config.window_batch):
                images = [self.cases.whole(i)[0].numpy() for i in some]
                found = predict_batch(method.predict, images, self.plan, self.config, self.world.device)
                yield from zip(some, found.argmax(1), strict=True)

    def _write(self, names: list[str], scores: np.ndarray) -> None:
        with replacing(self.table) as part, part.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["case", *(f"dice_{name}" for name in names)])
            for case, row in zip(self.cases.names, scores, strict=True):
                writer.writerow([case, *(f"{value:.6f}" for value in row)])


def batched(items: Iterable[int], count: int) -> Iterator[tuple[int, ...]]:
    """``count`` items at a time, the last ones fewer."""
    rest = iter(items)
    return iter(lambda: tuple(islice(rest, count)), ())


def _mean(values: np.ndarray) -> float:
    """Mean without the undefined; NaN where all are."""
    return float(np.nanmean(values)) if np.isfinite(values).any() else math.nan
