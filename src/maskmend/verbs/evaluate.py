"""Dice and Jaccard of predicted masks against references, and distances between their surfaces, per case and class."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from ..data.align import aligned, apart, resampled
from ..data.formats import Array, Geometry, Picture, read_label
from ..data.layout import Labels
from ..data.stack import FILE, Volume, read_volumes, stacked
from ..errors import InputError
from ..metrics import CaseResult, Scale, Summary, Unit, overlap, surface_distances, surface_metrics
from ..progress import track
from ..runs.masks import TABLE, check_lossless, check_names, declared, header_of, label_files, output_of
from ..types import IGNORE

T = TypeVar("T")
CURE = "bring it there with --resample, or correct the header that is wrong"
CURE_UNPLACED = "predict on the grid of the reference"
THREADS = 4
"""Cases compared at a time: their masks must fit into memory together."""


@dataclass(frozen=True)
class _Case:
    """What is compared at once: a pair of masks, or all pairs of slices of a ``volume``."""

    name: str
    pairs: tuple[tuple[str, Path, Path], ...]
    volume: Volume | None = None

    @property
    def files(self) -> tuple[str, str]:
        """Prediction and reference; of a volume, where its slices lie and what it is called."""
        _, guess, truth = self.pairs[0]
        if self.volume is not None:
            guess, truth = guess.with_name(self.name), truth.with_name(self.name)
        return str(guess), str(truth)


def evaluate(
    predictions: Path,
    references: Path,
    output: Path | None = None,
    *,
    surface: bool = False,
    tolerance_mm: float = 1.0,
    resample: bool = False,
    dataset: Path | None = None,
) -> Summary:
    """Compares each label file in ``references`` with the one of the same name, in whatever format, in ``predictions``.

    Masks are compared where they lie: axes in another order are turned (``data.align``). Class names, regions and the
    ignore label come from a ``dataset.json`` in ``references`` or one of the two folders above it, seen from the link
    before its target; without one, the classes are the values that the references hold. Slices of a volume are put
    together (``data.stack``). Writes nnU-Net's ``summary.json`` to ``output`` (by default into ``predictions``) and
    ``cases.csv`` beside it, and replaces only what an evaluation wrote.

    Args:
        predictions: folder of masks.
        references: folder of true masks.
        output: a file .json, or a folder.
        surface: distances between surfaces, too.
        tolerance_mm: of NSD; pixels where files know no mm.
        resample: bring a prediction on another grid to the reference's, by the nearest voxel, instead of refusing it.
        dataset: the dataset.json that holds, or its folder.

    Raises:
        InputError: a missing folder or prediction, masks on different grids, values that are no class, references with
            and without spacing side by side, or a place for the output in a data set, or where something else is.
    """
    if not 0 <= tolerance_mm < math.inf:
        raise InputError(f"the tolerance {tolerance_mm} mm is no distance; take one of 0 or more.")
    predictions, references = Path(predictions), Path(references)
    truth, guess = label_files(references), label_files(predictions)
    check_lossless(references, truth)
    if not truth:
        raise InputError(f"{references} holds no masks; give the folder that does.")
    path = output_of(predictions if output is None else Path(output))
    check_names(predictions, guess, truth)
    header = header_of(references, dataset)
    labels = declared(header) if header else _seen(truth.values())
    jobs = _cases(guess, truth, header)
    tolerance = tolerance_mm if surface else None
    compare = partial(_compare, labels=labels, tolerance=tolerance, resample=resample)
    cases: list[CaseResult] = []
    units: dict[Unit, Path] = {}
    done = track(_in_threads(compare, jobs), "Comparing masks", total=len(jobs))
    for (case, unit), job in zip(done, jobs, strict=True):
        cases.append(case)
        units.setdefault(unit, job.pairs[0][2])
        if surface:
            _only(units)
    counted = "cases" if jobs[0].volume is None else "volumes"
    scale, scored = Scale(_only(units), tolerance_mm) if surface else None, {**labels.values, **labels.regions}
    summary = Summary(scored, tuple(cases), scale, counted, path, labels.regions)
    _write(summary, path)
    return summary


def _cases(guess: Mapping[str, Path], truth: Mapping[str, Path], header: Path | None) -> list[_Case]:
    volumes = read_volumes(header.parent, truth) if header else ()
    pairs = {name: (name, guess[name], path) for name, path in truth.items()}
    whole = (_Case(v.name, tuple(pairs[case] for case in v.places), v) for v in volumes)
    return sorted(whole, key=lambda case: case.name) or [_Case(name, (pair,)) for name, pair in pairs.items()]


def _compare(case: _Case, labels: Labels, tolerance: float | None, resample: bool) -> tuple[CaseResult, Unit]:
    """One case and the unit of its spacing; surface metrics where there is a tolerance."""
    geometries: list[Geometry] = []
    ignore = IGNORE if labels.ignore is None else labels.ignore

    def arrays() -> Iterator[tuple[str, Array, Array]]:
        for name, guess, truth in case.pairs:
            prediction, reference = _read_pair(guess, truth, labels.values, ignore, resample)
            geometries.append(reference.geometry)
            yield name, prediction, reference.array

    ((name, prediction, reference),) = stacked(arrays(), (case.volume,) if case.volume else (), ignore)
    scored, metrics = list({**labels.values, **labels.regions}.values()), {}
    if tolerance is not None:
        spacing_mm = _spacing(geometries, case)
        distances = surface_distances(prediction, reference, scored, spacing_mm, ignore)
        metrics = {label: surface_metrics(found, tolerance) for label, found in distances.items()}
    guess_file, truth_file = case.files
    counts = overlap(prediction, reference, scored, ignore)
    return CaseResult(name, truth_file, guess_file, counts, metrics), _unit(geometries[0])


def _in_threads(function: Callable[[_Case], T], cases: Iterable[_Case]) -> Iterator[T]:
    """The function of each case in turn; what has not begun when one fails is not begun."""
    pool = ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1))
    try:
        yield from pool.map(function, cases)
    finally:
        pool.shutdown(cancel_futures=True)


def _read_pair(
    guess: Path, truth: Path, labels: Mapping[str, int], ignore: int, resample: bool
) -> tuple[Array, Picture]:
    """The predicted label map on the reference's grid, and the reference with its geometry."""
    prediction, reference = read_label(guess), read_label(truth)
    cure = CURE if prediction.geometry.placed and reference.geometry.placed else CURE_UNPLACED
    try:
        prediction = aligned(prediction, reference, str(guess), str(truth), excuse_bare=False, cure=cure)
    except InputError:
        if not resample:
            raise
        given, prediction = prediction, resampled(prediction, reference, str(guess))
        if given.array.any() and not prediction.array.any():
            warnings.warn(f"{guess}: nothing that it marks lies on the grid of {truth}.", stacklevel=2)
    if apart(prediction, reference):
        warnings.warn(
            f"{guess.parent}, {truth.parent}: masks of which one does not say where it lies are compared as stored.",
            stacklevel=2,
        )
    counted = reference.array != ignore
    _check_values(prediction.array[counted], guess, labels)
    _check_values(reference.array[counted], truth, labels)
    return prediction.array, reference


def _spacing(geometries: Sequence[Geometry], case: _Case) -> tuple[float, ...]:
    """One step along each axis, of a volume from slice to slice too. Raises InputError where that is not known."""
    first, volume = geometries[0], case.volume
    if volume is None:
        return first.spacing_mm
    if not all(np.allclose(each.spacing_mm, first.spacing_mm, rtol=1e-4) for each in geometries):
        raise InputError(f"the slices of the volume {volume.name} differ in spacing; correct the header that is wrong.")
    step = volume.spacing_mm
    if not first.known:
        if step is None:
            return (1.0, *first.spacing_mm)
        raise InputError(f"{FILE} gives {volume.name} steps in mm, but its masks have none; leave spacing_mm empty.")
    if step is None and first.singleton and not (first.nifti and first.nifti.axes == 2):
        step = first.singleton[1]
    if step is None:
        raise InputError(f"{FILE} does not say how far slices of {volume.name} lie apart; add the column spacing_mm.")
    return (step, *first.spacing_mm)


def _unit(geometry: Geometry) -> Unit:
    """Pictures, and TIFFs without a file beside them that says otherwise, have steps of one pixel and no place."""
    return "mm" if geometry.known else "px"


def _only(units: Mapping[Unit, Path]) -> Unit:
    """The one unit of all references, each given with a file that has it."""
    if len(units) > 1:
        raise InputError(
            f"{units['mm']} has a spacing in mm, but {units['px'].name} has none; convert the masks to one format."
        )
    return next(iter(units))


def _write(summary: Summary, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        summary.write_json(path)
        summary.write_csv(path.with_name(TABLE))
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); choose another place with -o.") from error


def _seen(paths: Iterable[Path]) -> Labels:
    """Foreground classes that the references hold, named by their value."""
    values = sorted(set().union(*(np.unique(read_label(path).array).tolist() for path in paths)) - {0, IGNORE})
    if not values:
        raise InputError("no reference holds anything but background, and no dataset.json names a class; add one.")
    return Labels({str(value): value for value in values})


def _check_values(label: Array, path: Path, labels: Mapping[str, int]) -> None:
    strange = np.setdiff1d(label, [0, *labels.values()])
    if strange.size:
        cure = "declare it in the dataset.json above the references (or name one with --dataset), or convert the masks"
        if 255 in (strange[0], *labels.values()):
            cure = "one is a 0/255 mask: convert the references with `maskmend prepare`"
        raise InputError(f"{path} holds the value {strange[0]}, which is none of the classes {dict(labels)}; {cure}.")
