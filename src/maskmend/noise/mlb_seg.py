"""The noise of MLB-Seg (MICCAI 2023): slices turned, dilated or eroded by large squares, and cut to ellipses."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from .base import UNIT, Draw, Mask, Noise, Random, Spacing, Unit, pixel_size, pixels, whole
from .cube import cube

Size = tuple[float, ...]
LEVELS = {  # sides of the squares, and the chance of each or one before it (released script)
    "L1": ((7, 14, 21, 49, 63), (0.05, 0.1, 0.2, 0.6, 1.0)),
    "L2": ((7, 14, 21, 28, 35), (0.1, 0.2, 0.5, 0.7, 1.0)),
    "L3": ((7, 11, 13, 17, 21), (0.4, 0.6, 0.8, 0.9, 1.0)),
}


class MLBSeg(Noise):
    """Turns a slice's mask, dilates or erodes it by a square, and replaces half of those that are large by the ellipse
    in their bounding box. Small masks are emptied. Of a volume each slice along the first axis by itself.

    On prostates at 256 x 256 a Dice of 0.41 (L1), 0.62 (L2) and 0.80 (L3) is left.
    """

    name: ClassVar[str] = "mlb_seg"
    source: ClassVar[str] = (
        "MLB-Seg, MICCAI 2023, Noisy-Supervision Synthesizing; the released script of L2B, by the same authors"
    )
    strength: ClassVar[Mapping[str, float]] = {"scale": 20}

    level: Literal["L1", "L2", "L3"] = Field(
        "L2", description="which squares: L1 is the worst (the paper: L2 where it says nothing)"
    )
    scale: float = Field(1.0, ge=0, allow_inf_nan=False, description="what the sides of the squares are multiplied by")
    angle_deg: int = Field(20, ge=0, le=180, description="largest angle, either way (released: 20)")
    about: Literal["mask", "image"] = Field(
        "mask", description="whose middle it turns about (released: image, which throws what is far from it farther)"
    )
    min_area: float = Field(
        300, ge=0, description="masks of a slice up to this area are small, and become no ellipse (released: 300)"
    )
    small: Literal["empty", "keep"] = Field("empty", description="what is done with small ones (released: empty)")
    unit: Unit = Field("px_at_256", description=f"{UNIT} (released: px; its squares suit slices of about 256 x 256)")

    def draw(self, mask: Mask, rng: Random, spacing_mm: Spacing = None) -> Draw:
        """Four uniforms for each slice, empty or not: angle, which of the two, square, ellipse."""
        size = pixel_size(self.unit, mask.shape, spacing_mm)
        slices = mask.reshape(-1, *mask.shape[-2:])
        drawn = zip(slices, rng.random((len(slices), 4)).tolist(), strict=True)
        done = [(place, self._draw_slice(each, size, *four)) for place, (each, four) in enumerate(drawn) if each.any()]
        return {"slices": [{"slice": place} | how for place, how in done]}

    def _draw_slice(
        self, mask: Mask, size: Size, turn: float, kind: float, side: float, ellipse: float
    ) -> dict[str, Any]:
        if self._is_small(mask, size):
            return {"kind": self.small}
        sides, up_to = LEVELS[self.level]
        return {
            "kind": "erode" if kind < 0.5 else "dilate",
            "angle_deg": whole(-self.angle_deg, self.angle_deg, turn),
            "side": sides[bisect_right(up_to, side)],
            "ellipse": ellipse < 0.5,
        }

    def apply(self, mask: Mask, draw: Draw, spacing_mm: Spacing = None) -> Mask:
        """A corrupted copy of ``mask``, bool (*S)."""
        size = pixel_size(self.unit, mask.shape, spacing_mm)
        worse = np.zeros_like(mask, dtype=bool)
        given, made = (array.reshape(-1, *mask.shape[-2:]) for array in (mask, worse))  # views of slices
        for done in draw["slices"]:
            place = done["slice"]
            if done["kind"] == "keep":
                made[place] = given[place]
            elif done["kind"] != "empty":
                made[place] = self._apply_slice(given[place].astype(bool), done, size)
        return worse

    def _apply_slice(self, mask: Mask, done: Draw, size: Size) -> Mask:
        middle = np.argwhere(mask).mean(axis=0) + 0.5 if self.about == "mask" else np.array(mask.shape) / 2
        sides = pixels(done["side"] * self.scale, size[-2:])
        worse = cube(turned(mask, done["angle_deg"], middle), sides, done["kind"] == "dilate")
        return ellipse_in(worse) if done["ellipse"] and not self._is_small(worse, size) else worse

    def _is_small(self, mask: Mask, size: Size) -> bool:
        return bool(mask.sum() * size[-1] * size[-2] <= self.min_area)


def turned(mask: Mask, angle_deg: float, middle: NDArray[np.float64]) -> Mask:
    """``mask``, bool (H, W), turned counterclockwise about ``middle``, by the nearest pixel."""
    from PIL import Image

    picture = Image.fromarray(mask.astype(np.uint8)).rotate(angle_deg, center=(middle[1], middle[0]))
    return np.asarray(picture) > 0


def ellipse_in(mask: Mask) -> Mask:
    """The ellipse in the bounding box of ``mask``, bool (H, W); middle and half axes are whole pixels, rounded down.

    A half axis of 0 is taken for one of half a pixel.
    """
    inside = np.zeros(mask.shape)
    for axis, places in enumerate(np.ogrid[tuple(map(slice, mask.shape))]):
        there = np.flatnonzero(mask.any(axis=1 - axis))
        low, high = int(there[0]), int(there[-1])
        inside = inside + ((places - (low + high) // 2) / max((high - low) // 2, 0.5)) ** 2
    return inside <= 1
