"""Masks turned and displaced: the affine noise of SP-guided (MICCAI 2021), in 2D and 3D."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from itertools import product
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from .base import UNIT, Draw, Mask, Noise, Random, Spacing, Unit, box, pick, pixel_size

Points = NDArray[np.int64]
WHOLE = 1 - 1e-9
"""Where linear interpolation between pixels of the mask alone rounds to."""
RELEASED_RANGE = 100
"""The longest displacement that the released code tries, in pixels."""


class Affine(Noise):
    """Turns the mask by a random angle, then moves it until a share ``beta`` of its own area is wrong.

    The way goes along the axes or diagonally: 8 directions in 2D, 26 in 3D, where the mask turns about one axis. The
    Dice left is about 1 - beta / 2.
    """

    name: ClassVar[str] = "affine"
    source: ClassVar[str] = "SP-guided, MICCAI 2021, Sec. 3.1"
    strength: ClassVar[Mapping[str, float]] = {"beta": 2}

    beta: float = Field(
        0.5, ge=0, le=2, description="wrong pixels, missed or added, as a share of the mask's area (SP: 0.5, 0.7)"
    )
    angle_deg: float = Field(
        30, ge=0, le=180, description="largest angle, either way (released: ISIC 30, lung and heart 15, clavicle 2)"
    )
    about: Literal["mask", "image"] = Field(
        "mask", description="whose middle it turns about (released: image, which throws what is far from it farther)"
    )
    unit: Unit = Field("px", description=f"{UNIT}; matters for angles where pixels are not square (released: px)")
    released: bool = Field(
        False,
        description="with the released code's faults: a turned mask loses its rim, all ways lead towards the ends of "
        "the axes, and the last step tried is taken, not the nearest",
    )

    def draw(self, mask: Mask, rng: Random, spacing_mm: Spacing = None) -> Draw:
        """Two uniforms, for the angle and the direction; in 3D a third, for the axis to turn about."""
        ways = [list(way) for way in product((-1, 0, 1), repeat=mask.ndim) if any(way)]
        drawn = {"kind": "affine", "angle_deg": self.angle_deg * (2 * float(rng.random()) - 1)}
        drawn["direction"] = pick(ways, rng.random())
        return drawn | ({"axis": pick(range(3), rng.random())} if mask.ndim == 3 else {})

    def apply(self, mask: Mask, draw: Draw, spacing_mm: Spacing = None) -> Mask:
        """A turned and moved copy of ``mask``, bool (*S); what leaves the image is lost."""
        if not mask.any():
            return mask.copy()
        size = np.array(pixel_size(self.unit, mask.shape, spacing_mm))
        middle = np.argwhere(mask).mean(axis=0) if self.about == "mask" else (np.array(mask.shape) - 1) / 2
        points = turned(mask, rotation(draw, size), middle, least=WHOLE if self.released else 0.5)
        way = np.abs(draw["direction"]) if self.released else np.array(draw["direction"])
        way = way * size.min() / size  # pixels along each axis that one step goes

        def share(step: int) -> float:
            return wrong(mask, moved(points, way * step, mask.shape))

        step = last_tried(share, self.beta) if self.released else nearest(share, self.beta, extent(mask, points, way))
        worse = np.zeros_like(mask, dtype=bool)
        worse[tuple(moved(points, way * step, mask.shape).T)] = True
        return worse


def rotation(draw: Draw, size: NDArray[np.float64]) -> NDArray[np.float64]:
    """The matrix (ndim, ndim) that turns by the angle drawn, in pixels of ``size`` (ndim,)."""
    first, second = (axis for axis in range(len(size)) if axis != draw.get("axis"))
    angle = np.deg2rad(draw["angle_deg"])
    matrix = np.eye(len(size))
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[first, second], matrix[second, first] = np.sin(angle), -np.sin(angle)
    return matrix * size / size[:, None]


def turned(mask: Mask, matrix: NDArray[np.float64], middle: NDArray[np.float64], least: float) -> Points:
    """The pixels (N, ndim) of ``mask``, bool (*S), turned about ``middle``: those where linear interpolation gives
    ``least`` or more."""
    from scipy.ndimage import affine_transform

    around = box(mask, margin=1)
    start = np.array([side.start for side in around])
    corners = np.array(list(product(*[(side.start, side.stop) for side in around])))
    corners = (corners - middle) @ np.linalg.inv(matrix).T + middle
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, mask.shape)
    offset = middle + matrix @ (low - middle) - start
    shape = tuple(np.maximum(high - low, 0))
    values = affine_transform(mask[around].astype(float), matrix, offset, output_shape=shape, order=1)
    points: Points = np.argwhere(values >= least) + low
    return points


def moved(points: Points, way: NDArray[np.float64], shape: tuple[int, ...]) -> Points:
    """``points`` (N, ndim), displaced by ``way`` in pixels; those that leave the image are lost."""
    points = points + np.rint(way).astype(int)
    return points[((points >= 0) & (points < shape)).all(axis=1)]


def wrong(mask: Mask, points: Points) -> float:
    """Pixels that only one of ``mask``, bool (*S), and ``points`` (N, ndim) holds, as a share of the mask's area."""
    area = mask.sum()
    return float((area + len(points) - 2 * mask[tuple(points.T)].sum()) / area)


def extent(mask: Mask, points: Points, way: NDArray[np.float64]) -> int:
    """The number of steps along ``way`` after which ``points`` (N, ndim) have left ``mask`` behind."""
    both = np.concatenate([points, np.argwhere(mask)])
    sides = both.max(axis=0) - both.min(axis=0) + 1
    return int(np.ceil((sides[way != 0] / np.abs(way[way != 0])).min()))


def nearest(share: Callable[[int], float], beta: float, longest: int) -> int:
    """The step up to ``longest`` whose share is nearest to ``beta``, by bisection: a longer way is taken for worse."""
    step = bisect_left(range(longest), beta, key=share)
    return min(step, max(step - 1, 0), key=lambda step: abs(share(step) - beta))


def last_tried(share: Callable[[int], float], beta: float) -> int:
    """The last step that the released code's bisection looks at."""
    low, high, step = 0, RELEASED_RANGE, 0
    while low < high:
        step = (low + high) // 2
        if share(step) == beta:
            break
        low, high = (low, step - 1) if share(step) > beta else (step + 1, high)
    return step
