"""Cases too large for networks to see at once: they come as windows, which share a case's voxels out among them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any

from torch import Tensor

from ..types import Batch
from .plan import Plan

WHOLE = 2**22
"""Voxels of the largest case that networks see at once: in 3D they take some 1 KiB of memory each."""
WINDOW = 2**21
"""Voxels of a window, unless a patch has more."""


@dataclass(frozen=True)
class Tile:
    """A window of a case (*S): the voxels that are its own, and what it shows, along each axis."""

    own: tuple[slice, ...]
    shown: tuple[slice, ...]

    @property
    def inside(self) -> tuple[slice, ...]:
        """Its own voxels, counted from where the window begins; empty where it shows no others."""
        if self.own == self.shown:
            return ()
        pairs = zip(self.own, self.shown, strict=True)
        return tuple(slice(own.start - shown.start, own.stop - shown.start) for own, shown in pairs)


def tiles(shape: Sequence[int], plan: Plan, around: bool = True) -> Iterator[Tile]:
    """The windows of a case of this shape, in array order.

    Each shows a quarter of a patch around its own voxels, as windows that overlap by half do, as far as the case goes.
    All begin and end at multiples of what networks shrink images by: where a quarter of a patch is as far as they see,
    they answer as they would to the whole.
    """
    halo = [-(-p // (4 * k)) * k for p, k in zip(plan.patch, plan.multiple, strict=True)]
    step = _steps(shape, halo, plan)
    for corner in product(*(range(0, n, s) for n, s in zip(shape, step, strict=True))):
        own = tuple(slice(c, min(c + s, n)) for c, s, n in zip(corner, step, shape, strict=True))
        wide = tuple(slice(max(0, o.start - h), min(o.stop + h, n)) for o, h, n in zip(own, halo, shape, strict=True))
        yield Tile(own, wide if around else own)


def _steps(shape: Sequence[int], halo: Sequence[int], plan: Plan) -> tuple[int, ...]:
    """How many voxels are a window's own along each axis: half a patch, and more where ``WINDOW`` allows."""
    step = [max(k, p // (2 * k) * k) for p, k in zip(plan.patch, plan.multiple, strict=True)]
    while True:
        room = [axis for axis, n in enumerate(shape) if step[axis] < n]
        axis = min(room, key=lambda axis: step[axis] / halo[axis], default=None)
        if axis is None:
            return tuple(step)
        more = [s + plan.multiple[axis] * (a == axis) for a, s in enumerate(step)]
        if math.prod(min(n, s + 2 * h) for n, s, h in zip(shape, more, halo, strict=True)) > WINDOW:
            return tuple(step)
        step = more


class LargeCase(Batch):
    """One case that is read where it is asked for: window by window, or whole at the first look at a tensor of it.

    ``read``: the batch that shows the case in these slices of its shape (*S).
    """

    read: Callable[[tuple[slice, ...]], Batch]
    shape: tuple[int, ...]
    plan: Plan

    def __init__(
        self, read: Callable[[tuple[slice, ...]], Batch], shape: Sequence[int], plan: Plan, index: Tensor, trust: Tensor
    ) -> None:
        vars(self).update(read=read, shape=tuple(shape), plan=plan, index=index, trust=trust, place=(), inside=())

    def __len__(self) -> int:
        return 1

    @property
    def large(self) -> bool:
        return True

    def parts(self, around: bool = True) -> Iterable[Batch]:
        return Parts(self, around)

    def rows(self, pick: Tensor) -> Batch:
        if len(self.index[pick]):
            return self
        return self.read((slice(0, 1),) * len(self.shape)).rows(pick)

    def each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return self.whole.each(change)

    @cached_property
    def whole(self) -> Batch:
        return self.read(tuple(slice(0, n) for n in self.shape))

    def __getattr__(self, name: str) -> Any:
        if name in ("image", "label", "maps"):
            return getattr(self.whole, name)
        raise AttributeError(name)


@dataclass(frozen=True)
class Parts:
    """The windows of a case, read anew each time."""

    case: LargeCase
    around: bool

    def __iter__(self) -> Iterator[Batch]:
        for tile in tiles(self.case.shape, self.case.plan, self.around):
            yield replace(self.case.read(tile.shown), place=tile.own, inside=tile.inside)
