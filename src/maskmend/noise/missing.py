"""Labels that were never drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from pydantic import Field

from .base import Draw, Mask, Noise, Random, Spacing


class Missing(Noise):
    """Empties the mask of a class with a probability, each class by itself."""

    name: ClassVar[str] = "missing"
    source: ClassVar[str] = "Deep Self-cleansing, arXiv 2409.05024, Sec. 3.2: missing-label noise"
    strength: ClassVar[Mapping[str, float]] = {"chance": 1}

    chance: float = Field(
        1.0, ge=0, le=1, description="chance that a class's mask is emptied (the paper: 1, in a fraction of the cases)"
    )

    def draw(self, mask: Mask, rng: Random, spacing_mm: Spacing = None) -> Draw:
        """One uniform: whether it is missing."""
        return {"kind": "missing" if rng.random() < self.chance else "kept"}

    def apply(self, mask: Mask, draw: Draw, spacing_mm: Spacing = None) -> Mask:
        """An empty mask, bool (*S), or a copy of ``mask``."""
        return np.zeros_like(mask, dtype=bool) if draw["kind"] == "missing" else mask.astype(bool)
