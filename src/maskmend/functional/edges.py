"""Do image edges disagree with every mask of a class? Then all may err the same way, which networks repeat unseen.

The mean appearance is taken in shells around the boundary: from shell to shell it changes most at the image's own edge.
What differs from case to case averages out, so masks should end where the mean change over cases is largest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..types import IGNORE

Floats = NDArray[np.float64]

SHELLS = 16
"""On each side of the boundary."""
RADIUS = 50
"""Shells in the radius of a ball of an object's size, at most; but none is thinner than a voxel."""
FEWEST = 8
"""Voxels of a shell, cases of a shell, and cases of a class, below which nothing is concluded."""
FACTOR = 1.6
"""How much more must change at another place than at the masks' boundary."""
CLEAR = 2
"""Shells away that this place must be at least."""
FAINT = 0.05
"""Change, in standard deviations of the image around the object, below which there is no edge."""
OFF = 3
"""Shells away that the edge of one case must be."""
PEAK = 0.2
"""Share of the masks that must end at an edge, for the others to be off."""
SURE = 0.8
"""Share of the cases whose own edge must lie on that side."""
NEAR = 4
"""Shells on each side that ``sharpness`` looks at."""
FLAT = 1e-3
"""Change, in all of them, below which there is none."""
PLACE = np.arange(1 - SHELLS, SHELLS)
"""Where changes are, in shells from the boundary; below 0 inside."""
NEARER = np.exp(-((PLACE / 12) ** 2) / 2)
"""What a change counts there: an edge far away may be another object's."""


@dataclass(frozen=True)
class Offset:
    """By how much the masks of a class reach beyond the image's edge, in mm, or pixels where the file knows no mm; they
    end before it where that is negative. sure: share of the cases that say so by themselves."""

    mm: float
    sure: float


def thickness(volume: float, dims: int, finest: float) -> float:
    """How thick the shells around objects of such a volume are, in its unit of length; none thinner than ``finest``."""
    radius = (volume / np.pi) ** 0.5 if dims == 2 else (volume * 0.75 / np.pi) ** (1 / 3)
    return float(max(finest, radius / RADIUS))


def profile(
    image: NDArray[Any], label: NDArray[Any], value: int, spacing_mm: Sequence[float], step_mm: float
) -> Floats:
    """Change of the mean appearance from shell to shell, from inside out, (C, 2 SHELLS - 1): the middle one is that at
    the boundary. NaN where a shell has hardly a voxel.

    image: (C, *S), label: (*S), IGNORE where nobody annotated. step_mm: how thick a shell is.
    """
    from scipy.ndimage import find_objects

    changes = np.full((len(image), 2 * SHELLS - 1), np.nan)
    mask = label == value
    if not mask.any() or mask.all():
        return changes
    box = window(find_objects(mask.view(np.int8))[0], spacing_mm, step_mm)
    mask, known = np.ascontiguousarray(mask[box]), label[box] != IGNORE
    shell = np.where(mask, -1 - _shells(mask, spacing_mm, step_mm), _shells(~mask, spacing_mm, step_mm)) + SHELLS
    seen = known & (shell >= 0) & (shell < 2 * SHELLS)
    number = shell[seen].astype(np.int64)
    look = image[(slice(None), *box)][:, seen].astype(np.float64)
    look = (look - look.mean(1, keepdims=True)) / look.std(1, keepdims=True).clip(1e-6)
    voxels = np.bincount(number, minlength=2 * SHELLS)
    mean = np.stack([np.bincount(number, channel, 2 * SHELLS) for channel in look]) / voxels.clip(1)
    mean[:, voxels < FEWEST] = np.nan
    return np.diff(mean, axis=1)


def window(around: tuple[slice, ...], spacing_mm: Sequence[float], step_mm: float) -> tuple[slice, ...]:
    """The part of an image (*S) that the shells of an object reach, which lies in the box ``around``."""
    reach = [int(np.ceil(SHELLS * step_mm / step)) + 1 for step in spacing_mm]
    return tuple(slice(max(0, s.start - r), s.stop + r) for s, r in zip(around, reach, strict=True))


def _shells(side: NDArray[np.bool_], spacing_mm: Sequence[float], step_mm: float) -> NDArray[np.int8]:
    """Shells (*S) between each voxel of one side of a boundary and the boundary, ``SHELLS`` at most."""
    import edt

    depth = edt.edt(side, anisotropy=tuple(map(float, spacing_mm)))
    depth -= min(spacing_mm) / 2
    depth /= step_mm
    found: NDArray[np.int8] = np.minimum(np.floor(depth, out=depth), SHELLS, out=depth).astype(np.int8)
    return found


def verdict(profiles: Sequence[Floats], step_mm: float) -> Offset | None:
    """Where the edge is that the cases share, if it is clearly not where the masks end.

    profiles: of one class, of each case. None where masks end at an edge, and where nothing can be said: too few cases,
    structures too small to tell shells apart, no contrast, cases that disagree.
    """
    if len(profiles) < FEWEST:
        return None
    best, change, place, _ = _found(profiles)
    if abs(PLACE[best]) < CLEAR:
        return None
    if change[best] * NEARER[best] < max(FACTOR * change[SHELLS - 1], FAINT):
        return None
    sure = float((place * np.sign(PLACE[best]) >= CLEAR).mean())
    return Offset(mm=float(-PLACE[best] * step_mm), sure=sure) if sure >= SURE else None


def own(profiles: Sequence[Floats]) -> NDArray[np.int64]:
    """By how many shells the edge of each image lies outside its mask's boundary, (N,), below 0 inside."""
    return _found(profiles)[2]


def offsets(profiles: Sequence[Floats]) -> NDArray[np.int64]:
    """By how many shells each mask of a class, (N,), reaches beyond the edge in its own image, below 0 ends before it;
    0 where it does not, and everywhere if edges cannot be trusted.

    They can be where a good part of the masks end at an edge, and far fewer beside it; or where hardly any does, but
    all of them are off to the same side.
    """
    if not profiles:
        return np.zeros(0, np.int64)
    best, change, place, top = _found(profiles)
    if change[best] * NEARER[best] < FAINT:
        return np.zeros_like(place)
    place = np.where(top > np.median(top) / 4, place, 0)  # an image whose edge is not like the others' tells nothing
    far = np.abs(place)
    at, beside = int((far < CLEAR).sum()), int(((far >= CLEAR) & (far <= OFF)).sum())
    if at >= max(FEWEST, PEAK * len(far)) and at > 2 * beside:
        return np.where(far >= OFF, -place, 0)
    if (shared := verdict(profiles, 1)) is None:
        return np.zeros_like(place)
    return np.where(-place * np.sign(shared.mm) >= CLEAR, -place, round(shared.mm))


def _found(profiles: Sequence[Floats]) -> tuple[int, Floats, NDArray[np.int64], Floats]:
    """Index of the place of the edge that cases share; how much their mean changes at each place (D,); the place of
    each case's own edge (N,), where it changes most as the mean does; and by how much, (N,)."""
    each, mean = _shared(profiles)
    change = _smooth(np.linalg.norm(mean, axis=0) / len(mean) ** 0.5)
    best = int((change * NEARER).argmax())
    alike = _smooth(np.einsum("ncd,c->nd", each, mean[:, best])) * NEARER
    return best, change, PLACE[alike.argmax(1)], alike.max(1)


def lost(offset: float, volume: float, dims: int) -> float:
    """The Dice that a ball of such a volume loses to one whose boundary lies ``offset`` further in; further out where
    that is negative. 0 if there is no ball."""
    unit = np.pi if dims == 2 else 4 / 3 * np.pi
    radius = (volume / unit) ** (1 / dims)
    if radius == 0:
        return 0.0
    other = max(radius - offset, 0.0) ** dims
    return float(1 - 2 * min(other, radius**dims) / (other + radius**dims))


def finer(values: NDArray[Any]) -> NDArray[np.float32]:
    """Images or masks (C, *S) on a grid twice as fine, (C, *2S), interpolated: for shells of half a pixel."""
    from scipy.ndimage import zoom

    shape = (1,) + (2,) * (values.ndim - 1)
    found: NDArray[np.float32] = zoom(values.astype(np.float32), shape, order=1, mode="nearest", grid_mode=True)
    return found


def across(
    image: NDArray[Any],
    masks: NDArray[np.bool_],
    known: NDArray[np.bool_],
    steps: Sequence[float],
    thick: float,
) -> Floats:
    """How an image (C, *S) changes across the boundaries of masks (M, *S), as far as somebody annotated it, (M, C, D).
    steps: from pixel to pixel; shells are ``thick``, and counted on a grid twice as fine where that is less than 1."""
    if thick < 1:
        image, masks = finer(image), finer(masks) > 0.5
        known, steps = finer(known[None])[0] > 0.5, [step / 2 for step in steps]
    labels = np.where(known, masks, IGNORE)
    return np.stack([profile(image, label, 1, steps, thick) for label in labels])


def sharpness(profiles: Sequence[Floats]) -> float:
    """How much of the change of appearance that cases share lies at the boundaries of these masks themselves, times its
    share of the change within ``NEAR`` shells: highest for masks that end where images change. 0 where nothing does."""
    _, mean = _shared(profiles)
    change = np.linalg.norm(mean, axis=0) / len(mean) ** 0.5
    near = change[SHELLS - 1 - NEAR : SHELLS + NEAR]
    return float(near[NEAR] ** 2 / max(near.sum(), FLAT))


def _shared(profiles: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Profiles (N, C, D), 0 where not known, and their mean (C, D), 0 where few cases know it."""
    each = np.stack(profiles)
    known = np.isfinite(each).all(1, keepdims=True)
    number = known.sum(0)
    each = np.where(known, each, 0)
    return each, np.where(number >= max(FEWEST, len(each) / 2), each.sum(0) / number.clip(1), 0)


def _smooth(change: Floats) -> Floats:
    """(…, D), each with half of its neighbours."""
    wide = np.pad(change, [(0, 0)] * (change.ndim - 1) + [(1, 1)])
    found: Floats = (wide[..., :-2] + 2 * change + wide[..., 2:]) / 4
    return found
