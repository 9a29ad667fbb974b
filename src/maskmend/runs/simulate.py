"""A copy of a data set whose training masks are wrong on purpose, with a record of what was done to each."""

from __future__ import annotations

import math
import warnings
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Case, Dataset, case_arrays, open_dataset
from ..data.empty import check_masks
from ..data.formats import Picture, write_json, write_label
from ..data.scratch import check_new, new_folder
from ..data.threads import in_threads
from ..errors import InputError
from ..metrics import dice, mean_sd, overlap
from ..noise import Kind, build, find
from ..noise.target import reach, strength
from ..progress import track
from ..types import IGNORE, Trust
from .corruption import KINDS, Corrupt, corrupter
from .derived import carry, check_endings, copy_beside


@dataclass(frozen=True)
class SimulatedCase:
    """What became of one label. ``done``: what chance decided, by class name. ``dice``: with the true one, by class
    name; NaN for a class that is in neither."""

    name: str
    corrupted: bool
    done: Mapping[str, Any]
    dice: Mapping[str, float]
    size_ratio: Mapping[str, float]

    @property
    def dice_mean(self) -> float:
        return mean_sd(self.dice.values())[0]


@dataclass(frozen=True)
class SimulationSummary:
    """What became of all of them, in the order of their names."""

    output: Path
    noise: Kind
    fraction: float
    seed: int
    target_dice: float | None
    cases: tuple[SimulatedCase, ...]

    @property
    def corrupted(self) -> tuple[str, ...]:
        return tuple(case.name for case in self.cases if case.corrupted)

    def dice(self) -> tuple[float, float]:
        """Mean and standard deviation over cases of the Dice that the labels have left."""
        return mean_sd(case.dice_mean for case in self.cases)

    def dice_corrupted(self) -> tuple[float, float]:
        """The same over the corrupted cases alone."""
        return mean_sd(case.dice_mean for case in self.cases if case.corrupted)

    def erased(self) -> int:
        """How many corrupted masks kept nothing of any class."""
        ratios = [
            [ratio for ratio in case.size_ratio.values() if ratio == ratio] for case in self.cases if case.corrupted
        ]
        return sum(bool(each) and not any(each) for each in ratios)

    def manifest(self) -> dict[str, Any]:
        """The content of ``noise.json``."""
        return {
            "noise": self.noise.name,
            "source": self.noise.source,
            "parameters": self.noise.model_dump(mode="json"),
            "strength": strength(self.noise),
            "target_dice": self.target_dice,
            "fraction": self.fraction,
            "seed": self.seed,
            "dice_mean": _known(self.dice()[0]),
            "dice_mean_corrupted": _known(self.dice_corrupted()[0]),
            "cases": {
                case.name: {
                    "corrupted": case.corrupted,
                    "done": case.done,
                    "dice": {name: _known(value) for name, value in case.dice.items()},
                    "dice_mean": _known(case.dice_mean),
                    "size_ratio": {name: _known(value) for name, value in case.size_ratio.items()},
                }
                for case in self.cases
            },
        }


def simulate(
    dataset: Path,
    output: Path,
    noise: str,
    parameters: Mapping[str, Any] | None = None,
    fraction: float = 1.0,
    seed: int = 0,
    target_dice: float | None = None,
    among: Collection[str] | None = None,
) -> SimulationSummary:
    """Copies the nnU-Net data set ``dataset`` to ``output``, with ``fraction`` of its training labels corrupted.

    Labels of cases that a ``supervision.csv`` calls clean stay as they are and are not counted. ``labelsTr_truth``
    keeps the labels as given, ``noise.json`` says what was done to each and the Dice it left; nothing that training
    reads tells the corrupted from the untouched. Images become hard links where the disk allows it; the source is
    never changed.

    A case's noise depends on ``seed`` and its name alone, and a larger ``fraction`` corrupts the same cases and more.
    With ``target_dice`` the noise is made as strong as it must be for the corrupted labels to keep that Dice, on
    average and within 0.01, or as near as the noise can come, with a warning; ``noise.json`` says how strong that was.
    With ``among`` only the cases of these names may be corrupted, and ``fraction`` is of them.
    Raises InputError for an unknown noise or parameter, a fraction outside [0, 1], an ``output`` that holds something
    already, a data set without labels to corrupt, or most of whose labels are empty.
    """
    dataset, output = Path(dataset), Path(output)
    kind = build(find(noise, KINDS), parameters)
    source = open_dataset(dataset)
    labelled = sorted((case for case in source.train if case.label is not None), key=lambda case: case.name)
    _check(source, labelled, output, fraction, seed)
    check_masks(source, labelled)
    doubtful = [case.name for case in labelled if case.trust is not Trust.CLEAN]
    chosen = _choose([name for name in doubtful if among is None or name in among], fraction, seed)
    if target_dice is not None:
        kind = _reach([case for case in labelled if case.name in chosen], source, kind, seed, target_dice)
    corrupt = corrupter(kind, source, seed)
    with new_folder(output) as root:
        copy_beside(source, root)
        work = partial(_write_case, source=source, root=root, corrupt=corrupt, chosen=chosen)
        cases = tuple(track(in_threads(work, labelled), "Corrupting masks", total=len(labelled)))
        summary = SimulationSummary(output, kind, fraction, seed, target_dice, cases)
        write_json(root / "noise.json", summary.manifest())
    if (erased := summary.erased()) > len(cases) / 2:
        warnings.warn(
            f"{output}: the noise left nothing of {erased} of {len(cases)} masks; weaken it, or give --target-dice.",
            stacklevel=2,
        )
    return summary


def _check(source: Dataset, labelled: list[Case], output: Path, fraction: float, seed: int) -> None:
    if not 0 <= fraction <= 1:
        raise InputError(f"the fraction {fraction:g} is not a share of the cases; choose one between 0 and 1.")
    if seed < 0:
        raise InputError(f"the seed {seed} is negative; choose 0 or more.")
    check_new(output)
    if (source.root / "labelsTr_truth").exists():
        raise InputError(f"{source.root} holds simulated noise already; start from the data set it was made from.")
    if not labelled:
        raise InputError(f"{source.root}/labelsTr holds no label to corrupt; add the masks of the training cases.")
    if source.classes < 2:
        raise InputError(f"{source.root}/dataset.json declares the background only; declare what the masks show.")
    check_endings(source, labelled)
    if all(case.trust is Trust.CLEAN for case in labelled):
        raise InputError(f"{source.root}/supervision.csv calls every label clean; call noisy what is to be corrupted.")


def _choose(names: list[str], fraction: float, seed: int) -> frozenset[str]:
    """The first of the names, shuffled."""
    shuffled = np.random.default_rng(seed).permutation(len(names))
    return frozenset(names[place] for place in shuffled[: round(fraction * len(names))])


def _reach(cases: list[Case], source: Dataset, noise: Kind, seed: int, target: float) -> Kind:
    """The noise as strong as it must be for ``cases`` to keep a mean Dice of ``target``."""
    if not cases:
        raise InputError(
            f"no case is corrupted, so that none can be left with a Dice of {target:g}; raise the fraction."
        )
    label_of = cache(lambda case: _packed(case_arrays(case, source)[1]))

    def left(trial: Kind) -> float:
        corrupt = corrupter(trial, source, seed)

        def compare(case: Case) -> SimulatedCase:
            label = label_of(case)()
            worse, done = corrupt(case, label)
            return _compare(case.name, done, worse, label.array, source)

        mean = mean_sd(case.dice_mean for case in in_threads(compare, cases))[0]
        if math.isnan(mean):
            raise InputError(f"{source.root}/labelsTr holds empty masks only; leave the target Dice out.")
        return mean

    return reach(noise, target, left)


def _packed(label: Picture) -> Callable[[], Picture]:
    """The label in a fraction of its memory."""
    array = label.array
    packed, dtype, shape = zlib.compress(array.tobytes(), level=1), array.dtype, array.shape
    return lambda: Picture(np.frombuffer(zlib.decompress(packed), dtype).reshape(shape), label.geometry)


def _write_case(case: Case, *, source: Dataset, root: Path, corrupt: Corrupt, chosen: frozenset[str]) -> SimulatedCase:
    """Writes the label of one case, corrupted if it is ``chosen``, and its truth."""
    assert case.label is not None
    folder = root / "labelsTr"
    carry(case.label, root / "labelsTr_truth", case.name)
    carry(case.label, folder, case.name)
    _, label = case_arrays(case, source)
    if case.name not in chosen:
        return _compare(case.name, None, label.array, label.array, source)
    worse, done = corrupt(case, label)
    raw = worse if source.ignore is None else np.where(worse == IGNORE, source.ignore, worse)
    write_label(folder / f"{case.name}{source.file_ending}", raw, label.geometry)
    return _compare(case.name, done, worse, label.array, source)


def _compare(
    name: str, done: Mapping[str, Any] | None, worse: NDArray[Any], label: NDArray[Any], source: Dataset
) -> SimulatedCase:
    """How much of the label is left after what was ``done``, None if nothing was."""
    classes = {word: value for word, value in source.labels.items() if value}
    counts = overlap(worse, label, list(classes.values()))
    given = {word: counts[value].tp + counts[value].fn for word, value in classes.items()}
    left = {word: counts[value].tp + counts[value].fp for word, value in classes.items()}
    ratio = {word: left[word] / given[word] if given[word] else math.nan for word in classes}
    left_dice = {word: dice(counts[value]) for word, value in classes.items()}
    return SimulatedCase(name, done is not None, done or {}, left_dice, ratio)


def _known(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value
