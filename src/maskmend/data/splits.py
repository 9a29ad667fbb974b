"""Training and validation cases of a fold, as nnU-Net deals them."""

from __future__ import annotations

import os
from typing import Literal

import numpy as np

from ..errors import InputError
from ..texts import case_name, read_json
from .dataset import Case, Dataset
from .layout import nearest
from .stack import read_volumes

FOLDS, SEED = 5, 12345
"""nnU-Net's default: scikit-learn's KFold(5, shuffle=True, random_state=12345) over the sorted names."""
PARTS = ("train", "val")

Split = tuple[tuple[Case, ...], tuple[Case, ...]]


def split(dataset: Dataset, fold: int | Literal["all"]) -> Split:
    """The cases to train on and to validate on: ``splits_final.json`` if there is one, else nnU-Net's five folds.

    Cases without a label are never dealt into validation by default, as nothing can be measured on them, and slices of
    one volume (``stack``) are never dealt to both sides. Fewer than five labelled cases make as many folds as cases.
    ``fold="all"`` trains on every case and validates on none.
    Raises InputError for a fold that is not there and for a name in splits_final.json that is no case.
    """
    if fold == "all":
        return dataset.train, ()
    path = dataset.root / "splits_final.json"
    names = _read_folds(dataset) if os.path.lexists(path) else _default_folds(dataset)
    if not 0 <= fold < len(names):
        known = f"folds 0 to {len(names) - 1}" if len(names) > 1 else "fold 0 alone"
        raise InputError(f"{dataset.root} has the {known}, not {fold}; choose one, or fold=all.")
    cases = {case.name: case for case in dataset.train}
    train, validation = names[fold]
    return tuple(cases[name] for name in train), tuple(cases[name] for name in validation)


def k_fold(n: int, folds: int = FOLDS, seed: int = SEED) -> list[list[int]]:
    """The positions validated in each fold, as scikit-learn's ``KFold(folds, shuffle=True, random_state=seed)``.

    The positions are shuffled once and cut into runs, the first ``n % folds`` of them one longer.
    """
    order = np.arange(n)
    np.random.RandomState(seed).shuffle(order)
    return [sorted(int(place) for place in run) for run in np.array_split(order, folds)]


def _default_folds(dataset: Dataset) -> list[tuple[list[str], list[str]]]:
    names = sorted(case.name for case in dataset.train)
    dealt = _dealt_together(dataset)
    if len(dealt) < 2:
        raise InputError(
            f"{dataset.root} has {len(dealt)} labelled training case or volume, too few to keep one back for "
            "validation; choose fold=all."
        )
    held = [[name for place in run for name in dealt[place]] for run in k_fold(len(dealt), min(FOLDS, len(dealt)))]
    return [([name for name in names if name not in set(out)], out) for out in held]


def _dealt_together(dataset: Dataset) -> list[list[str]]:
    """The labelled cases, each by itself, or all slices of a volume."""
    volumes = read_volumes(dataset.root, [case.name for case in dataset.train + dataset.test])
    of = {case: volume.name for volume in volumes for case in volume.places}
    dealt: dict[str, list[str]] = {}
    for name in sorted(case.name for case in dataset.train if case.label is not None):
        dealt.setdefault(of.get(name, name), []).append(name)
    return [dealt[name] for name in sorted(dealt)]


def _read_folds(dataset: Dataset) -> list[tuple[list[str], list[str]]]:
    path = dataset.root / "splits_final.json"
    content = read_json(path, "correct or remove it")
    if not isinstance(content, list) or not all(
        isinstance(fold, dict) and all(isinstance(fold.get(part), list) for part in PARTS) for fold in content
    ):
        raise InputError(f'{path} is no list of {{"train": [...], "val": [...]}}; correct or remove it.')
    if not content:
        raise InputError(f"{path} holds no fold; correct or remove it.")
    known = {case.name for case in dataset.train}
    folds = []
    for number, fold in enumerate(content):
        place = f"{path}, fold {number},"
        train, validation = ([case_name(name, place) for name in fold[part]] for part in PARTS)
        names = [*train, *validation]
        if strange := next((name for name in names if name not in known), None):
            raise InputError(
                f"{place} names {strange!r}, which is no training case{nearest(strange, known)}; correct or remove it."
            )
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            where = "in both train and val" if twice in train and twice in validation else "twice"
            raise InputError(f"{place} has {twice} {where}; take one out.")
        if not train:
            raise InputError(f"{place} trains on no case; correct or remove it.")
        folds.append((train, validation))
    return folds
