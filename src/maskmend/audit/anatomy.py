"""What one label shows by itself, without its image: holes, stray parts, slices left out, left and right exchanged.

Arrays are (*S), 2D or 3D, whole numbers with 0 for the background and IGNORE where nobody annotated. Parts of a class
touch by corners, those of the background by faces: what two parts of one meet at does not part the other (Kong and
Rosenfeld, Digital topology, 1989).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cc3d
import numpy as np
from edt import edt
from nibabel import orientations
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, find_objects

from ..data.geometry import Geometry

SMALL = 0.01
"""Share of its class below which a part is stray, and a hole a slip of the pen."""
FALL = 0.5
"""Share of its neighbours' area to which a slice must fall to count as partly left out."""
LEAST = 20
"""Voxels that the slices beside a gap have at least."""
CANDIDATES = 20
"""Stray parts of a class, and holes of a label, that are looked at: the largest."""

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Box = tuple[slice, ...]


@dataclass(frozen=True)
class Part:
    """A connected part of a class, or a hole in it.

    runs: (2, N), the flat index at which each run of its voxels begins, and its length: of a large part some hundredth
    of what its voxels would take. share: of the class that it is. around: the values of its neighbours, the commonest
    first.
    """

    runs: Ints
    share: float
    around: tuple[int, ...]

    @property
    def voxels(self) -> Ints:
        """Flat indices, sorted."""
        starts, lengths = self.runs
        before = np.cumsum(lengths) - lengths
        found: Ints = np.repeat(starts - before, lengths) + np.arange(lengths.sum())
        return found


@dataclass(frozen=True)
class Shape:
    """What is kept of one class in one label.

    voxels: how many. box: the smallest that holds them. parts: how many hold at least ``SMALL`` of it. stray: all parts
    but the largest, largest first. centre: as shares of the image's lengths; faces: (axis, end) of the volume that it
    touches; both along the axes of ``frame``.
    """

    voxels: int
    box: Box
    parts: int
    stray: tuple[Part, ...]
    centre: tuple[float, ...]
    faces: frozenset[tuple[int, int]]


Frame = tuple[tuple[int, bool], ...]


def frame(place: Geometry) -> Frame:
    """Of z, y and x of the patient (LPS), the array axis that lies nearest, and whether it runs the other way.

    The array's own axes where the file says nothing of its place, or has but two.
    """
    dims = len(place.spacing_mm)
    if dims != 3 or not place.placed:
        return tuple((axis, False) for axis in range(dims))
    turned = orientations.io_orientation(place.affine)  # type: ignore[no-untyped-call]  # of x, y, z: the axis, 1 or -1
    of_patient = {2 - int(axis): (2 - index, bool(sense < 0)) for index, (axis, sense) in enumerate(turned)}
    return tuple(of_patient[axis] for axis in range(dims))


def lengths(shape: Sequence[int], place: Geometry) -> tuple[float, ...]:
    """Of the image in mm along the axes of ``frame``; in pixels where the file knows no mm."""
    return tuple(shape[axis] * place.spacing_mm[axis] for axis, _ in frame(place))


def shapes(label: NDArray[Any], place: Geometry) -> dict[int, Shape]:
    """Every class that the label holds."""
    top, seen = int(label.max(initial=0)), frame(place)
    boxes = find_objects(np.maximum(label, 0) if label.min(initial=0) < 0 else label, max_label=top) if top > 0 else []
    return {k: _shape(label, k, box, seen) for k, box in enumerate(boxes, 1) if box is not None}


def _shape(label: NDArray[Any], k: int, box: Box, seen: Frame) -> Shape:
    parts = _Parts(label, box, k)
    total = int(parts.sizes.sum())
    at = parts.middle / label.shape
    ends = [(side.start == 0, side.stop == length) for side, length in zip(box, label.shape, strict=True)]
    return Shape(
        voxels=total,
        box=box,
        parts=int((parts.sizes >= SMALL * total).sum()),
        stray=tuple(parts.part(n, total) for n in parts.largest[1 : CANDIDATES + 1]),
        centre=tuple(float(1 - at[a] if back else at[a]) for a, back in seen),
        faces=frozenset((axis, end) for axis, (a, back) in enumerate(seen) for end in (0, 1) if ends[a][end ^ back]),
    )


class _Parts:
    """The connected parts of one value in a box of a label.

    sizes: (N,) voxels of each. ends: (N, axes, 2) its first and last index in the box. largest: numbers, by size.
    """

    def __init__(self, label: NDArray[Any], box: Box, value: int) -> None:
        self.label, self.box = label, _widened(box, label.shape)
        near: Any = 3**label.ndim - 1 if value else 2 * label.ndim
        mask = (label[self.box] == value).view(np.uint8)  # cc3d 4.1 parts what touches by corners wrongly if it is bool
        self.numbers: NDArray[Any] = cc3d.connected_components(mask, connectivity=near)
        stats = cc3d.statistics(self.numbers, no_slice_conversion=True)
        self.sizes: Ints = stats["voxel_counts"][1:].astype(np.int64)
        self.ends: Ints = stats["bounding_boxes"][1:].reshape(-1, label.ndim, 2).astype(np.int64)
        self.largest: Ints = np.argsort(-self.sizes, kind="stable")
        self._centres = stats["centroids"][1:]

    @property
    def middle(self) -> NDArray[np.float64]:
        """Of all together: (axes,) in voxels of the label, 0.5 in the middle of the first."""
        start = [side.start for side in self.box]
        found: NDArray[np.float64] = np.average(self._centres, axis=0, weights=self.sizes) + start + 0.5
        return found

    def part(self, n: int, total: int) -> Part:
        """Number ``n``, of a class of ``total`` voxels."""
        tight = tuple(slice(int(first), int(last) + 1) for first, last in self.ends[n])
        near = _widened(tight, self.numbers.shape)
        mask = self.numbers[near] == n + 1
        beside, counts = np.unique(self.label[self.box][near][binary_dilation(mask) & ~mask], return_counts=True)
        shift = tuple(slice(b.start + a.start, b.start + a.stop) for a, b in zip(near, self.box, strict=True))
        around = tuple(int(value) for value in beside[np.argsort(-counts, kind="stable")])
        return Part(_runs(flat(mask, shift, self.label.shape)), float(self.sizes[n] / total), around)


def _widened(box: Box, shape: Sequence[int]) -> Box:
    """By a voxel on each side, as far as there is one."""
    return tuple(slice(max(side.start - 1, 0), min(side.stop + 1, n)) for side, n in zip(box, shape, strict=True))


def _runs(voxels: Ints) -> Ints:
    """(2, N) starts and lengths of sorted flat indices."""
    first = np.append(0, np.flatnonzero(np.diff(voxels) > 1) + 1)
    return np.stack([voxels[first], np.diff(np.append(first, voxels.size))])


def flat(mask: Bools, box: Box, shape: Sequence[int]) -> Ints:
    """Flat indices into the whole array (*S) of what is marked in a box of it, sorted."""
    place = [axis + part.start for axis, part in zip(np.nonzero(mask), box, strict=True)]
    found: Ints = np.ravel_multi_index(place, tuple(shape)).astype(np.int64)
    return found


# --- holes ------------------------------------------------------------------------------------------------------------


def holes(label: NDArray[Any], known: Mapping[int, Shape]) -> Iterator[tuple[int, Part]]:
    """Background shut in by one class, as (class, hole); of a hole, the share is that of the class."""
    if not known:
        return
    sides = zip(*(shape.box for shape in known.values()), strict=True)
    parts = _Parts(label, tuple(slice(min(s.start for s in each), max(s.stop for s in each)) for each in sides), 0)
    last = np.array(parts.numbers.shape) - 1
    shut: Bools = np.all(
        (parts.ends[..., 0] > 0) & (parts.ends[..., 1] < last), axis=1
    )  # not at the edge, nor open to outside
    for n in parts.largest[shut[parts.largest]][:CANDIDATES]:
        hole = parts.part(n, 1)
        if len(hole.around) == 1 and (k := hole.around[0]) > 0:
            yield k, replace(hole, share=hole.share / known[k].voxels)


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
    areas, start = mask.sum((1, 2)), box[axis].start
    steps = [step for a, step in enumerate(spacing_mm) if a != axis]
    index = 1
    while index < len(areas) - 1:
        last = _run(areas, index)
        if last is not None and _alike(mask[index - 1], mask[last + 1]):
            filled = _between(mask[index - 1], mask[last + 1], last - index + 1, steps) & free[index : last + 1]
            if filled.any():
                here = tuple(slice(start + index, start + last + 1) if a == axis else s for a, s in enumerate(box))
                empty = not areas[index : last + 1].any()
                voxels = flat(np.moveaxis(filled, 0, axis), here, label.shape)
                yield Gap(axis, start + index, start + last, empty, voxels)
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


def _alike(one: Bools, other: Bools) -> bool:
    """Whether two slices show the same thing: Dice of one half at least."""
    return 2 * float((one & other).sum()) >= FALL * float(one.sum() + other.sum())


def _between(one: Bools, other: Bools, count: int, steps: Sequence[float]) -> Bools:
    """``count`` slices between two, by signed distances (Raya and Udupa, IEEE TMI 1990)."""
    first, last = (_signed(each, steps) for each in (one, other))
    shares = (np.arange(1, count + 1) / (count + 1)).reshape(-1, 1, 1)
    inside: Bools = (1 - shares) * first + shares * last > 0
    return inside


def _signed(mask: Bools, steps: Sequence[float]) -> NDArray[np.float32]:
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
    spelt = {re.sub(r"[_\-.\s]+|(?<=[a-z])(?=[A-Z])", " ", name).lower(): value for name, value in labels.items()}
    for name, value in spelt.items():
        sides = SIDES.findall(name)
        if len(sides) == 1 and sides[0].startswith("l"):
            other = SIDES.sub(lambda m: OTHER[m[0]], name)
            if other in spelt:
                yield value, spelt[other]


def leftward(left: Shape, right: Shape, lengths_mm: Sequence[float]) -> float:
    """How far what is called left lies to the left of what is called right, as a share of how far they lie apart: 1 if
    just so, -1 if they are exchanged, near 0 if one lies above or before the other."""
    step = (np.array(left.centre) - right.centre) * lengths_mm
    return float(step[-1] / max(np.linalg.norm(step), 1e-9))
