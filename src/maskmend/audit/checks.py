"""Each label and its image, looked at once: is the file sound, and what does the label show by itself."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.align import aligned, unplaced
from ..data.dataset import Case, Dataset, case_arrays, declared_label
from ..data.formats import Picture, read_label
from ..data.geometry import Geometry
from ..data.threads import in_threads
from ..errors import InputError
from ..progress import track
from ..types import IGNORE
from . import anatomy
from .anatomy import Shape
from .edges import Profile, profiles
from .findings import Words
from .store import Doubted, class_names, sha256

Array = NDArray[Any]
NOWHERE = np.array([], np.int64)
UNKNOWN = Geometry(())
AT_ONCE = 4
"""Cases that are looked at together: a CT of 512 × 512 × 400 takes 1 GB."""


@dataclass(frozen=True)
class Look:
    """What is kept of one case, small enough for ten thousand.

    files: sha256 of the label and of each image; "" of what cannot be read. content: of the image's voxels, however its
    file was written; "" if there are none, or they cannot be used. broken: why its label cannot be used. doubted: what
    the label shows by itself. shapes, edges: by value. geometry, shape: of the label.
    """

    case: str
    files: tuple[str, ...]
    content: str = ""
    broken: tuple[Doubted, ...] = ()
    doubted: tuple[Doubted, ...] = ()
    shapes: dict[int, Shape] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    geometry: Geometry = UNKNOWN
    edges: dict[int, Profile] = field(default_factory=dict)

    @property
    def lengths(self) -> tuple[float, ...]:
        """Of the image, along the axes of its shapes' centres."""
        return anatomy.lengths(self.shape, self.geometry)


def look_at(cases: Sequence[Case], dataset: Dataset) -> Iterator[Look]:
    """Each case, in order, several at a time."""
    looks = in_threads(partial(look, dataset=dataset), cases, AT_ONCE)
    yield from track(looks, "Checking masks", total=len(cases))


def look(case: Case, dataset: Dataset) -> Look:
    """Read a labelled case; what is wrong with its files is a finding, not an error."""
    assert case.label is not None
    files = tuple(_sha(path) for path in (case.label, *case.images))
    try:
        label, content, edges = _read(case, dataset)
    except InputError as error:
        return Look(case.name, files, broken=(broken(str(error)),))
    array, place = label.array, label.geometry
    known = anatomy.shapes(array, place)
    said = words(dataset, place)
    doubted = (*_holes(array, known, said), *_gaps(array, known, said))
    return Look(case.name, files, content, (), doubted, known, array.shape, place, edges)


def _read(case: Case, dataset: Dataset) -> tuple[Picture, str, dict[int, Profile]]:
    """The given label on its own grid, with the image's place if its own file tells none; a digest of the image; and
    how it changes across the boundary of each class.

    Raises InputError where a file cannot be used.
    """
    assert case.label is not None
    if not case.images:
        return declared_label(case.label, None, case, dataset), "", {}
    image, laid = case_arrays(case, dataset)
    content = hashlib.blake2b(np.ascontiguousarray(image.array).data, digest_size=16)
    content.update(str(image.array.shape).encode())
    label = read_given(case.label, dataset.ignore)
    if unplaced(label.geometry) and laid.shape == label.shape:
        label = replace(label, geometry=laid.geometry)
    image = aligned(image, label, str(case.images[0]), str(case.label))
    edges = profiles(image.array, label.array, list(dataset.labels.values())[1:], label.geometry.spacing_mm)
    return label, content.hexdigest(), edges


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


def words(dataset: Dataset, place: Geometry) -> Words:
    """How classes and sizes of a label are told."""
    return Words(class_names(dataset.labels), place.spacing_mm, place.known)


def _holes(label: Array, known: Mapping[int, Shape], said: Words) -> Iterator[Doubted]:
    """Holes of a class; a small one is a slip of the pen, a large one may be meant."""
    for k, hole in anatomy.holes(label, known):
        voxels = hole.voxels
        text = f"A hole of {said.size(voxels.size)} in {said.name(k)}."
        yield Doubted("hole", k, voxels, 0.95 * slip(hole.share), text, value=k)


def _gaps(label: Array, known: Mapping[int, Shape], said: Words) -> Iterator[Doubted]:
    """Slices that a class skips, or where less than half of it is left; the latter may be anatomy."""
    for k, shape in known.items():
        for gap in anatomy.gaps(label, k, shape.box, said.spacing_mm):
            first, last = gap.first + 1, gap.last + 1  # as a person counts
            where = f"slice {first}" if first == last else f"slices {first} to {last}"
            how = "missing" if gap.empty else "much smaller"
            text = f"{said.name(k)} is {how} on {where}, between slices that hold it."
            yield Doubted("slice_gap", k, gap.voxels, 0.9 if gap.empty else 0.6, text, value=k)


def slip(share: float) -> float:
    """How likely something is a slip of the pen by the share of its class that it is: 1 of a tiny one, 0.8 at
    ``SMALL``, one half at four times as much."""
    return 1 / (1 + share / (4 * anatomy.SMALL))


def whole_class(each: Doubted, label: Array) -> Doubted:
    """A finding of a class as a whole, with its voxels in the label (*S); others as they are."""
    of_class = each.value is not None and not each.voxels.size
    return replace(each, voxels=np.flatnonzero(label == each.class_)) if of_class else each
