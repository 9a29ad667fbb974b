"""What every noise is: settings, and a function from one mask to a worse one."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from ..types import Config

Mask = NDArray[np.bool_]


class Random(Protocol):
    """The only thing a noise asks of chance: ``np.random.Generator`` and ``np.random.RandomState`` both have it."""

    def random(self, size: Any = None) -> Any: ...


class Noise(Config):
    """A way in which masks go wrong. A file in this folder that holds a subclass is its registration.

    The fields of the subclass are its parameters; each says in its description where its default comes from.
    """

    name: ClassVar[str]
    source: ClassVar[str]

    @abstractmethod
    def __call__(self, mask: Mask, rng: Random, spacing_mm: tuple[float, ...] | None = None) -> Mask:
        """A corrupted copy of ``mask``, bool (*S), 2D or 3D; ``spacing_mm`` in array order."""
