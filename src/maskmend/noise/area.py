"""Dilation and erosion by a share of the mask's own area, "relative beta": SP-guided (MICCAI 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from .base import Draw, Mask, Noise, Random, Spacing, box, pick

MARGIN = 32
"""Pixels around the mask that are looked at first."""


class Area(Noise):
    """Dilates or erodes, with equal chance, pixel by pixel until the area has changed by the share ``beta``.

    A large mask and a small one lose the same Dice: about 2 / (2 + beta) or 2 (1 - beta) / (2 - beta). A mask of a few
    pixels, which one step would change too much, stays as it is.
    """

    name: ClassVar[str] = "dilate_erode_area"
    source: ClassVar[str] = "SP-guided, MICCAI 2021, Sec. 3.1"
    strength: ClassVar[Mapping[str, float]] = {"beta": 20}

    beta: float = Field(
        0.5, ge=0, allow_inf_nan=False, description="area gained or lost, as a share of the mask's own (SP: 0.5, 0.7)"
    )

    def draw(self, mask: Mask, rng: Random, spacing_mm: Spacing = None) -> Draw:
        """One uniform: which of the two."""
        return {"kind": pick(["dilate", "erode"], rng.random())}

    def apply(self, mask: Mask, draw: Draw, spacing_mm: Spacing = None) -> Mask:
        """A dilated or eroded copy of ``mask``, bool (*S). There is no length in it: ``spacing_mm`` plays no part."""
        return grow(mask, self.beta) if draw["kind"] == "dilate" else shrink(mask, self.beta)


def grow(mask: Mask, beta: float) -> Mask:
    """``mask``, bool (*S), and the pixels at most n steps along the axes from it.

    n is the number of steps that comes nearest to a gain of ``beta`` times its area without filling the image.
    """
    worse, area = mask.astype(bool), int(mask.sum())
    goal, margin = area + int(beta * area), MARGIN
    while True:
        view = worse[box(worse, margin)]
        far = np.minimum(steps_to(view), margin + 1)  # a longer way is cut short by the box
        areas = np.cumsum(np.bincount(far.ravel(), minlength=margin + 2))[: margin + 1]
        if areas[-1] >= goal or view.size == mask.size:
            break
        margin *= 2
    view |= far <= _nearest(areas, goal, areas < mask.size)
    return worse


def shrink(mask: Mask, beta: float) -> Mask:
    """The pixels of ``mask``, bool (*S), more than n steps along the axes from the background.

    n is the number of steps that comes nearest to a loss of ``beta`` times its area and leaves something. What lies
    outside the image is background, as in SciPy's ``binary_erosion``.
    """
    worse, area = mask.astype(bool), int(mask.sum())
    view = worse[box(worse, margin=0)]
    depth = steps_to(~np.pad(view, 1))[(slice(1, -1),) * mask.ndim]
    areas = depth[view].size - np.cumsum(np.bincount(depth[view].ravel(), minlength=1))
    view &= depth > _nearest(areas, area - int(beta * area), areas > 0)
    return worse


def steps_to(mask: Mask) -> NDArray[np.int64]:
    """How many steps along the axes each pixel is from ``mask``, bool (*S); as good as infinite if it is empty."""
    from scipy.ndimage import distance_transform_cdt

    if not mask.any():
        return np.full(mask.shape, np.iinfo(np.int64).max)
    return np.asarray(distance_transform_cdt(~mask, metric="taxicab"), np.int64)


def _nearest(areas: NDArray[np.int64], goal: int, allowed: Mask) -> int:
    """The number of steps whose area is nearest to the goal; the larger of two as near, 0 if none is allowed."""
    away = np.where(allowed, np.abs(areas - goal), np.iinfo(np.int64).max)
    away[0] = abs(int(areas[0]) - goal)
    return len(away) - 1 - int(away[::-1].argmin())
