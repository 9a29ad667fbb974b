"""Distances between the surfaces of two label maps, computed once, and every surface metric from them.

The surface of a mask are its pixels that have a face neighbour outside of it, or lie on the edge of the volume: the
mask XOR its erosion by the face-neighbour cross with border value 0, as in MedPy and MONAI. Distances go from pixel
centre to pixel centre, in the unit of the spacing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..types import IGNORE, Region, members
from .overlap import R

Label = NDArray[Any]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]
Box = tuple[slice, ...]

ROUNDING = 1e-9
"""By how much of it a distance may exceed a tolerance: 10 steps of 0.1 mm are 1 mm."""


@dataclass(frozen=True)
class Distances:
    """One class of one case: from each surface pixel of one mask to the nearest of the other; inf where there is none.

    to_reference: (N,) from the surface of the prediction; to_prediction: (M,) from the surface of the reference.
    """

    to_reference: Floats
    to_prediction: Floats

    @property
    def empty(self) -> bool:
        """Neither mask has a surface: nothing can be said."""
        return not (self.to_reference.size or self.to_prediction.size)

    @property
    def missed(self) -> bool:
        """Only one of the masks has a surface, an object overlooked or made up: there are no distances."""
        return bool(self.to_reference.size) != bool(self.to_prediction.size)

    @property
    def known(self) -> bool:
        """Both masks have a surface."""
        return bool(self.to_reference.size and self.to_prediction.size)

    @property
    def pooled(self) -> Floats:
        """Both directions together, (N + M,)."""
        return np.concatenate([self.to_reference, self.to_prediction])


def surface_distances(
    prediction: Label,
    reference: Label,
    labels: Sequence[R],
    spacing_mm: Sequence[float] | None = None,
    ignore: int = IGNORE,
) -> dict[R, Distances]:
    """Distances for each of ``labels`` (one at least, all positive), values or regions. prediction, reference: integer
    (*S), 2D or 3D.

    ``spacing_mm`` is one step along each axis; without it distances are in pixels. Where the reference is ``ignore``
    nothing is known: such pixels belong to no surface, nor do they make a surface of their neighbours. A surface that
    would lie there is missing, so distances to it are those to what is seen of it.

    Raises ValueError if the shapes differ or the spacing does not fit them.
    """
    if prediction.shape != reference.shape:
        raise ValueError(f"the prediction has the shape {prediction.shape}, the reference {reference.shape}")
    spacing = np.ones(reference.ndim) if spacing_mm is None else np.asarray(spacing_mm, dtype=np.float64)
    if spacing.shape != (reference.ndim,) or not (spacing > 0).all():
        raise ValueError(f"the spacing {spacing_mm} is not one positive step for each of {reference.ndim} axes")
    distances = {}
    for label, box in zip(labels, _boxes(prediction, reference, labels), strict=True):
        unknown = reference[box] == ignore
        guess = _surface(_within(prediction[box], label), unknown)
        truth = _surface(_within(reference[box], label), unknown)
        distances[label] = Distances(_to_nearest(guess, truth, spacing), _to_nearest(truth, guess, spacing))
    return distances


# --- metrics: NaN where one of the masks is empty, for then there is no distance ------------------------------------


def hd(distances: Distances) -> float:
    """Hausdorff distance: the largest of all."""
    return float(distances.pooled.max()) if distances.known else float("nan")


def hd95(distances: Distances) -> float:
    """The larger of the two directed 95th percentiles (linear), as in MONAI and Metrics Reloaded."""
    if not distances.known:
        return float("nan")
    return float(max(np.percentile(d, 95) for d in (distances.to_reference, distances.to_prediction)))


def hd95_pooled(distances: Distances) -> float:
    """The 95th percentile (linear) of both directions together, MedPy's: for papers that used it."""
    return float(np.percentile(distances.pooled, 95)) if distances.known else float("nan")


def asd(distances: Distances) -> float:
    """Average surface distance, directed: the mean from the prediction's surface to the reference's, as in MedPy."""
    return float(distances.to_reference.mean()) if distances.known else float("nan")


def assd(distances: Distances) -> float:
    """Average symmetric surface distance: the mean of both directions together, as in MedPy and MONAI."""
    return float(distances.pooled.mean()) if distances.known else float("nan")


def nsd(distances: Distances, tolerance: float) -> float:
    """Normalised surface distance, or surface Dice: the share of both surfaces within ``tolerance`` (in the unit of the
    spacing) of the other, counted in pixels. NaN where both masks are empty, 0 where one is."""
    pooled = distances.pooled
    return float((pooled <= tolerance * (1 + ROUNDING)).mean()) if pooled.size else float("nan")


def surface_metrics(distances: Distances, tolerance: float) -> dict[str, float]:
    """All of them by name; ``tolerance`` is that of NSD."""
    return {
        "HD95": hd95(distances),
        "HD95_pooled": hd95_pooled(distances),
        "HD": hd(distances),
        "ASD": asd(distances),
        "ASSD": assd(distances),
        "NSD": nsd(distances, tolerance),
    }


# --- how ------------------------------------------------------------------------------------------------------------


def _boxes(prediction: Label, reference: Label, labels: Sequence[R]) -> list[Box]:
    """Where each label is in either map, and one pixel around it, which may be ``ignore``."""
    from scipy.ndimage import find_objects

    most = max(max(members(label)) for label in labels)
    found = [find_objects(label_map, most) for label_map in (prediction, reference)]
    boxes = []
    for label in labels:
        there = [box for objects in found for k in members(label) if (box := objects[k - 1]) is not None]
        sides = zip(*there, strict=True)  # of each axis, a slice for each map that holds the label
        box = tuple(slice(max(min(s.start for s in side) - 1, 0), max(s.stop for s in side) + 1) for side in sides)
        boxes.append(box or (slice(0, 0),) * reference.ndim)
    return boxes


def _within(label_map: Label, label: Region) -> Mask:
    """Where the map has the value, or one of the region."""
    return reduce(np.logical_or, (label_map == value for value in members(label)))


def _surface(mask: Mask, unknown: Mask) -> Mask:
    """Known pixels of the mask with a face neighbour that is known and outside of it; (*S) -> (*S)."""
    padded = np.pad(mask | unknown, 1)
    inside = np.ones_like(mask)
    for axis in range(mask.ndim):
        for neighbour in (slice(None, -2), slice(2, None)):
            inside &= padded[tuple(neighbour if a == axis else slice(1, -1) for a in range(mask.ndim))]
    surface: Mask = mask & ~unknown & ~inside
    return surface


def _to_nearest(surface: Mask, other: Mask, spacing: Floats) -> Floats:
    """From each pixel of one surface, (N,), to the nearest of the other; inf where there is none."""
    from scipy.spatial import KDTree

    place = np.flatnonzero(surface)
    apart = ~other.flat[place]  # of pixels on both surfaces the distance is 0
    distances = np.zeros(len(place))
    if apart.any():
        there, here = (_points(flat, other.shape, spacing) for flat in (np.flatnonzero(other), place[apart]))
        tree = KDTree(there, leafsize=48, compact_nodes=False, balanced_tree=False)  # built fast: it is asked once
        distances[apart] = tree.query(here)[0]
    return distances


def _points(flat: NDArray[np.intp], shape: tuple[int, ...], spacing: Floats) -> Floats:
    """Flat positions (N,) -> coordinates (N, dims)."""
    return np.stack(np.unravel_index(flat, shape), axis=-1) * spacing
