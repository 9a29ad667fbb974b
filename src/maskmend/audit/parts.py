"""Parts of masks, and how deep they are."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..functional.doubt import planes

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


MANY = 2000
"""Groups at most: far more than anybody looks at, and few enough to take one by one."""


def groups(key: Ints, which: NDArray[np.bool_]) -> Iterator[Ints]:
    """Positions of ``which`` by equal ``key``, in each group in their order; the ``MANY`` largest groups."""
    place = np.flatnonzero(which)
    place = place[np.argsort(key[place], kind="stable")]
    ends = np.append(np.flatnonzero(np.diff(key[place])) + 1, len(place))
    starts = np.append(0, ends[:-1])
    for group in np.sort(np.argsort(starts - ends, kind="stable")[:MANY]) if len(place) else ():
        yield place[starts[group] : ends[group]]


def around(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The box of what is marked; something is."""
    sides = []
    for axis in range(mask.ndim):
        there = np.flatnonzero(mask.any(tuple(a for a in range(mask.ndim) if a != axis)))
        sides.append(slice(int(there[0]), int(there[-1]) + 1))
    return tuple(sides)


def mask_of(prob: NDArray[np.float32]) -> NDArray[Any]:
    """(K, *S) -> (*S), the most probable class, of equal ones the first, in the narrowest type."""
    mask: NDArray[Any] = np.zeros(prob.shape[1:], np.uint8 if len(prob) <= 256 else np.uint16)
    for part in planes(mask.shape):
        best, here = prob[0, part].copy(), mask[part]
        for k, p in enumerate(prob[1:, part], 1):
            here[p > best] = k
            np.maximum(best, p, out=best)
    return mask


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


def neighbours(array: NDArray[Any], faces: bool = False) -> Ints:
    """Steps from a flat index to those that it touches, by faces alone or by edges and corners too."""
    near = [step for step in product((-1, 0, 1), repeat=array.ndim) if any(step)]
    near = [step for step in near if not faces or np.count_nonzero(step) == 1]
    steps: Ints = np.array(near) @ (np.array(array.strides) // array.itemsize)
    return steps


def distances(at: Ints, mask: NDArray[Any], value: int, spacing_mm: Floats) -> Floats:
    """From each of the voxels ``at`` (N,) to the nearest of ``mask`` (*S) with the value, in mm; inf without one."""
    place, margin = np.stack(np.unravel_index(at, mask.shape)), 8
    while True:  # in a box that is large enough for what is found in it to be the nearest
        low = np.maximum(place.min(1) - margin, 0)
        box = tuple(map(slice, low, place.max(1) + margin + 1))
        found: Floats = _edt(mask[box] != value, spacing_mm)[tuple(place - low[:, None])].astype(np.float64)
        needed = found.max() / spacing_mm.min()
        if needed <= margin or margin >= max(mask.shape):
            return found
        margin = int(min(np.ceil(needed), max(mask.shape)))


def inscribed(voxels: Ints, shape: tuple[int, ...], spacing_mm: Floats) -> Floats:
    """How far each of the voxels (N,) lies from what is around them, in mm."""
    place = np.unravel_index(voxels, shape)
    inner = tuple(axis - axis.min() + 1 for axis in place)
    mask = np.zeros([int(axis.max()) + 2 for axis in inner], bool)
    mask[inner] = True
    found: Floats = _edt(mask, spacing_mm)[inner].astype(np.float64)
    return found


def _edt(mask: NDArray[np.bool_], spacing_mm: Floats) -> NDArray[np.float32]:
    """From each voxel of the mask to the nearest outside of it, in mm; inf where there is none."""
    import edt

    return np.asarray(edt.edt(np.ascontiguousarray(mask), anisotropy=tuple(spacing_mm.tolist())), np.float32)
