"""The noise of SP-guided (MICCAI 2021): a third of the masks dilated, a third eroded, a third turned and moved."""

from __future__ import annotations

from typing import ClassVar

from .affine import Affine
from .area import grow, shrink
from .base import Draw, Mask, Random, Spacing, pick


class SPGuided(Affine):
    """Dilates, erodes or displaces, with equal chance, until the share ``beta`` of the mask's own area is wrong.

    The paper's alpha is the share of masks that are corrupted at all. Settings (alpha, beta): (0.3, 0.5), (0.5, 0.5),
    (0.7, 0.7), (1, 0.7).
    """

    name: ClassVar[str] = "sp_guided"

    def draw(self, mask: Mask, rng: Random, spacing_mm: Spacing = None) -> Draw:
        """One uniform: which of the three; then those of ``affine``."""
        kind = pick(["dilate", "erode", "affine"], rng.random())
        return super().draw(mask, rng, spacing_mm) if kind == "affine" else {"kind": kind}

    def apply(self, mask: Mask, draw: Draw, spacing_mm: Spacing = None) -> Mask:
        """A corrupted copy of ``mask``, bool (*S)."""
        if draw["kind"] == "affine":
            return super().apply(mask, draw, spacing_mm)
        return grow(mask, self.beta) if draw["kind"] == "dilate" else shrink(mask, self.beta)
