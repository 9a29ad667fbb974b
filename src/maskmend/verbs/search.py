"""``maskmend train --search``: a parameter that a method can choose by itself, found by short trainings."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from .. import methods
from ..config import load_config
from ..data.formats import replacing
from ..engine.events import read_events
from ..engine.world import launch
from ..errors import InputError
from ..runs.train import train

QUIET = ("train.log_every=1", "train.validate_every=1000000")
"""What a training of the search does otherwise than the run: it logs each step, and is validated at its end only."""
LAST = 0.25
"""Share of a training, at its end, whose steps the criterion averages."""


@dataclass(frozen=True)
class SearchResult:
    """What was searched for, the best value, and the criterion (the smaller, the better) of every candidate."""

    parameter: str
    best: float
    curve: tuple[tuple[float, float], ...]

    @property
    def word(self) -> str:
        """The setting to train with."""
        return f"method.{self.parameter}={self.best:g}"

    def table(self) -> str:
        tried = ", ".join(f"{value:g}: {criterion:.4f}" for value, criterion in self.curve)
        return f"{self.word} has the smallest criterion ({tried})"


def search(
    dataset: Path,
    output: Path,
    parameter: str,
    method: str | None = None,
    config: Path | None = None,
    overrides: Sequence[str] = (),
    *,
    candidates: Sequence[float] = (),
    epochs: int | None = None,
    resume: bool = False,
    device: str = "auto",
    fast_dev_run: bool = False,
) -> SearchResult:
    """Train once with each candidate and choose the one whose criterion, logged by the method, ends smallest.

    Of the method's own candidates the best is not yet the last word: halfway between it and each of its neighbours one
    more training is made. Candidates that are given are all that is tried.

    The trainings lie in ``output``/search, one folder a candidate; a finished one is not trained again, one that was
    stopped goes on. Beside them are the curve, as a table and as a picture. What remains to do is ``train`` with
    ``SearchResult.word``. The other arguments are those of ``train``.

    Args:
        parameter: one that ``maskmend methods NAME`` calls searchable.
        candidates: values to try; by default the method's own.
        epochs: length of each training; by default that of the run.
        resume: go on though ``output`` holds a run already.

    Raises:
        InputError: the method cannot search for ``parameter``, a candidate is no value of it, or what ``train`` raises.
    """
    dataset, output = Path(dataset), Path(output)
    if not resume and (output / "last.ckpt").exists():
        raise InputError(f"{output} holds a run already; continue it with --resume, or name another folder.")
    values = _candidates(load_config(config, method, overrides).method_name, parameter, candidates)
    words = [*overrides, *QUIET, *([] if epochs is None else [f"train.epochs={epochs}"])]
    for value in values:
        load_config(config, method, [*words, f"method.{parameter}={value!r}"])
    world, curve = launch(device), dict[float, float]()

    def train_with(values: Sequence[float], what: str) -> None:
        for number, value in enumerate(values, start=1):
            folder = output / "search" / f"{parameter}={value:g}"
            if world.leads:
                print(f"{parameter}={value:g}, {what} {number} of {len(values)}", file=sys.stderr)
            each, begun = [*words, f"method.{parameter}={value!r}"], (folder / "config.yaml").exists()
            how: dict[str, Any] = {"resume": begun, "device": device, "fast_dev_run": fast_dev_run}
            train(dataset, folder, method, config, each, **how, searching=True)
            world.wait()
            curve[value] = criterion(folder)

    train_with(values, "candidate")
    train_with([] if candidates else halfway(curve), "value between")
    result = SearchResult(parameter, min(curve, key=curve.__getitem__), tuple(sorted(curve.items())))
    if world.leads:
        _write(result, output / "search" / parameter)
    return result


def halfway(curve: Mapping[float, float]) -> list[float]:
    """The values in the middle between that of the smallest criterion and its neighbours, one where it is outermost."""
    values = sorted(curve)
    best = values.index(min(curve, key=curve.__getitem__))
    return [round((left + right) / 2, 6) for left, right in pairwise(values[max(best - 1, 0) : best + 2])]


def criterion(folder: Path) -> float:
    """The mean of what a method logged as "search" over the last quarter of a run's steps.

    Raises:
        InputError: nothing of it is there.
    """
    logged = (event.get("search") for event in read_events(folder, "train"))
    values = [float(value) for value in logged if isinstance(value, int | float)]
    if not values:
        raise InputError(f"{folder / 'events.jsonl'} holds no criterion; remove {folder} and search again.")
    late = values[-math.ceil(LAST * len(values)) :]
    return sum(late) / len(late)


def _candidates(method: str, parameter: str, asked: Sequence[float]) -> list[float]:
    """The values to try, in order, each once."""
    cls, _ = methods.find(method)
    if parameter not in cls.search:
        known = f"it can search for {', '.join(cls.search)}" if cls.search else "it can search for none"
        raise InputError(f"method {method!r} has no search for {parameter!r}; {known}.")
    return sorted(set(asked or cls.search[parameter]))


def _write(result: SearchResult, path: Path) -> None:
    """The curve as ``path``.csv and ``path``.png."""
    from matplotlib.figure import Figure

    with replacing(path.with_name(f"{path.name}.csv")) as part, part.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([(result.parameter, "criterion"), *result.curve])
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.add_subplot(xlabel=result.parameter, ylabel="criterion", title=result.word)
    axes.plot(*zip(*result.curve, strict=True), marker="o")
    axes.axvline(result.best, linestyle=":", color="black")
    with replacing(path.with_name(f"{path.name}.png")) as part:
        figure.savefig(part, dpi=120)
