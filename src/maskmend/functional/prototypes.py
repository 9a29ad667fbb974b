"""Prototypes of regions from the cells of a grid, and likeness to them (Deep Self-cleansing Sec. 2.3).

With unit vectors, a sum of cosines is one product with the sum of the vectors. So nothing here compares cells with
cells or pixels with prototypes: the cost is one look at the regions' pixels and one product with all pixels, and cells
may be as small as pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-8
"""Vectors shorter than this are like nothing: their cosines are 0."""


@dataclass(frozen=True)
class Cells:
    """The cells that hold pixels of a region, of all regions of a batch one after the other, U in all.

    means (U, F): the mean feature of those pixels, Eq. 4. region (U,) int64: b * R + r for region r of case b.
    place (U,) int64: number of the cell in its grid, in array order. count: cells of one grid.
    """

    means: Tensor
    region: Tensor
    place: Tensor
    count: int


@dataclass(frozen=True)
class Sums:
    """What a part of a batch adds to ``Cells``: the sum of features (U, F) and the pixels (U,) of each cell of all
    regions, ``key`` (U,), numbered (b * R + r) * count + place."""

    key: Tensor
    total: Tensor
    pixels: Tensor


def cells(features: Tensor, regions: Tensor, cell: Sequence[int]) -> Cells:
    """Mean features over the part of each region (B, R, *S) bool in each cell of a grid. Eq. 4.

    features (B, F, *S); ``cell`` in pixels, one length per axis. Cells at the end of an axis may be smaller.
    """
    grid = cells_along(regions.shape[2:], cell)
    return joined([sums(features, regions, cell, grid, (0,) * len(grid))], grid)


def cells_along(shape: Sequence[int], cell: Sequence[int]) -> list[int]:
    """The cells of a grid along each axis of *S."""
    return [math.ceil(n / c) for n, c in zip(shape, cell, strict=True)]


def sums(features: Tensor, regions: Tensor, cell: Sequence[int], grid: Sequence[int], corner: Sequence[int]) -> Sums:
    """Of a part of images, which lies at ``corner``; the rest is as ``cells`` has it."""
    case, number, *pixel = regions.nonzero(as_tuple=True)
    key = case * regions.shape[1] + number
    for at, length, along, start in zip(pixel, cell, grid, corner, strict=True):
        key = key * along + (at + start) // length
    key, member = key.unique(return_inverse=True)
    inside = features.movedim(1, -1)[(case, *pixel)].float()
    total = inside.new_zeros(len(key), inside.shape[1]).index_add_(0, member, inside)
    return Sums(key, total, member.bincount(minlength=len(key)))


def joined(parts: Sequence[Sums], grid: Sequence[int]) -> Cells:
    """The cells of the whole from what its parts, one at least, add to them."""
    whole, count = parts[0], math.prod(grid)
    if len(parts) > 1:
        key, member = torch.cat([part.key for part in parts]).unique(return_inverse=True)
        total, pixels = torch.cat([part.total for part in parts]), torch.cat([part.pixels for part in parts])
        pixels = pixels.new_zeros(len(key)).index_add_(0, member, pixels)
        whole = Sums(key, total.new_zeros(len(key), total.shape[1]).index_add_(0, member, total), pixels)
    return Cells(whole.total / whole.pixels.unsqueeze(1), whole.key // count, whole.key % count, count)


def representation(cells: Cells, regions: int) -> Tensor:
    """D: how alike each cell is to all cells of its region, summed cosines, (U,); outside the region it is 0. Eq. 5."""
    unit = F.normalize(cells.means, eps=EPS)
    return (unit * _sums(unit, cells.region, regions)[cells.region]).sum(1)


def representative(degree: Tensor, cells: Cells, regions: int, sigma: float) -> Tensor:
    """Cells whose D, scaled to [0, 1] over their whole grid, exceeds sigma, (U,) bool; all where D is even."""
    full = cells.region.bincount(minlength=regions) == cells.count
    outside = torch.where(full, torch.inf, 0.0)
    low = outside.scatter_reduce(0, cells.region, degree, "amin")[cells.region]
    high = degree.new_full((regions,), -torch.inf).scatter_reduce(0, cells.region, degree, "amax")[cells.region]
    span = high - low
    return (degree - low > sigma * span) | (span <= 1e-6 * high.abs())


def prototypes(features: Tensor, regions: Tensor, cell: Sequence[int], sigma: float) -> Tensor:
    """Mean unit vector of the representative cells of each region (B, R, *S) bool: (B, R, F), 0 for an empty region."""
    return prototypes_of(cells(features, regions, cell), regions.shape[:2], sigma)


def prototypes_of(found: Cells, regions: Sequence[int], sigma: float) -> Tensor:
    """The same from cells of so many regions, (B, R)."""
    total = math.prod(regions)
    chosen = representative(representation(found, total), found, total, sigma)
    owner = found.region[chosen]
    means = _sums(F.normalize(found.means[chosen], eps=EPS), owner, total)
    means /= owner.bincount(minlength=total).clamp_min(1).unsqueeze(1)
    return means.view(*regions, -1)


def likeness(features: Tensor, prototypes: Tensor) -> Tensor:
    """P_fg: mean cosine of each pixel with each region's prototypes, by ``prototypes``, (B, R, *S). Eq. 6."""
    with torch.autocast(features.device.type, enabled=False):  # in full precision
        flat = features.flatten(2).float()
        square = torch.zeros_like(flat[:, :1])
        for feature in flat.split(1, dim=1):  # ten times as fast as a norm over this axis, and no copy
            square.addcmul_(feature, feature)
        cosine: Tensor = prototypes @ flat / square.sqrt_().clamp_min_(EPS)
    return cosine.view(*cosine.shape[:2], *features.shape[2:])


def common_divisors(shapes: Sequence[Sequence[int]], largest: int | Sequence[int]) -> int | list[int]:
    """The most cells, up to ``largest``, that divide every length; for each axis by itself if ``largest`` is."""
    if isinstance(largest, int):
        every = math.gcd(*(n for shape in shapes for n in shape))
        return next(k for k in range(largest, 0, -1) if every % k == 0)
    axes = zip(zip(*shapes, strict=True), largest, strict=True)
    return [next(k for k in range(most, 0, -1) if math.gcd(*lengths) % k == 0) for lengths, most in axes]


def _sums(value: Tensor, group: Tensor, groups: int) -> Tensor:
    """Sums of the rows (U, F) of each group, (groups, F)."""
    return value.new_zeros(groups, value.shape[1]).index_add_(0, group, value)
