"""Markov boundary noise: a random walk of the boundary, biased inwards or outwards.

Yao et al., Learning to segment from noisy annotations: a spatial correction approach, ICLR 2023; M(T, P, V) in Table 3
of GSD-Net (MedIA 2026).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from pydantic import Field

from .base import Draw, Mask, Noise, Random, Spacing, box

STRIDE = 16
"""Steps between two looks for the box that holds the mask."""


class Markov(Noise):
    """T steps; in each, the pixels on one side of the boundary flip at random: P = 0 eats the mask, P = 1 lets it grow.

    The net drift is about 2 V (P - 0.5) T pixels. GSD-Net's settings at 256 x 256, "S_R": (200, 0.2, 0.05), "S_E":
    (200, 0.8, 0.05); for BraTS (200, 0.4, 0.05) and (50, 0.6, 0.05). A small object may vanish, as it may in theirs.
    """

    name: ClassVar[str] = "markov"
    source: ClassVar[str] = "Yao et al., ICLR 2023; GSD-Net, MedIA 2026, Table 3"
    strength: ClassVar[Mapping[str, float]] = {"steps": 2000}

    steps: int = Field(200, ge=0, description="T, the number of steps (GSD-Net, Table 3, S_R)")
    preference: float = Field(0.2, ge=0, le=1, description="P, the chance that a step grows the mask (Table 3, S_R)")
    variance: float = Field(0.05, ge=0, le=1, description="V, the chance that a boundary pixel flips (Table 3)")
    flip: float = Field(
        0.0, ge=0, le=1, description="chance that any pixel flips after the walk (released code: off in 2D, 0.2 in 3D)"
    )

    def draw(self, mask: Mask, rng: Random, spacing_mm: Spacing = None) -> Draw:
        """One uniform, for the seed of the walk's own randomness."""
        return {"seed": int(rng.random() * 2**53)}

    def apply(self, mask: Mask, draw: Draw, spacing_mm: Spacing = None) -> Mask:
        """The mask after a walk of its boundary. Lengths are in pixels; ``spacing_mm`` plays no part."""
        return self.walked(mask, np.random.default_rng(draw["seed"]))

    def walked(self, mask: Mask, rng: Random) -> Mask:
        """The mask, bool (*S), after T steps, the flips (if any) and the blur.

        Draws, in this order: T uniforms, one for each boundary pixel in raster order at each step, then (if ``flip``)
        one for each pixel.
        """
        walked = walk(mask, rng.random(self.steps) < self.preference, self.variance, rng)
        if self.flip:
            walked ^= rng.random(mask.shape) < self.flip
        return smooth(walked)


def walk(mask: Mask, grow: Mask, variance: float, rng: Random) -> Mask:
    """Moves the boundary of ``mask``, bool (*S), one step for each entry of ``grow`` (T,): outwards where it is true.

    A step looks at the background pixels that touch the mask (4 neighbours in 2D, 6 in 3D), or at those of the mask
    that touch the background; all of them flip at once, each with chance ``variance``. What lies outside the image is
    neither.
    """
    mask = mask.astype(bool)
    for start in range(0, len(grow), STRIDE):
        if not mask.any():
            break
        view = mask[box(mask, margin=STRIDE)]  # all that can change: the mask spreads by a pixel a step
        for outwards in grow[start : start + STRIDE]:
            edge = touching(view) & ~view if outwards else touching(~view) & view
            places = np.nonzero(edge)
            flips = rng.random(len(places[0])) < variance
            view[tuple(place[flips] for place in places)] = outwards
    return mask


def touching(mask: Mask) -> Mask:
    """Pixels with a neighbour along an axis that is in ``mask``, bool (*S)."""
    found = np.zeros_like(mask)
    for axis in range(mask.ndim):
        here, there = np.moveaxis(found, axis, 0), np.moveaxis(mask, axis, 0)
        here[:-1] |= there[1:]
        here[1:] |= there[:-1]
    return found


def smooth(mask: Mask) -> Mask:
    """Blurs ``mask``, bool (*S), and cuts it at one half, as the released code does: 2D by a 5 x 5 Gaussian of sigma 2,
    mirrored at the border; 3D by a Gaussian of sigma 1 on 8-bit integers, whose rounding down at each axis eats a
    little of the mask."""
    from scipy.ndimage import convolve1d, gaussian_filter

    if mask.ndim == 3:
        return np.asarray(gaussian_filter(mask.astype(np.uint8) * np.uint8(255), 1, mode="nearest") > 127)
    kernel = np.exp(-(np.arange(-2, 3) ** 2) / 8)
    blurred = mask.astype(float)
    for axis in range(mask.ndim):
        blurred = convolve1d(blurred, kernel / kernel.sum(), axis=axis, mode="mirror")
    return np.asarray(blurred > 0.5)
