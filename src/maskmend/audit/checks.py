"""Each label and its image, looked at once: is the file sound, and what does the label show by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from ..data.dataset import Case, Dataset, case_arrays
from ..data.formats import Picture, read_label
from ..data.geometry import Geometry
from ..errors import InputError
from ..progress import track
from ..runs.derived import in_threads
from ..types import IGNORE
from . import anatomy
from .anatomy import Shape
from .store import Doubted, sha256

NOWHERE = np.array([], np.int64)


@dataclass(frozen=True)
class Look:
    """What is kept of one case, small enough for ten thousand.

    files: sha256 of the label and of each image; "" of what cannot be read. broken: why its label cannot be used.
    doubted: what the label shows by itself. shapes: by value. geometry, shape: of the label.
    """

    case: str
    files: tuple[str, ...]
    broken: tuple[Doubted, ...] = ()
    doubted: tuple[Doubted, ...] = ()
    shapes: dict[int, Shape] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    geometry: Geometry | None = None


def look_at(cases: Sequence[Case], dataset: Dataset) -> Iterator[Look]:
    """Each case, in order, several at a time."""
    yield from track(in_threads(partial(look, dataset=dataset), cases), "Checking labels", total=len(cases))


def look(case: Case, dataset: Dataset) -> Look:
    """Read a labelled case; what is wrong with its files is a finding, not an error."""
    assert case.label is not None
    files = tuple(_sha(path) for path in (case.label, *case.images))
    try:
        case_arrays(case, dataset)
        label = read_given(case.label, dataset.ignore)
    except InputError as error:
        return Look(case.name, files, broken=(broken(str(error)),))
    known = anatomy.shapes(label.array)
    doubted = (*_holes(label, known, dataset), *_gaps(label, known, dataset), *_sides(label, known, dataset))
    return Look(case.name, files, (), doubted, known, label.array.shape, label.geometry)


def given_label(case: Case, dataset: Dataset) -> Picture:
    """The given label of a case (*S), IGNORE where nobody annotated."""
    assert case.label is not None
    return read_given(case.label, dataset.ignore)


def read_given(path: Path, ignore: int | None) -> Picture:
    """A label on its own grid (*S), IGNORE where the file holds the data set's ignore value."""
    label = read_label(path)
    array = label.array.astype(np.int32 if label.array.max(initial=0) >= 2**15 else np.int16)
    if ignore is not None:
        array[array == ignore] = IGNORE
    return Picture(array, label.geometry)


def broken(sentence: str) -> Doubted:
    """A file that cannot be used."""
    return Doubted("file", 0, NOWHERE, 1.0, sentence)


def _sha(path: Path) -> str:
    try:
        return sha256(path)
    except OSError:
        return ""


def _names(dataset: Dataset) -> dict[int, str]:
    return {value: name for name, value in dataset.labels.items()}


def size(voxels: int, place: Geometry) -> str:
    """ "0.8 ml", "40 mm²" or "12 px": as much as the file knows."""
    steps = [*place.spacing_mm, *([place.singleton[1]] if place.singleton else [])]
    if not place.known:
        return f"{voxels} px"
    amount = voxels * float(np.prod(steps))
    return f"{amount / 1000:.2g} ml" if len(steps) == 3 else f"{amount:.3g} mm²"


def _holes(label: Picture, known: dict[int, Shape], dataset: Dataset) -> Iterator[Doubted]:
    """Holes of a class; a small one is a slip of the pen, a large one may be meant."""
    for k, hole in anatomy.holes(label.array, known):
        sure = 0.95 / (1 + hole.share / (4 * anatomy.SMALL))
        text = f"A hole of {size(hole.voxels.size, label.geometry)} in {_names(dataset)[k]}."
        yield Doubted("hole", k, hole.voxels, float(sure), text, value=k)


def _gaps(label: Picture, known: dict[int, Shape], dataset: Dataset) -> Iterator[Doubted]:
    for k, box in anatomy.boxes(label.array).items():
        for gap in anatomy.gaps(label.array, k, box, label.geometry.spacing_mm):
            where = f"slice {gap.first}" if gap.first == gap.last else f"slices {gap.first} to {gap.last}"
            name = _names(dataset)[k]
            said = f"{name} is missing on {where}" if gap.empty else f"{name} is much smaller on {where}"
            text = f"{said}, between slices that hold it."
            yield Doubted("slice_gap", k, gap.voxels, 0.9 if gap.empty else 0.6, text, value=k)


def _sides(label: Picture, known: dict[int, Shape], dataset: Dataset) -> Iterator[Doubted]:
    names = _names(dataset)
    for left, right in anatomy.pairs(dataset.labels):
        if anatomy.exchanged(known, left, right, label.array.shape, label.geometry):
            text = f"{names[left]} lies to the right of {names[right]}: the two seem exchanged."
            for k, other in ((left, right), (right, left)):
                voxels = np.flatnonzero(label.array == k)
                yield Doubted("left_right", k, voxels, 0.95, text, value=other, other=other)
