"""Parts of masks, and how deep they are."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def groups(key: Ints, which: NDArray[np.bool_]) -> Iterator[Ints]:
    """Positions of ``which`` by equal ``key``; in each group in their order."""
    place = np.flatnonzero(which)
    place = place[np.argsort(key[place], kind="stable")]
    ends = np.flatnonzero(np.diff(key[place])) + 1
    for start, end in pairwise([0, *ends.tolist(), len(place)]):
        if end > start:
            yield place[start:end]


def around(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The box of what is marked; something is."""
    sides = []
    for axis in range(mask.ndim):
        there = np.flatnonzero(mask.any(tuple(a for a in range(mask.ndim) if a != axis)))
        sides.append(slice(int(there[0]), int(there[-1]) + 1))
    return tuple(sides)


def components(mask: NDArray[Any]) -> NDArray[Any]:
    """Parts of one value that touch by faces, numbered from 1; 0 where the value is 0."""
    import cc3d

    parts: NDArray[Any] = cc3d.connected_components(mask, connectivity=2 * mask.ndim)  # type: ignore[call-overload]
    return parts


def sizes(parts: NDArray[Any]) -> Ints:
    """Voxels by number; 0 for number 0. Plane by plane, for the memory."""
    found = np.zeros(int(parts.max()) + 1, np.int64)
    for plane in parts:
        found += np.bincount(plane.ravel(), minlength=len(found))
    found[0] = 0
    return found


def depths(mask: NDArray[np.bool_], spacing_mm: Floats) -> NDArray[np.float32]:
    """From each voxel of the mask to the nearest outside of it, in mm; inf where there is none."""
    import edt

    return np.asarray(edt.edt(np.ascontiguousarray(mask), anisotropy=tuple(spacing_mm.tolist())), np.float32)


def inscribed(voxels: Ints, shape: tuple[int, ...], spacing_mm: Floats) -> float:
    """How far the innermost of the voxels lies from what is around them, in mm."""
    place = np.unravel_index(voxels, shape)
    mask = np.zeros([int(np.ptp(axis)) + 3 for axis in place], bool)
    mask[tuple(axis - axis.min() + 1 for axis in place)] = True
    return float(depths(mask, spacing_mm).max())
