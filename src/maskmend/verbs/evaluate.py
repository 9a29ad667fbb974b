"""Dice and Jaccard of predicted masks against references, and distances between their surfaces, per case and class."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..data.formats import ENDINGS, Array, Geometry, Picture, read_label
from ..data.layout import parse_labels, read_json_object
from ..errors import InputError
from ..metrics import CaseResult, Scale, Summary, Unit, overlap, surface_distances, surface_metrics
from ..progress import track
from ..types import IGNORE

T = TypeVar("T")
THREADS = 4
"""Cases compared at a time: their masks must fit into memory together."""


def evaluate(
    predictions: Path,
    references: Path,
    output: Path | None = None,
    *,
    surface: bool = False,
    tolerance_mm: float = 1.0,
) -> Summary:
    """Compares each label file in ``references`` with the one of the same name, in whatever format, in ``predictions``.

    Class names and the ignore label come from a ``dataset.json`` in ``references`` or one of the two folders above it;
    without one, the classes are the values that the references hold. Writes nnU-Net's ``summary.json`` to ``output``
    (by default into ``predictions``) and ``cases.csv`` beside it.

    Raises InputError for a missing folder or prediction, unequal shapes, values that are no class, references with and
    without spacing side by side.
    """
    if not 0 <= tolerance_mm < math.inf:
        raise InputError(f"the tolerance {tolerance_mm} mm is no distance; take one of 0 or more.")
    predictions, references = Path(predictions), Path(references)
    truth, guess = _label_files(references), _label_files(predictions)
    if not truth:
        raise InputError(f"{references} holds no masks; give the folder that does.")
    _check_names(predictions, guess, truth)
    labels, ignore = _declared(references) or _seen(truth.values())
    compare = partial(_compare, labels=labels, ignore=ignore, tolerance=tolerance_mm if surface else None)
    pairs = [(name, guess[name], path) for name, path in truth.items()]
    cases: list[CaseResult] = []
    units: dict[Unit, Path] = {}
    for case, unit in track(_in_threads(compare, pairs), "Comparing masks", total=len(pairs)):
        cases.append(case)
        units.setdefault(unit, Path(case.reference_file))
        if surface:
            _only(units)
    summary = Summary(labels, tuple(cases), Scale(_only(units), tolerance_mm) if surface else None)
    _write(summary, predictions / "summary.json" if output is None else Path(output))
    return summary


def _compare(
    name: str, guess: Path, truth: Path, labels: Mapping[str, int], ignore: int, tolerance: float | None
) -> tuple[CaseResult, Unit]:
    """One case and the unit of its spacing; surface metrics where there is a tolerance."""
    prediction, reference = _read_pair(guess, truth, labels, ignore)
    values, metrics = list(labels.values()), {}
    if tolerance is not None:
        spacing_mm = reference.geometry.spacing_mm
        distances = surface_distances(prediction, reference.array, values, spacing_mm, ignore)
        metrics = {label: surface_metrics(found, tolerance) for label, found in distances.items()}
    counts = overlap(prediction, reference.array, values, ignore)
    return CaseResult(name, str(truth), str(guess), counts, metrics), _unit(reference.geometry)


def _in_threads(function: Callable[..., T], rows: Iterable[tuple[Any, ...]]) -> Iterator[T]:
    """The function of each row in turn; what has not begun when one fails is not begun."""
    pool = ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1))
    try:
        yield from pool.map(lambda row: function(*row), rows)
    finally:
        pool.shutdown(cancel_futures=True)


def _read_pair(guess: Path, truth: Path, labels: Mapping[str, int], ignore: int) -> tuple[Array, Picture]:
    """The predicted label map, and the reference with its geometry."""
    prediction, reference = read_label(guess).array, read_label(truth)
    if prediction.shape != reference.array.shape:
        raise InputError(
            f"{guess} has the shape {prediction.shape} and {truth} {reference.array.shape}; "
            "predict on the grid of the reference."
        )
    counted = reference.array != ignore
    _check_values(prediction[counted], guess, labels)
    _check_values(reference.array[counted], truth, labels)
    return prediction, reference


def _unit(geometry: Geometry) -> Unit:
    """Pictures, and TIFFs without a file beside them that says otherwise, have steps of one pixel and no place."""
    return "px" if geometry.origin is None and set(geometry.spacing_mm) == {1.0} else "mm"


def _only(units: Mapping[Unit, Path]) -> Unit:
    """The one unit of all references, each given with a file that has it."""
    if len(units) > 1:
        raise InputError(
            f"{units['mm']} has a spacing in mm, but {units['px'].name} has none; convert the masks to one format."
        )
    return next(iter(units))


def _write(summary: Summary, path: Path) -> None:
    if path.is_dir():
        path = path / "summary.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        summary.write_json(path)
        summary.write_csv(path.with_name("cases.csv"))
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); choose another place with -o.") from error


def _label_files(folder: Path) -> dict[str, Path]:
    """The label files of a folder by case name, sorted."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the folder that holds the masks.")
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        ending = next((ending for ending in ENDINGS if path.name.endswith(ending)), None)
        if ending is None or path.name.startswith("."):
            continue
        name = path.name.removesuffix(ending)
        if name in files:
            raise InputError(f"{path} and {files[name].name} are both masks of {name}; keep one of them.")
        files[name] = path
    return files


def _check_names(folder: Path, guess: Mapping[str, Path], truth: Mapping[str, Path]) -> None:
    missing = [name for name in truth if name not in guess]
    if missing:
        shown = ", ".join(missing[:10]) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
        raise InputError(f"{folder} holds no prediction for {shown}; predict them, or leave their references out.")
    extra = [name for name in guess if name not in truth]
    if extra:
        warnings.warn(f"{folder} holds {len(extra)} masks without a reference, such as {extra[0]}.", stacklevel=3)


def _declared(references: Path) -> tuple[dict[str, int], int] | None:
    """Foreground classes and ignore label from the nearest dataset.json, if there is one."""
    for path in (references / "dataset.json", *(p / "dataset.json" for p in references.resolve().parents[:2])):
        if path.exists():
            labels, ignore = parse_labels(read_json_object(path).get("labels"), path)
            if len(labels) < 2:
                raise InputError(f"{path} declares the background only; declare what the masks show.")
            return {name: value for name, value in labels.items() if value}, IGNORE if ignore is None else ignore
    return None


def _seen(paths: Iterable[Path]) -> tuple[dict[str, int], int]:
    """Foreground classes that the references hold, named by their value."""
    values = sorted(set().union(*(np.unique(read_label(path).array).tolist() for path in paths)) - {0, IGNORE})
    if not values:
        raise InputError("no reference holds anything but background, and no dataset.json names a class; add one.")
    return {str(value): value for value in values}, IGNORE


def _check_values(label: Array, path: Path, labels: Mapping[str, int]) -> None:
    strange = np.setdiff1d(label, [0, *labels.values()])
    if strange.size:
        raise InputError(
            f"{path} holds the value {strange[0]}, which is none of the classes {dict(labels)}; "
            "declare it in the dataset.json above the references, or convert the masks."
        )
