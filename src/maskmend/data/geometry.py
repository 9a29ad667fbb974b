"""Where an array lies in the patient, and whether two arrays lie on one grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Geometry:
    """Where an array lies in the patient.

    spacing_mm: one step along each axis of *S, in array order.
    origin, direction: as SimpleITK gives them (x first, LPS); None for a picture, which has no place in space.
    singleton: (array axis, spacing_mm) of an axis of length one that was taken away to read one slice as 2D; it is put
    back on writing.
    """

    spacing_mm: tuple[float, ...]
    origin: tuple[float, ...] | None = None
    direction: tuple[float, ...] | None = None
    singleton: tuple[int, float] | None = None
