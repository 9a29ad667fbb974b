"""Volumes whose slices are what networks see: which axis runs from slice to slice, and comes first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeVar

from .survey import Look

T = TypeVar("T")
Slices = Literal["axial", "coronal", "sagittal"]
ACROSS: dict[Slices, int] = {"sagittal": 0, "coronal": 1, "axial": 2}
"""Which of ``Geometry.patient_axes`` runs from slice to slice."""


def slice_axis(slices: Slices | None, axes: Sequence[int | None] | None) -> int:
    """The axis of a case that comes first when it is prepared: the one from slice to slice, if slices are seen.

    axes: ``Geometry.patient_axes``; a file that does not say how it lies is taken to run from feet to head, from front
    to back, from right to left.
    """
    return (axes or (2, 1, 0))[ACROSS[slices]] or 0 if slices else 0


def sliced(look: Look, slices: Slices | None) -> Look:
    """Where slices are seen, the shape and spacing of a volume with slices first, and as ``axes`` those of a slice."""
    if slices is None:
        return look
    first = slice_axis(slices, look.axes)

    def moved(values: tuple[T, ...]) -> tuple[T, ...]:
        return (values[first], *values[:first], *values[first + 1 :])

    axes = look.axes and tuple(None if a in (first, None) else a - (a > first) for a in look.axes)
    return replace(look, shape=moved(look.shape), spacing_mm=look.spacing_mm and moved(look.spacing_mm), axes=axes)
