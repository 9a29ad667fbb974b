"""``maskmend train --search``: a parameter that a method can choose by itself, found by short trainings."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import methods
from ..config import load_config
from ..data.formats import replacing
from ..engine.events import read_events
from ..engine.world import launch
from ..errors import InputError
from .train import train

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
    settings = {value: [*words, f"method.{parameter}={value!r}"] for value in values}
    for each in settings.values():
        load_config(config, method, each)
    world, curve = launch(device), []
    for number, (value, each) in enumerate(settings.items(), start=1):
        folder = output / "search" / f"{parameter}={value:g}"
        if world.leads:
            print(f"{parameter}={value:g}, candidate {number} of {len(settings)}", file=sys.stderr)
        begun = (folder / "config.yaml").exists()
        train(
            dataset,
            folder,
            method,
            config,
            each,
            resume=begun,
            device=device,
            fast_dev_run=fast_dev_run,
            searching=True,
        )
        world.wait()
        curve.append((value, criterion(folder)))
    result = SearchResult(parameter, min(curve, key=lambda point: point[1])[0], tuple(curve))
    if world.leads:
        _write(result, output / "search" / parameter)
    return result


def criterion(folder: Path) -> float:
    """The mean of what a method logged as "search" over the last quarter of a run's steps."""
    values = [float(event["search"]) for event in read_events(folder, "train")]
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

    with replacing(path.with_name(f"{path.name}.csv")) as part, part.open("w", newline="") as file:
        csv.writer(file).writerows([(result.parameter, "criterion"), *result.curve])
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.add_subplot(xlabel=result.parameter, ylabel="criterion", title=result.word)
    axes.plot(*zip(*result.curve, strict=True), marker="o")
    axes.axvline(result.best, linestyle=":", color="black")
    with replacing(path.with_name(f"{path.name}.png")) as part:
        figure.savefig(part, dpi=120)
