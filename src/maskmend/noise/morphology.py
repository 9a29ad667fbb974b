"""Masks drawn too wide or too narrow: K(k1-k2) of GSD-Net (MedIA 2026, Table 3, "S_DE")."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from .base import UNIT, Draw, Mask, Noise, Random, Spacing, Unit, box, pixel_size


class Morphology(Noise):
    """Dilates or erodes, with equal chance, by a Euclidean radius drawn evenly between ``low`` and ``high``."""

    name: ClassVar[str] = "dilate_erode"
    source: ClassVar[str] = "GSD-Net, MedIA 2026, Table 3"
    strength: ClassVar[Mapping[str, float]] = {"low": 1000, "high": 1000}

    low: float = Field(
        9, ge=0, allow_inf_nan=False, description="k1, the smallest radius (GSD-Net, Table 3, S_DE at 256 x 256)"
    )
    high: float = Field(11, ge=0, allow_inf_nan=False, description="k2, the largest radius (Table 3)")
    unit: Unit = Field("px", description=f"{UNIT} (the paper: px)")
    keep_nonempty: bool = Field(
        True,
        description="erode a mask that would vanish by the largest radius it survives (released code: no)",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low ({self.low:g}) must not be larger than high ({self.high:g})")
        return self

    def draw(self, mask: Mask, rng: Random, spacing_mm: Spacing = None) -> Draw:
        """Two uniforms: which of the two, then the radius."""
        kind = "dilate" if rng.random() > 0.5 else "erode"
        return {"kind": kind, "radius": float(self.low + (self.high - self.low) * rng.random())}

    def apply(self, mask: Mask, draw: Draw, spacing_mm: Spacing = None) -> Mask:
        """A dilated or eroded copy of ``mask``, bool (*S)."""
        size = pixel_size(self.unit, mask.shape, spacing_mm)
        if draw["kind"] == "dilate":
            return dilate(mask, draw["radius"], size)
        return erode(mask, draw["radius"], size, self.keep_nonempty)


def dilate(mask: Mask, radius: float, size: tuple[float, ...] | None = None) -> Mask:
    """All pixels closer than ``radius`` to ``mask``, bool (*S); ``size`` is that of a pixel (1)."""
    size = size or (1.0,) * mask.ndim
    worse = mask.astype(bool)
    view = worse[box(worse, margin=tuple(math.ceil(radius / step) for step in size))]
    view |= distance(~view, size) < radius
    return worse


def erode(mask: Mask, radius: float, size: tuple[float, ...] | None = None, keep_nonempty: bool = False) -> Mask:
    """All pixels of ``mask``, bool (*S), ``radius`` or more from the background; ``size`` is that of a pixel (1).

    ``keep_nonempty``: a mask that would vanish is eroded by the largest radius that leaves something.
    """
    worse = mask.astype(bool)
    view = worse[box(worse, margin=1)]
    depth = distance(view, size or (1.0,) * mask.ndim)
    if keep_nonempty:
        radius = min(radius, float(depth.max(initial=0)))
    view &= depth >= radius
    return worse


def distance(mask: Mask, size: tuple[float, ...]) -> NDArray[np.float32]:
    """Euclidean distance of each pixel of ``mask``, bool (*S), to the nearest one outside; infinite without one."""
    import edt

    if mask.all():
        return np.full(mask.shape, np.inf, np.float32)
    return np.asarray(edt.edt(np.ascontiguousarray(mask), anisotropy=size), np.float32)
