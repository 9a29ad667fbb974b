"""How the label of a case becomes a worse one: by a simulated noise, or by taking another person's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Case, Dataset, declared_label
from ..data.formats import Picture
from ..data.layout import nearest
from ..errors import InputError
from ..functional.rng import case_rng
from ..noise import NOISES, Kind, Noise, Random, apply, draw
from ..noise.mixture import Mixture
from ..noise.raters import RandomRater
from ..types import IGNORE

KINDS: dict[str, type[Kind]] = {**NOISES, Mixture.name: Mixture, RandomRater.name: RandomRater}
"""All that ``simulate`` can do, by name."""

Worse = tuple[NDArray[Any], dict[str, Any]]
"""A worse label (*S), and what was done."""
Corrupt = Callable[[Case, Picture], Worse]
"""From a case and its label to a worse one."""


def corrupter(noise: Kind, source: Dataset, seed: int) -> Corrupt:
    """What ``noise`` does to the cases of ``source``; a case depends on ``seed`` and its name alone.

    Raises InputError where raters are asked for and their labels are not there.
    """
    if isinstance(noise, Noise):
        return partial(_by_noise, noise=noise, source=source, seed=seed)
    if isinstance(noise, Mixture):
        return partial(_by_one_of, mixture=noise, source=source, seed=seed)
    assert isinstance(noise, RandomRater)
    return partial(_by_rater, noise=noise, source=source, seed=seed, labels=_labels_of_raters(noise, source))


def _by_noise(case: Case, label: Picture, *, noise: Noise, source: Dataset, seed: int) -> Worse:
    return _spoilt(label, noise, source, case_rng(seed, case.name))


def _by_one_of(case: Case, label: Picture, *, mixture: Mixture, source: Dataset, seed: int) -> Worse:
    """All classes in the same way, which is told beside what was done."""
    rng = case_rng(seed, case.name)
    noise = mixture.choose(rng)
    worse, done = _spoilt(label, noise, source, rng)
    return worse, {"noise": noise.name, **done}


def _spoilt(label: Picture, noise: Noise, source: Dataset, rng: Random) -> Worse:
    """Each class by itself; what was done is told by the name of the class."""
    spacing_mm = label.geometry.spacing_mm
    draws = draw(label.array, noise, rng, spacing_mm)
    names = {value: name for name, value in source.labels.items()}
    return apply(label.array, noise, draws, spacing_mm), {names[value]: dict(done) for value, done in draws.items()}


def _by_rater(
    case: Case, label: Picture, *, noise: RandomRater, source: Dataset, seed: int, labels: dict[str, tuple[Path, ...]]
) -> Worse:
    """The label of one rater. Raises InputError if it does not fit the image, or holds what dataset.json lacks."""
    path = noise.choose(labels[case.name], list(labels).index(case.name), case_rng(seed, case.name))
    grid = Picture(label.array[None], label.geometry)  # that of the image, which the given label fits
    drawn = declared_label(path, grid, case, source).array
    return np.where(label.array == IGNORE, IGNORE, drawn), {"rater": path.parent.name}


def _labels_of_raters(noise: RandomRater, source: Dataset) -> dict[str, tuple[Path, ...]]:
    """Every labelled case's labels by raters, or by the only one, cases and raters in order of their names."""
    folder = noise.raters or source.root / "labelsTr_raters"
    names = sorted(case.name for case in source.train if case.label is not None)
    files = [path for path in sorted(folder.glob("*/[!.]*")) if path.name.endswith(source.file_ending)]
    if not files:
        raise InputError(
            f"{folder} holds no rater's labels; put them there as RATER/CASE{source.file_ending}, or name their folder "
            "by raters=PATH."
        )
    if noise.only:
        raters = list(dict.fromkeys(path.parent.name for path in files))
        files = [path for path in files if path.parent.name == noise.only]
        if not files:
            raise InputError(f"{folder} holds no rater {noise.only!r}; only= may be {', '.join(raters)}.")
    labels: dict[str, tuple[Path, ...]] = dict.fromkeys(names, ())
    for path in files:
        name = path.name.removesuffix(source.file_ending)
        if name not in {case.name for case in source.train}:
            raise InputError(f"{path} is a label of no training case{nearest(name, names)}; rename or remove it.")
        if name in labels:
            labels[name] += (path,)
    if lonely := next((name for name, paths in labels.items() if not paths), None):
        raise InputError(f"{folder} holds no label of case {lonely}; add a rater's {lonely}{source.file_ending}.")
    return labels
