"""What every noise is: settings, a draw from chance, and a pure function from a mask and a draw to a worse mask."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..types import Config

Mask = NDArray[np.bool_]
Spacing = tuple[float, ...] | None
Draw = Mapping[str, Any]
"""What chance decided, in plain values that JSON holds: ``{"kind": "dilate", "radius": 9.7}``."""
Unit = Literal["px", "mm", "px_at_256"]
UNIT = "what lengths are in: px, mm, or px_at_256 (pixels, were the longer side of a slice 256)"
T = TypeVar("T")


class Random(Protocol):
    """The only thing a noise asks of chance: ``np.random.Generator`` and ``np.random.RandomState`` both have it."""

    def random(self, size: Any = None) -> Any: ...


class Kind(Config):
    """A way in which labels go wrong. The fields of a subclass are its parameters; each says in its description where
    its default comes from.

    ``strength``: the fields that make it stronger when they are multiplied by one factor, and their largest values.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    strength: ClassVar[Mapping[str, float]] = {}


class Noise(Kind):
    """A way in which the mask of one class goes wrong. A file in this folder that holds a subclass registers it."""

    @abstractmethod
    def draw(self, mask: Mask, rng: Random, spacing_mm: Spacing = None) -> Draw:
        """What chance decides to do to ``mask``, bool (*S), 2D or 3D; ``spacing_mm`` in array order."""

    @abstractmethod
    def apply(self, mask: Mask, draw: Draw, spacing_mm: Spacing = None) -> Mask:
        """A corrupted copy of ``mask``, bool (*S), by what was drawn: the same draw, the same copy."""

    def __call__(self, mask: Mask, rng: Random, spacing_mm: Spacing = None) -> Mask:
        """Draws, and applies what was drawn."""
        return self.apply(mask, self.draw(mask, rng, spacing_mm), spacing_mm)


def pick(options: Sequence[T], uniform: float) -> T:
    """One of ``options``, each as likely as the other, by a number in [0, 1)."""
    return options[int(uniform * len(options))]


def whole(low: float, high: float, uniform: float) -> int:
    """A whole number from ``low`` to ``high``, both included and as likely as those between, by a number in [0, 1)."""
    return math.floor(low + (high + 1 - low) * uniform)


def pixel_size(unit: Unit, shape: tuple[int, ...], spacing_mm: Spacing) -> tuple[float, ...]:
    """How long a pixel is along each axis, in ``unit``. Raises ValueError for mm without ``spacing_mm``."""
    if unit == "mm":
        if spacing_mm is None:
            raise ValueError("lengths in mm need the spacing of the mask in mm")
        return spacing_mm
    return (1.0 if unit == "px" else 256 / max(shape[-2:]),) * len(shape)


def pixels(length: float, size: tuple[float, ...]) -> tuple[int, ...]:
    """``length`` in whole pixels along each axis, for pixels of ``size`` in the same unit."""
    return tuple(round(length / step) for step in size)


def box(mask: Mask, margin: int | tuple[int, ...]) -> tuple[slice, ...]:
    """The smallest box around ``mask`` (*S), wider by ``margin`` pixels on each side; of an empty mask, all of it."""
    margins = (margin,) * mask.ndim if isinstance(margin, int) else margin
    sides = []
    for axis, more in enumerate(margins):
        inside = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        if not len(inside):
            return (slice(None),) * mask.ndim
        sides.append(slice(max(int(inside[0]) - more, 0), int(inside[-1]) + 1 + more))
    return tuple(sides)
