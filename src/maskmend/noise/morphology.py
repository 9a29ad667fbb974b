"""Masks drawn too wide or too narrow: K(k1-k2) of GSD-Net (MedIA 2026, Table 3, "S_DE")."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from .base import Mask, Noise, Random


class Morphology(Noise):
    """Dilates or erodes, with equal chance, by a Euclidean radius drawn evenly between ``low`` and ``high``."""

    name: ClassVar[str] = "dilate_erode"
    source: ClassVar[str] = "GSD-Net, MedIA 2026, Table 3"

    low: float = Field(
        9, ge=0, allow_inf_nan=False, description="k1, the smallest radius (GSD-Net, Table 3, S_DE at 256 x 256)"
    )
    high: float = Field(11, ge=0, allow_inf_nan=False, description="k2, the largest radius (Table 3)")
    unit: Literal["px", "mm"] = Field("px", description="what the radii are measured in (the paper: pixels)")
    keep_nonempty: bool = Field(
        True,
        description="erode a mask that would vanish by the largest radius it survives (released code: no)",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low ({self.low:g}) must not be larger than high ({self.high:g})")
        return self

    def __call__(self, mask: Mask, rng: Random, spacing_mm: tuple[float, ...] | None = None) -> Mask:
        """A dilated or eroded copy of ``mask``, bool (*S). Draws two uniforms: which of the two, then the radius.

        Raises ValueError where radii are in mm and ``spacing_mm`` is not given.
        """
        if self.unit == "mm" and spacing_mm is None:
            raise ValueError("a radius in mm needs the spacing of the mask in mm")
        wider = rng.random() > 0.5
        radius = float(self.low + (self.high - self.low) * rng.random())
        sampling = spacing_mm if self.unit == "mm" else None
        return dilate(mask, radius, sampling) if wider else erode(mask, radius, sampling, self.keep_nonempty)


def dilate(mask: Mask, radius: float, sampling: tuple[float, ...] | None = None) -> Mask:
    """All pixels closer than ``radius`` to ``mask``, bool (*S); in pixels, or as in ``sampling``."""
    return np.asarray(distance(~mask, sampling) < radius) | mask


def erode(mask: Mask, radius: float, sampling: tuple[float, ...] | None = None, keep_nonempty: bool = False) -> Mask:
    """All pixels of ``mask``, bool (*S), ``radius`` or more from the background; in pixels, or as in ``sampling``.

    ``keep_nonempty``: a mask that would vanish is eroded by the largest radius that leaves something.
    """
    depth = distance(mask, sampling)
    if keep_nonempty:
        radius = min(radius, float(depth.max(initial=0)))
    return mask & np.asarray(depth >= radius)


def distance(mask: Mask, sampling: tuple[float, ...] | None = None) -> NDArray[np.float32]:
    """Euclidean distance of each pixel of ``mask``, bool (*S), to the nearest one outside; infinite without one."""
    import edt

    if mask.all():
        return np.full(mask.shape, np.inf, np.float32)
    return np.asarray(edt.edt(np.ascontiguousarray(mask), anisotropy=sampling or (1.0,) * mask.ndim), np.float32)
