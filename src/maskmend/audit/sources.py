"""Who judges labels: whatever predicts the cases of a data set, one case in memory at a time.

A source of another kind is one more class with the members of ``Source``. Several of them judge together: their mean is
the judge, and how far they lie apart is a score of its own.

An answer of K classes at V voxels takes 4 K V bytes. Two are held at a time where several judge one case, and what each
was made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from .. import config as settings
from ..data.align import aligned
from ..data.dataset import Case, Dataset
from ..data.formats import Picture, read_image
from ..data.plan import Plan
from ..data.preprocess import preprocess_image, restore
from ..data.splits import split
from ..data.stack import read_volumes
from ..errors import InputError
from ..infer.predict import PredictConfig, check_precision, predict_case
from ..methods import Method
from ..metrics.overlap import dice, overlap
from ..runs.folder import load_run, read_plan
from ..texts import read_rows
from .parts import mask_of

Array = NDArray[Any]


class Source(Protocol):
    """What predicts training cases.

    kind: cross, runs, nnunet, predictions or reviewed.
    held_out: whether it learnt from no case that it judges.
    paths: where it lies.
    """

    @property
    def kind(self) -> str: ...

    @property
    def held_out(self) -> bool: ...

    @property
    def paths(self) -> tuple[str, ...]: ...

    def names(self) -> frozenset[str]:
        """The cases that it can judge."""

    def probabilities(self, case: Case, label: Picture) -> NDArray[np.float32]:
        """(K, *S) on the grid of ``label`` (*S), summing to one; the caller may change the array.

        Raises InputError where its files cannot be used, or lie on another grid.
        """


def on_grid(found: Picture, label: Picture, name: str) -> NDArray[np.float32]:
    """``found`` (K, *S) with its axes turned as those of ``label``. Raises InputError where the grids differ."""
    return aligned(found, label, name, "the given label").array


# --- several sources as one -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Several:
    """Sources that judge together, each the cases that it can."""

    sources: tuple[Source, ...]

    @property
    def kind(self) -> str:
        return ", ".join(dict.fromkeys(source.kind for source in self.sources))

    @property
    def held_out(self) -> bool:
        return all(source.held_out for source in self.sources)

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(path for source in self.sources for path in source.paths)

    def names(self) -> frozenset[str]:
        return frozenset[str]().union(*(source.names() for source in self.sources))

    def probabilities(self, case: Case, label: Picture) -> NDArray[np.float32]:
        return self.opinion(case, label)[0]

    def opinion(self, case: Case, label: Picture) -> tuple[NDArray[np.float32], float | None]:
        """The mean (K, *S) of those that can judge the case, and their ``spread``, None of a single one."""
        judges = [source for source in self.sources if case.name in source.names()]
        total = judges[0].probabilities(case, label)
        masks = [mask_of(total)] if len(judges) > 1 else []
        for judge in judges[1:]:
            found = judge.probabilities(case, label)
            masks.append(mask_of(found))
            total += found
        total /= len(judges)
        return total, spread(masks, len(total)) if masks else None


def several(sources: Sequence[Source]) -> Several:
    """All of them at one level, so that each counts once."""
    return Several(
        tuple(one for source in sources for one in (source.sources if isinstance(source, Several) else (source,)))
    )


def spread(masks: Sequence[Array], classes: int) -> float:
    """How far the masks (*S) of two judges or more lie apart: 1 - their Dice, mean over pairs of masks and over the
    foreground classes that either has (Roy et al., Bayesian QuickNAT, NeuroImage 2019, Eq. 8); 0 where none has any."""
    values = [
        [dice(counts) for counts in overlap(one, other, range(1, classes)).values() if not counts.empty]
        for one, other in combinations(masks, 2)
    ]
    return float(np.mean([1 - np.mean(pair) if pair else 0.0 for pair in values]))


# --- networks of ours -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Network:
    """One trained network of ours, and the cases it shall judge."""

    folder: Path
    cases: frozenset[str]
    method: Method
    plan: Plan
    config: PredictConfig
    device: torch.device
    kind: str = "runs"
    held_out: bool = True

    @property
    def paths(self) -> tuple[str, ...]:
        return (str(self.folder),)

    def names(self) -> frozenset[str]:
        return self.cases

    def probabilities(self, case: Case, label: Picture) -> NDArray[np.float32]:
        image, name = read_image(case.images), str(case.images[0])
        prepared = preprocess_image(image, self.plan, name, 2 * self.plan.classes)
        answer = predict_case(self.method.predict, prepared, self.plan, self.config, self.device)
        return on_grid(Picture(restore(answer, image, self.plan), image.geometry), label, name)


def network(
    folder: Path,
    cases: frozenset[str],
    device: torch.device,
    *,
    which: Literal["best", "last"] = "best",
    kind: str = "runs",
    held_out: bool = True,
) -> Network:
    """The network of a run, ready to judge ``cases``.

    Raises:
        InputError: the folder is no whole run, or this CPU does not repeat what it computes.
    """
    method, plan, run = load_run(folder, which, device)
    check_precision(method.predict, plan, run.predict, device)
    return Network(folder, cases, method, plan, run.predict, device, kind, held_out)


def runs(folders: Sequence[Path], dataset: Dataset, device: torch.device) -> Several:
    """Runs of ours, each of which judges the labelled cases that it did not learn from; a case that all learnt from is
    in no one's ``names``.

    Raises:
        InputError: a folder is no run, is of another data set, or learnt from every case; or one is named twice.
    """
    labelled = {case.name for case in dataset.train if case.label is not None}
    found: dict[Path, Network] = {}
    for folder in map(Path, folders):
        if folder.resolve() in found:
            raise InputError(f"--run {folder} is given twice; leave one out.")
        unseen = labelled - _learnt(folder, dataset)
        if not unseen:
            raise InputError(
                f"{folder} learnt from every labelled case, so it cannot judge any; name runs of fold=0, 1, …"
            )
        found[folder.resolve()] = network(folder, frozenset(unseen), device)
    return Several(tuple(found.values()))


def _learnt(folder: Path, dataset: Dataset) -> set[str]:
    """The cases that a run learnt from, by its fold and the splits of the data set."""
    plan, run = read_plan(folder), settings.load_config(folder / "config.yaml")
    ours, here = (*plan.channel_names, *plan.labels), (*dataset.channel_names, *dataset.labels)
    if ours != here:
        raise InputError(
            f"{folder} learnt the channels and classes {', '.join(ours)}, but {dataset.root} has {', '.join(here)}; "
            "name runs of this data set."
        )
    learnt, held_out = split(dataset, run.fold)
    strange = _validated(folder) - _held_out({case.name for case in held_out}, dataset)
    if strange:
        raise InputError(
            f"{folder} was validated on {min(strange)}, which fold {run.fold} of {dataset.root} does not hold out; "
            "name runs of this data set and of its splits."
        )
    return {case.name for case in learnt}


def _held_out(cases: set[str], dataset: Dataset) -> set[str]:
    """What a run that holds out ``cases`` may be validated on: these, or the volumes that they are slices of."""
    volumes = read_volumes(dataset.root, [case.name for case in dataset.train + dataset.test])
    return cases | {volume.name for volume in volumes if not cases.isdisjoint(volume.places)}


def _validated(folder: Path) -> set[str]:
    """The cases in the run's table of validation scores, if it wrote one."""
    path = folder / "cases.csv"
    if not path.exists():
        return set()
    return {row["case"] for _, row in read_rows(path, ("case",), "name the folder of a whole run")}
