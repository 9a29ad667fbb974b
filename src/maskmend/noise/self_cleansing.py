"""The noise of Deep Self-cleansing (arXiv 2409.05024): labels that are missing, or whose boundary is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from .base import UNIT, Draw, Mask, Noise, Random, Spacing, Unit, pixel_size, pixels, whole
from .cube import ball, cube


class SelfCleansing(Noise):
    """Empties the mask, or else dilates or erodes it by a whole number of pixels around ``beta``.

    The paper corrupts 30, 50 or 70 % of the slices, with beta 5 or 10. An erosion may leave nothing of a small organ.
    """

    name: ClassVar[str] = "self_cleansing"
    source: ClassVar[str] = "Deep Self-cleansing, arXiv 2409.05024, Sec. 3.2"
    strength: ClassVar[Mapping[str, float]] = {"beta": 1000, "spread": 1000}

    beta: float = Field(5, ge=0, allow_inf_nan=False, description="the middle radius (the paper: 5 and 10)")
    spread: float = Field(3, ge=0, allow_inf_nan=False, description="radii go from beta - spread to beta + spread")
    missing: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of emptied masks; of the rest one half is dilated (the paper gives no shares)",
    )
    shape: Literal["disk", "square"] = Field(
        "disk",
        description="what it dilates by: a disk (ball), or a square (cube) of side 2 r + 1 (the paper is silent)",
    )
    unit: Unit = Field("px", description=f"{UNIT} (the paper: px)")

    def draw(self, mask: Mask, rng: Random, spacing_mm: Spacing = None) -> Draw:
        """Two uniforms: what is done, then the radius."""
        what, how_far = rng.random(), rng.random()
        if what < self.missing:
            return {"kind": "missing"}
        kind = "dilate" if what < (1 + self.missing) / 2 else "erode"
        return {"kind": kind, "radius": whole(max(self.beta - self.spread, 0), self.beta + self.spread, how_far)}

    def apply(self, mask: Mask, draw: Draw, spacing_mm: Spacing = None) -> Mask:
        """A corrupted copy of ``mask``, bool (*S)."""
        if draw["kind"] == "missing":
            return np.zeros_like(mask, dtype=bool)
        size, wider = pixel_size(self.unit, mask.shape, spacing_mm), draw["kind"] == "dilate"
        if self.shape == "disk":
            return ball(mask, draw["radius"], size, wider)
        return cube(mask, tuple(2 * side + 1 for side in pixels(draw["radius"], size)), wider)
