"""Dice and Jaccard of predicted masks against references, per case and class."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.formats import ENDINGS, read_label
from ..data.layout import parse_labels, read_json_object
from ..errors import InputError
from ..metrics import CaseResult, Summary, overlap
from ..progress import track
from ..types import IGNORE


def evaluate(predictions: Path, references: Path, output: Path | None = None) -> Summary:
    """Compares each label file in ``references`` with the one of the same name, in whatever format, in ``predictions``.

    Class names and the ignore label come from a ``dataset.json`` in ``references`` or the folder above it; without one,
    the classes are the values that the references hold. Writes nnU-Net's ``summary.json`` to ``output`` (by default
    into ``predictions``) and ``cases.csv`` beside it.

    Raises InputError for a missing folder or prediction, unequal shapes, and values that are no class.
    """
    predictions, references = Path(predictions), Path(references)
    truth, guess = _label_files(references), _label_files(predictions)
    if not truth:
        raise InputError(f"{references} holds no masks; give the folder that does.")
    _check_names(predictions, guess, truth)
    labels, ignore = _declared(references) or _seen(truth.values())
    cases = []
    for name, path in track(truth.items(), "Comparing masks", total=len(truth)):
        prediction, reference = read_label(guess[name]).array, read_label(path).array
        if prediction.shape != reference.shape:
            raise InputError(
                f"{guess[name]} has the shape {prediction.shape} and {path} {reference.shape}; "
                "predict on the grid of the reference."
            )
        counted = reference != ignore
        _check_values(prediction[counted], guess[name], labels)
        _check_values(reference[counted], path, labels)
        counts = overlap(prediction, reference, list(labels.values()), ignore)
        cases.append(CaseResult(name, str(path), str(guess[name]), counts))
    summary = Summary(labels, tuple(cases))
    _write(summary, predictions / "summary.json" if output is None else Path(output))
    return summary


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
    for path in (references / "dataset.json", references.resolve().parent / "dataset.json"):
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


def _check_values(label: NDArray[Any], path: Path, labels: Mapping[str, int]) -> None:
    strange = np.setdiff1d(label, [0, *labels.values()])
    if strange.size:
        raise InputError(
            f"{path} holds the value {strange[0]}, which is none of the classes {dict(labels)}; "
            "declare it in the dataset.json above the references, or convert the masks."
        )
