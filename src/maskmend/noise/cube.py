"""Dilation and erosion by a square or cube of ones: the noise of MTCL, used by ALC (arXiv 2503.12218)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from .base import UNIT, Draw, Mask, Noise, Random, Spacing, Unit, box, pixel_size, pixels, whole
from .morphology import dilate, erode


class Cube(Noise):
    """Dilates or erodes, with equal chance, by a cube (in 2D a square) whose side is a whole number between ``low`` and
    ``high``.

    A side of r moves the boundary by about r / 2, and by r / 2 more along each diagonal. ALC's text speaks of "3-15
    pixels", which read literally is the ``shift``. A small object may vanish, as it may in theirs.
    """

    name: ClassVar[str] = "dilate_erode_cube"
    source: ClassVar[str] = "MTCL, TMI 2022, released code; ALC, arXiv 2503.12218, Sec. III-A"
    strength: ClassVar[Mapping[str, float]] = {"low": 1000, "high": 1000}

    low: float = Field(3, ge=0, allow_inf_nan=False, description="the smallest r (MTCL, ALC: 3)")
    high: float = Field(15, ge=0, allow_inf_nan=False, description="the largest r (MTCL, ALC: 15)")
    reading: Literal["side", "shift"] = Field(
        "side", description="r is the side of the cube (released), or how far the boundary moves (ALC, literally)"
    )
    unit: Unit = Field("px", description=f"{UNIT} (released: px)")
    outside: Literal["background", "nothing"] = Field(
        "background", description="what is outside the image, to an erosion by a cube (released: background)"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low ({self.low:g}) must not be larger than high ({self.high:g})")
        return self

    def draw(self, mask: Mask, rng: Random, spacing_mm: Spacing = None) -> Draw:
        """Two uniforms: which of the two, then r."""
        kind = "dilate" if rng.random() < 0.5 else "erode"
        return {"kind": kind, self.reading: whole(self.low, self.high, rng.random())}

    def apply(self, mask: Mask, draw: Draw, spacing_mm: Spacing = None) -> Mask:
        """A dilated or eroded copy of ``mask``, bool (*S)."""
        size, wider = pixel_size(self.unit, mask.shape, spacing_mm), draw["kind"] == "dilate"
        if self.reading == "shift":
            return ball(mask, draw["shift"], size, wider)
        return cube(mask, pixels(draw["side"], size), wider, lower=wider, outside=self.outside == "nothing")


def ball(mask: Mask, radius: float, size: tuple[float, ...], wider: bool) -> Mask:
    """``mask``, bool (*S), dilated or eroded by all that is at most ``radius`` away; ``size`` is that of a pixel."""
    rim = radius * (1 + 1e-6)  # what is exactly so far away belongs to it
    return dilate(mask, rim, size) if wider else erode(mask, rim, size)


def cube(mask: Mask, sides: tuple[int, ...], wider: bool, lower: bool = False, outside: bool = True) -> Mask:
    """``mask``, bool (*S), dilated or eroded by a box of ``sides`` pixels. ``outside``: nothing erodes the mask from
    beyond the border of the image.

    The window of an even side has one pixel more before the middle than behind it, or with ``lower`` the other way
    round: then a dilation reaches one pixel farther towards lower indices.
    """
    from scipy.ndimage import maximum_filter1d, minimum_filter1d

    worse = mask.astype(bool)
    around = box(worse, margin=tuple(side if wider else 1 for side in sides))
    view = worse[around].view(np.uint8)
    for axis, side in enumerate(sides):
        if side > 1:
            origin = -1 if lower and side % 2 == 0 else 0
            change = maximum_filter1d if wider else minimum_filter1d
            view = change(view, side, axis=axis, mode="constant", cval=outside and not wider, origin=origin)
    worse[around] = view.astype(bool)
    return worse
