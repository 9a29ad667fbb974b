"""What one label shows by itself, without its image: holes, stray parts, slices left out, left and right exchanged.

Arrays are (*S), 2D or 3D, whole numbers with 0 for the background and IGNORE where nobody annotated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cc3d
import numpy as np
from edt import edt
from numpy.typing import NDArray

from ..data.geometry import Geometry

SMALL = 0.01
"""Share of its class below which a part is stray, and a hole a slip of the pen."""
FALL = 0.5
"""Share of its neighbours' area to which a slice must fall to count as partly left out."""
LEAST = 20
"""Voxels that the slices beside a gap have at least."""
CANDIDATES = 20
"""Stray parts of a class that are looked at."""

Ints = NDArray[np.int64]
Box = tuple[slice, ...]


@dataclass(frozen=True)
class Part:
    """A connected part of a class: its voxels (flat, sorted), and the share of the class that it is."""

    voxels: Ints
    share: float


@dataclass(frozen=True)
class Shape:
    """What is kept of one class in one label.

    voxels: how many. centre: (axes,) as shares of the image's lengths. parts: how many hold at least ``SMALL`` of it.
    faces: (axis, end) of the volume that it touches. stray: all parts but the largest, largest first.
    """

    voxels: int
    centre: tuple[float, ...]
    parts: int
    faces: frozenset[tuple[int, int]]
    stray: tuple[Part, ...]


def shapes(label: NDArray[Any]) -> dict[int, Shape]:
    """Every class that the label holds."""
    return {k: _shape(label, k, box) for k, box in boxes(label).items()}


def boxes(label: NDArray[Any]) -> dict[int, Box]:
    """Of each foreground value, the smallest box that holds it."""
    from scipy.ndimage import find_objects

    top = int(label.max(initial=0))
    found = find_objects(np.maximum(label, 0), max_label=top) if top > 0 else []
    return {k: box for k, box in enumerate(found, 1) if box is not None}


def _shape(label: NDArray[Any], k: int, box: Box) -> Shape:
    mask = label[box] == k
    numbers, count = cc3d.connected_components(mask, connectivity=4 if mask.ndim == 2 else 6, return_N=True)
    sizes = np.bincount(numbers.ravel(), minlength=count + 1)[1:]
    order = np.argsort(-sizes, kind="stable")
    total = int(sizes.sum())
    start = np.array([axis.start for axis in box])
    centre = [(float(np.average(np.arange(mask.shape[a]), weights=_profile(mask, a))) + start[a] + 0.5) / label.shape[a]
              for a in range(mask.ndim)]  # fmt: skip
    faces = {(a, 0) for a in range(mask.ndim) if box[a].start == 0}
    faces |= {(a, 1) for a in range(mask.ndim) if box[a].stop == label.shape[a]}
    stray = [Part(flat(numbers == n + 1, box, label.shape), sizes[n] / total) for n in order[1 : CANDIDATES + 1]]
    return Shape(total, tuple(centre), int((sizes >= SMALL * total).sum()), frozenset(faces), tuple(stray))


def _profile(mask: NDArray[np.bool_], axis: int) -> Ints:
    """Voxels of each slice across an axis."""
    counts: Ints = mask.sum(axis=tuple(a for a in range(mask.ndim) if a != axis))
    return counts


def flat(mask: NDArray[np.bool_], box: Box, shape: Sequence[int]) -> Ints:
    """Flat indices into the whole array (*S) of what is marked in a box of it, sorted."""
    place = [axis + part.start for axis, part in zip(np.nonzero(mask), box, strict=True)]
    found: Ints = np.ravel_multi_index(place, tuple(shape)).astype(np.int64)
    return found


# --- holes ------------------------------------------------------------------------------------------------------------


def holes(label: NDArray[Any], known: Mapping[int, Shape]) -> Iterator[tuple[int, Part]]:
    """Background shut in by one class, as (class, hole); of a hole, the share is that of the class."""
    found = boxes(label)
    if not found:
        return
    box = tuple(slice(min(b[a].start for b in found.values()), max(b[a].stop for b in found.values()))
                for a in range(label.ndim))  # fmt: skip
    part = label[box]
    numbers = cc3d.connected_components(part == 0, connectivity=4 if part.ndim == 2 else 6)
    open_ = np.unique(np.concatenate([np.take(numbers, end, a).ravel() for a in range(part.ndim) for end in (0, -1)]))
    inner = np.where(np.isin(numbers, open_), 0, numbers)
    for number in np.unique(inner[inner > 0])[:CANDIDATES]:
        mask = inner == number
        around = _around(mask, part)
        if len(around) == 1 and (k := int(around[0])) > 0:
            yield k, Part(flat(mask, box, label.shape), float(mask.sum() / known[k].voxels))


def _around(mask: NDArray[np.bool_], label: NDArray[Any]) -> NDArray[Any]:
    """The values of the voxels that share a face with those of the mask."""
    values = []
    for axis in range(mask.ndim):
        ahead, behind = _cut(mask.ndim, axis, 1, None), _cut(mask.ndim, axis, None, -1)
        values += [label[ahead][mask[behind] & ~mask[ahead]], label[behind][mask[ahead] & ~mask[behind]]]
    return np.unique(np.concatenate(values))


def _cut(dims: int, axis: int, start: int | None, stop: int | None) -> Box:
    return tuple(slice(start, stop) if a == axis else slice(None) for a in range(dims))


# --- slices -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gap:
    """Slices [first, last] across ``axis`` that a class skips, or where little of it is left.

    voxels: what shape interpolation between the slices beside them would add.
    """

    axis: int
    first: int
    last: int
    empty: bool
    voxels: Ints


def gaps(label: NDArray[Any], k: int, box: Box, spacing_mm: Sequence[float]) -> Iterator[Gap]:
    """Where a class is left out between two slices whose shapes overlap, across the axis of the largest spacing."""
    if label.ndim != 3:
        return
    axis = int(np.argmax(spacing_mm))
    mask = np.moveaxis(label[box] == k, axis, 0)
    free = np.moveaxis(label[box] == 0, axis, 0)
    areas = mask.sum((1, 2))
    index = 1
    while index < len(areas) - 1:
        last = _run(areas, index)
        if last is not None and _alike(mask[index - 1], mask[last + 1]):
            steps = [s for a, s in enumerate(spacing_mm) if a != axis]
            added = np.zeros_like(mask)
            added[index : last + 1] = _between(mask[index - 1], mask[last + 1], last - index + 1, steps)
            marks = np.moveaxis(added & free & ~mask, 0, axis)
            if marks.any():
                start = box[axis].start
                empty = not areas[index : last + 1].any()
                yield Gap(axis, index + start, last + start, empty, flat(marks, box, label.shape))
            index = last + 1
        index += 1


def _run(areas: Ints, index: int) -> int | None:
    """The last slice of a dip that begins at ``index`` and ends within three slices; None if there is none."""
    before = areas[index - 1]
    for last in range(index, min(index + 3, len(areas) - 1)):
        after = areas[last + 1]
        if min(before, after) >= LEAST and areas[index : last + 1].max() < FALL * min(before, after):
            return last
    return None


def _alike(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> bool:
    """Whether two slices show the same thing: Dice of one half at least."""
    return 2 * float((one & other).sum()) >= FALL * float(one.sum() + other.sum())


def _between(one: NDArray[np.bool_], other: NDArray[np.bool_], count: int, steps: Sequence[float]) -> NDArray[np.bool_]:
    """``count`` slices between two, by signed distances (Raya and Udupa, IEEE TMI 1990)."""
    first, last = (_signed(each, steps) for each in (one, other))
    shares = (np.arange(1, count + 1) / (count + 1)).reshape(-1, 1, 1)
    inside: NDArray[np.bool_] = (1 - shares) * first + shares * last > 0
    return inside


def _signed(mask: NDArray[np.bool_], steps: Sequence[float]) -> NDArray[np.float32]:
    """Distance to the boundary in mm, positive inside."""
    anisotropy = tuple(map(float, steps))
    inside, outside = (edt(np.ascontiguousarray(m), anisotropy=anisotropy) for m in (mask, ~mask))
    signed: NDArray[np.float32] = inside - outside
    return signed


# --- left and right ---------------------------------------------------------------------------------------------------

SIDES = re.compile(r"(?<![a-z])(left|right|l|r|lt|rt)(?![a-z])")
OTHER = {"left": "right", "right": "left", "l": "r", "r": "l", "lt": "rt", "rt": "lt"}


def pairs(labels: Mapping[str, int]) -> Iterator[tuple[int, int]]:
    """(left, right) values of classes whose names are alike but for the side."""
    spelt = {re.sub(r"[_\-.]", " ", name).lower(): value for name, value in labels.items()}
    for name, value in spelt.items():
        sides = SIDES.findall(name)
        if len(sides) == 1 and sides[0].startswith("l"):
            other = SIDES.sub(lambda m: OTHER[m[0]], name)
            if other in spelt:
                yield value, spelt[other]


def exchanged(known: Mapping[int, Shape], left: int, right: int, shape: Sequence[int], place: Geometry) -> bool:
    """Whether what is called left lies to the right of what is called right, in the patient (LPS: x grows leftward)."""
    if left not in known or right not in known or not place.placed or len(shape) != 3:
        return False
    index = np.array([[*np.multiply(known[k].centre, shape)[::-1], 1.0] for k in (left, right)])
    x = (index @ np.asarray(place.affine).T)[:, 0]
    return bool(x[0] < x[1])
