"""Whether two arrays lie on one grid: a label and its image, the channels of a case, a prediction and its reference.

One rule for all of them:

- Axes in another order, or running the other way: the first is turned, and compared where it lies.
- The grids are one where every corner of the first lies within a tenth of a step of its counterpart, and the steps
  differ by less than 0.1 %, which headers of three decimals do. Steps must agree wherever both files know any.
- A label that was cropped to what it marks (Slicer's) is background around it.
- Files without a place are compared as they are stored: pictures, and NIfTI files of which both codes are 0. So are
  those with a bare header, which libraries write of an array alone (origin 0, axes along x, y and z, of RAS or LPS),
  where that is excused: many labels have one. In space, a bare header is a place like any other.
- Anything else is refused, with both values.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from ..errors import InputError
from .geometry import Array, Geometry, Picture

TOLERANCE = 0.1
"""Of the smallest step: how far a corner may lie from its counterpart."""
STEPS = 1e-3
"""By which share steps may differ."""
CURE = "put both on one grid, or correct the header that is wrong"
BARE = (np.array([1.0, 1.0, 1.0]), np.array([-1.0, -1.0, 1.0]))
"""Signs of x, y and z, LPS."""


def aligned(
    picture: Picture, onto: Picture, name: str, other: str, *, excuse_bare: bool = True, cure: str = CURE
) -> Picture:
    """``picture``, its axes turned into the order of ``onto`` where they differ, then with its geometry.

    Args:
        picture: an image (C, *S) or a label (*S).
        onto: what it must lie on.
        name: what it is called in an error.
        other: what ``onto`` is called.
        excuse_bare: whether files with a bare header count as without a place.
        cure: what to do about it.

    Raises:
        InputError: they do not lie on one grid; told are both values.
    """
    here, there = picture.geometry, onto.geometry
    silent = any(_silent(geometry, excuse_bare) for geometry in (here, there))
    difference = None
    if here.cropped and there.placed:
        picture = _grown(picture, onto)
    if here.placed and there.placed:
        array, affine, stays = _turned(picture, there.affine)
        if array.shape[-3:] == _whole(onto).shape[-3:]:
            difference = _difference(affine, there.affine, onto)
            if difference is None:
                return picture if stays else Picture(_like(array, onto), there)
    if silent or difference is None:
        difference = _as_stored(picture, onto, steps_only=silent)
    if difference is None:
        return picture if here.known else replace(picture, geometry=there)
    what, value, wanted = difference
    raise InputError(f"{name} has the {what} {value}, but {other} has {wanted}; {cure}.")


def apart(picture: Picture, onto: Picture) -> bool:
    """Of what was ``aligned``: whether both have a place and it is not one, so that they were taken to lie together."""
    here, there = picture.geometry, onto.geometry
    return here.origin is not None is not there.origin and _difference(here.affine, there.affine, onto) is not None


def resampled(label: Picture, onto: Picture, name: str) -> Picture:
    """A label (*S) on the grid of ``onto``: the nearest voxel, 0 outside of it.

    Raises InputError where one of them has no place.
    """
    from .volumes import simple_itk

    for each in (label, onto):
        if not each.geometry.placed:
            raise InputError(f"{name} cannot be resampled, for where the masks lie is not told; put both on one grid.")
    sitk: Any = simple_itk()
    moving, still = (_itk(sitk, each) for each in (label, onto))
    found = sitk.Resample(moving, still, sitk.Transform(), sitk.sitkNearestNeighbor, 0.0)
    return Picture(sitk.GetArrayFromImage(found).reshape(onto.shape), onto.geometry)


def _itk(sitk: Any, label: Picture) -> Any:
    affine = label.geometry.affine
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    image = sitk.GetImageFromArray(_whole(label))
    image.SetSpacing(steps.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / steps).ravel().tolist())
    return image


def _whole(picture: Picture) -> Array:
    """(…, D, H, W), with the axis that was taken away."""
    axis = picture.geometry.lost_axis
    return picture.array if axis is None else np.expand_dims(picture.array, axis - 3)


def _like(whole: Array, onto: Picture) -> Array:
    """(…, D, H, W) without the axis that ``onto`` lacks."""
    return np.ascontiguousarray(whole.reshape(*whole.shape[:-3], *onto.shape))


def _turned(picture: Picture, target: Array) -> tuple[Array, Array, bool]:
    """(…, D, H, W) with its axes in the order and sense of the affine ``target``, its own affine then, and whether
    they were so before."""
    from nibabel import orientations

    turn: Any = orientations
    affine, xyz = picture.geometry.affine, _whole(picture).T
    order = turn.io_orientation(np.linalg.inv(target) @ affine)
    moved = affine @ turn.inv_ornt_aff(order, xyz.shape[:3])
    return turn.apply_orientation(xyz, order).T, moved, order.tolist() == [[0, 1], [1, 1], [2, 1]]


def _grown(label: Picture, onto: Picture) -> Picture:
    """A label on the whole grid of ``onto``, if its own is a part of it; else as it is."""
    array, affine, _ = _turned(label, onto.geometry.affine)
    whole = np.zeros_like(array, shape=_whole(onto).shape[-3:])
    shape = np.array(array.shape[::-1])
    to_index = np.linalg.inv(onto.geometry.affine) @ affine  # of (x, y, z)
    first = to_index[:3, 3].round().astype(int)
    corners = _corners(shape)
    off = corners @ to_index[:3, :3].T + to_index[:3, 3] - corners - first
    if (np.abs(off) > TOLERANCE).any() or (first < 0).any() or (first + shape > whole.shape[::-1]).any():
        return label
    whole[tuple(slice(start, start + length) for start, length in zip(first, shape, strict=True))[::-1]] = array
    return Picture(_like(whole, onto), onto.geometry)


def _corners(shape: Array) -> Array:
    """(8, 3): the indices of the corners; the first one is the origin."""
    return np.array([*product(*((0, length - 1) for length in shape))])


def unplaced(geometry: Geometry) -> bool:
    """Whether the file says nothing of its place: it has none, or a bare header."""
    return _silent(geometry, excuse_bare=True)


def _silent(geometry: Geometry, excuse_bare: bool) -> bool:
    if not geometry.placed:
        return True
    steps = np.linalg.norm(geometry.affine[:3, :3], axis=0)
    bare = (np.allclose(geometry.affine[:3], np.eye(4)[:3] * [*(sign * steps), 1]) for sign in BARE)
    return excuse_bare and any(bare)


def _difference(affine: Array, target: Array, onto: Picture) -> tuple[str, str, str] | None:
    """What differs between two places of an array shaped as ``onto``, and both values; None if nothing does."""
    shape = np.array(_whole(onto).shape[:-4:-1])
    steps, wanted = (np.linalg.norm(each[:3, :3], axis=0) for each in (affine, target))
    live = shape > 1
    if not np.allclose(steps[live], wanted[live], rtol=STEPS, atol=0):
        return "spacing", _mm(steps[live]), _mm(wanted[live])
    corners = _corners(shape)
    moved = np.linalg.norm(corners @ (affine - target)[:3, :3].T + (affine - target)[:3, 3], axis=1)
    near = TOLERANCE * wanted.min()
    if (moved <= near).all():
        return None
    axes, others = affine[:3, :3] / steps, target[:3, :3] / wanted
    if moved[0] > near and np.allclose(axes[:, live], others[:, live], atol=1e-3):
        return "origin", f"{_row(affine[:3, 3])} mm", f"{_row(target[:3, 3])} mm (x, y, z; LPS)"
    return "direction", _rows(axes), f"{_rows(others)} (axes x, y, z in columns; LPS)"


def _as_stored(picture: Picture, onto: Picture, steps_only: bool) -> tuple[str, str, str] | None:
    """What differs if nothing is turned; ``steps_only`` where no place is known."""
    if picture.shape != onto.shape:
        return "shape", str(picture.shape), str(onto.shape)
    affine, target = picture.geometry.affine, onto.geometry.affine
    if not steps_only:
        return _difference(affine, target, onto)
    if not (picture.geometry.known and onto.geometry.known):
        return None
    here, there = (np.array(each.geometry.spacing_mm) for each in (picture, onto))
    return None if np.allclose(here, there, rtol=STEPS, atol=0) else ("spacing", _mm(here[::-1]), _mm(there[::-1]))


def _mm(steps: Array) -> str:
    """Steps (x, y, z), told in the order of the array's axes."""
    return " × ".join(f"{step:.6g}" for step in steps[::-1]) + " mm"


def _row(values: Array) -> str:
    return "(" + ", ".join(f"{value + 0:.6g}" for value in values) + ")"


def _rows(matrix: Array) -> str:
    return ", ".join(_row(row) for row in matrix.round(4))
