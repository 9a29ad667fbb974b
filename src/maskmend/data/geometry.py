"""Arrays, and where they lie in the patient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Nifti:
    """What a NIfTI header says of place, field by field, so that it is written as it was read.

    version: 1 or 2.
    axes: 2 of a file without a third axis, else 3.
    fields: name -> numbers: pixdim (its first four), the codes, quaternion and offset of the qform, the rows of the
    sform, and the units. ``nifti.affine_of`` says what they mean.
    """

    version: int
    axes: int
    fields: tuple[tuple[str, tuple[float, ...]], ...]

    @property
    def placed(self) -> bool:
        """Not where both codes are 0: then the file knows steps, but no place."""
        codes = dict(self.fields)
        return codes["sform_code"] != (0,) or codes["qform_code"] != (0,)


@dataclass(frozen=True)
class Geometry:
    """Where an array lies in the patient.

    spacing_mm: one step along each axis of *S, in array order.
    origin, direction: as SimpleITK gives them (x first, LPS, mm); None for a picture, which has no place in space.
    singleton: (array axis, spacing_mm) of an axis of length one that was taken away to read one slice as 2D; it is put
    back on writing.
    nifti: of a NIfTI file, its header; written again where it still says the same as the other fields.
    cropped: of a label, whether it ends where its marks end; beyond is background.
    """

    spacing_mm: tuple[float, ...]
    origin: tuple[float, ...] | None = None
    direction: tuple[float, ...] | None = None
    singleton: tuple[int, float] | None = None
    nifti: Nifti | None = None
    cropped: bool = False

    @property
    def known(self) -> bool:
        """Whether the steps are lengths: a picture's are one pixel, and no mm."""
        return self.origin is not None or any(step != 1 for step in self.spacing_mm)

    @property
    def voxel_ml(self) -> float | None:
        """Of one voxel; None where the steps are no lengths, or there are but two."""
        steps = [*self.spacing_mm, *([self.singleton[1]] if self.singleton else [])]
        return math.prod(steps) / 1000 if self.known and len(steps) == 3 else None

    @property
    def placed(self) -> bool:
        """Whether the file says where it lies."""
        return self.origin is not None and (self.nifti is None or self.nifti.placed)

    @property
    def lost_axis(self) -> int | None:
        """The array axis of the three that *S lacks, because it is of length one or there is none; None in 3D."""
        return self.singleton[0] if self.singleton else 0 if len(self.spacing_mm) == 2 else None

    @property
    def patient_axes(self) -> tuple[int | None, ...] | None:
        """The axes of *S that come nearest to the patient's right to left, front to back, and feet to head; None for
        one that *S lacks. None altogether where the file does not say how it lies."""
        if not self.placed or self.direction is None or len(self.direction) != 9:
            return None
        lean = np.abs(np.reshape(self.direction, (3, 3)))
        nearest = max(permutations(range(3)), key=lambda order: float(lean[range(3), order].sum()))
        kept = [axis for axis in range(3) if axis != self.lost_axis]
        return tuple(kept.index(2 - axis) if 2 - axis in kept else None for axis in nearest)

    @property
    def affine(self) -> Array:
        """(4, 4): index (x, y, z) -> mm, LPS, of three axes; x, y, z from 0 where nothing is told."""
        steps, affine = list(self.spacing_mm), np.eye(4)
        if self.lost_axis is not None:
            steps.insert(self.lost_axis, self.singleton[1] if self.singleton else 1.0)
        if self.direction is not None:
            dims = math.isqrt(len(self.direction))
            affine[:dims, :dims] = np.reshape(self.direction, (dims, dims))
        if self.origin is not None:
            affine[: len(self.origin), 3] = self.origin
        affine[:3, :3] *= steps[::-1]
        return affine


@dataclass(frozen=True)
class Picture:
    """An array with its place in space. Of an image (C, *S), of a label (*S); *S is (H, W) or (D, H, W)."""

    array: Array
    geometry: Geometry

    @property
    def shape(self) -> tuple[int, ...]:
        """*S."""
        return tuple(self.array.shape[-len(self.geometry.spacing_mm) :])
